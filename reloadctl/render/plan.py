"""What a change of the definitions does, one service a line: added, removed or changed, by which keys, and which of them forces it."""

from reloadctl.jsontext import Document
from reloadctl.out import line
from reloadctl.render.look import Look

MARKS = {"start": ("+", "green"), "stop": ("-", "red")}
_CHANGED = ("~", "yellow")


def render(document: Document, view: Look) -> str:
    """The whole text."""
    changes, later = document["changes"], document["later"]
    applied = document["applied"]
    wide = max((len(change["service"]) for change in changes), default=0)
    lines = [_change(change, wide, view) for change in changes]
    mark = view.paint(_CHANGED[0], _CHANGED[1])
    lines += [f"{mark} {line(key)}  takes effect when agentd is started again" for key in later]
    lines += [view.paint(f"warning: {line(text)}", "yellow") for text in document["warnings"]]
    if not changes and not later:
        lines.append("nothing changed" if applied else "nothing would change")
    elif applied:
        lines.append(f"applied: {_count(len(changes))}")
    else:
        lines.append(f"{_count(len(changes))} would be touched; do it with: reloadctl apply")
    return view.plain("\n".join(lines)) + "\n"


def outcomes(document: Document, view: Look) -> str:
    """What became of each service whose process was started, restarted or replaced."""
    from reloadctl.render.reload import render as verdict  # noqa: PLC0415 - not for plan

    found = [verdict(entry, view) for entry in document.get("reloads") or ()]
    for turned in document.get("turned_away") or ():
        name = view.paint(line(turned["service"]), "bold")
        found.append(view.plain(f"{name}  {view.paint(line(turned['detail']), 'yellow')}") + "\n")
    return "".join(found)


def _change(change: Document, wide: int, view: Look) -> str:
    mark, color = MARKS.get(change["action"], _CHANGED)
    parts = [f"{view.paint(mark, color)} {line(change['service']):{wide}}", change["action"]]
    if change["keys"]:
        parts.append(", ".join(change["keys"]))
    if change["forced_by"]:
        parts.append(f"forced by {', '.join(change['forced_by'])}")
    return "  ".join(parts)


def _count(services: int) -> str:
    return "1 service" if services == 1 else f"{services} services"
