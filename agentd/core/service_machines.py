"""A service's machines: its instances, the reload that runs and the one that waits, each stepped, and told of the others.

Decides: which news of the instance concerns the reload, and when a generation is launched. Does not decide what a row of either machine
says (``instance``, ``reload``) nor whose turn it is (``service``).
"""

from __future__ import annotations

from collections.abc import Callable

from agentd.core import (
    instance,
    reload,
    reload_value,
    service_external,
    service_late,
    service_soak,
    service_taken,
)
from agentd.core.context import parse_traceparent
from agentd.core.events import (
    Abort,
    BaselineDone,
    Bypassed,
    Completion,
    Elapsed,
    InstanceDown,
    InstanceEnded,
    InstanceEvent,
    InstanceReady,
    Launch,
    NextEnded,
    NextReady,
    Notified,
    OtherEnded,
    ProcessEvent,
    ReloadEvent,
    Reset,
    RoomMade,
    Stop,
)
from agentd.core.facts import Cause
from agentd.core.instance import Ending, Instance, Phase
from agentd.core.reload_turns import MOVED
from agentd.core.reload_value import Act, Reload, Stage
from agentd.core.service_generations import (
    admit,
    beside,
    conclude,
    give_way,
    launch_next,
    make_room,
    move_beside,
    step_instance,
)
from agentd.core.service_slots import other, put, roll
from agentd.core.service_value import Turn
from agentd.core.service_verdict import condemn, end, relive, set_live
from agentd.core.value import replace
from agentd.wire import Trigger


def move_instance(t: Turn, event: InstanceEvent) -> None:
    """Step the instance that serves, and tell the reload that runs what became of it."""
    before = t.s.instance
    after = step_instance(t, before, event)
    t.s = replace(t.s, instance=after)
    if service_external.main_moved(t, before, event, after):
        assert after.process is not None
        move_running(t, Bypassed(after.process.pid))
    if (after.phase, after.generation) == (before.phase, before.generation):
        return
    gone = before.phase in instance.ALIVE and after.phase not in instance.ALIVE
    if gone:
        service_external.gone(t, before.generation)
        service_late.drop(t)
        relive(t, "not running")
    if after.phase is Phase.READY:
        _admitted(t, after)
    if t.s.running is None:
        return
    if after.phase is Phase.READY:
        move_running(t, InstanceReady())
    elif before.phase in (Phase.STARTING, Phase.READY):
        move_running(t, InstanceEnded(_error_type(after), after.why, after.output))
    if gone:
        move_running(t, InstanceDown())


def move_other(t: Turn, before: Instance, event: InstanceEvent) -> None:
    """Step another instance than the one whose turn it is; a reload that it took hears of its end."""
    after = step_instance(t, before, event)
    put(t, before, after)
    if service_external.main_moved(t, before, event, after):
        move_running(t, OtherEnded(after.slot, MOVED))
    if (after.phase, after.generation) == (before.phase, before.generation):
        return
    if (
        after.phase is Phase.READY
    ):  # it was found starting, by itself: what the others run tells nothing of it
        _admitted(t, after)
        relive(t, "ready")
    if before.phase in instance.ALIVE and after.phase not in instance.ALIVE:
        service_external.gone(t, before.generation)
        relive(t, "not running")
    if before.phase is Phase.READY:
        move_running(t, OtherEnded(after.slot, _error_type(after)))


def _admitted(t: Turn, i: Instance) -> None:
    """Where others serve, one that was started gets its share from now on."""
    if t.s.others and t.s.spec.sockets:
        admit(t, i)


def move_each(t: Turn, event: InstanceEvent) -> None:
    """Every instance, whether it is its turn or not."""
    move_instance(t, event)
    for i in t.s.others:
        move_other(t, i, event)


def move_process(t: Turn, event: ProcessEvent) -> None:
    """What a process did or said, to the generation that it belongs to; a reload that acts on it hears it too."""
    if (one := beside(t, event)) is not None:
        _move_beside(t, one, event)
        return
    if (one := other(t, event)) is not None:
        move_other(t, one, event)
        if isinstance(event, Notified):
            service_external.said_unasked(t, event)
        return
    move_instance(t, event)
    acts = t.s.running is not None and t.s.running.act is Act.RECIPE
    if isinstance(event, Notified) and acts and event.generation == t.s.instance.generation:
        move_running(t, event)
    if isinstance(event, Notified):
        service_external.said_unasked(t, event)
        service_late.said(t, event)


def move_answered(t: Turn, event: Completion) -> None:
    """An answer or a timer, to the generation whose machine asked for it."""
    if (one := beside(t, event)) is not None:
        _move_beside(t, one, event)  # type: ignore[arg-type]  # only these answer its effects
    elif (one := other(t, event)) is not None:
        move_other(t, one, event)  # type: ignore[arg-type]
    elif event.token.machine == t.s.instance.machine:
        move_instance(t, event)  # type: ignore[arg-type]


def _move_beside(t: Turn, before: Instance, event: InstanceEvent) -> None:
    """Step one of the others, and tell the reload that runs of the next one's fate, or that there is room."""
    expected, alive = t.s.next is before, len(t.s.alive)
    after = move_beside(t, before, event)
    if expected and after.phase is Phase.READY:
        assert after.process is not None
        if after.takeovers and t.s.running is not None:  # it has the place already, and keeps it
            conclude(t, replace(t.s.running, moved=True), stays=True)
            set_live(t, None, "taken over")
        move_running(t, NextReady(after.process.pid))
    elif expected and t.s.next is None:
        move_running(t, NextEnded(_error_type(after), after.why, after.output))
    if len(t.s.alive) < alive:
        move_running(t, RoomMade())


