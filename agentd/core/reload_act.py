"""The rows of a reload that acts on what runs: baseline, then the handle's steps one after the other.

Decides: which effect performs a step, what its answer means, what an end on the way means. What counts as evidence is
``agentd.evidence`` and ``reload_confirm``; which steps a handle needs is ``agentd.handles``. Starts, restarts and replacements are
``reload_generations``.
"""

from __future__ import annotations

from agentd.core import facts, reload_commit, reload_confirm, reload_generations, reload_turns
from agentd.core.effects import Effect, Note, Perform, SendReloadSignal, TakeBaseline
from agentd.core.events import (
    Abort,
    BaselineDone,
    Bypassed,
    EffectFailed,
    InstanceEnded,
    Performed,
    ReloadEvent,
    Rolled,
    Signalled,
)
from agentd.core.reload_value import (
    ACTED,
    Act,
    Ending,
    Reload,
    Result,
    Stage,
    View,
    began,
    ended,
    expect,
    finish,
    note,
)
from agentd.core.steps import Replace, Restart, SendSignal
from agentd.core.value import replace
from agentd.wire import Verdict

OUTPUT_LINES = 40
"""How many of the last lines of a command or an answer a verdict keeps."""


def act(r: Reload, view: View, now: float) -> Result:
    if r.act is Act.LAUNCH:
        return reload_generations.launch(r, view, now)
    assert view.pid is not None
    if not view.spec.reload.steps:
        message = f"{view.spec.name} declares no way to reload; restart it instead"
        return finish(r, view, now, (), Ending(Verdict.REJECTED, "no_steps", message))
    if any(one.instance == view.slot for one in r.taken):  # before an agent died
        return reload_commit.compare(r, view, now)
    r = replace(r, deadline=now + view.spec.reload.timeout)
    r, turn = reload_turns.begin(r, view, now)
    match view.spec.reload.steps[0]:
        case Restart():
            r, effects, notes = reload_generations.restart(r, view, now)
        case Replace():
            r, effects, notes = reload_generations.take_over(r, view, now)
        case _:
            r, effects, notes = _baseline(r, view, now)
    return r, effects, (*turn, *notes)


def _baseline(r: Reload, view: View, now: float) -> Result:
    """What is there before anything is sent."""
    assert view.pid is not None
    r = replace(r, stage=Stage.BASELINE)
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    workers = any(e.workers for e in view.spec.reload.confirm)
    inquiry, watch = reload_confirm.inquiry(view), reload_confirm.watch(r, view)
    r = replace(r, watched=bool(watch))
    return r, (TakeBaseline(token, view.pid, workers, inquiry, watch),), notes


