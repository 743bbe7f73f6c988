"""The generations of an instance beside the one that serves: the next one, and former ones on their way out.

Decides: what becomes of each when a replacement ends, and which of them must give way when there are too many. Does not decide whether a
replacement succeeds (``reload_generations``) nor how long a former one may drain (``instance_rows``).
"""

from __future__ import annotations

from agentd.core import facts, instance
from agentd.core.effects import Disarm, Switch
from agentd.core.events import (
    Completion,
    Drain,
    InstanceEvent,
    Launch,
    MainSought,
    ProcessEvent,
    Stop,
    Token,
)
from agentd.core.instance import ALIVE, GOING, Instance, Phase
from agentd.core.reload_value import Reload
from agentd.core.service_value import Turn
from agentd.core.spec import Spec
from agentd.core.value import replace
from agentd.wire import Verdict

STAYS = frozenset({Verdict.APPLIED, Verdict.UNVERIFIED, Verdict.ROLLED_BACK})
"""The verdicts after which the next generation has the other one's place."""


def step_instance(
    t: Turn, before: Instance, event: InstanceEvent, spec: Spec | None = None
) -> Instance:
    """One step of one generation; its phases and what it had drained are told. The caller puts it in its place.

    ``spec``: its definition, when that is not the one in force.
    """
    name = t.s.spec.name
    after, effects = instance.step(before, event, spec or t.s.spec, t.now)
    t.effects += effects
    _moved(t, before, event, after)
    if (after.phase, after.generation) == (before.phase, before.generation):
        return after
    pid = after.process.pid if after.process else None
    generation, phase, was = after.generation, after.phase.value, before.phase.value
    t.note(facts.PhaseEntered(name, generation, phase, was, after.why, pid, after.exit))
    if before.phase is Phase.DRAINING and after.reload_id:
        was_pid = before.process.pid if before.process else None
        uncounted = (spec or t.s.spec).takes_over and not after.counts
        load, left = (None, None) if uncounted else (after.load, after.left)
        id_, since = after.reload_id, after.since
        t.note(facts.Drained(name, id_, generation, was_pid, since, load, left))
    return after


def _moved(t: Turn, before: Instance, event: InstanceEvent, after: Instance) -> None:
    """Another process is its main one."""
    if before.process is None or after.process is None or before.process.same(after.process):
        return
    why = event.why if isinstance(event, MainSought) else "it said MAINPID"
    was, pid = before.process.pid, after.process.pid
    t.note(facts.MainMoved(t.s.spec.name, after.generation, pid, was, why))


def beside(t: Turn, event: ProcessEvent | Completion) -> Instance | None:
    """The generation beside the one that serves that this event is about; None: it is about that one."""
    others = (t.s.next, *t.s.former)
    if isinstance(event, ProcessEvent):
        return next((i for i in others if i and i.generation == event.generation), None)
    return next((i for i in others if i and i.machine == event.token.machine), None)


def move_beside(t: Turn, before: Instance, event: InstanceEvent) -> Instance:
    """Step a generation beside the one that serves; one that has ended is forgotten."""
    s = t.s
    after = step_instance(t, before, event, s.view.spec if s.next is before else None)
    s = t.s
    if s.next is before:
        going = after.phase in GOING
        former = (*s.former, after) if going else s.former
        t.s = replace(s, next=None if going or after.phase not in ALIVE else after, former=former)
    else:
        kept = (after if i is before else i for i in s.former)
        t.s = replace(s, former=tuple(i for i in kept if i.phase in ALIVE))
    return after


def launch_next(t: Turn) -> None:
    """Start the next generation; the one that serves goes on."""
    assert t.s.running is not None  # only a reload starts a process
    t.mint = t.mint.next()
    generation = t.s.newest + 1
    blank = Instance(slot=t.s.instance.slot, machine=f"instance.{generation}")
    origin, takeovers = t.s.running.origin, t.s.takeovers
    launch = Launch(t.mint.cookie(), generation, beside=True, origin=origin, takeovers=takeovers)
    after = step_instance(t, blank, launch, t.s.view.spec)
    t.s = replace(t.s, next=after, issued=generation)


def make_room(t: Turn) -> None:
    """The oldest of this instance that only drains is told to stop; one that ends by itself is waited for."""
    if t.s.spec.takes_over:
        return
    mine = t.s.instance.slot
    draining = [i for i in t.s.former if i.phase is Phase.DRAINING and i.slot == mine]
    if draining:
        move_beside(t, min(draining, key=lambda i: i.generation), Stop())


def stop_beside(t: Turn) -> None:
    """All of them end now."""
    for i in (t.s.next, *t.s.former):
        if i is not None:
            move_beside(t, i, Stop())


def conclude(t: Turn, r: Reload, *, stays: bool, drain: bool = False) -> None:
    """The replacement is over: either the next generation has the place, or everything is as it was (see ``give_way``)."""
    s, old = t.s, t.s.instance
    if stays and s.next is not None:
        t.s = replace(s, instance=replace(s.next, beside=False), next=None)
        if old.phase in ALIVE:
            t.s = replace(t.s, former=(*s.former, old))
            serves = old.phase is Phase.READY
            move_beside(t, old, Drain(r.id, r.moved) if serves else Stop())  # or it ends already
        else:
            t.effects.append(Disarm(s.spec.name, old.machine))
        return
    give_way(t, r, drain=drain)


def give_way(t: Turn, r: Reload, *, drain: bool) -> None:
    """The next generation does not get the place. Where it had connections for a while it may finish them."""
    if r.switched:
        switch_back(t)
    following = t.s.next
    if following is None:
        return
    had_some = drain and r.moved and following.phase is Phase.READY
    move_beside(t, following, Drain(r.id, moved=True) if had_some else Stop())


def switch_back(t: Turn) -> None:
    """New connections go to the generation that serves, whatever was meant before."""
    admit(t, t.s.instance)


def admit(t: Turn, i: Instance) -> None:
    """New connections of its instance go to this generation. Nobody waits for the answer."""
    serial = t.s.serial + 1
    running = replace(t.s.running, serial=serial) if t.s.running else None  # a number is used once
    t.s = replace(t.s, serial=serial, running=running)
    t.effects.append(Switch(Token(t.s.spec.name, "reload", serial), i.generation))
