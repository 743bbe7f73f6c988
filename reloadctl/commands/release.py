"""``reloadctl release``: allow reloads of a service again; what the hold turned away is run by the agent."""
# ruff: noqa: PLC0415 (not for --json)

from reloadctl.client import PATIENCE, post, quote
from reloadctl.out import line, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask, and name the reload that it started."""
    reply = post(options, f"/v1/services/{quote(options['args'][0])}/release", {}, (), PATIENCE)
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads
    from reloadctl.render.look import look

    document, view = loads(reply.body), look(options)
    started = document.get("reload_id")
    follow = f"  reload {started} runs; follow it with: reloadctl wait {started}" if started else ""
    write(f"{view.paint(line(document['service']), 'bold')}  released{follow}\n")
    return reply.exit
