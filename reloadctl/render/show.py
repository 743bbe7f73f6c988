"""One reload whole: the verdict, who asked, the waterfall, the evidence, the output of its service.

Lines of plain text, for pipes and files; ``render.terminal`` draws the same parts on a terminal.
"""

from reloadctl.jsontext import Document
from reloadctl.out import as_text, line
from reloadctl.render.look import GOOD, Look, clock, milliseconds
from reloadctl.render.reload import changes, proof, trial, verdict_line
from reloadctl.render.waterfall import rows

BAR = 48
"""Cells of a bar where no terminal says how wide it is."""


def head(reload: Document, view: Look) -> list[str]:
    """Verdict, message, ids, who asked and why."""
    lines = [verdict_line(reload, view)]
    message = reload.get("message") or (
        "" if reload.get("verdict") in GOOD else reload.get("error") or ""
    )
    lines += [f"  {text}" for text in as_text(message).splitlines()]
    who = f" by {line(reload['user'])}" if reload.get("user") else ""
    why = f": {line(reload['reason'])}" if reload.get("reason") else ""
    lines += [
        f"  reload   {reload['reload_id']}",
        f"  trace    {reload['trace_id']}",
        f"  asked    {clock(reload['requested_at'])} UTC, {reload['trigger']}{who}{why}",
        f"  handle   {reload['handle']}",
    ]
    lines += map(_attribute, reload.get("attributes") or ())
    if evidence := proof(reload):
        lines.append(f"  evidence {evidence}")
    for instance in reload.get("instances") or ():
        lines.append(f"  instance {_instance(instance)}")
    lines += [*map(_drain, drains(reload)), *trial(reload), *_soak(reload.get("soak"))]
    return [view.plain(text) for text in lines]


def _attribute(one: Document) -> str:
    before, after = (line(one[side]) if one[side] else "none" for side in ("before", "after"))
    told = after if before == after else f"{before} → {after}"
    return f"  says     {line(one['name'])}: {told}"


def _instance(one: Document) -> str:
    """Of several, which one and what became of it."""
    what = f"generation {one['generation']}, pid {one['pid'] or '-'}"
    if one.get("outcome") is None:
        return what
    why = f" ({line(one['error'])})" if one["error"] else ""
    became = str(one["outcome"]).replace("_", " ")
    return f"{one['instance']}: {became}{why}, {what}"


def drains(reload: Document) -> "list[Document]":
    """The spans of former generations on their way out."""
    return [span for span in spans_of(reload) if span["name"] == "reload.drain"]


def _drain(span: Document) -> str:
    told = span.get("attributes") or {}
    open_, cut = told.get("reload.drain.open"), told.get("reload.drain.cut", 0)
    pid = (span.get("resource") or {}).get("process.pid")
    took = milliseconds(((span["end_ns"] or span["start_ns"]) - span["start_ns"]) / 1e6)
    who = f", pid {pid}" if pid else ""
    if open_ is None:
        return f"  drain    {took}, connections were not counted{who}"
    what = "1 connection" if open_ == 1 else f"{open_} connections"
    return f"  drain    {what}, {cut} cut, {took}{who}"


def _soak(soak: "Document | None") -> list[str]:
    """How what was applied did afterwards; its trace is another one."""
    if soak is None:
        return []
    outcome, took = soak["outcome"], milliseconds(soak["duration_ms"])
    if outcome is None:
        return [
            f"  soak     until {clock(soak['until'])} UTC, for {took} so far, trace {soak['trace_id']}"
        ]
    why = f": {line(soak['why'])}" if soak["why"] and outcome == "failed" else ""
    asked = f"{soak['failures']} of {soak['passes'] + soak['failures']} probes failed"
    return [f"  soak     {outcome}{why}; {asked}, {took}, trace {soak['trace_id']}"]


def events(reload: Document) -> list[str]:
    """What happened at a point in time: file changed, evidence seen; times count from the first span."""
    spans = spans_of(reload)
    if not spans:
        return []
    begin = min(span["start_ns"] for span in spans)
    found = (
        sorted(
            (event["at_ns"], span["name"], event)
            for span in spans
            for event in span.get("events") or ()
        )
        if spans
        else []
    )
    return [
        line(
            f"  +{(at - begin) / 1e6:.0f} ms  {event['name']}{_pairs(event.get('attributes') or {})}  ({name})"
        )
        for at, name, event in found
    ]


def _pairs(attributes: Document) -> str:
    return "".join(f"  {key}={text}" for key, text in attributes.items())


def spans_of(reload: Document) -> "list[Document]":
    """The spans of its trace; none when it was not kept."""
    trace = reload.get("trace") or {}
    found: list[Document] = trace.get("spans") or []
    return found


def render(reload: Document, view: Look) -> str:
    """The whole text."""
    lines = head(reload, view)
    if changed := changes(reload, view):
        lines += ["", "changed inputs", *changed]
    drawn = rows(spans_of(reload), BAR, unicode=view.unicode)
    if drawn:
        label = max(4, *(len(row.label) for row in drawn))
        lines += ["", f"{'span':{label}}  {'start':>9}  {'took':>9}  timeline"]
        for row in drawn:
            text = f"{row.label:{label}}  {row.start:>9}  {row.took:>9}  {row.bar}"
            lines.append(view.paint(text.rstrip(), "red" if row.state == "error" else ""))
    if happened := events(reload):
        lines += ["", "events", *happened]
    if output := reload.get("output"):
        lines += ["", "output", *(f"  {as_text(text)}" for text in output)]
    return view.plain("\n".join(lines)) + "\n"
