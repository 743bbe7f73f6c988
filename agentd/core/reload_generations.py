"""The rows of a reload that starts a generation: a start, a restart, and a next generation beside the one that serves.

Decides: what their ends mean for the verdict. A start is a reload too: its act is launching the instance. When a generation is launched,
and what becomes of the other one, is the service's (``service_generations``): it sees the stage.
"""

from __future__ import annotations

from agentd.core import facts, reload_commit, reload_turns
from agentd.core.effects import Disarm, Switch, WriteDown
from agentd.core.events import (
    EffectFailed,
    InstanceEnded,
    NextEnded,
    NextReady,
    ReloadEvent,
    Switched,
)
from agentd.core.reload_value import (
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
from agentd.core.value import replace
from agentd.wire import Verdict

START, STOP, SWITCH = "process.start", "process.stop", "traffic.switch"
_NOT_OF_THE_BYTES = frozenset({"spawn_failed", "switch_failed", "journal_unavailable"})
"""Why a next generation may not come up whatever its configuration is."""


def launch(r: Reload, view: View, now: float) -> Result:
    """The service launches the instance when it sees this stage; its phases answer."""
    r, turn = reload_turns.begin(replace(r, stage=Stage.LAUNCHING), view, now)
    r, notes = note(r, now, began(r, view), facts.StepBegan(view.spec.name, r.id, START))
    return r, (), (*turn, *notes)


def launched(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The new instance is ready: its start is the evidence."""
    done = facts.StepEnded(view.spec.name, r.id, START, now, "", view.pid)
    r, notes = note(r, now, done, ended(r, view))
    r, effects, more = reload_commit.verify(r, view, now)
    return r, effects, (*notes, *more)


def launch_failed(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    assert isinstance(event, InstanceEnded)
    failed = facts.StepEnded(view.spec.name, r.id, START, now, event.error_type)
    r, notes = note(r, now, failed, ended(r, view, event.error_type))
    ending = Ending(
        Verdict.FAILED,
        event.error_type,
        event.message,
        output=event.output,
        quarantine=r.condemned,
        bad=event.error_type != "spawn_failed",
    )
    return finish(r, view, now, notes, ending)


# A restart: stop, then start.


def restart(r: Reload, view: View, now: float) -> Result:
    """Written down first: what cannot be is not done to a service that runs."""
    r = replace(r, stage=Stage.NOTING, act=Act.RESTART)
    r, notes = note(r, now, began(r, view), facts.StepBegan(view.spec.name, r.id, STOP, view.pid))
    r, token = expect(r, view)
    return r, (WriteDown(token),), notes


def written_down(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The service stops the instance when it sees this stage."""
    r = replace(r, stage=Stage.ENDING, awaiting=None)
    r, timer = arm(r, view, view.spec.stop_timeout + view.spec.reload.timeout)
    return r, (timer,), ()


def not_written(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Nothing was stopped."""
    assert isinstance(event, EffectFailed)
    failed = facts.StepEnded(view.spec.name, r.id, STOP, now, event.error_type)
    r, notes = note(replace(r, awaiting=None), now, failed, ended(r, view, event.error_type))
    return finish(r, view, now, notes, Ending(Verdict.REJECTED, event.error_type, event.message))


def ended_old(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Nothing is left of it: the next one is launched."""
    done = facts.StepEnded(view.spec.name, r.id, STOP, now)
    r = replace(r, stage=Stage.LAUNCHING, timer=None)
    r, notes = note(r, now, done, facts.StepBegan(view.spec.name, r.id, START))
    return r, (Disarm(view.spec.name, r.machine),), notes


def never_ended(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Not even KILL ended its processes."""
    message = f"the processes of {view.spec.name} cannot be ended"
    return reload_commit.lost(r, "stop_timeout", message, view, now)


# A next generation beside the one that serves.


def take_over(r: Reload, view: View, now: float) -> Result:
    """The service launches the next generation when it sees this stage; with too many alive the oldest must end first."""
    full = view.alive >= view.spec.max_generations
    r = replace(r, act=Act.REPLACE, stage=Stage.CLEARING if full else Stage.REPLACING)
    r, notes = note(r, now, began(r, view))
    if full:
        r, timer = arm(r, view, view.spec.stop_timeout + view.spec.reload.timeout)
        return r, (timer,), notes
    r, more = note(r, now, facts.StepBegan(view.spec.name, r.id, START))
    return r, (), (*notes, *more)


def room_made(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """One has ended: now there is room for the next."""
    if view.alive >= view.spec.max_generations:
        return r, (), ()
    r = replace(r, stage=Stage.REPLACING, timer=None)
    r, notes = note(r, now, facts.StepBegan(view.spec.name, r.id, START))
    return r, (Disarm(view.spec.name, r.machine),), notes


def no_room(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Former generations do not end: another one would be too many."""
    r, notes = note(r, now, ended(r, view, "max_generations"))
    message = f"{view.alive} generations are alive, and the oldest does not end"
    return finish(r, view, now, notes, Ending(Verdict.REFUSED, "max_generations", message))


def next_ready(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """By its own answer: new connections go to it from now on."""
    assert isinstance(event, NextReady)
    name, pid = view.spec.name, event.pid
    ready = facts.StepEnded(name, r.id, START, now, "", pid)
    if not view.next_generation:
        return _took_over(r, ready, view, now)
    r = replace(r, stage=Stage.SWITCHING, switched=True)
    r, notes = note(r, now, ready, facts.StepBegan(name, r.id, SWITCH, pid))
    r, token = expect(r, view)
    return r, (Switch(token, view.next_generation),), notes


def _took_over(r: Reload, ready: facts.StepEnded, view: View, now: float) -> Result:
    """The former one has given up what listens and does not get it back: from here on this is a start in its place."""
    flip = facts.Flipped(view.spec.name, r.id, view.generation, now, moved=True)
    r, notes = note(replace(r, act=Act.RESTART), now, ready, flip, ended(r, view))
    r, effects, more = reload_commit.verify(r, view, now)
    return r, effects, (*notes, *more)


def switched(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The flip. The former one stays as it is until the verdict."""
    assert isinstance(event, Switched)
    name = view.spec.name
    done = facts.StepEnded(name, r.id, SWITCH, event.at)
    flip = facts.Flipped(name, r.id, view.next_generation, event.at, event.moved)
    r = replace(r, moved=event.moved)
    r, notes = note(r, now, done, flip, ended(r, view))
    r, effects, more = reload_commit.verify(r, view, now)
    return r, effects, (*notes, *more)


def not_switched(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """It is ready and gets nothing: the former one goes on."""
    assert isinstance(event, EffectFailed)
    r = replace(r, awaiting=None)
    return _gives_way(r, NextEnded(event.error_type, event.message), view, now)


def next_ended(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """It never got ready, or did not live: the former one goes on, if it is still there."""
    assert isinstance(event, NextEnded)
    return _gives_way(r, event, view, now)


def _gives_way(r: Reload, why: NextEnded, view: View, now: float) -> Result:
    name = view.spec.name
    done: list[facts.Fact] = [ended(r, view, why.error_type)]
    step = {Stage.REPLACING: START, Stage.SWITCHING: SWITCH}.get(r.stage)
    if step is not None:
        done.insert(0, facts.StepEnded(name, r.id, step, now, why.error_type))
    r, notes = note(r, now, *done)
    what = "did not live" if r.stage is Stage.VERIFYING else "did not come up"
    r, effects, more = _refused(r, what, why, view, now)
    return r, effects, (*notes, *more)


def unwell(r: Reload, said: str, view: View, now: float) -> Result:
    """It lives and is not well: the former one gets its place back."""
    return _refused(r, "is not well", NextEnded("verify_failed", said), view, now)


def _refused(r: Reload, what: str, why: NextEnded, view: View, now: float) -> Result:
    name, bad = view.spec.name, why.error_type not in _NOT_OF_THE_BYTES
    if not view.serves:
        message = f"{name} died, and its next generation {what}: {why.message}"
        ending = Ending(Verdict.FAILED, why.error_type, message, moved=True)
    else:
        message = f"the next generation {what}: {why.message}; the former one serves"
        ending = Ending(Verdict.REFUSED, why.error_type, message)
    return finish(r, view, now, (), replace(ending, output=why.output, bad=bad))
