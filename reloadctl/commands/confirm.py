"""``reloadctl confirm``: keep a change that is on trial."""

from reloadctl.about import act

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask; one that waits for no confirmation is the agent's to say."""
    return act("confirm", options, "confirmed", "green")
