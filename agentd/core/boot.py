"""From what earlier agents left behind to a host that goes on where they were.

Decides: who is adopted, what an interrupted reload becomes, that a service which is no longer declared is stopped, and that nobody waits
for one that does not come back: what was kept open for it is closed. Does not find out whether a process is still there (the shell has,
in ``found``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from agentd.core import facts, instance
from agentd.core.boot_reloads import resume
from agentd.core.effects import CloseSockets, Effect, Note
from agentd.core.events import Adopt, Orphaned, Stop
from agentd.core.facts import Record
from agentd.core.host import Host, Step, settle
from agentd.core.ids import Mint
from agentd.core.instance import ALIVE, Instance, Phase
from agentd.core.memory import Memory, Other, Place
from agentd.core.order import dependents, start_order
from agentd.core.process import Identity
from agentd.core.reload_value import Act
from agentd.core.service import Service, Turn, needs_sockets
from agentd.core.service_clocks import rearm
from agentd.core.service_generations import admit, move_beside, switch_back
from agentd.core.service_slots import retire
from agentd.core.service_value import remembered
from agentd.core.spec import ProcessSpec, Spec
from agentd.core.value import replace

UNKNOWN = "the journal does not tell of its processes, they were found without it"


@dataclass(frozen=True, slots=True)
class Left:
    """What earlier agents left."""

    memories: Mapping[str, Memory]
    found: Collection[str]
    """The services whose remembered process is alive and truly theirs."""
    open_reloads: Sequence[Sequence[Record]] = ()
    boot: str = ""
    """This boot's id: moments of another boot mean nothing now."""
    found_beside: Collection[tuple[str, int]] = ()
    """The same of other generations of theirs: service and generation."""
    unknown: Collection[str] = ()
    """The services of which the journal does not tell, or not the newest: what their processes run nobody knows."""


def boot(specs: Sequence[Spec], left: Left, mint: Mint, now: float) -> Step:
    """The host an agent starts with, and what it must do first."""
    specs = (*specs, *_removed(specs, left))
    left, heirs, notes = _heirs(specs, left, now)
    by_name = {spec.name: spec for spec in specs}
    effects: list[Effect] = []
    services: dict[str, Service] = {}
    for name in start_order(specs):
        t = Turn(remembered(by_name[name], left.memories.get(name)), now, mint, may_start=False)
        _take_over(t, left)
        if name in heirs:
            switch_back(t)  # nobody else accepts
        _take_over_others(t, left)
        rearm(t)
        for records in left.open_reloads:
            resume(t, records, left.boot)
        _end_unexpected(t)
        services[name], mint = t.s, t.mint
        effects += t.effects
        notes += t.notes
    host = Host(services, dependents(specs), mint)
    first = settle(host, now)
    idle = (s.spec for s in first.host.services.values() if not needs_sockets(s))
    close = [CloseSockets(spec.name) for spec in idle if spec.sockets]
    return replace(
        first,
        effects=(*effects, *first.effects, *close),
        notes=(*notes, *first.notes),
        touched=tuple(services),
    )


def _removed(specs: Sequence[Spec], left: Left) -> tuple[Spec, ...]:
    """Services that are no longer declared but still run, or owe a verdict: kept only to be stopped."""
    declared = {spec.name for spec in specs}
    owing = (records[0].fact for records in left.open_reloads)
    beside = (name for name, _ in left.found_beside)
    names = (*left.found, *beside, *(f.service for f in owing if isinstance(f, facts.Requested)))
    return tuple(removed(name) for name in dict.fromkeys(names) if name not in declared)


def removed(name: str) -> Spec:
    """What is left of a definition that is gone: enough to stop its processes."""
    return Spec(name, ProcessSpec(()), removed=True)


