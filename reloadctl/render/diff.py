"""A difference of two configurations as a unified diff; coloured where colours are wanted, as git does it.

Into a pipe the lines of text inputs are a patch. What was masked stays so: it never left the agent.
"""

from reloadctl.jsontext import Document
from reloadctl.out import line
from reloadctl.render.look import Look

_COLORS = {"+": "green", "-": "red", "@": "yellow"}
_NOTHING = "/dev/null"


def render(document: Document, view: Look) -> str:
    """The whole text; what is not told line by line is one line that says why."""
    old, new = (_title(document[side]) for side in ("from", "to"))
    if not document["differs"]:
        same = f"{document['service']}: no difference between {old} and {new}"
        return view.plain(line(same)) + "\n"
    lines = []
    for entry in document["files"]:
        path = line(entry["path"])
        before = _NOTHING if entry["change"] == "added" else path
        after = _NOTHING if entry["change"] == "removed" else path
        lines += [
            view.paint(f"--- {before}\t{old}", "bold"),
            view.paint(f"+++ {after}\t{new}", "bold"),
        ]
        if entry["kind"] == "text":
            told = map(_harmless, entry["lines"]) if view.terminal else entry["lines"]
            lines += [view.paint(text, _COLORS.get(text[:1], "")) for text in told]
            if entry["more"]:
                lines.append(view.paint(f"# {entry['more']} more lines are left out", "yellow"))
        else:
            lines.append(view.paint(_instead(entry), "yellow"))
    return "\n".join(lines) + "\n"


def _harmless(text: str) -> str:
    """For a terminal; tabs stay, for they are part of the configuration."""
    return "\t".join(map(line, text.split("\t")))


def _title(side: Document) -> str:
    name, version = line(side["name"]), line(side["version"])
    return name if name == version else f"{name} {version}"


def _instead(entry: Document) -> str:
    sizes = f"{_size(entry['size_before'])} before, {_size(entry['size_after'])} after"
    if entry["kind"] == "secret":
        return "# secret: it differs, and is never shown"
    if entry["kind"] == "binary":
        return f"# binary: it differs; {sizes}"
    return f"# too long to show; {sizes}"


def _size(count: "int | None") -> str:
    return "absent" if count is None else f"{count} bytes"
