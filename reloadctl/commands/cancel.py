"""``reloadctl cancel``: give up a reload that has touched nothing yet."""

from reloadctl.about import act

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask; one that has begun to act goes on, and the agent says so."""
    return act("cancel", options, "cancelled", "yellow")
