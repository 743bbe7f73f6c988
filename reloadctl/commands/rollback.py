"""``reloadctl rollback``: put a former version back and reload it. Waits, prints and exits as ``reload`` does."""

from reloadctl.caller import attributes
from reloadctl.client import quote
from reloadctl.commands.reload import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """What a REF means, and what may be put back, is the agent's to say."""
    service, *ref = options["args"]
    body: dict[str, object] = {
        "reason": options["reason"] or "",
        "force": options["force"],
        "wait": not options["no_wait"],
        "timeout_s": options["timeout"],
        "attributes": attributes(),
    }
    body |= {"to": ref[0]} if ref else {}
    return ask(options, f"/v1/services/{quote(service)}/rollback", body, [service])