def _take_over(t: Turn, left: Left) -> None:
    """The instances as they are now: adopted, gone while nobody looked, or never there."""
    name = t.s.spec.name
    m = left.memories.get(name)
    if m is None:
        return
    first = Place(0, m.generation, m.phase, m.finished, m.process, m.watchdog)
    beside = {generation for service, generation in left.found_beside if service == name}
    found = [name in left.found, *(place.generation in beside for place in m.places)]
    if not any(found):
        t.s = replace(t.s, live=None)
    if any(found) and name in left.unknown:
        t.note(facts.LiveChanged(name, None, None, UNKNOWN))
    for place, there in zip((first, *m.places), found, strict=True):
        if place.slot < t.s.spec.instances:
            _take_over_place(t, m, place, left.boot, found=there)
        elif place.process is not None:
            t.note(facts.Adopted(name, place.generation, place.process.pid, there))
            if there:
                _take_over_surplus(t, place, place.process)


def _take_over_place(t: Turn, m: Memory, place: Place, boot: str, *, found: bool) -> None:
    """One instance: its process goes on under this agent, or was found gone."""
    s, before = t.s, t.s.slots[place.slot]
    if place.process is None or (m.boot != boot and not found):
        _put(t, _rest(before, place, same_boot=m.boot == boot))
        return
    generation, pid = place.generation, place.process.pid
    t.note(facts.Adopted(s.spec.name, generation, pid, found))
    machine, phase = before.machine, place.phase
    adopt = Adopt(place.process, generation, phase, machine, "", place.slot, place.watchdog)
    event = adopt if found else Orphaned(generation)
    after, effects = instance.step(before, event, s.spec, t.now)
    if not s.wanted and after.phase not in (Phase.DOWN, Phase.STOPPING, Phase.KILLING):
        after, more = instance.step(after, Stop(), s.spec, t.now)
        effects = (*effects, *more)
    _put(t, replace(after, runs=s.live) if found and s.others else after)
    t.effects += effects
    if after.phase.value != place.phase:
        was, phase = place.phase, after.phase.value
        t.note(facts.PhaseEntered(s.spec.name, generation, phase, was, after.why, None, after.exit))


def _put(t: Turn, i: Instance) -> None:
    """At boot the first instance is the one whose turn it is."""
    if i.slot == t.s.instance.slot:
        t.s = replace(t.s, instance=i)
    else:
        t.s = replace(t.s, others=tuple(i if one.slot == i.slot else one for one in t.s.others))


def _take_over_surplus(t: Turn, place: Place, process: Identity) -> None:
    """Fewer instances are declared by now: it ends as it would have under the agent that is gone."""
    machine = f"instance.{place.generation}"
    adopt = Adopt(process, place.generation, place.phase, machine, slot=place.slot)
    i, effects = instance.step(Instance(slot=place.slot), adopt, t.s.spec, t.now)
    t.effects += effects
    retire(t, i)


def _heirs(
    specs: Sequence[Spec], left: Left, now: float
) -> tuple[Left, Collection[str], list[Note]]:
    """What these left, where the one that served is gone and a next generation lives: that has the place, whatever it was to become.

    One that takes over by itself has done so while nobody looked. Any other may have been given the place, and what says so could not be
    written; or it is on its way there, and is what there is.
    """
    memories, heirs, notes = dict(left.memories), set(), []
    for spec in specs:
        name, m = spec.name, memories.get(spec.name)
        if m is None or m.process is None or name in left.found:
            continue
        heir = next((o for o in m.others if _comes_next(name, o, left)), None)
        if heir is None:
            continue
        notes.append(Note(now, facts.Adopted(name, m.generation, m.process.pid, found=False)))
        memories[name] = replace(m.under(heir), live=None)
        heirs.add(name)
    return replace(left, memories=memories, found={*left.found, *heirs}), heirs, notes


def _comes_next(name: str, other: Other, left: Left) -> bool:
    """It is there, beside the first instance, and was not told to go."""
    there = (name, other.generation) in left.found_beside and other.slot == 0
    return there and other.phase in (Phase.STARTING, Phase.READY)


