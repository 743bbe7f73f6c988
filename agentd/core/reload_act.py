"""The rows of a reload from the act to the verdict: baseline, steps, evidence, and reading the inputs once more.

Decides: when to look again, when evidence suffices, what an end on the way means. What counts as evidence is ``agentd.evidence``;
which steps a handle needs is ``agentd.handles``. A start is a reload too: its act is launching the instance.
"""

from __future__ import annotations

from agentd.core import facts
from agentd.core.effects import (
    Disarm,
    Look,
    Note,
    SendReloadSignal,
    TakeBaseline,
    TakeSnapshot,
)
from agentd.core.events import (
    Abort,
    BaselineDone,
    EffectFailed,
    InstanceEnded,
    ReloadEvent,
    Sighted,
    Signalled,
    SnapshotDone,
)
from agentd.core.manifest import Manifest
from agentd.core.reload_value import (
    ACTED,
    Act,
    Ending,
    Reload,
    Result,
    Stage,
    View,
    arm,
    began,
    ended,
    expect,
    finish,
    note,
)
from agentd.core.spec import ReadyAfter, ReadyNotify
from agentd.core.steps import Grade, Judgement
from agentd.core.value import replace
from agentd.wire import Verdict

FIRST_LOOK = 0.002
"""Seconds from the act to the second look at the evidence; each later pause is doubled."""
SLOWEST_LOOK = 0.1
"""The longest pause between two looks: only while a reload waits for evidence does anything look at all."""
GRACE = 0.2
"""Seconds a service must live after a signal that nothing can prove, before it is called ``unverified``."""


def act(r: Reload, view: View, now: float) -> Result:
    if r.act is Act.LAUNCH:
        return launch(r, view, now)
    assert view.pid is not None
    if not view.spec.reload.steps:
        message = f"{view.spec.name} declares no way to reload; restart it instead"
        return finish(r, view, now, (), Ending(Verdict.REJECTED, "no_steps", message))
    r = replace(r, stage=Stage.BASELINE, deadline=now + view.spec.reload.timeout)
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    workers = any(e.workers for e in view.spec.reload.confirm)
    return r, (TakeBaseline(token, view.pid, workers),), notes


def launch(r: Reload, view: View, now: float) -> Result:
    """The service launches the instance when it sees this stage; its phases answer."""
    r = replace(r, stage=Stage.LAUNCHING)
    r, notes = note(r, now, began(r, view), facts.StepBegan(view.spec.name, r.id, "process.start"))
    return r, (), notes