def _error_type(i: Instance) -> str:
    if i.ending is Ending.TOO_SLOW:
        return "start_timeout"
    if i.ending is Ending.SILENT:
        return "watchdog_timeout"
    if i.ending is Ending.UNWELL:
        return "not_alive"
    if i.exit is None:
        return "spawn_failed"
    if i.exit.oom:
        return "oom_kill"
    if i.exit.signal is not None:
        return f"signal_{i.exit.signal}"
    return "exit_unknown" if i.exit.code is None else f"exit_{i.exit.code}"


def move_running(t: Turn, event: ReloadEvent) -> None:
    """Step the reload that runs; its end is worked in, and so is what entering a stage asks of the generations."""
    r = t.s.running
    if r is None:
        return  # it has ended, and this answers an effect it had cancelled
    before = r.stage
    if isinstance(event, BaselineDone) and event.token.serial == r.awaiting:
        service_external.before_the_act(t, event)
    r, effects, notes = reload.step(r, event, t.s.view, t.now)
    over = r.ending is not None
    was, t.s = (
        t.s.running,
        replace(t.s, running=None if over else r, serial=max(t.s.serial, r.serial)),
    )
    t.effects += effects
    t.notes += notes
    if was is not None and r.poison is not was.poison:
        _turns_back(t, was, r)
    if r.ending is not None:
        good = t.s.last_good
        service_external.ended(t, r, r.ending.verdict)
        _over(t, r, r.ending)
        service_late.begin(t, r, r.ending.verdict)
        service_soak.begin(t, r, r.ending.verdict, good)
    elif r.stage is not before:
        entered(t, r.stage)


def entered(t: Turn, stage: Stage) -> None:
    """What entering this stage asks of the service."""
    if stage in _ENTERING:
        _ENTERING[stage](t)


def _turns_back(t: Turn, was: Reload, r: Reload) -> None:
    """What it tried is not tried again; a next generation gives way at once, before any file is written."""
    condemn(t, r)
    if was.act is Act.REPLACE:
        give_way(t, was, drain=t.s.instance.phase is Phase.READY)
        t.s = replace(
            t.s, running=replace(r, switched=False, moved=False, serial=max(r.serial, t.s.serial))
        )


def move_waiting(t: Turn, event: ReloadEvent) -> None:
    """Step the one that waits: it can only settle or be given up."""
    assert t.s.waiting is not None
    r, effects, notes = reload.step(t.s.waiting, event, t.s.view_of(t.s.waiting), t.now)
    t.effects += effects
    t.notes += notes
    t.s = replace(t.s, waiting=None if r.ending else r, serial=max(t.s.serial, r.serial))
    if r.ending:
        _over(t, r, r.ending)


def _over(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    service_taken.tried(t, r, ending)
    end(t, r, ending)
    service_taken.fit(t)


def waited(t: Turn, event: Completion) -> None:
    """The inputs have been quiet: it is due, as soon as it is its turn."""
    r = t.s.waiting
    if r is not None and isinstance(event, Elapsed) and event.token.serial == r.timer:
        t.s = replace(t.s, waiting=replace(r, timer=None))


def abort(t: Turn, message: str) -> None:
    """Give up the reload that runs and the one that waits."""
    if t.s.running:
        move_running(t, Abort(message))
    if t.s.waiting:
        move_waiting(t, Abort(message))


def _launch(t: Turn) -> None:
    r = t.s.running
    assert r is not None  # only a reload starts a process
    if t.s.instance.phase is not Phase.DOWN:
        move_instance(t, Reset())
    if t.s.instance.failures:
        t.s = replace(t.s, restarts=t.s.restarts + 1)
    t.mint = t.mint.next()
    cookie, takeovers = t.mint.cookie(), t.s.takeovers
    launch = Launch(cookie, t.s.newest + 1, origin=r.origin, takeovers=takeovers)
    move_instance(t, launch)


def _stop(t: Turn) -> None:
    move_instance(t, Stop())


def _roll(t: Turn) -> None:
    move_running(t, roll(t))


_ENTERING: dict[Stage, Callable[[Turn], None]] = {
    Stage.LAUNCHING: _launch,
    Stage.ENDING: _stop,
    Stage.CLEARING: make_room,
    Stage.REPLACING: launch_next,
    Stage.ROLLING: _roll,
}
"""What the service does when its reload enters a stage."""


def new_reload(t: Turn, cause: Cause, *, if_changed: bool = False, link: str = "") -> Reload:
    """A reload that waits for its turn, with ids of its own; the trace is the caller's when it brought one and stays."""
    t.mint = t.mint.next()
    caller = parse_traceparent(cause.traceparent) if cause.waits else None
    return Reload(
        t.mint.reload_id(t.now),
        caller.trace_id if caller else t.mint.trace_id(),
        cause,
        begun=t.now,
        must_act=must_act(cause, if_changed=if_changed),
        link=link,
        lag=t.mint.share() * t.s.spec.reload.splay if cause.trigger is Trigger.WATCH else 0.0,
        handle=t.s.spec.reload.handle,
        serial=t.s.serial,
    )


_ALWAYS = frozenset({Trigger.START, Trigger.ROLLBACK})
"""Beside a person's: the others do nothing when nothing changed."""


def must_act(cause: Cause, *, if_changed: bool) -> bool:
    """Whether it acts even when nothing changed."""
    always = cause.trigger.person or cause.trigger in _ALWAYS
    return always and not if_changed
