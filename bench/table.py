"""What a family of figures hands back, and the one table they are printed in. Judges only whether a goal is met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD = ("figure", "goal", "agentd", "met?", "supervisord", "floor", "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured, in words that need no legend."""

    name: str
    agentd: str
    goal: str = ""
    met: bool | None = None
    """None: there is no goal."""
    supervisord: str = ""
    floor: str = ""
    """The least that any program could need here, and what it is."""
    note: str = ""


def at_most(limit: float, value: float) -> bool:
    """Whether the value as it is printed, to two digits, keeps the limit."""
    return round(value, 2) <= limit


def render(groups: Iterable[tuple[str, Sequence[Figure]]]) -> str:
    """The figures in columns, a line above each family."""
    rows: list[tuple[str, tuple[str, ...]]] = [("", HEAD)]
    for family, figures in groups:
        rows += [(family if n == 0 else "", _cells(figure)) for n, figure in enumerate(figures)]
    lines: list[str] = []
    for (family, _), line in zip(rows, columns([cells for _, cells in rows]), strict=True):
        if family:
            lines += ["", f"[{family}]"]
        lines.append(line)
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, all columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ((c.ljust(w) for c, w in zip(cells, widths, strict=True)) for cells in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


def _cells(figure: Figure) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "MISSED"}[figure.met]
    return (
        figure.name, figure.goal, figure.agentd, met, figure.supervisord, figure.floor, figure.note,
    )  # fmt: skip