def has_baseline(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """What was there is noted; the first step is performed."""
    assert isinstance(event, BaselineDone)
    taken = facts.BaselineTaken(view.spec.name, r.id, event.baseline, now)
    r, notes = note(replace(r, baseline=event.baseline), now, taken)
    r, effects, more = send(r, view, now)
    return r, effects, (*notes, *more)


def send(r: Reload, view: View, now: float) -> Result:
    """Perform the step whose turn it is."""
    assert view.pid is not None
    spec, what = view.spec, view.spec.reload.steps[r.step]
    assert not isinstance(what, Restart | Replace)
    signal = isinstance(what, SendSignal)
    r = replace(r, stage=Stage.SENDING if signal else Stage.PERFORMING, replied=False)
    r, notes = note(
        r, now, facts.StepBegan(spec.name, r.id, what.label, view.pid if signal else None)
    )
    r, token = expect(r, view)
    origin = r.origin
    effect: Effect
    if isinstance(what, SendSignal):
        workers = any(e.workers for e in spec.reload.confirm)
        effect = SendReloadSignal(
            token,
            spec,
            view.generation,
            view.pid,
            what.signal,
            what.assume_handled,
            origin,
            workers,
        )
    else:
        place, left = f"{r.within}apply/{what.label}", max(r.deadline - now, 0.0)
        effect = Perform(token, spec, what, view.generation, origin, place, left)
    return r, (effect,), notes


def sent(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The next step, or the first look at the evidence."""
    assert isinstance(event, Signalled)
    # The commit and the look at the signal's handler took their time: what came meanwhile is no evidence.
    baseline = r.baseline
    if event.baseline is not None and baseline is not None and r.step == 0:
        baseline = replace(event.baseline, answers=baseline.answers)
    r = replace(r, sent_at=event.at, baseline=baseline)
    return _next(r, view, now, event.at, pid=view.pid)


def performed(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """A yes is the next step's turn; a no is the service's own word; no answer leaves it to the evidence."""
    assert isinstance(event, Performed)
    step = view.spec.reload.steps[r.step]
    assert not isinstance(step, SendSignal | Restart | Replace)
    r = replace(r, sent_at=event.at)
    if event.timed_out:
        message = f"{step.label} did not end within {view.spec.reload.timeout:g}s; the service was left alone"
        return _no(r, event, view, now, Ending(Verdict.TIMED_OUT, "timeout", message, moved=True))
    if event.status is None:
        return _next(r, view, now, now, "no_answer")
    if step.accepts(event.status):
        return _next(replace(r, replied=True), view, now, now)
    message = f"{step.label} says no ({step.error_type(event.status).replace('_', ' ')})"
    output = event.output[-OUTPUT_LINES:]
    verdict = Verdict.FAILED if r.step else Verdict.REFUSED  # an earlier step may have been taken
    error_type, moved = step.error_type(event.status), r.step > 0
    if view.spec.reload.some(output):
        return _some(r, event, view, now, reload_confirm.partly(error_type, output))
    ending = Ending(verdict, error_type, message, output=output, moved=moved, bad=True)
    return _no(r, event, view, now, ending)


def _next(
    r: Reload,
    view: View,
    now: float,
    done_at: float,
    error_type: str = "",
    *,
    pid: int | None = None,
) -> Result:
    """The step is done. ``r.sent_at`` is when it was begun, ``done_at`` when it had ended."""
    label = view.spec.reload.steps[r.step].label
    done = facts.StepEnded(view.spec.name, r.id, label, r.sent_at, error_type, pid)
    r = replace(r, step=r.step + 1)
    r, notes = note(r, done_at, done)
    if r.step < len(view.spec.reload.steps):
        r, effects, more = send(r, view, now)
        return r, effects, (*notes, *more)
    r, more = note(r, now, ended(r, view))
    r = replace(r, stage=Stage.CONFIRMING)
    r, confirming = note(r, now, began(r, view))
    r, effects, _ = reload_confirm.look(r, view)
    return r, effects, (*notes, *more, *confirming)


def _no(r: Reload, event: Performed, view: View, now: float, ending: Ending) -> Result:
    label = view.spec.reload.steps[r.step].label
    failed = facts.StepEnded(view.spec.name, r.id, label, event.at, ending.error_type)
    r, notes = note(replace(r, awaiting=None), now, failed, ended(r, view, ending.error_type))
    return finish(r, view, now, notes, ending)


def _some(r: Reload, event: Performed, view: View, now: float, ending: Ending) -> Result:
    """It took some of it: where there is something to ask, that comes before the verdict."""
    if view.spec.reload.report is None and view.spec.reload.verify is None:
        return _no(r, event, view, now, ending)
    label = view.spec.reload.steps[r.step].label
    failed = facts.StepEnded(view.spec.name, r.id, label, event.at, ending.error_type)
    r, notes = note(replace(r, awaiting=None), now, failed, ended(r, view, ending.error_type))
    r = replace(r, stage=Stage.CONFIRMING)
    r, confirming = note(r, now, began(r, view))
    r, effects, more = reload_commit.taken_in_part(r, ending, view, now)
    return r, effects, (*notes, *confirming, *more)


def not_sent(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The step was not performed: the service was not touched by it, but perhaps by an earlier one."""
    assert isinstance(event, EffectFailed)
    label = view.spec.reload.steps[r.step].label
    failed = facts.StepEnded(view.spec.name, r.id, label, now, event.error_type)
    r, notes = note(replace(r, awaiting=None), now, failed, ended(r, view, event.error_type))
    gone = event.error_type == "no_such_process"
    verdict = Verdict.FAILED if gone or r.step else Verdict.REJECTED
    ending = Ending(verdict, event.error_type, event.message, moved=r.step > 0)
    return finish(r, view, now, notes, ending)


def rolled(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The service has turned to the next instance; where none is left, they are compared."""
    assert isinstance(event, Rolled)
    r = reload_turns.clean(r)
    return act(r, view, now) if event.more else reload_commit.compare(r, view, now)


def died(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The service ended by itself while this reload was on its way."""
    assert isinstance(event, InstanceEnded)
    if r.silent:
        return finish(r, view, now, (), Ending(Verdict.CANCELLED, silent="cancelled"))
    if r.act is Act.REPLACE and r.stage is not Stage.CLEARING:
        return r, (), ()  # the next generation is on its way: all the better
    r, notes = note(r, now, ended(r, view, "service_died"))
    message = f"{view.spec.name} died: {event.message}"
    moved = r.stage in ACTED
    ending = Ending(
        Verdict.FAILED, "service_died", message, output=event.output, moved=moved, bad=moved
    )
    return finish(r, view, now, notes, ending)


def bypassed(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Nobody knows which configuration the new main process has read: that of before the act, or of after it."""
    assert isinstance(event, Bypassed)
    message = f"its main process is another one, pid {event.pid}, which was not told"
    return reload_commit.lost(r, reload_turns.MOVED, message, view, now)


def aborted(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Before the act it is simply not run; after it the service goes down with its configuration unknown."""
    assert isinstance(event, Abort)
    if r.taken or (r.stage in ACTED and r.act in (Act.RECIPE, Act.RESTART)):
        return reload_commit.lost(r, "service_stopped", event.message, view, now)
    if r.silent:
        return finish(r, view, now, (), Ending(Verdict.CANCELLED, silent="cancelled"))
    notes: tuple[Note, ...] = ()
    if r.stage is not Stage.QUEUED:
        r, notes = note(r, now, ended(r, view, "cancelled"))
    return finish(r, view, now, notes, Ending(Verdict.CANCELLED, "cancelled", event.message))


def stay(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Nothing."""
    return r, (), ()
