"""One reload on a terminal, drawn by rich: it knows how wide every character is, wraps and shortens."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reloadctl.jsontext import Document
from reloadctl.out import as_text
from reloadctl.render.look import Look
from reloadctl.render.reload import changes
from reloadctl.render.show import events, head, spans_of
from reloadctl.render.waterfall import rows

_COLORS = {"ok": "green", "open": "yellow", "error": "red", "gap": "dim", "link": "dim"}


def draw(reload: Document, view: Look) -> str:
    """The whole text, as wide as the terminal."""
    console = Console(
        file=sys.stdout,
        width=view.width or 80,
        force_terminal=view.color,
        no_color=not view.color,
        color_system="standard" if view.color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as captured:
        for text in head(reload, view):
            console.print(Text.from_ansi(text))
        _section(console, "changed inputs", changes(reload, view))
        _waterfall(console, reload, view)
        _section(console, "events", events(reload))
        _section(console, "output", [f"  {as_text(text)}" for text in reload.get("output") or ()])
    return captured.get()


def _section(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print()
    console.print(Text(title, style="dim"))
    for text in lines:
        console.print(Text.from_ansi(text))


def _waterfall(console: Console, reload: Document, view: Look) -> None:
    spans = spans_of(reload)
    if not spans:
        return
    # Half of the terminal for names and numbers; a bar shorter than twelve cells says nothing.
    labels = max(len(row.label) for row in rows(spans, 12, unicode=view.unicode))
    width = max(12, console.width - min(labels, console.width // 2) - 2 * 11 - 2)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(
        "span", no_wrap=True, overflow="ellipsis", max_width=max(12, console.width // 2)
    )
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("timeline", no_wrap=True, overflow="crop")
    table.add_row(*(Text(title, style="dim") for title in ("span", "start", "took", "timeline")))
    for row in rows(spans, width, unicode=view.unicode):
        color = _COLORS[row.state]
        label = Text(view.plain(row.label), style=color if row.state != "ok" else "")
        table.add_row(label, row.start, row.took, Text(row.bar, style=color))
    console.print()
    console.print(table)
