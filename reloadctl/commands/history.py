"""``reloadctl history``: past and running reloads, newest first."""
# ruff: noqa: PLC0415 (not for --json)

from reloadctl.client import get, quote
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask and print; an empty history is no failure."""
    query = f"limit={options['number'] or 20}"
    if options["args"]:
        query += f"&service={quote(options['args'][0])}"
    if options["verdict"]:
        query += f"&verdict={options['verdict']}"
    if options["starts"]:
        query += "&starts=1"
    reply = get(options, f"/v1/reloads?{query}")
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads
    from reloadctl.render.look import look
    from reloadctl.render.reload import history

    write(history(loads(reply.body)["reloads"], look(options)))
    return reply.exit
