"""What the next agent goes by where the journal has nothing to tell: birth files, and what processes show of themselves.

Decides: when a birth file counts for more than the journal, which of the processes that were seen serves, and who is left over and
nobody's to touch. Does not decide whether a process is what it seems to be (the shell proves that), nor what becomes of it (``boot``).
What such a process runs is not known, however it was found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from agentd.core.memory import Memory, Other, Place
from agentd.core.process import Identity
from agentd.core.value import replace


@dataclass(frozen=True, slots=True)
class Seen:
    """A living process that was proven to be the main one of a generation."""

    service: str
    generation: int
    process: Identity
    slot: int | None = None
    """Of which instance; None: it does not show."""
    takeovers: int = 0
    """How many generations in a row had taken over by themselves."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to go on."""

    memories: Mapping[str, Memory]
    unknown: frozenset[str] = frozenset()
    """Those of them of which the journal had told nothing, or not the newest: what they run is not known."""
    leftover: tuple[Seen, ...] = ()
    """Processes of services that nobody has declared and the journal does not know: whose they are is a guess, so they are left alone."""


def find(
    declared: Mapping[str, int],
    memories: Iterable[Memory],
    births: Iterable[Memory],
    boot: str,
    seen: Iterable[Seen] = (),
) -> Found:
    """``declared``: how many instances each service is to have. ``births``: what the birth files tell, of whichever boot."""
    known = {m.service: m for m in memories}
    told = {m.service: _without_reloads(m) for m in births if m.boot == boot}
    shown: dict[str, list[Seen]] = {}
    for one in seen:
        shown.setdefault(one.service, []).append(one)
    found, unknown, leftover = dict(known), set(), list[Seen]()
    for name in dict.fromkeys((*told, *shown)):
        before = known.get(name)
        m = _newer(before, told.get(name))
        m = _with_seen(m or Memory(name, boot), shown.get(name, ()), declared.get(name, 1))
        if m == before:
            continue
        if before is None and name not in declared:
            leftover += [Seen(name, generation, one) for generation, one in m.processes.items()]
            m = replace(m, phase="down", process=None, others=(), places=(), issued=m.newest)
        found[name] = m
        unknown.add(name)
    return Found(found, frozenset(unknown), tuple(leftover))


def _without_reloads(m: Memory) -> Memory:
    """No reload of that time is known any more, so none is drained for."""
    return replace(m, others=tuple(replace(one, reload_id="") for one in m.others))


def _with_heir(m: Memory) -> Memory:
    """One that was taking over by itself has done so, as far as anybody knows: to end it may end the only one that serves."""
    heir = next((o for o in m.others if o.takeovers and o.phase in ("starting", "ready")), None)
    if heir is None:
        return m
    after = replace(m.under(heir), phase="starting", issued=m.newest)
    if m.process is None:
        return after
    former = Other(m.generation, "draining", m.process, takeovers=m.takeovers)
    return replace(after, others=(*after.others, former))


def _newer(known: Memory | None, told: Memory | None) -> Memory | None:
    """A journal that could not be written does not keep a service down: then the birth file alone has its newest process."""
    if told is None or known is None:
        return known if told is None else _with_heir(told)
    if told.newest < known.newest or told.processes.keys() <= known.processes.keys():
        return known
    return replace(
        known,
        boot=told.boot,
        want=told.want,
        hold=told.hold,
        generation=told.generation,
        restarts=told.restarts,
        phase=told.phase,
        finished=told.finished,
        process=told.process,
        issued=told.issued,
        others=told.others,
        places=told.places,
        takeovers=told.takeovers,
        watchdog=told.watchdog,
        live=None,
    )


def _with_seen(m: Memory, seen: Collection[Seen], instances: int) -> Memory:
    """Each process that nobody has told of gets a place: the newest of an instance serves, and those before it finish what they have."""
    new = [one for one in seen if one.generation not in m.processes]
    if not new:
        return m
    newest = m.newest
    free = [slot for slot in range(instances) if slot not in {one.slot for one in new}]
    for one in sorted(new, key=lambda one: -one.generation):
        slot = one.slot if one.slot is not None else (free.pop(0) if free else 0)
        m = _placed(m, one, slot)
    return replace(m, issued=max(newest, m.newest), live=None)


def _placed(m: Memory, one: Seen, slot: int) -> Memory:
    """Whether it is ready is not known: it counts as one that starts, and is asked."""
    there = Place(0, m.generation, process=m.process) if slot == 0 else None
    there = there or next((place for place in m.places if place.slot == slot), None)
    if there is not None and there.process is not None:
        process, takeovers = one.process, one.takeovers
        other = Other(one.generation, "draining", process, slot=slot, takeovers=takeovers)
        return replace(m, others=(*m.others, other))
    if slot == 0:
        m = replace(m, generation=one.generation, phase="starting", process=one.process)
        return replace(m, takeovers=one.takeovers, watchdog=None)
    place = Place(slot, one.generation, "starting", process=one.process)
    places = sorted((*(p for p in m.places if p.slot != slot), place), key=lambda p: p.slot)
    return replace(m, places=tuple(places))
