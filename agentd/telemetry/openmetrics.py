"""Metrics as text: OpenMetrics 1.0, or Prometheus 0.0.4 for who does not ask for it. Pure; made in pieces.

The two differ in how a family of counters and one of infos is named, in units and start times, and in the end mark
(OpenMetrics 1.0, "Text format"; prometheus.io, "Exposition formats").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.telemetry.metrics import LABEL, Family, Kind
from agentd.telemetry.tally import BOUNDS_S, Durations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
_PIECE = 50
"""Series in one piece: a millisecond of work."""
_LE = (*(f'le="{bound}"' for bound in BOUNDS_S), 'le="+Inf"')


def wanted(accept: str) -> str:
    """The content type that a caller's Accept header asks for; OpenMetrics only when it is named."""
    best = {"application/openmetrics-text": -1.0, "text/plain": 0.0}
    for part in accept.split(","):
        kind, *more = (piece.strip().lower() for piece in part.split(";"))
        given = dict(piece.partition("=")[::2] for piece in more)
        if kind in best and given.get("version", "") in ("", "1.0.0", "0.0.4"):
            best[kind] = max(best[kind], _quality(given.get("q", "1")))
    opened = best["application/openmetrics-text"]
    return OPEN if opened > 0 and opened >= best["text/plain"] else PLAIN


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def pieces(families: Iterable[Family], kind: str) -> Iterator[str]:
    """The text; ``kind`` is one of the two content types."""
    opened = kind == OPEN
    for family in families:
        yield _head(family, opened=opened)
        series = _Series(family, opened=opened)
        for start in range(0, len(family.points), _PIECE):
            lines: list[str] = []
            for values, value in family.points[start : start + _PIECE]:
                series.draw(values, value, lines)
            yield "".join(lines)
    if opened:
        yield "# EOF\n"


def _head(family: Family, *, opened: bool) -> str:
    name, kind = family.text, str(family.kind)
    if not opened:
        name += {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(family.kind, "")
        kind = "gauge" if family.kind is Kind.INFO else kind
    help_ = _escaped(family.help) if opened else family.help
    unit = f"# UNIT {name} seconds\n" if opened and name.endswith("_seconds") else ""
    return f"# TYPE {name} {kind}\n{unit}# HELP {name} {help_}\n"


class _Series:
    """The lines of one family."""

    def __init__(self, family: Family, *, opened: bool) -> None:
        self._family = family
        self._labels = [LABEL[name] for name in family.labels]
        self._created = ""
        if opened and family.began_ns:
            self._created = f"{family.began_ns / 1e9:.3f}"

    def draw(self, values: Sequence[str], value: float | Durations, lines: list[str]) -> None:
        name = self._family.text
        said = ",".join(
            f'{label}="{_escaped(v)}"' for label, v in zip(self._labels, values, strict=True) if v
        )
        if isinstance(value, Durations):
            total = 0
            for bound, count in zip(_LE, value.classes, strict=True):
                total += count
                lines.append(f"{name}_bucket{{{said},{bound}}} {total}\n")
            lines.append(f"{name}_count{{{said}}} {total}\n{name}_sum{{{said}}} {value.sum!r}\n")
        else:
            suffix = {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self._family.kind, "")
            lines.append(f"{name}{suffix}{{{said}}} {value!r}\n")
        if self._created:
            lines.append(f"{name}_created{{{said}}} {self._created}\n")


def _escaped(text: str) -> str:
    if text.isalnum():
        return text
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
