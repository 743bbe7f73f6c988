"""``reloadctl hold``: no reload of a service until it is released, or for a while."""
# ruff: noqa: PLC0415 (not for --json)

from reloadctl.client import PATIENCE, post, quote
from reloadctl.out import line, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask, and say how to undo it."""
    body: dict[str, object] = {"reason": options["reason"] or "", "for_s": options["for"]}
    reply = post(options, f"/v1/services/{quote(options['args'][0])}/hold", body, (), PATIENCE)
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads
    from reloadctl.render.look import duration, look

    document, view = loads(reply.body), look(options)
    service, reason = line(document["service"]), line(document.get("reason") or "")
    limit = f" for {duration(options['for'])}" if options["for"] else ""
    why = f": {reason}" if reason else ""
    undo = f"(reloadctl release {service})"
    write(f"{view.paint(service, 'bold')}  {view.paint('held', 'yellow')}{limit}{why}  {undo}\n")
    return reply.exit
