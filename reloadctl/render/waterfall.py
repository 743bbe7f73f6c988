"""A trace as rows of a waterfall: a tree of spans, when each began, how long it took, and a bar in eighths of a cell.

Decides order, depth, gaps and marks; how a row becomes a line is ``render.show``'s business. A span has at least one
cell. A gap of more than a fifth of the trace between children has a row of its own: time that no span explains.
"""

from reloadctl.jsontext import Document
from reloadctl.out import line
from reloadctl.render.look import milliseconds

_LEFT = " ▏▎▍▌▋▊▉█"
_HALF = 4
_GAP = 0.2
_AFTER = "reload.drain"
"""May go on long after its reload has ended, which it must not make too small to be seen: it is cut at the right edge."""
_LONGEST = 60
"""Cells of what went wrong beside a span's name."""
_DETAIL = (
    "process.executable.name",
    "reload.signal",
    "process.pid",
    "process.exit.code",
    "http.response.status_code",
)


class Row:
    """One line. ``state``: ok, error, gap, link or open (a span that has not ended)."""

    __slots__ = ("bar", "label", "start", "state", "took")

    def __init__(self, label: str, start: str, took: str, bar: str, state: str) -> None:
        self.label = label
        self.start = start
        self.took = took
        self.bar = bar
        self.state = state


def rows(spans: "list[Document]", width: int, *, unicode: bool) -> list[Row]:
    """The rows of one reload's spans; ``width``: cells of the widest bar."""
    if not spans:
        return []
    begin = min(span["start_ns"] for span in spans)
    within = [span for span in spans if span["name"] != _AFTER] or spans
    end = max(span["end_ns"] or span["start_ns"] for span in within)
    known = {span["span_id"] for span in spans}
    children: dict[object, list[Document]] = {}
    for span in sorted(spans, key=lambda s: (s["start_ns"], s["end_ns"] or end)):
        parent = span["parent_id"] if span["parent_id"] in known else None
        children.setdefault(parent, []).append(span)
    scale = _Scale(begin, max(end, begin + 1), width, unicode=unicode)
    found: list[Row] = []
    for root in children.get(None, []):
        _walk(root, 0, children, scale, found)
    return found


class _Scale:
    def __init__(self, begin: int, end: int, width: int, *, unicode: bool) -> None:
        self.begin = begin
        self.end = end
        self.width = width
        self.unicode = unicode

    def row(self, label: str, start: int, end: int, state: str) -> Row:
        took = milliseconds((end - start) / 1e6)
        return Row(
            label, f"+{(start - self.begin) / 1e6:.0f} ms", took, self.bar(start, end, state), state
        )

    def bar(self, start: int, end: int, state: str) -> str:
        total = self.end - self.begin
        first = (start - self.begin) * self.width * 8 // total
        first = min(first, self.width * 8 - 1)
        last = max(min(end - self.begin, total) * self.width * 8 // total, first + 1)
        cell, last_cell = min(first // 8, self.width - 1), min(-(-last // 8), self.width)
        if not self.unicode or state == "gap":
            return " " * cell + ("." if state == "gap" else "#") * (last_cell - cell)
        if last_cell - cell <= 1:
            # Shorter than a cell: flush right when it begins in the right half, so that order can be seen.
            piece = "▐" if first % 8 >= _HALF else _LEFT[max(1, min(8, last - cell * 8))]
            return " " * cell + piece
        head = "▐" if first % 8 >= _HALF else "█"
        tail = _LEFT[last - (last_cell - 1) * 8] if last < last_cell * 8 else "█"
        return " " * cell + head + "█" * (last_cell - cell - 2) + tail


def _walk(
    span: Document,
    depth: int,
    children: "dict[object, list[Document]]",
    scale: _Scale,
    found: list[Row],
) -> None:
    open_ = not span["end_ns"]
    end = span["end_ns"] or scale.end
    state = "error" if span["status"] == "error" else "open" if open_ else "ok"
    found.append(scale.row(_label(span, depth), span["start_ns"], end, state))
    pad = "  " * (depth + 1)
    found.extend(
        Row(f"{pad}⇢ {link['trace_id']}/{link['span_id']}", "", "", "", "link")
        for link in span.get("links") or ()
    )
    seen = span["start_ns"]
    for child in children.get(span["span_id"], ()):
        if child["start_ns"] - seen > (scale.end - scale.begin) * _GAP:
            found.append(scale.row(f"{pad}·", seen, child["start_ns"], "gap"))
        _walk(child, depth + 1, children, scale, found)
        seen = max(seen, child["end_ns"] or scale.end)
        if child["start_ns"] < span["start_ns"]:
            found.append(
                Row(f"{pad}  ! began before its parent: clocks differ", "", "", "", "link")
            )


def _short(text: str) -> str:
    """The whole of it stands above the waterfall; here it must not push the bars off the screen."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _label(span: Document, depth: int) -> str:
    attributes = span.get("attributes") or {}
    said = [_detail(key, attributes[key]) for key in _DETAIL if key in attributes] if depth else []
    if span["status"] == "error" and span.get("status_message"):
        said.append(_short(line(span["status_message"])))
    name = span["name"]
    return line("  " * depth + "  ".join((name, *(text for text in said if text not in name))))


def _detail(key: str, found: object) -> str:
    words = {"process.pid": "pid", "process.exit.code": "exit", "http.response.status_code": "HTTP"}
    return f"{words[key]} {found}" if key in words else str(found)
