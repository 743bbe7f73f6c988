"""``reloadctl apply``: put the definitions on disk in force, whole or not at all; says the same as ``plan`` did."""

from reloadctl.client import PATIENCE, post
from reloadctl.commands.plan import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask and print. What a change does to its service goes on: ``status`` shows it."""
    body: dict[str, object] = {"reason": options["reason"] or ""}
    return tell(post(options, "/v1/apply", body, (), PATIENCE), options)