def _takes_over(name: str, other: Other, left: Left) -> bool:
    """It was started to take the other's place by itself, and is there: whoever ends it now may end the only one that serves."""
    there = (name, other.generation) in left.found_beside
    return bool(other.takeovers) and there and other.phase == Phase.STARTING


def _take_over_others(t: Turn, left: Left) -> None:
    """A former generation drains on; so does one that had not taken the other's place yet.

    Connections may have gone to that already, a moment before the agent died or ever since: they are taken away from it first. Where
    nobody is left to get them, it is stopped.
    """
    name = t.s.spec.name
    m = left.memories.get(name)
    replacing = _replacing(name, left) if name in left.found else ""
    if any(_may_have_connections(name, other, left) for other in (m.others if m else ())):
        switch_back(t)  # first: what is ended now may be what gets the connections
        for i in t.s.others:
            if i.phase in ALIVE:
                admit(t, i)
    for other in m.others if m else ():
        found = (t.s.spec.name, other.generation) in left.found_beside
        t.note(facts.Adopted(t.s.spec.name, other.generation, other.process.pid, found))
        if not found:
            continue
        if replacing and t.s.wanted and _takes_over(name, other, left):
            _expect_again(t, other)
            continue
        id_ = other.reload_id or replacing
        drained = other.phase == Phase.DRAINING
        going = other.phase in (Phase.STOPPING, Phase.KILLING)
        drains = t.s.wanted and (id_ or drained) and not going
        phase = Phase.DRAINING if drains else Phase.STOPPING
        machine = f"instance.{other.generation}"
        adopt = Adopt(other.process, other.generation, phase, machine, id_, other.slot)
        blank = Instance(takeovers=other.takeovers)
        after, effects = instance.step(blank, adopt, t.s.spec, t.now)
        t.s = replace(t.s, former=(*t.s.former, after))
        t.effects += effects
        if after.phase.value != other.phase:
            name, why = t.s.spec.name, after.why
            t.note(facts.PhaseEntered(name, other.generation, after.phase.value, other.phase, why))


def _expect_again(t: Turn, other: Other) -> None:
    """It may have taken over already or be about to, so its reload goes on with it."""
    machine = f"instance.{other.generation}"
    adopt = Adopt(other.process, other.generation, other.phase, machine, slot=other.slot)
    blank = Instance(beside=True, takeovers=other.takeovers)
    following, effects = instance.step(blank, adopt, t.s.spec, t.now)
    t.s = replace(t.s, next=following)
    t.effects += effects


def _end_unexpected(t: Turn) -> None:
    """Its reload goes another way by now: the definition has changed meanwhile."""
    expected = t.s.running is not None and t.s.running.act is Act.REPLACE
    if t.s.next is not None and not expected:
        move_beside(t, t.s.next, Stop())


def _may_have_connections(name: str, other: Other, left: Left) -> bool:
    """It is there; or it is gone and may have been ready: a service manager may have kept its listener, and nobody serves that.

    One that was starting when the journal was last written may have been ready since, where the journal could not be written.
    """
    there = (name, other.generation) in left.found_beside
    return there or other.phase in (Phase.STARTING, Phase.READY)


def _replacing(name: str, left: Left) -> str:
    """The reload that had started a next generation; empty: none had."""
    for asked, *records in left.open_reloads:
        started = any(isinstance(x.fact, facts.StepBegan) for x in records)
        if isinstance(asked.fact, facts.Requested) and asked.fact.service == name and started:
            return asked.fact.reload_id
    return ""


def _rest(i: Instance, place: Place, *, same_boot: bool) -> Instance:
    """It had no process. What was given up or had finished in this boot of the host stays so until somebody asks."""
    if same_boot and place.phase == Phase.FAILED:
        i = replace(i, phase=Phase.FAILED, why="failed before agentd was restarted")
    if same_boot and place.finished:
        i = replace(i, ending=instance.Ending.BY_ITSELF)
    return i