def has_baseline(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """What was there is noted; the first step is performed."""
    assert isinstance(event, BaselineDone)
    taken = facts.BaselineTaken(view.spec.name, r.id, event.baseline, now)
    r, notes = note(replace(r, baseline=event.baseline, awaiting=None), now, taken)
    r, effects, more = send(r, view, now)
    return r, effects, (*notes, *more)


def send(r: Reload, view: View, now: float) -> Result:
    assert view.pid is not None
    what = view.spec.reload.steps[r.step]
    r = replace(r, stage=Stage.SENDING)
    step = facts.StepBegan(view.spec.name, r.id, f"signal SIG{what.signal}", view.pid)
    r, notes = note(r, now, step)
    r, token = expect(r, view)
    workers = any(e.workers for e in view.spec.reload.confirm)
    signal = SendReloadSignal(
        token, view.generation, view.pid, what.signal, what.assume_handled, workers
    )
    return r, (signal,), notes


def sent(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The next step, or the first look at the evidence."""
    assert isinstance(event, Signalled)
    what = view.spec.reload.steps[r.step]
    done = facts.StepEnded(view.spec.name, r.id, f"signal SIG{what.signal}", event.at, "", view.pid)
    # The commit and the look at the signal's handler took their time: what came meanwhile is no evidence.
    baseline = event.baseline if event.baseline and r.step == 0 else r.baseline
    r = replace(r, awaiting=None, step=r.step + 1, sent_at=event.at, baseline=baseline)
    r, notes = note(r, event.at, done)
    if r.step < len(view.spec.reload.steps):
        r, effects, more = send(r, view, now)
        return r, effects, (*notes, *more)
    r, more = note(r, now, ended(r, view))
    r = replace(r, stage=Stage.CONFIRMING)
    r, confirming = note(r, now, began(r, view))
    r, effects, looked = look(r, view)
    return r, effects, (*notes, *more, *confirming, *looked)


def not_sent(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The step was not performed: the service was not touched by it, but perhaps by an earlier one."""
    assert isinstance(event, EffectFailed)
    what = view.spec.reload.steps[r.step]
    failed = facts.StepEnded(
        view.spec.name, r.id, f"signal SIG{what.signal}", now, event.error_type
    )
    r, notes = note(replace(r, awaiting=None), now, failed, ended(r, view, event.error_type))
    gone = event.error_type == "no_such_process"
    verdict = Verdict.FAILED if gone or r.step else Verdict.REJECTED
    ending = Ending(verdict, event.error_type, event.message, moved=r.step > 0)
    return finish(r, view, now, notes, ending)


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
    )
    return r, (Disarm(view.spec.name, r.machine), one), ()


def seen(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Compare when all evidence agrees, refused when one contradicts, otherwise another look."""
    assert isinstance(event, Sighted)
    assert r.baseline is not None
    before = r.baseline
    r = replace(r, awaiting=None)
    confirm = view.spec.reload.confirm
    if not event.sights[0].alive:
        return look_later(r, view, now)  # its end is on its way here, with its last words
    said = [e.judge(before, s) for e, s in zip(confirm, event.sights, strict=False)]
    if Judgement.CONTRADICTED in said:
        name = confirm[said.index(Judgement.CONTRADICTED)].name
        message = f"{name} contradicts it"
        r, notes = note(r, now, ended(r, view, "contradicted"))
        return finish(r, view, now, notes, Ending(Verdict.REFUSED, "contradicted", message))
    if not confirm and event.sights[0].since_sent >= GRACE:
        return compare(r, view, now) if r.certain else late(r, view, now)
    witnessed = r.certain or any(e.grade is not Grade.DECLARED for e in confirm)
    if confirm and witnessed and all(j is Judgement.CONFIRMED for j in said):
        return compare(r, view, now)
    return look_later(r, view, now)


def look_later(r: Reload, view: View, now: float) -> Result:
    if now >= r.deadline:
        return late(r, view, now)
    pause = min(FIRST_LOOK * 2 ** min(r.looks - 1, 10), SLOWEST_LOOK, r.deadline - now)
    r, timer = arm(r, view, pause)
    return r, (timer,), ()


def late(r: Reload, view: View, now: float) -> Result:
    if not r.certain:
        message = "the agent died while sending, and nothing tells whether it was sent"
        return lost(r, "agent_interrupted", message, view, now)
    if not view.spec.reload.confirm:
        return compare(r, view, now)
    names = ", ".join(e.name for e in view.spec.reload.confirm)
    limit = view.spec.reload.timeout
    message = f"no evidence by {names} within {limit:g}s; the service was left alone"
    r, notes = note(r, now, ended(r, view, "timeout"))
    ending = Ending(Verdict.TIMED_OUT, "timeout", message, moved=True)
    return finish(r, view, now, notes, ending)


def look_again(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The pause between two looks is over."""
    return look(replace(r, timer=None), view)


def lost(r: Reload, error_type: str, message: str, view: View, now: float) -> Result:
    """It was acted on, and what runs now is not known."""
    r, notes = note(r, now, ended(r, view, error_type))
    ending = Ending(Verdict.FAILED, error_type, message, moved=True)
    return finish(r, view, now, notes, ending)


def launched(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The new instance is ready: its start is the evidence."""
    done = facts.StepEnded(view.spec.name, r.id, "process.start", now, "", view.pid)
    r, notes = note(r, now, done, ended(r, view))
    r, effects, more = compare(r, view, now)
    return r, effects, (*notes, *more)


def launch_failed(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    assert isinstance(event, InstanceEnded)
    failed = facts.StepEnded(view.spec.name, r.id, "process.start", now, event.error_type)
    r, notes = note(r, now, failed, ended(r, view, event.error_type))
    ending = Ending(
        Verdict.FAILED,
        event.error_type,
        event.message,
        output=event.output,
        moved=True,
        quarantine=r.condemned,
    )
    return finish(r, view, now, notes, ending)


def compare(r: Reload, view: View, now: float) -> Result:
    """Read the inputs once more: only when they are still the same is it known what was taken."""
    confirmed = (note(r, now, ended(r, view)) if r.stage is Stage.CONFIRMING else (r, ()))[1]
    r = replace(r, stage=Stage.COMPARING, timer=None)
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    effects = (Disarm(view.spec.name, r.machine), TakeSnapshot(token, view.spec))
    return r, effects, (*confirmed, *notes)


def was_compared(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The verdict: the same bytes before and after, or another reload follows."""
    assert isinstance(event, SnapshotDone)
    r, found = replace(r, awaiting=None), event.found
    if not isinstance(found, Manifest) or not r.manifest or found.hash != r.manifest.hash:
        error_type = r.missing.error_type if r.missing else "inputs_moved"
        message = (
            r.missing.message if r.missing else "the inputs changed while they were being taken"
        )
        r, notes = note(r, now, ended(r, view, error_type))
        again = r.missing is None
        ending = Ending(Verdict.UNVERIFIED, error_type, message, moved=True, again=again)
        return finish(r, view, now, notes, ending)
    r = replace(r, manifest=found)  # what an earlier agent read has only its hash left
    name, grade = confirmation(r, view)
    if grade is None:
        r, notes = note(r, now, ended(r, view))
        message = "delivered, but nothing declared can prove it"
        if r.act is Act.LAUNCH:
            message = "alive, but its READY=1 may have met no agent"
        ending = Ending(Verdict.UNVERIFIED, "no_evidence", message, moved=True)
        return finish(r, view, now, notes, ending)
    if r.require_proof and grade is not Grade.PROVEN:
        r, notes = note(r, now, ended(r, view))
        message = f"{grade.value} by {name}, and proof was demanded"
        ending = Ending(
            Verdict.UNVERIFIED, "not_proven", message, name, grade, live=r.manifest, moved=True
        )
        return finish(r, view, now, notes, ending)
    r, notes = note(r, now, ended(r, view))
    return finish(r, view, now, notes, applied(r, name, grade))


def applied(r: Reload, name: str, grade: Grade | None) -> Ending:
    return Ending(Verdict.APPLIED, confirmation=name, grade=grade, live=r.manifest, moved=True)


def confirmation(r: Reload, view: View) -> tuple[str, Grade | None]:
    """The strongest evidence that agreed, and its grade; of a start, how it said that it is ready."""
    spec = view.spec
    if r.act is Act.LAUNCH:
        match spec.ready:
            case ReadyNotify() if view.assumed:
                return "none", None
            case ReadyNotify():
                return "notify", Grade.PROVEN
            case ReadyAfter():
                return "ready", Grade.DECLARED
            case _:
                return "ready", Grade.OBSERVED
    order = list(Grade)
    ranked = sorted(spec.reload.confirm, key=lambda e: order.index(e.grade))
    return (ranked[0].name, ranked[0].grade) if ranked else ("none", None)


def effect_failed_late(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """It was acted on, and what runs now is not known."""
    assert isinstance(event, EffectFailed)
    return lost(replace(r, awaiting=None), event.error_type, event.message, view, now)


def died(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The service ended by itself while this reload was on its way."""
    assert isinstance(event, InstanceEnded)
    if r.silent:
        return finish(r, view, now, (), Ending(Verdict.CANCELLED, silent="cancelled"))
    r, notes = note(r, now, ended(r, view, "service_died"))
    message = f"{view.spec.name} died: {event.message}"
    ending = Ending(
        Verdict.FAILED, "service_died", message, output=event.output, moved=r.stage in ACTED
    )
    return finish(r, view, now, notes, ending)


def aborted(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Before the act it is simply not run; after it the service goes down with its configuration unknown."""
    assert isinstance(event, Abort)
    if r.stage in ACTED and r.act is Act.RECIPE:
        return lost(r, "service_stopped", event.message, view, now)
    if r.silent:
        return finish(r, view, now, (), Ending(Verdict.CANCELLED, silent="cancelled"))
    notes: tuple[Note, ...] = ()
    if r.stage is not Stage.QUEUED:
        r, notes = note(r, now, ended(r, view, "cancelled"))
    return finish(r, view, now, notes, Ending(Verdict.CANCELLED, "cancelled", event.message))


def stay(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Nothing."""
    return r, (), ()
