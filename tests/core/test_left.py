"""Several generations that an earlier agent left: who serves, who drains on, who is ended, and what becomes of the replacement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.facts import Record
from agentd.core.instance_drain import FIRST_COUNT
from agentd.core.memory import Memory, Other, Want
from agentd.core.steps import Grade
from agentd.wire import Verdict
from tests.core.make import (
    PERSON,
    TERM,
    Agent,
    agent,
    identity,
    manifest,
    names,
    spec,
    survivor,
    unchecked,
)
from tests.core.test_generations import (
    WEB,
    begun,
    born,
    comparing,
    count,
    ends,
    full,
    generations,
    kills,
    ready,
    replaced,
    speaks,
    switch,
    told,
)


def test_a_former_one_drains_on() -> None:
    a = replaced()
    id_ = a.judged.reload_id
    b = survivor(a)
    assert generations(b) == [(2, "ready"), (1, "draining")]
    assert (b.service().live, b.service().newest) == (manifest(2), 2)
    assert b.told(facts.Adopted) == [
        facts.Adopted("web", 2, 9, found=True),
        facts.Adopted("web", 1, 7, found=True),
    ]
    assert b.told(facts.PhaseEntered) == [], "it drained before"
    assert [type(e) for e in b.effects] == [fx.Switch, fx.Arm]
    arm = b.last(fx.Arm)
    assert (arm.token.machine, arm.delay) == ("instance.1", FIRST_COUNT)
    assert b.last(fx.Switch).generation == 2
    b.elapse("instance.1")
    count(b, 0)
    b.elapse("instance.1")
    count(b, 0)
    assert kills(b) == [(1, "TERM")]
    assert (b.told(facts.Drained)[-1].reload_id, b.told(facts.Drained)[-1].pid) == (id_, 7)
    ends(b, 1, TERM)
    assert generations(b) == [(2, "ready")]


def test_the_answer_to_the_first_switch_moves_nothing() -> None:
    b = survivor(replaced())
    switch(b)
    assert b.told(facts.Flipped) == []
    assert generations(b) == [(2, "ready"), (1, "draining")]


def test_what_cannot_drain_any_more_is_stopped() -> None:
    a = replaced()
    a.specs = (replace(WEB, sockets=()),)
    b = survivor(a)
    assert kills(b) == [(1, "TERM")]
    moved = b.told(facts.PhaseEntered)[-1]
    assert (moved.generation, moved.phase, moved.was) == (1, "stopping", "draining")
    assert moved.why == "another generation has its place"


def test_what_was_being_stopped_is_stopped_and_told_once() -> None:
    b = survivor(replaced(moved=False))
    assert (kills(b), b.told(facts.PhaseEntered)) == ([(1, "TERM")], [])
    assert generations(b) == [(2, "ready"), (1, "stopping")]


def test_what_is_no_longer_wanted_does_not_drain() -> None:
    b = survivor(replaced(), want=Want.DOWN)
    assert sorted(kills(b)) == [(1, "TERM"), (2, "TERM")]


def test_a_former_one_that_is_gone_is_forgotten() -> None:
    b = survivor(replaced(), beside=False)
    assert generations(b) == [(2, "ready")]
    assert b.told(facts.Adopted)[-1] == facts.Adopted("web", 1, 7, found=False)
    assert b.effects == [], "there is nobody to send connections away from"


def test_the_one_that_serves_may_be_gone_alone() -> None:
    b = survivor(replaced(), found=False)
    assert (b.phase(), generations(b)) == ("backoff", [(1, "draining")])
    b.elapse()
    b.read(2)
    assert b.last(fx.Spawn).generation == 3


@pytest.mark.parametrize("when", ["born", "ready", "comparing"])
def test_a_next_one_is_ended_and_the_reload_begun_anew(when: str) -> None:
    a = {"born": born, "ready": ready, "comparing": comparing}[when]()
    asked = a.told(facts.Requested)[-1]
    b = survivor(a)
    assert names(b.effects)[:2] == ["Switch", "Arm"], "first the switch back, then the drain"
    assert (b.last(fx.Switch).generation, kills(b)) == (1, [])
    assert generations(b) == [(1, "ready"), (2, "draining")]
    moved = b.told(facts.PhaseEntered)[-1]
    assert (moved.generation, moved.phase) == (2, "draining")
    assert moved.was == ("starting" if when == "born" else "ready")
    for left in (3, 0, 0):
        assert kills(b) == [], "it may have got connections, before the agent died or since"
        b.elapse("instance.2")
        count(b, left)
    assert kills(b) == [(2, "TERM")]
    drained = b.told(facts.Drained)[-1]
    assert (drained.reload_id, drained.generation, drained.open) == (asked.reload_id, 2, 3)
    r = b.service().running
    assert r is not None
    assert (r.id, r.act.value, r.switched) == (asked.reload_id, "recipe", False)
    phase = "commit" if when == "comparing" else "apply"
    assert facts.PhaseEnded("web", r.id, phase, "agent_interrupted") in b.facts
    assert b.told(facts.Judged) == []
    b.read(3)
    assert b.last(fx.Spawn).generation == 3, "a number is used once, also over agents"
    b.spawned(11)
    speaks(b, 3)
    switch(b)
    b.read(3)
    assert (b.judged.reload_id, b.judged.verdict) == (asked.reload_id, Verdict.APPLIED)
    assert (b.judged.generation, b.service().live) == (3, manifest(3))


def test_a_next_one_whose_former_one_is_gone_has_its_place() -> None:
    """It may have been given it already, on a disk that took no note of that; to end it would end the only one that serves."""
    b = survivor(ready(), found=False)
    assert (generations(b), kills(b)) == ([(2, "ready")], [])
    assert b.last(fx.Switch).generation == 2
    assert b.told(facts.Adopted)[0] == facts.Adopted("web", 1, 7, found=False)
    assert b.service().live is None
    b.read(3)
    assert b.last(fx.Spawn).generation == 3
    b.spawned(11)
    speaks(b, 3)
    switch(b)
    b.read(3)
    assert (b.judged.verdict, b.service().live) == (Verdict.APPLIED, manifest(3))


def test_a_next_one_that_had_begun_only_goes_on_where_the_former_one_is_gone() -> None:
    b = survivor(born(), found=False)
    assert (generations(b), kills(b)) == ([(2, "starting")], [])


def test_a_next_one_of_no_reload_is_stopped() -> None:
    a = ready()
    b = agent(
        *a.specs,
        memories={"web": replace(a.service().memory, boot="boot")},
        found={"web"},
        found_beside={("web", 2)},
        boot="boot",
    )
    assert (generations(b), kills(b)) == ([(1, "ready"), (2, "stopping")], [(2, "TERM")])


def test_a_ready_that_nobody_heard_of_the_former_one_does_not_weaken_the_next_ones() -> None:
    a = agent(WEB)
    a.read(1)
    a.spawned()
    b = survivor(a)
    b.elapse()
    b.read(1)
    assert b.service().view.assumed
    replaced(b)
    assert (b.judged.confirmation, b.judged.grade) == ("notify", Grade.PROVEN)


def test_a_next_one_that_is_gone_too_is_begun_anew() -> None:
    b = survivor(ready(), beside=False)
    assert b.service().running is not None
    assert (generations(b), kills(b)) == ([(1, "ready")], [])
    assert b.last(fx.Switch).generation == 1, "its listener may have been kept"
    b.read(2)
    assert b.last(fx.Spawn).generation == 3


def test_a_next_one_that_may_have_been_ready_since_is_taken_the_connections_from() -> None:
    """The journal could not be written in between."""
    b = survivor(born(), beside=False)
    assert b.last(fx.Switch).generation == 1, "its listener may have been kept"


def test_one_that_was_not_born_yet_leaves_only_its_number() -> None:
    b = survivor(begun())
    assert b.service().memory.issued == 2
    b.read(2)
    assert b.last(fx.Spawn).generation == 3


def test_of_two_replacements_that_were_under_way_one_goes_on() -> None:
    a = born()
    a.reload(require_proof=True)
    b = survivor(a)
    first, second = a.told(facts.Requested)[-2:]
    assert b.service().running.id == first.reload_id  # type: ignore[union-attr]
    assert b.service().running.require_proof  # type: ignore[union-attr]
    assert (b.judged.reload_id, b.judged.verdict) == (second.reload_id, Verdict.CANCELLED)


def test_a_replacement_is_given_up_for_one_that_waited_before_it() -> None:
    a = born()
    a.reload()
    stories = survivor(a)  # only for its memories: here the one that waited is told first
    waited, running = a.told(facts.Requested)[-1], a.told(facts.Requested)[-2]
    mine = [f for f in a.facts if getattr(f, "reload_id", "") == running.reload_id]
    open_reloads = tuple(
        tuple(facts.Record(1, 0, 0.0, "boot", f) for f in story) for story in ([waited], mine)
    )
    b = agent(
        *a.specs,
        memories={"web": replace(a.service().memory, boot="boot")},
        found={"web"},
        found_beside={("web", 2)},
        open_reloads=open_reloads,
        boot="boot",
    )
    assert stories.service().newest == b.service().newest
    assert (b.judged.reload_id, b.judged.verdict) == (running.reload_id, Verdict.CANCELLED)
    assert b.judged.error_type == "agent_interrupted"
    assert [e.generation for e in b.effects if isinstance(e, fx.Switch)] == [1]


def test_one_that_waited_for_room_is_begun_anew() -> None:
    a = begun(full(), 4)
    b = survivor(a)
    assert generations(b) == [(3, "ready"), (1, "stopping"), (2, "draining")]
    r = b.service().running
    assert r is not None
    assert facts.PhaseEnded("web", r.id, "apply", "agent_interrupted") in b.facts
    b.read(4)
    ends(b, 1, TERM)
    assert b.last(fx.Spawn).generation == 4


def test_after_another_boot_nobody_is_there() -> None:
    b = survivor(replaced(), found=False, beside=False, boot="another")
    assert (generations(b), b.phase()) == ([], "down")
    b.read(2)
    assert b.last(fx.Spawn).generation == 3


def test_those_of_a_service_that_is_no_longer_declared_are_stopped() -> None:
    others = (Other(2, "draining", identity(5), "R"), Other(4, "ready", identity(6)))
    m = Memory("old", "boot", generation=3, phase="down", issued=4, others=others)
    a = agent(WEB, memories={"old": m}, found_beside={("old", 2), ("old", 4)}, boot="boot")
    assert a.service("old").spec.removed
    assert sorted(kills(a)) == [(2, "TERM"), (4, "TERM")]
    for generation in (2, 4):
        a.feed(ev.Exited("old", generation, TERM, empty=True))
    assert a.service("old").alive == ()
    assert a.phase("old") == "down"


def test_an_ending_agent_waits_for_those_it_found() -> None:
    b = survivor(replaced())
    b.feed(ev.ShutdownAsked(leave=False))
    assert sorted(kills(b)) == [(1, "TERM"), (2, "TERM")]
    ends(b, 2, TERM)
    assert "Leave" not in names(b.effects)
    ends(b, 1, TERM)
    assert "Leave" in names(b.effects)


def test_a_launch_by_a_reload_that_would_replace_is_begun_anew_too() -> None:
    a = agent(WEB).up()
    a.exited()
    a.reload()
    a.read(2)
    a.spawned(8)
    assert a.phase() == "starting"
    b = survivor(a)
    assert b.service().waiting is not None
    b.ready()
    b.read(2)
    assert b.last(fx.Spawn).beside
    assert told(a, facts.StepBegan) == ["process.start"]


def test_a_crash_and_a_second_agent_leave_the_numbers_in_order() -> None:
    a = born()
    ends(a, 2)
    b = survivor(a)
    b.feed(ev.RestartAsked("web", PERSON))
    b.exited(TERM)
    b.read(1)
    assert b.last(fx.Spawn).generation == 3


def test_what_was_being_killed_does_not_drain() -> None:
    b = survivor(replaced(), others=(Other(1, "killing", identity(7), "R"),))
    assert (generations(b), kills(b)) == ([(2, "ready"), (1, "stopping")], [(1, "TERM")])


def test_a_next_one_drains_for_its_own_services_reload() -> None:
    left = survivor(ready()).left
    asked = facts.Requested("db", "R-db", "t", "signal", PERSON, None, None)
    others = ((Record(1, 0, 0.0, "boot", asked),), *left.open_reloads)
    b = Agent((spec("db"), WEB), replace(left, open_reloads=others))
    (former,) = b.service().former
    assert former.reload_id == left.open_reloads[0][0].fact.reload_id  # type: ignore[union-attr]


def test_a_replacement_that_is_begun_anew_by_another_handle_begins_with_its_first_step() -> None:
    a = comparing()
    a.specs = (unchecked(spec("web", sockets=WEB.sockets)),)
    b = survivor(a)
    b.act(2)
    assert b.last(fx.SendReloadSignal).signal == "HUP"


def test_an_ending_agent_waits_for_what_drains_beside_nothing() -> None:
    b = survivor(replaced(), found=False)
    b.feed(ev.ShutdownAsked(leave=False))
    assert (b.phase(), generations(b)) == ("down", [(1, "stopping")])
    assert fx.Leave() not in b.effects
    ends(b, 1, TERM)
    assert b.effects[-1] == fx.Leave()
