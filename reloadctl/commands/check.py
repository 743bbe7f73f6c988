"""``reloadctl check``: run the check on the inputs as they are. Nothing is touched; 150 when it says no."""

from reloadctl.several import act

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reloadctl.jsontext import Document
    from reloadctl.render.look import Look


def run(options: "dict[str, Any]") -> int:
    """Ask for each service."""
    return act("check", options, _render, bounded=False)


def _render(document: "Document", view: "Look") -> str:
    from reloadctl.render.service import checked  # noqa: PLC0415 (not for --json)

    return checked(document, view)
