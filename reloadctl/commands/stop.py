"""``reloadctl stop``: want services down, and wait until they are gone."""

from reloadctl.several import act

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reloadctl.jsontext import Document
    from reloadctl.render.look import Look


def run(options: "dict[str, Any]") -> int:
    """Ask for each service."""
    return act("stop", options, _render)


def _render(document: "Document", view: "Look") -> str:
    from reloadctl.render.service import acted  # noqa: PLC0415 (not for --json)

    return acted(document, view)
