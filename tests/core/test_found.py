"""What counts when the journal has nothing to tell, or not the newest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core import events as ev
from agentd.core import facts
from agentd.core.boot import UNKNOWN, Left
from agentd.core.found import Seen, find
from agentd.core.memory import Hold, Memory, Other, Place, Want
from agentd.core.process import Exit, Identity
from tests.core.make import Agent, Says, identity, manifest, spec, unchecked

BOOT = "boot"
ONE = {"web": 1}
UP = Memory("web", BOOT, generation=3, phase="ready", process=identity(7), live=manifest())


def seen(generation: int, pid: int, slot: int | None = None, service: str = "web") -> Seen:
    return Seen(service, generation, identity(pid), slot)


def test_what_the_journal_tells_is_enough() -> None:
    found = find(ONE, (UP,), (UP.there,), BOOT)
    assert (found.memories, found.unknown, found.leftover) == ({"web": UP}, frozenset(), ())


def test_a_birth_file_tells_who_is_there_and_what_was_asked_for_but_not_what_it_runs() -> None:
    other = Other(2, "draining", identity(6), "01JD")
    full = replace(UP, want=Want.DOWN, hold=Hold("freeze"), others=(other,), restarts=4)
    found = find(ONE, (), (full.there,), BOOT)
    expected = replace(full, live=None, others=(replace(other, reload_id=""),))
    assert (found.memories, found.unknown) == ({"web": expected}, {"web"})


def test_a_birth_file_of_another_boot_tells_nothing() -> None:
    assert find(ONE, (), (UP.there,), "now").memories == {}


def test_what_the_journal_could_not_be_told_the_birth_file_tells() -> None:
    newer = replace(UP.there, generation=4, issued=4, process=identity(8), phase="starting")
    found = find(ONE, (UP,), (newer,), BOOT)
    expected = replace(UP, generation=4, issued=4, process=identity(8), phase="starting", live=None)
    assert (found.memories["web"], found.unknown) == (expected, {"web"})
    unborn = replace(UP, phase="starting", process=None)
    assert find(ONE, (unborn,), (UP.there,), BOOT).memories["web"].process == identity(7)


def test_a_birth_file_that_is_older_than_the_journal_counts_for_nothing() -> None:
    older = replace(UP.there, generation=2, process=identity(5))
    found = find(ONE, (replace(UP, process=None),), (older,), BOOT)
    assert (found.memories["web"].process, found.unknown) == (None, frozenset())


def test_one_that_was_taking_over_by_itself_has_the_place() -> None:
    heir = Other(4, "starting", identity(8), "01JD", takeovers=2)
    told = replace(UP.there, takeovers=1, others=(heir,))
    m = find(ONE, (), (told,), BOOT).memories["web"]
    assert (m.generation, m.phase, m.process, m.takeovers) == (4, "starting", identity(8), 2)
    assert (m.others, m.newest) == ((Other(3, "draining", identity(7), takeovers=1),), 4)
    gone = find(ONE, (), (replace(told, process=None),), BOOT).memories["web"]
    assert (gone.process, gone.others) == (identity(8), ())
    ending = replace(told, others=(replace(heir, phase="stopping"),))
    assert find(ONE, (), (ending,), BOOT).memories["web"].generation == 3


def test_how_often_it_must_be_heard_is_its_own_or_not_known() -> None:
    """Ended for a silence that nobody had agreed to, it would be an outage for nothing."""
    known, newer = (
        replace(UP, watchdog=30.0),
        replace(UP.there, generation=4, issued=4, process=identity(8), watchdog=5.0),
    )
    assert find(ONE, (known,), (newer,), BOOT).memories["web"].watchdog == 5.0
    heir = Other(4, "starting", identity(8), takeovers=2)
    told = replace(known.there, others=(heir,))
    assert find(ONE, (), (told,), BOOT).memories["web"].watchdog is None
    gone = replace(known, process=None)
    assert find(ONE, (gone,), (), BOOT, (seen(5, 9),)).memories["web"].watchdog is None


def test_how_often_it_had_taken_over_is_known_from_what_was_seen() -> None:
    two = (replace(seen(5, 9), takeovers=2), replace(seen(4, 8), takeovers=1))
    m = find(ONE, (), (), BOOT, two).memories["web"]
    assert (m.takeovers, m.others[0].takeovers) == (2, 1)


def test_what_was_seen_serves_and_may_be_ready_or_not() -> None:
    found = find(ONE, (), (), BOOT, (seen(5, 9),))
    m = found.memories["web"]
    assert (m.generation, m.phase, m.process, m.issued) == (5, "starting", identity(9), 5)
    assert found.unknown == {"web"}


def test_what_was_seen_and_is_known_is_known() -> None:
    assert find(ONE, (UP,), (), BOOT, (seen(3, 7),)).memories == {"web": UP}


def test_of_several_that_were_seen_the_newest_serves_and_the_others_finish() -> None:
    m = find(ONE, (), (), BOOT, (seen(4, 8), seen(5, 9), seen(3, 7))).memories["web"]
    assert (m.generation, m.process) == (5, identity(9))
    assert m.others == (Other(4, "draining", identity(8)), Other(3, "draining", identity(7)))


def test_one_that_was_seen_beside_a_known_one_finishes() -> None:
    m = find(ONE, (UP,), (), BOOT, (seen(2, 6),)).memories["web"]
    assert (m.generation, m.process, m.live) == (3, identity(7), None)
    assert m.others == (Other(2, "draining", identity(6)),)


def test_each_instance_has_its_own_place() -> None:
    two = (seen(2, 6, 1), seen(1, 5, 0), seen(4, 8, 1))
    m = find({"web": 2}, (), (), BOOT, two).memories["web"]
    assert (m.generation, m.process) == (1, identity(5))
    assert m.places == (Place(1, 4, "starting", process=identity(8)),)
    assert m.others == (Other(2, "draining", identity(6), slot=1),)
    known = replace(UP, places=(Place(2, 2), Place(1, 1)))
    m = find({"web": 3}, (known,), (), BOOT, (seen(4, 8, 1),)).memories["web"]
    assert m.places == (Place(1, 4, "starting", process=identity(8)), Place(2, 2))


def test_where_the_instance_does_not_show_the_free_places_are_filled() -> None:
    m = find({"web": 3}, (), (), BOOT, (seen(1, 5), seen(2, 6), seen(3, 7, 1))).memories["web"]
    assert (m.generation, [(p.slot, p.generation) for p in m.places]) == (2, [(1, 3), (2, 1)])
    m = find(ONE, (), (), BOOT, (seen(1, 5), seen(2, 6))).memories["web"]
    assert (m.generation, m.others[0].generation) == (2, 1)


def test_what_nobody_has_declared_is_left_alone_and_its_numbers_are_not_used_again() -> None:
    found = find({}, (), (UP.there,), BOOT, (seen(9, 9, service="old"),))
    assert found.leftover == (seen(3, 7), seen(9, 9, service="old"))
    assert [m.processes for m in found.memories.values()] == [{}, {}]
    assert [m.newest for m in found.memories.values()] == [3, 9]
    known = find({}, (UP,), (replace(UP.there, generation=4, process=identity(8)),), BOOT)
    assert (known.leftover, known.memories["web"].process) == ((), identity(8))


def after_loss(m: Memory) -> Agent:
    found = find(ONE, (), (m.there,), BOOT)
    left = Left(found.memories, {"web"}, (), BOOT, (), found.unknown)
    return Agent((unchecked(spec("web", Says())),), left)


def test_that_it_is_unknown_what_it_runs_is_told_and_the_next_number_is_above() -> None:
    a = after_loss(UP)
    assert (a.phase(), a.service().live) == ("ready", None)
    assert facts.LiveChanged("web", None, None, UNKNOWN) in a.told(facts.LiveChanged)
    a.exited()
    a.elapse("instance")
    a.read(1)
    assert a.service().newest == 4


@pytest.mark.parametrize("slot", [0, 1])
def test_one_of_several_that_was_found_starting_is_not_what_the_other_is(slot: int) -> None:
    """What that one took is known by its own start; of this one nobody knows."""
    phases = ["ready", "ready"]
    phases[slot] = "starting"
    told = Memory("web", BOOT, generation=1, phase=phases[0], process=identity(7))
    told = replace(told, places=(Place(1, 2, phases[1], process=identity(8)),))
    found = find({"web": 2}, (), (told,), BOOT)
    left = Left(found.memories, {"web"}, (), BOOT, {("web", 2)}, found.unknown)
    a = Agent((unchecked(spec("web", Says(), instances=2)),), left)
    a.feed(ev.Exited("web", 2 - slot, Exit(code=3), empty=True))
    other, mine = ("instance", "slot.1") if slot else ("slot.1", "instance")
    a.elapse(other)
    a.up(1, pid=9)
    assert a.service().live == manifest(1)
    a.elapse(mine)
    assert a.service().phase.value == "ready"
    assert a.service().live is None


PROCESS = st.none() | st.integers(1, 9).map(lambda pid: Identity(pid, pid, BOOT, str(pid)))


@given(
    st.lists(st.tuples(st.integers(1, 6), st.none() | st.integers(0, 2)), max_size=6),
    st.integers(1, 3),
    PROCESS,
)
def test_everybody_has_one_place(
    pairs: list[tuple[int, int | None]], instances: int, process: Identity | None
) -> None:
    there = dict(pairs)
    sightings = tuple(seen(g, 10 + g, slot) for g, slot in there.items())
    told = Memory("web", BOOT, generation=3, process=process)
    m = find({"web": instances}, (), (told,), BOOT, sightings).memories["web"]
    known = {3} if process else set()
    assert m.processes.keys() == known | there.keys()
    places = [0, *(p.slot for p in m.places)]
    assert len(places) == len(set(places))
    assert m.newest == max((3, *there))


def test_what_was_set_aside_is_said_with_where_it_is() -> None:
    aside = facts.SetAside("/s/journal.db", "/s/journal.db.newer-1", "was written by a newer one")
    kept = "it is kept as /s/journal.db.newer-1, and a new one was begun"
    assert aside.text == f"the journal /s/journal.db was written by a newer one; {kept}"
