"""The rows as one table: what agentd made of each edit, and beside it what the server's own command did. Judges nothing."""

from __future__ import annotations

from collections.abc import Iterable

from rows import Lost, Row

HEAD = (
    *("server", "edit", "verdict", "evidence", "ms", "new lost", "kept lost", "gap ms"),
    *("own command", "exit", "then it", "new lost", "kept lost", "gap ms"),
)


def render(rows: Iterable[Row]) -> str:
    """Columns as wide as their widest cell; a server's name once; below it what is short of the aim, with the reason."""
    cells, notes, last = [HEAD], [], ""
    for row in rows:
        name = f"{row.server} {row.version}"
        cells.append(("" if name == last else name, *_cells(row)))
        last = name
        what = f"{row.server}, {row.what}"
        notes += [f"WRONG   {what}: {wrong}" for wrong in row.wrong]
        notes += [f"MISSED  {what}: {missed}" for missed in row.missed]
        notes += [f"known   {what}: {excused}" for excused in row.excused]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _cells(row: Row) -> tuple[str, ...]:
    why = ", ".join(row.not_taken) or row.error
    verdict = f"{row.verdict} ({why})" if why else row.verdict
    evidence = f"{row.evidence}, {row.grade}" if row.grade else ""
    own = ("", "", "", "", "", "")
    if o := row.own:
        own = (o.words, str(o.exit), o.after, *_lost(o.lost))
    return (row.what, verdict, evidence, f"{row.ms:.0f}", *_lost(row.lost), *own)


def _lost(lost: Lost) -> tuple[str, str, str]:
    return str(lost.new), str(lost.kept), f"{lost.gap_ms:.0f}"
