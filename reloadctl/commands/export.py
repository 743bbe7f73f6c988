"""``reloadctl export``: the traces as OTLP JSON Lines, as they come, until they end or nobody reads any more."""

from reloadctl.client import stream
from reloadctl.out import write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """The same with --json: they are JSON anyway."""
    since = options["since"]
    path = "/v1/export" if since is None else f"/v1/export?since={since:.3f}"
    for text in stream(options, path):
        if text and not write_bytes(text):
            break
    return 0
