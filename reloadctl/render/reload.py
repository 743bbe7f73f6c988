"""A reload as lines of text: the verdict with its evidence, what changed, and on failure why and what to type next."""

from reloadctl.jsontext import Document
from reloadctl.out import as_text, line
from reloadctl.render.look import GOOD, Look, clock, milliseconds, tone, versions
from reloadctl.render.table import table

HEAD = ("RELOAD", "AT (UTC)", "SERVICE", "VERDICT", "VERSION", "DURATION", "TRIGGER", "MESSAGE")
MARKS = {"added": "+", "removed": "-", "modified": "~"}


def verdict_line(reload: Document, view: Look) -> str:
    """``web  applied  3f2c9a1b77de → 9be01d4a02c1  182 ms  observed by workers``."""
    verdict = reload.get("verdict")
    parts = [view.paint(line(reload["service"]), "bold")]
    if verdict:
        parts.append(view.paint(verdict, tone(verdict)))
        parts.append(line(versions(reload.get("version_before"), reload.get("version_after"))))
    else:
        phase = reload.get("phase")
        parts.append(view.paint(f"still running ({phase})" if phase else "requested", "yellow"))
        parts.append(reload["reload_id"])
    if verdict and reload.get("duration_ms") is not None:
        parts.append(milliseconds(reload["duration_ms"]))
    parts += filter(None, (gap(reload), proof(reload)))
    return view.plain("  ".join(parts))


def proof(reload: Document) -> str:
    """The evidence and its grade: "observed by workers"; empty when there was none."""
    kind, grade = reload.get("confirmation"), reload.get("confirmation_grade")
    if not grade or not kind or kind == "none":
        return ""
    return f"{grade} by {kind}" if grade != "declared" else f"{kind}, as declared"


def gap(reload: Document) -> str:
    """How long nobody was there to serve: "41 ms down"; empty when there was no gap."""
    ms = reload.get("downtime_ms")
    if ms is None:
        ms = reload.get("outage_ms")
    return "" if ms is None else f"{milliseconds(ms)} down"


def trial(reload: Document) -> list[str]:
    """When it is put back, and what keeps it."""
    on_trial = reload.get("on_trial")
    if not on_trial:
        return []
    at = str(on_trial["until"])[11:19]
    return [f"  put back at {at} UTC unless confirmed: reloadctl confirm {on_trial['reload_id']}"]


def changes(reload: Document, view: Look) -> list[str]:
    """The inputs that changed, one a line."""
    return [
        f"  {view.paint(MARKS.get(entry['change'], '?'), 'dim')} {line(entry['path'])}  {entry['change']}"
        for entry in reload.get("changed") or ()
    ]


def render(reload: Document, view: Look) -> str:
    """What ``reload`` prints for one service."""
    verdict = reload.get("verdict")
    lines = [verdict_line(reload, view), *changes(reload, view)]
    message = reload.get("message") or ("" if verdict in GOOD else reload.get("error") or "")
    if reload.get("joined"):
        lines.append("  joined a reload that was asked for before")
    if message:
        lines += [f"  {text}" for text in as_text(message).splitlines()]
    if verdict not in GOOD and verdict is not None:
        lines += [f"    {as_text(text)}" for text in reload.get("output") or ()]
        lines.append(f"  see: reloadctl show {line(reload['service'])}")
    lines += trial(reload)
    if verdict is None:
        lines.append(f"  follow it with: reloadctl wait {reload['reload_id']}")
    return view.plain("\n".join(lines)) + "\n"


def several(document: Document, view: Look) -> str:
    """What ``reload`` prints for several services: their reloads, then whose was turned away and why, then who was left out."""
    found = [render(entry, view) for entry in document["reloads"]]
    for turned in document.get("turned_away") or ():
        name, no = view.paint(line(turned["service"]), "bold"), view.paint("not reloaded", "red")
        found.append(view.plain(f"{name}  {no}\n  {line(turned['detail'])}") + "\n")
    for name in document.get("not_tried") or ():
        no = view.paint("not tried", "yellow")
        found.append(view.plain(f"{view.paint(line(name), 'bold')}  {no}") + "\n")
    return "".join(found) or "nothing to reload\n"


def history(reloads: "list[Document]", view: Look) -> str:
    """Many reloads, one a line."""
    if not reloads:
        return "no reloads\n"
    rows: list[tuple[str, ...]] = [HEAD]
    for entry in reloads:
        took = entry.get("duration_ms")
        phase = f"running ({entry['phase']})" if entry.get("phase") else "running"
        rows.append(
            (
                entry["reload_id"],
                clock(entry["requested_at"]),
                line(entry["service"]),
                entry.get("verdict") or phase,
                view.plain(line(versions(entry.get("version_before"), entry.get("version_after")))),
                "-" if took is None else milliseconds(took),
                entry["trigger"],
                line(entry.get("message") or entry.get("reason") or ""),
            )
        )
    return view.plain("\n".join(table(rows, view, (3,)))) + "\n"
