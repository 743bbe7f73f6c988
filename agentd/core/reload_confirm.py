"""The rows of a reload that waits for evidence of its act.

Decides: when to look again, when evidence suffices or contradicts, and when it is too late. What a kind of evidence makes of what was
seen is ``agentd.evidence``'s; what follows is ``reload_commit``'s.
"""

from __future__ import annotations

from agentd.core.effects import Disarm, Inquiry, Look
from agentd.core.events import (
    Notified,
    ReloadEvent,
    Sighted,
)
from agentd.core.manifest import changes
from agentd.core.reload_commit import (
    ask_report,
    confirmed,
    earned,
    heard_before,
    lost,
    strength,
    taken_in_part,
)
from agentd.core.reload_value import (
    Ending,
    Reload,
    Result,
    View,
    arm,
    ended,
    expect,
    finish,
    note,
)
from agentd.core.spec import ExecProbe
from agentd.core.steps import Grade, Heard, Judgement, Sight, Wanted
from agentd.core.value import replace
from agentd.wire import Verdict

FIRST_LOOK = 0.002
"""Seconds from the act to the second look at the evidence; each later pause is doubled."""
SLOWEST_LOOK = 0.1
"""The longest pause between two looks: only while a reload waits for evidence does anything look at all."""
SLOWEST_COMMAND = 1.0
"""The same where a look starts a command."""
GRACE = 0.2
"""Seconds a service must live after a signal that nothing can prove, before it is called ``unverified``."""
SAYINGS = 16
"""How many of the service's last messages a reload keeps."""
_HASH_DIGITS = 7
"""The fewest digits by which a service may name its configuration, as git does."""


def inquiry(view: View) -> Inquiry | None:
    """The questions of its evidence; None: there are none."""
    questions = tuple(e.question for e in view.spec.reload.confirm)
    return Inquiry(view.spec, view.generation, questions) if any(questions) else None


def watch(r: Reload, view: View) -> tuple[str, ...]:
    """The inputs of which it matters who opens them; empty: no evidence asks for that."""
    return _reads(r, view) if any(e.opens for e in view.spec.reload.confirm) else ()


def _reads(r: Reload, view: View) -> tuple[str, ...]:
    """What a service must open to take this configuration: what changed, else everything; not what only a start reads."""
    assert r.manifest is not None
    unread = view.spec.process.env_file
    there = [entry.path for entry in r.manifest.entries if entry.path not in unread]
    old = view.live or view.last_good
    changed = {change.path for change in changes(old, r.manifest)} if old else set()
    return tuple([path for path in there if path in changed] or there)


def look(r: Reload, view: View) -> Result:
    """Ask the evidence once."""
    assert r.baseline is not None
    assert view.pid is not None
    offset = r.baseline.log_offset
    r, token = expect(replace(r, looks=r.looks + 1), view)
    confirm = view.spec.reload.confirm
    one = Look(
        token,
        view.pid,
        any(e.workers for e in confirm),
        tuple(e.pattern for e in confirm) or (None,),
        offset,
        r.sent_at,
        inquiry(view),
        any(e.opens for e in confirm),
    )
    return r, (Disarm(view.spec.name, r.machine), one), ()


