"""The machine of one service: what is wanted, and whose turn it is.

Decides: to which part an event belongs, and when a start or the reload that waits is due. Does not decide what a request means
(``service_asks``) or another definition (``service_defined``), how an instance or a reload goes on (``instance``, ``reload``), what a
verdict changes (``service_verdict``), nor who waits for whom among services (``host``).
"""

from __future__ import annotations

from agentd.core import (
    reload_back,
    reload_commit,
    reload_confirm,
    reload_turns,
    reload_value,
    service_alive,
    service_defined,
    service_external,
    service_late,
    service_soak,
)
from agentd.core.effects import Accepted, CloseSockets
from agentd.core.events import (
    Ask,
    Begin,
    Claimed,
    Completion,
    Defined,
    Emptied,
    Exited,
    InstanceReady,
    Notified,
    Pinged,
    ProcessEvent,
    Reset,
    Stop,
    WorkersSeen,
)
from agentd.core.facts import Cause
from agentd.core.instance import Ending, Instance, Phase
from agentd.core.reload_value import Act, Reload, Stage
from agentd.core.service_asks import (
    ASKED,
    confirm_elapsed,
    give_up_start,
    hold_elapsed,
    overdue,
    reload_asked,
)
from agentd.core.service_generations import stop_beside
from agentd.core.service_machines import (
    abort,
    entered,
    move_answered,
    move_each,
    move_instance,
    move_other,
    move_process,
    move_running,
    new_reload,
    waited,
)
from agentd.core.service_slots import due, idle, ready, turn_to
from agentd.core.service_value import Service, Turn
from agentd.core.service_verdict import end
from agentd.core.value import replace
from agentd.wire import Trigger

__all__ = ["Service", "Turn", "conclude", "go_on", "needs_sockets", "step"]
AT_REST = frozenset({Phase.DOWN, Phase.BACKOFF, Phase.FAILED})
"""Where a start that was asked for can begin at once."""
_OF_PROCESSES = frozenset({Exited, Emptied, Notified, Pinged, Claimed})


def step(  # noqa: C901 - a case for each kind of event
    t: Turn, event: Ask | Completion | ProcessEvent | WorkersSeen | Stop | Defined | None
) -> None:
    """Work the event into ``t``; None only settles. Raises IllegalTransitionError for a refused pair."""
    kind = type(event)
    listens = t.s.spec.sockets and needs_sockets(t.s)
    if asked := ASKED.get(kind):
        asked(t, event)
    elif kind in _OF_PROCESSES:
        move_process(t, event)  # type: ignore[arg-type]  # by its kind
    elif kind is WorkersSeen:
        service_external.workers_seen(t, event)  # type: ignore[arg-type]  # by its kind
    elif kind is Stop:
        abort(t, "agentd stops")
        give_up_start(t)
        stop_beside(t)
        move_each(t, Stop())
    elif kind is Defined:
        service_defined.declared(t, event)  # type: ignore[arg-type]
    elif event is not None:
        _completion(t, event)  # type: ignore[arg-type]  # nothing else is left
    if t.follow is not None:
        reload_asked(t, t.follow)
    if t.s.defined is not None and t.s.running is None:
        service_defined.take(t, t.s.defined)
    if t.revive:
        _revive(t)
    overdue(t)
    if (back := service_soak.follow(t)) is not None:
        reload_asked(t, back)
    _settle(t)
    service_alive.follow(t)
    if (listens or (kind is Defined and t.s.spec.sockets)) and not needs_sockets(t.s):
        t.effects.append(CloseSockets(t.s.spec.name))


def needs_sockets(s: Service) -> bool:
    """Something of it is there, or comes by itself: in backoff too, clients wait for the next start."""
    return bool(s.alive) or (s.wanted and not all(map(_stays_down, s.slots)))


def _stays_down(i: Instance) -> bool:
    finished = i.phase is Phase.DOWN and i.ending is Ending.BY_ITSELF
    return i.phase is Phase.FAILED or finished


def _revive(t: Turn) -> None:
    """What a reload found down gets its next start at once: there is something new to try."""
    for i in t.s.others:
        if i.phase in (Phase.BACKOFF, Phase.FAILED):
            move_other(t, i, Reset())


