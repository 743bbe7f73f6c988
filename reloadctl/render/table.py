"""Aligned columns, as wide as they need; on a terminal not wider than it.

A cell that is coloured is coloured by its first word (a phase, a verdict). Counts characters, not cells: names of
services are ASCII, and a message that is not comes last in its line.
"""

from reloadctl.render.look import Look, tone

Row = tuple[str, ...]

GAP = 2
NARROWEST = 8
LAST = 12
"""Columns that the last cell is left with at least, when the others can be cut."""


def table(
    rows: "list[Row]", view: Look, toned: tuple[int, ...], spare: tuple[int, ...] = ()
) -> list[str]:
    """The lines; the first row is the head. ``toned``: the columns that are coloured.

    ``spare``: the columns that are left out, in this order, before anything is cut.
    """
    if not view.unicode:
        rows = [tuple(map(view.plain, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    kept = _kept(widths, view.width, spare)
    if len(kept) < len(widths):
        rows = [tuple(row[column] for column in kept) for row in rows]
        widths = [widths[column] for column in kept]
        toned = tuple(kept.index(column) for column in toned)
    shown = _fit(rows, widths, view) if view.width else rows
    widths[-1] = 0
    pattern = (" " * GAP).join(f"%-{width}s" for width in widths)
    if not view.color:
        return [(pattern % row).rstrip() for row in shown]
    lines = [view.paint((pattern % shown[0]).rstrip(), "dim")]
    for row, cut in zip(rows[1:], shown[1:], strict=True):
        cells = [f"%-{width}s" % cell for cell, width in zip(cut, widths, strict=True)]
        for column in toned:
            word = row[column].split(" ", 1)[0].rstrip(",")
            cells[column] = view.paint(cells[column], tone(word))
        lines.append((" " * GAP).join(cells).rstrip())
    return lines


def _kept(widths: list[int], room: int, spare: tuple[int, ...]) -> list[int]:
    kept = list(range(len(widths)))
    for column in spare:
        if not room or sum(widths[k] for k in kept) + GAP * (len(kept) - 1) <= room:
            break
        kept.remove(column)
    return kept


def _fit(rows: "list[Row]", widths: list[int], view: Look) -> "list[Row]":
    """Narrow the widest columns, the last one first, until a line fits; cut what is longer."""
    excess = sum(widths) + GAP * (len(widths) - 1) - view.width
    if excess <= 0:
        return rows
    spare = max(0, min(excess, widths[-1] - LAST))
    widths[-1] -= spare
    excess -= spare
    while excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1
    return [tuple(map(view.cut, row, widths)) for row in rows]