def seen(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Compare when all evidence agrees, refused when one contradicts, otherwise another look."""
    assert isinstance(event, Sighted)
    r = replace(r, awaiting=None)
    confirm = view.spec.reload.confirm
    if not event.sights[0].alive:
        return look_later(r, view, now)  # its end is on its way here, with its last words
    r, said = judge(r, event.sights, view)
    if Judgement.CONTRADICTED in said:
        at = said.index(Judgement.CONTRADICTED)
        name, line = confirm[at].name, event.sights[at].matched
        why = heard(r).refused or r.answered
        message = f"{name} contradicts it" + (f": {why}" if why else "")
        output = () if line is None else (line,)
        if view.spec.reload.some(output):
            return taken_in_part(r, partly("contradicted", output), view, now)
        r, notes = note(r, now, ended(r, view, "contradicted"))
        first = r.step <= 1  # of several steps an earlier one may have been taken
        verdict = Verdict.REFUSED if first else Verdict.FAILED
        moved = not first
        ending = Ending(verdict, "contradicted", message, output=output, moved=moved, bad=True)
        return finish(r, view, now, notes, ending)
    if not confirm and event.sights[0].since_sent >= GRACE:
        return ask_report(r, view, now) if r.certain else late(r, view, now)
    witnessed = r.certain or any(e.grade is not Grade.DECLARED for e in confirm)
    if confirm and witnessed and all(j.yes for j in said):
        return ask_report(weighed(r, said, view), view, now)
    if witnessed and _nothing_more(said) and event.sights[0].since_sent >= GRACE:
        at = said.index(Judgement.UNABLE)
        return _unable(r, at, event.sights[at].blind, view, now)
    return look_later(r, view, now)


def weighed(r: Reload, said: list[Judgement], view: View) -> Reload:
    """What confirmed it, and how strong that is."""
    each = [(e.name, earned(e, j)) for e, j in zip(view.spec.reload.confirm, said, strict=False)]
    best = min(each, key=strength)
    if r.taken:  # of several instances the one about which least is known speaks for all
        best = max(heard_before(r, view), best, key=strength)
    return replace(r, confirmed=best)


def judge(r: Reload, seen: tuple[Sight, ...], view: View) -> tuple[Reload, list[Judgement]]:
    """What each evidence makes of a look; what was seen and answered last is kept."""
    assert r.baseline is not None
    r = replace(r, baseline=r.baseline.grown(seen[0]))
    assert r.baseline is not None
    sights = _informed(r, seen, view)
    confirm = view.spec.reload.confirm
    said = [e.judge(r.baseline, s) for e, s in zip(confirm, sights, strict=False)]
    r = replace(r, answered=_answered(sights) or r.answered, workers=seen[0].workers)
    return r, said


def partly(error_type: str, output: tuple[str, ...]) -> Ending:
    """By its own word it took some of it; which configuration that makes is not known."""
    message = "the service took only some of it, by its own word"
    return Ending(Verdict.PARTIAL, error_type, message, output=output, moved=True)


def _informed(r: Reload, sights: tuple[Sight, ...], view: View) -> list[Sight]:
    """What the shell saw, with what only the reload knows."""
    assert r.baseline is not None
    told, answers = heard(r), r.baseline.answers
    if len(answers) != len(sights):
        answers = (None,) * len(sights)  # another definition, or nothing was asked
    wanted = None
    if r.manifest is not None:
        changed = view.live is None or view.live.hash != r.manifest.hash
        wanted = Wanted(r.manifest.hash, r.manifest.version, changed, watch(r, view))
    return [
        replace(s, heard=told, replied=r.replied, before=was, wanted=wanted)
        for s, was in zip(sights, answers, strict=True)
    ]


def _answered(sights: list[Sight]) -> str:
    """What the service said when it was asked, for a message; empty: nothing was asked."""
    said = next((s.said for s in sights if s.said is not None), None)
    if said is None:
        return ""
    return f"it last answered {said.value}" if said.value is not None else said.why


def _nothing_more(said: list[Judgement]) -> bool:
    """Whether further looks would show nothing new, and part of it cannot be known."""
    return Judgement.UNABLE in said and Judgement.NOT_YET not in said


def _unable(r: Reload, index: int, blind: str, view: View, now: float) -> Result:
    """Nothing contradicts it, and the evidence that was declared cannot tell."""
    assert r.baseline is not None
    name, answers = view.spec.reload.confirm[index].name, r.baseline.answers
    was = answers[index] if index < len(answers) else None
    why = blind or "what it would have answered before is not known"
    if was is not None:
        why = "it answered the same before" if was.known else f"{why}: {was.why}"
    message = f"delivered, but {name} proves nothing: {why}"
    r, notes = note(r, now, ended(r, view, "no_evidence"))
    return finish(
        r, view, now, notes, Ending(Verdict.UNVERIFIED, "no_evidence", message, moved=True)
    )


def said(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """What the service says is kept until it is asked for."""
    assert isinstance(event, Notified)
    return replace(r, said=(*r.said, event)[-SAYINGS:]), (), ()


def said_and_look(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """It is kept, and the evidence is asked at once."""
    r, _, _ = said(r, event, view, now)
    return look(r, view) if r.awaiting is None else (r, (), ())


def heard(r: Reload) -> Heard:
    """What the messages amount to: nothing from before the act counts, nor a READY=1 to no RELOADING=1 (systemd.service(5))."""
    now = Heard()
    for message in r.said:
        if message.reloading is not None and message.reloading >= r.sent_at:
            now = Heard(reloading=True)
        if now.reloading:
            refused = message.refused or now.refused or _another(r, message.hash)
            named = now.named or (bool(message.hash) and not refused)
            now = Heard(
                reloading=True, done=now.done or message.ready, refused=refused, named=named
            )
    return now


def _another(r: Reload, named: str) -> str:
    """A complaint when the service runs something else than what it was told to."""
    digits = named.removeprefix("sha256:").lower()
    mine = r.manifest.hash.removeprefix("sha256:") if r.manifest else ""
    if not digits or (len(digits) >= _HASH_DIGITS and mine.startswith(digits)):
        return ""
    return f"it says that it runs {digits[:12]}, not {mine[:12]}"


def look_later(r: Reload, view: View, now: float) -> Result:
    if now >= r.deadline:
        return late(r, view, now)
    questions = [e.question for e in view.spec.reload.confirm]
    runs = any(q is not None and isinstance(q.probe, ExecProbe) for q in questions)
    slowest = SLOWEST_COMMAND if runs else SLOWEST_LOOK
    pause = min(FIRST_LOOK * 2 ** min(r.looks - 1, 10), slowest, r.deadline - now)
    r, timer = arm(r, view, pause)
    return r, (timer,), ()


def late(r: Reload, view: View, now: float) -> Result:
    if not r.certain:
        message = "the agent died while sending, and nothing tells whether it was sent"
        return lost(r, "agent_interrupted", message, view, now)
    if not view.spec.reload.confirm:
        return confirmed(r, view, now)
    names = ", ".join(e.name for e in view.spec.reload.confirm)
    limit = view.spec.reload.timeout
    last = f"; {r.answered}" if r.answered else ""
    message = f"no evidence by {names} within {limit:g}s{last}; the service was left alone"
    r, notes = note(r, now, ended(r, view, "timeout"))
    ending = Ending(Verdict.TIMED_OUT, "timeout", message, moved=True)
    return finish(r, view, now, notes, ending)


def look_again(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The pause between two looks is over."""
    return look(r, view)
