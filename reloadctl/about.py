"""One request about one reload: confirm, cancel. Which reload a REF means is decided by the agent."""
# ruff: noqa: PLC0415 (not for --json)

from reloadctl.client import PATIENCE, post, quote
from reloadctl.out import line, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def act(verb: str, options: "dict[str, Any]", done: str, color: str) -> int:
    """POST the verb; ``done`` is what is printed in ``color`` behind the service."""
    reply = post(options, f"/v1/reloads/{quote(options['args'][0])}/{verb}", {}, (), PATIENCE)
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads
    from reloadctl.render.look import look

    document, view = loads(reply.body), look(options)
    service = view.paint(line(document["service"]), "bold")
    write(f"{service}  {view.paint(done, color)}  {line(document['reload_id'])}\n")
    return reply.exit
