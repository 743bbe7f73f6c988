"""What can be seen of a reload from outside: its spans as they are exported, and processes as the kernel shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from host import Host


def exported(running: Host, ref: str) -> list[Any]:
    """The spans of ``show REF --otlp``; each has its resource's attributes as ``of``, and its own as ``said``."""
    code, document = running.ctl("show", ref, "--otlp")
    assert code == 0, document
    return [
        span | {"of": plain(resource["resource"]), "said": plain(span)}
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def spans(running: Host, ref: str) -> dict[str, Any]:
    """The same by name; where a name comes twice, the last."""
    return {span["name"]: span for span in exported(running, ref)}


def plain(holder: Any) -> dict[str, Any]:
    """Attributes as they were before they became JSON; numbers are numbers again."""
    return {a["key"]: _value(a["value"]) for a in holder.get("attributes", ())}


def _value(value: dict[str, Any]) -> Any:
    ((kind, found),) = value.items()
    if kind == "intValue":
        return int(found)
    if kind == "arrayValue":
        return [_value(one) for one in found.get("values", ())]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