def _completion(t: Turn, event: Completion) -> None:
    match event.token.machine:
        case "reload":
            move_running(t, event)  # type: ignore[arg-type]  # only these completions answer its effects
        case "waiting":
            waited(t, event)
        case "hold":
            hold_elapsed(t, event)
        case service_late.MACHINE:
            service_late.step(t, event)
        case service_soak.MACHINE:
            service_soak.step(t, event)
        case "confirm":
            confirm_elapsed(t, event)
        case machine if machine.startswith(service_alive.MACHINE):
            service_alive.step(t, event)
        case _:
            move_answered(t, event)


# Whose turn it is.


def _settle(t: Turn) -> None:
    """Begin what is due: a start of what is wanted and down, else the reload that waits."""
    if t.s.running is not None:
        return
    if t.s.next_start is not None and t.may_start:
        _wake(t)
    s = t.s
    if not s.wanted or all(map(_finished, s.slots)):
        if all(i.phase is Phase.DOWN for i in s.slots):
            abort(t, f"{s.spec.name} is down")
        return
    if t.may_start and (i := due(s)) is not None:
        turn_to(t, i)
        _begin_start(t)
    elif s.waiting is not None and s.waiting.timer is None:
        _begin_waiting(t, s.waiting)


def _finished(i: Instance) -> bool:
    return i.phase is Phase.DOWN and i.ending is Ending.BY_ITSELF


def _wake(t: Turn) -> None:
    """Who ended by itself, or waits for its next start, after somebody had asked for it: it is that start. The others pause."""
    if t.s.instance.phase in AT_REST:
        move_instance(t, Reset())
    for i in t.s.others:
        if _stays_down(i):
            move_other(t, i, Reset())


def _begin_waiting(t: Turn, r: Reload) -> None:
    """It acts on what is ready once nothing is on its way there; where nothing is, new bytes end a pause."""
    s = t.s
    if any(
        i.phase is Phase.STARTING or i.lost for i in s.slots
    ):  # or nobody knows who would be told
        return
    i, act = ready(s, tuple(one.instance for one in r.taken)), Act.RECIPE
    if i is None and t.may_start and idle(s) is not None:
        r = service_defined.nothing_to_lose(t, r)
        i, act = idle(t.s), Act.LAUNCH
    if i is None:
        return
    turn_to(t, i)
    r = replace(r, machine="reload", act=act, serial=max(r.serial, t.s.serial))
    t.s = replace(t.s, waiting=None, running=r)
    service_late.drop(t)
    move_running(t, Begin())


def _begin_start(t: Turn) -> None:
    cause, reply = t.s.next_start or (Cause(Trigger.START), None)
    r = new_reload(t, replace(cause, trigger=Trigger.START))
    r = replace(r, act=Act.LAUNCH, machine="reload", handle="start")
    t.s = replace(t.s, running=r, next_start=None)
    service_late.drop(t)
    t.notes.append(reload_value.requested(r, t.s.view, t.now))
    t.answer(reply, Accepted(r.id, r.trace_id, joined=False))
    move_running(t, Begin())


# What an earlier agent left unfinished.


def go_on(t: Turn, r: Reload) -> None:
    """Take up a reload after its act: ask the evidence, do not act again."""
    t.s = replace(t.s, running=r)
    if r.stage is Stage.LAUNCHING:
        move_running(t, InstanceReady())
    else:
        view = t.s.view
        match r.stage:
            case Stage.CONFIRMING:
                r, effects, notes = reload_confirm.look(r, view)
            case Stage.VERIFYING:
                r, effects, notes = reload_commit.verify(r, view, t.now)
            case Stage.RESTORING:
                r, effects, notes = reload_back.put_back(r, view, t.now)
            case _:
                r, effects, notes = reload_commit.compare(r, view, t.now)
        t.s = replace(t.s, running=r)
        t.effects += effects
        t.notes += notes
        entered(t, r.stage)


def conclude(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    """End a reload that cannot be taken up."""
    r, notes = reload_turns.conclude(replace(r, ending=ending), t.s.view, t.now)
    t.notes += notes
    assert r.ending is not None
    end(t, r, r.ending)
