"""``reloadctl status``: how services stand. The agent decides the exit code: 3 when a wanted service is not up."""
# ruff: noqa: PLC0415 (what draws is not loaded by --json)

from reloadctl.client import get, quote
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask, print, and hand on the agent's exit code."""
    query = "&".join(f"service={quote(service)}" for service in options["args"])
    reply = get(options, f"/v1/status?{query}" if query else "/v1/status")
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    import gc
    from time import time

    from reloadctl.jsontext import loads
    from reloadctl.render.look import look
    from reloadctl.render.status import render

    # Thousands of small dicts would set it off many times, and a document has no cycles.
    gc.disable()
    write(render(loads(reply.body), look(options), time()))
    return reply.exit
