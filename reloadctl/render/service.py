"""What the verbs that act on one service print: start, stop, restart, check, hold, release."""

from reloadctl.jsontext import Document
from reloadctl.out import as_text, line
from reloadctl.render.look import Look, short, tone
from reloadctl.render.reload import changes, verdict_line

CHECK_WORDS = {
    "passed": "the check passed",
    "rejected": "the check said no; a reload would be rejected",
    "none": "no check is defined",
}


def acted(document: Document, view: Look) -> str:
    """Where the service stands now, and the reload that its start was."""
    phase = str(document["phase"])
    parts = [view.paint(line(document["service"]), "bold"), view.paint(phase, tone(phase))]
    if document.get("pid"):
        parts.append(f"pid {document['pid']}")
    lines = ["  ".join(parts)]
    if document.get("message"):
        lines += [f"  {text}" for text in as_text(document["message"]).splitlines()]
    if document.get("reload"):
        lines.append(f"  {verdict_line(document['reload'], view)}")
    return view.plain("\n".join(lines)) + "\n"


def checked(document: Document, view: Look) -> str:
    """What the check said of which bytes."""
    verdict = str(document["verdict"])
    version = document.get("version") or short(document.get("hash") or "unknown")
    said = CHECK_WORDS.get(verdict, verdict)
    if document.get("exit_code"):
        said += f" (exit code {document['exit_code']})"
    name = view.paint(line(document["service"]), "bold")
    lines = [f"{name}  {view.paint(verdict, tone(verdict))}  {line(str(version))}  {said}"]
    lines += changes(document, view)
    if document.get("error"):
        lines += [f"  {text}" for text in as_text(document["error"]).splitlines()]
    lines += [f"    {as_text(text)}" for text in document.get("output") or ()]
    return view.plain("\n".join(lines)) + "\n"
