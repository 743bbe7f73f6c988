"""A service with several instances: started, reloaded, replaced and ended one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts, reload
from agentd.core.instance import Phase
from agentd.core.reload_value import Act, Reload, Stage
from agentd.core.spec import Backoff, SocketKind, SocketSpec, StartLimit
from agentd.core.steps import Grade, Replace, RunCommand
from agentd.core.steps import Restart as ByRestart
from agentd.wire import ExitCode, Verdict
from tests.core.make import (
    BAD,
    CLEAN,
    PERSON,
    TERM,
    Agent,
    Says,
    agent,
    manifest,
    names,
    spec,
    survivor,
    unchecked,
)

TCP = SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80)
STEPS = {"restart": (ByRestart(),), "replace": (Replace(),), "exec": (RunCommand(("take",)),)}


def declared(n: int = 3, handle: str = "signal", grade: Grade = Grade.OBSERVED, **more: Any) -> Any:
    """A service with so many instances and no check."""
    made = replace(unchecked(spec("web", Says(grade), instances=n)), **more)
    if handle in STEPS:
        made = replace(
            made, reload=replace(made.reload, handle=handle, steps=STEPS[handle], confirm=())
        )
    return made


def up(n: int = 3, handle: str = "signal", **more: Any) -> Agent:
    """All of them are started, with pids from 10 on."""
    a = agent(declared(n, handle, **more))
    for slot in range(n):
        a.up(1, pid=10 + slot)
    return a


def reading(*args: Any, **more: Any) -> Agent:
    """``up``, and a reload that has read bytes 2."""
    a = up(*args, **more)
    a.reload()
    a.read(2)
    return a


def phases(a: Agent) -> list[str]:
    return [i.phase.value for i in a.service().slots]


def pids(a: Agent) -> list[int | None]:
    return [i.process.pid if i.process else None for i in a.service().slots]


def became(a: Agent) -> list[str]:
    return [one.became for one in a.judged.instances]


def dies(a: Agent, slot: int, end: Any = BAD) -> None:
    a.feed(ev.Exited("web", a.service().slots[slot].generation, end, empty=True))


def signal(a: Agent, said: str = "confirmed") -> None:
    """One turn of a reload by signal."""
    a.baseline()
    a.signalled()
    a.sight(said)


def replaced(a: Agent, pid: int, *, moved: bool = True) -> None:
    """One turn of a replacement."""
    a.spawned(pid)
    next_ = a.service().next
    assert next_ is not None
    a.feed(ev.Notified("web", next_.generation, ready=True))
    a.feed(ev.Switched(a.last(fx.Switch).token, a.now, moved))


# Starts.


def test_instances_are_started_one_after_the_other() -> None:
    a = agent(declared(2))
    a.read(1)
    assert len([e for e in a.effects if isinstance(e, fx.Spawn)]) == 1
    a.spawned(10)
    a.ready()
    assert phases(a) == ["ready", "down"]
    assert a.service().phase is Phase.DOWN
    a.read(1)
    a.up(1, pid=11)
    assert phases(a) == ["ready", "ready"]
    assert pids(a) == [10, 11]
    assert [e.slot for e in a.effects if isinstance(e, fx.Spawn)] == [0, 1]
    assert [i.generation for i in a.service().slots] == [1, 2]
    assert a.service().live is not None
    assert a.service().phase is Phase.READY


def test_a_start_tells_which_instance_it_is_about() -> None:
    a = up(2)
    turns = a.told(facts.TurnBegan)
    assert [one.instance for one in turns] == [0, 1]
    assert [(t.instance, t.generation, t.pid) for t in a.told(facts.TurnEnded)] == [
        (0, 1, 10),
        (1, 2, 11),
    ]
    assert [one.instance for one in a.judged.instances] == [1]
    spawn = a.last(fx.Spawn)
    assert spawn.origin is not None
    assert spawn.origin.within == "instance.1/"


def test_with_one_instance_nothing_is_told_of_turns() -> None:
    a = up(1)
    assert not a.told(facts.TurnBegan)
    assert a.judged.instances == ()
    assert a.last(fx.Spawn).origin.within == ""  # type: ignore[union-attr]


def test_one_that_crashes_does_not_keep_the_others_from_serving() -> None:
    a = up(3)
    dies(a, 1)
    assert phases(a) == ["ready", "backoff", "ready"]
    assert a.service().phase is Phase.BACKOFF
    assert a.service().serves
    a.elapse("slot.1")
    assert a.service().instance.slot == 1
    a.up(1, pid=20)
    assert phases(a) == ["ready", "ready", "ready"]
    assert pids(a) == [10, 20, 12]
    assert a.service().restarts == 1


def test_one_that_is_given_up_leaves_the_others() -> None:
    limit = StartLimit(burst=1, interval=60)
    a = up(2, start_limit=limit)
    dies(a, 1)
    assert phases(a) == ["ready", "failed"]
    assert a.service().phase is Phase.FAILED
    assert a.service().live is not None


def test_what_runs_is_known_when_all_that_are_ready_run_the_same() -> None:
    a = up(2)
    dies(a, 1)
    assert a.service().live is not None
    a.elapse("slot.1")
    a.up(2, pid=20)
    assert a.service().live is None
    dies(a, 0)
    assert a.service().live is not None
    assert a.service().live.hash == "sha256:2"  # type: ignore[union-attr]


def test_a_start_of_one_that_has_finished_is_asked_for_by_name() -> None:
    a = up(2)
    dies(a, 1, CLEAN)
    assert phases(a) == ["ready", "down"]
    assert a.service().running is None
    a.feed(ev.StartAsked("web", PERSON, 1))
    assert a.service().running is not None
    a.up(1, pid=20)
    assert pids(a) == [10, 20]
    a.feed(ev.StartAsked("web", PERSON, 2))
    assert a.last(fx.Answer).answer == fx.Done()


def test_stop_and_restart_are_about_all_of_them() -> None:
    a = up(3)
    a.feed(ev.StopAsked("web", PERSON))
    assert phases(a) == ["stopping"] * 3
    for slot in range(3):
        dies(a, slot, TERM)
    assert phases(a) == ["down"] * 3
    a.feed(ev.StartAsked("web", PERSON, 1))
    for slot in range(3):
        a.up(1, pid=30 + slot)
    a.feed(ev.RestartAsked("web", PERSON, 2))
    assert phases(a) == ["stopping"] * 3
    dies(a, 1, TERM)
    a.read(1)
    assert phases(a) == ["stopping", "starting", "stopping"]


def test_the_agent_waits_for_the_last_instance_before_it_leaves() -> None:
    a = up(2)
    a.feed(ev.ShutdownAsked(leave=False))
    dies(a, 0, TERM)
    assert "Leave" not in names(a.effects)
    dies(a, 1, TERM)
    assert "Leave" in names(a.effects)


def test_who_requires_it_waits_for_all_to_have_had_their_try_and_needs_one() -> None:
    other = replace(unchecked(spec("app")), requires=("web",))
    a = agent(declared(2), other)
    a.up(1, pid=10)
    assert a.phase("app") == "down"
    a.read(1)
    a.spawned(11)
    dies(a, 1)
    assert phases(a) == ["ready", "backoff"]
    assert a.service("app").running is not None


# Reloads.


def test_who_waited_for_a_reload_beside_one_that_has_finished_starts_when_it_ends() -> None:
    a = agent(declared(2), unchecked(spec("app", after=("web",))))
    a.feed(ev.StopAsked("app", PERSON))
    a.up(1, pid=10)
    a.up(1, pid=11)
    dies(a, 1, CLEAN)
    a.reload()
    a.read(2)
    a.feed(ev.StartAsked("app", PERSON))
    assert a.service("app").running is None
    signal(a)
    a.read(2)
    assert a.service("web").running is None
    assert a.service("app").running is not None


def test_a_reload_reads_once_and_acts_on_one_after_the_other() -> None:
    a = up(3)
    a.effects.clear()
    a.reload()
    a.read(2)
    for slot in range(3):
        assert a.service().instance.slot == slot
        assert a.last(fx.TakeBaseline).pid == 10 + slot
        signal(a)
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert became(a) == ["taken"] * 3
    assert [one.pid for one in a.judged.instances] == [10, 11, 12]
    assert len([e for e in a.effects if isinstance(e, fx.TakeSnapshot)]) == 2
    assert [e.pid for e in a.effects if isinstance(e, fx.SendReloadSignal)] == [10, 11, 12]
    assert a.service().live.hash == "sha256:2"  # type: ignore[union-attr]


def test_each_turn_has_its_own_phases_and_its_own_time() -> None:
    a = up(2)
    a.facts.clear()
    a.reload()
    a.read(2)
    signal(a)
    signal(a)
    told = [
        getattr(f, "phase", getattr(f, "instance", None))
        for f in a.facts
        if isinstance(f, facts.PhaseBegan | facts.TurnBegan | facts.TurnEnded)
    ]
    assert told == ["snapshot", 0, "apply", "confirm", 0, 1, "apply", "confirm", 1, "commit"]
    timeout = a.service().spec.reload.timeout
    assert a.service().running.deadline == a.now + timeout  # type: ignore[union-attr]


def test_the_first_that_refuses_is_what_it_was() -> None:
    a = reading(3)
    signal(a, "contradicted")
    assert a.judged.verdict is Verdict.REFUSED
    assert became(a) == ["not_taken", "untouched", "untouched"]
    assert a.service().live.hash == "sha256:1"  # type: ignore[union-attr]


def test_a_later_one_that_refuses_makes_it_partial() -> None:
    a = reading(3)
    signal(a)
    signal(a, "contradicted")
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["taken", "not_taken", "untouched"]
    assert a.judged.error_type == "contradicted"
    assert a.judged.message == (
        "instance 0 took it, instance 1 did not, instance 2 was not touched: says contradicts it"
    )
    assert a.service().live is None
    assert a.service().attempted.verdict is Verdict.PARTIAL  # type: ignore[union-attr]
    assert a.service().running is None
    assert [t.error_type for t in a.told(facts.TurnEnded)][-2:] == ["", "contradicted"]
    a.reload()
    a.read(2)
    for _ in range(3):
        signal(a)
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.service().live.hash == "sha256:2"  # type: ignore[union-attr]


def test_a_later_one_that_dies_makes_it_partial() -> None:
    a = reading(2)
    signal(a)
    a.baseline()
    a.signalled()
    dies(a, 1)
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["taken", "not_taken"]
    assert a.judged.error_type == "service_died"


def test_one_that_took_it_and_dies_stops_the_others() -> None:
    a = reading(3)
    signal(a)
    a.baseline()
    dies(a, 0)
    a.signalled()
    a.sight("confirmed")
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["died", "taken", "untouched"]
    assert a.judged.error_type == "exit_3"


def test_one_that_dies_after_the_last_turn_makes_it_partial() -> None:
    a = reading(2)
    signal(a)
    signal(a)
    dies(a, 0)
    a.read(2)
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["died", "taken"]
    assert a.service().last_good.hash == "sha256:1"  # type: ignore[union-attr]


def test_the_last_one_that_dies_before_the_verdict_makes_it_partial() -> None:
    a = reading(2)
    signal(a)
    signal(a)
    dies(a, 1)
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["taken", "not_taken"]


def test_one_that_nothing_was_done_to_may_die_and_is_left_out() -> None:
    a = reading(3)
    a.baseline()
    dies(a, 1)
    a.signalled()
    a.sight("confirmed")
    assert a.service().instance.slot == 2
    signal(a)
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert became(a) == ["taken", "down", "taken"]
    assert "instance 1 was not up" in a.judged.message
    assert a.service().running.act == "launch"  # type: ignore[union-attr]
    assert a.service().instance.slot == 1


def test_the_last_one_left_may_die_and_it_is_compared() -> None:
    a = reading(2)
    a.baseline()
    dies(a, 1)
    a.signalled()
    a.sight("confirmed")
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert became(a) == ["taken", "down"]


def test_inputs_that_moved_are_seen_once_at_the_end() -> None:
    a = reading(2)
    signal(a)
    signal(a)
    a.read(3)
    assert a.judged.verdict is Verdict.UNVERIFIED
    assert a.service().live is None
    assert a.service().waiting is None
    assert a.service().running is not None


def test_one_rejected_before_the_act_touches_nobody() -> None:
    a = agent(replace(spec("web", Says(), instances=2)))
    for pid in (10, 11):
        a.read(1)
        if a.service().running.stage.value == "checking":  # type: ignore[union-attr]
            a.check()
        a.spawned(pid)
        a.ready()
        a.read(1)
    a.reload()
    a.read(2)
    a.check(1)
    assert a.judged.verdict is Verdict.REJECTED
    assert became(a) == ["untouched", "untouched"]


def test_where_none_is_ready_new_bytes_start_them_all() -> None:
    a = up(2, start_limit=StartLimit(1, 60))
    dies(a, 0)
    dies(a, 1)
    assert phases(a) == ["failed", "failed"]
    a.reload()
    a.up(2, pid=20)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.judged.handle == "signal"
    assert phases(a) == ["ready", "failed"]


def test_a_reload_waits_for_a_start_that_is_under_way() -> None:
    a = up(2)
    dies(a, 1)
    a.elapse("slot.1")
    a.reload()
    a.read(1)
    a.spawned(20)
    a.ready()
    a.read(1)
    assert a.service().running is not None
    assert a.service().running.act == "recipe"


def test_a_reload_that_some_took_cannot_be_cancelled() -> None:
    a = up(2)
    a.reload(reply=1)
    a.read(2)
    signal(a)
    id_ = a.service().running.id  # type: ignore[union-attr]
    a.feed(ev.CancelAsked("web", id_, PERSON, 2))
    answer = a.last(fx.Answer).answer
    assert isinstance(answer, fx.Turned)
    assert answer.exit_code is ExitCode.STILL_RUNNING
    a.feed(ev.StopAsked("web", PERSON))
    assert a.judged.verdict is Verdict.FAILED
    assert a.judged.error_type == "service_stopped"


def test_a_command_is_told_which_instance_it_is_for() -> None:
    a = reading(2, "exec")
    for slot in range(2):
        a.baseline()
        asked = a.last(fx.Perform)
        assert asked.generation == slot + 1
        assert asked.place == f"instance.{slot}/apply/exec take"
        a.feed(ev.Performed(asked.token, a.now, 0))
        a.sight(since=1.0)
    a.read(2)
    assert a.judged.verdict is Verdict.UNVERIFIED


@pytest.mark.parametrize("lives", [True, False])
def test_a_restart_stops_one_when_the_one_before_is_ready(lives: bool) -> None:  # noqa: FBT001
    a = reading(2, "restart")
    for slot in range(2):
        a.feed(ev.WrittenDown(a.last(fx.WriteDown).token))
        assert phases(a)[slot] == "stopping"
        assert a.service().serves
        dies(a, slot, TERM)
        a.spawned(20 + slot)
        if slot and not lives:
            a.exited()
        else:
            a.ready()
    if lives:
        a.read(2)
        assert a.judged.verdict is Verdict.APPLIED
        assert pids(a) == [20, 21]
        assert a.service().live.hash == "sha256:2"  # type: ignore[union-attr]
    else:
        assert a.judged.verdict is Verdict.PARTIAL
        assert became(a) == ["taken", "not_taken"]


# Replacements.


def test_a_replacement_takes_one_place_after_the_other() -> None:
    a = reading(3, "replace", sockets=(TCP,))
    for slot in range(3):
        assert a.last(fx.Spawn).slot == slot
        assert a.last(fx.Spawn).beside
        replaced(a, 20 + slot)
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert pids(a) == [20, 21, 22]
    assert [i.generation for i in a.service().slots] == [4, 5, 6]
    assert sorted(i.slot for i in a.service().former) == [0, 1, 2]
    assert all(i.phase is Phase.DRAINING for i in a.service().former)
    assert [(o.generation, o.pid) for o in a.judged.instances] == [(4, 20), (5, 21), (6, 22)]
    assert a.service().live.hash == "sha256:2"  # type: ignore[union-attr]


def test_a_next_generation_that_does_not_come_up_makes_it_partial() -> None:
    a = reading(3, "replace", sockets=(TCP,))
    replaced(a, 20)
    a.spawned(21)
    a.feed(ev.Exited("web", a.service().next.generation, BAD, empty=True))  # type: ignore[union-attr]
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["taken", "not_taken", "untouched"]
    assert pids(a) == [20, 11, 12]
    assert a.service().next is None


def test_a_next_generation_that_dies_before_the_verdict_gives_way() -> None:
    a = reading(2, "replace", sockets=(TCP,))
    replaced(a, 20)
    replaced(a, 21)
    a.feed(ev.Exited("web", a.service().next.generation, BAD, empty=True))  # type: ignore[union-attr]
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["taken", "not_taken"]
    assert a.judged.instances[1].pid == 11
    assert pids(a) == [20, 11]
    assert a.last(fx.Switch).generation == 2


def test_each_instance_has_its_own_former_generations() -> None:
    a = reading(2, "replace", sockets=(TCP,), max_generations=2)
    replaced(a, 20)
    replaced(a, 21)
    a.read(2)
    a.reload()
    a.read(3)
    assert a.service().running.stage.value == "clearing"  # type: ignore[union-attr]
    stopped = [i for i in a.service().former if i.phase is Phase.STOPPING]
    assert [i.slot for i in stopped] == [0]


def test_a_replacement_that_is_stopped_midway_is_told_so() -> None:
    a = reading(2, "replace")
    replaced(a, 20, moved=False)
    a.spawned(21)
    a.feed(ev.StopAsked("web", PERSON))
    assert a.judged.verdict is Verdict.FAILED
    assert a.service().next is None


def test_one_that_is_started_beside_others_gets_its_share_when_it_is_ready() -> None:
    a = up(2, sockets=(TCP,))
    assert [e.generation for e in a.effects if isinstance(e, fx.Switch)] == [1, 2]
    dies(a, 0)
    a.reload()  # another instance is the one whose turn it is
    a.read(1)
    a.elapse("instance")
    signal(a)
    a.read(1)
    a.up(1, pid=20)
    assert a.last(fx.Switch).generation == 3


# Another number of them.


def redefined(a: Agent, n: int, **more: Any) -> None:
    new = replace(a.service().spec, instances=n, **more)
    a.feed(ev.DefinitionsLoaded((new,), PERSON))


def test_more_are_started_and_the_others_are_not_touched() -> None:
    a = up(1)
    redefined(a, 3)
    assert phases(a) == ["ready", "down", "down"]
    a.up(1, pid=11)
    a.up(1, pid=12)
    assert pids(a) == [10, 11, 12]
    assert a.service().live is not None


@pytest.mark.parametrize("held", [True, False])
def test_fewer_drain_and_the_others_are_not_touched(held: bool) -> None:  # noqa: FBT001
    a = up(3, sockets=(TCP,) if held else ())
    dies(a, 2)
    redefined(a, 1)
    assert pids(a) == [10]
    assert [i.generation for i in a.service().former] == [2]
    assert a.service().former[0].phase is (Phase.DRAINING if held else Phase.STOPPING)
    assert ("Withdraw" in names(a.effects)) == held
    a.feed(ev.Exited("web", 2, TERM, empty=True))
    assert a.service().former == ()
    assert not a.told(facts.Drained)
    redefined(a, 2)
    a.up(1, pid=20)
    assert a.service().slots[1].generation == 4


def test_a_number_is_given_again_while_the_one_that_had_it_drains() -> None:
    a = up(2, sockets=(TCP,))
    redefined(a, 1)
    redefined(a, 2)
    machines = [i.machine for i in (*a.service().slots, *a.service().former)]
    assert len(set(machines)) == 3
    a.up(1, pid=20)
    assert pids(a) == [10, 20]


def test_fewer_when_a_higher_one_has_had_the_last_turn() -> None:
    a = up(2)
    assert a.service().instance.slot == 1
    redefined(a, 1)
    assert a.service().instance.slot == 0
    assert phases(a) == ["ready"]


# Another agent.


def beside(a: Agent) -> set[tuple[str, int]]:
    """What a survivor finds of the instances behind the first, and of those beside them."""
    m = a.service().memory
    places = {("web", p.generation) for p in m.places if p.process}
    return places | {("web", o.generation) for o in m.others}


def after(a: Agent, *, found: bool = True, specs: Any = None, **changes: Any) -> Agent:
    return survivor(a, found=found, there=beside(a) if found else set(), specs=specs, **changes)


def test_every_instance_is_adopted_in_its_place() -> None:
    a = up(3)
    dies(a, 0)
    a.elapse("instance")
    a.up(1, pid=20)
    b = after(a)
    assert phases(b) == ["ready"] * 3
    assert pids(b) == [20, 11, 12]
    assert [i.generation for i in b.service().slots] == [4, 2, 3]
    assert b.service().live is not None
    dies(b, 1)
    b.elapse("slot.1")
    b.up(1, pid=30)
    assert b.service().slots[1].generation == 5
    assert b.service().live is not None


def test_those_that_died_meanwhile_are_started_again() -> None:
    a = up(2)
    b = survivor(a, there=set())
    assert phases(b) == ["ready", "backoff"]
    assert b.service().live is not None
    c = after(a, found=False)
    assert phases(c) == ["backoff", "backoff"]
    assert c.service().live is None


def test_what_was_given_up_or_had_finished_stays_so() -> None:
    a = up(3, start_limit=StartLimit(1, 60))
    dies(a, 1)
    dies(a, 2, CLEAN)
    b = after(a)
    assert phases(b) == ["ready", "failed", "down"]
    assert b.service().running is None


def test_a_start_that_had_not_begun_is_not_that_of_another_instance() -> None:
    a = agent(spec("web", Says(), instances=2))
    for n in range(2):
        a.read()
        if not n:
            a.check()
        a.spawned(10 + n)
        a.feed(ev.Notified("web", 1 + n, ready=True))
        a.read()
    dies(a, 1)
    a.elapse("slot.1")
    a.read(2)
    assert a.service().running is not None
    assert a.service().running.stage.value == "checking"
    b = after(a)
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.FAILED, "agent_interrupted")
    assert not b.told(facts.StepEnded)
    assert phases(b)[0] == "ready"


def test_fewer_are_declared_when_the_next_agent_comes() -> None:
    a = up(3, sockets=(TCP,))
    b = after(a, specs=(declared(1, sockets=(TCP,)),))
    assert pids(b) == [10]
    assert sorted(i.generation for i in b.service().former) == [2, 3]
    assert {e.generation for e in b.effects if isinstance(e, fx.Withdraw)} == {2, 3}
    c = survivor(a, there=set(), specs=(declared(1),))
    assert c.service().former == ()
    dies(a, 2)
    e = after(a, specs=(declared(1),))
    assert [i.generation for i in e.service().former] == [2]
    d = after(a, specs=(declared(5),))
    assert phases(d)[:3] == ["ready", "ready", "down"]
    assert len(phases(d)) == 5


def test_one_that_drains_for_nobody_drains_on_under_the_next_agent() -> None:
    a = up(2, sockets=(TCP,))
    redefined(a, 1)
    b = after(a, specs=(a.service().spec,))
    assert [i.phase for i in b.service().former] == [Phase.DRAINING]


def test_a_reload_goes_on_with_the_instance_it_was_at() -> None:
    a = reading(3)
    signal(a)
    a.baseline()
    a.signalled()
    b = after(a)
    assert b.service().running is not None
    assert b.service().instance.slot == 1
    b.sight("confirmed")
    signal(b)
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert became(b) == ["taken"] * 3


def test_a_reload_that_had_not_acted_on_the_second_begins_there() -> None:
    a = reading(3)
    signal(a)
    b = after(a)
    b.read(2)
    assert b.service().instance.slot == 1
    signal(b)
    signal(b)
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert became(b) == ["taken"] * 3
    ended = [t for t in b.told(facts.TurnEnded) if t.error_type]
    assert [t.instance for t in ended] == [1]
    assert [e.pid for e in b.effects if isinstance(e, fx.SendReloadSignal)] == [11, 12]


def test_other_bytes_than_some_took_are_for_all() -> None:
    a = reading(2)
    signal(a)
    b = after(a)
    b.read(3)
    signal(b)
    assert b.service().instance.slot == 0
    signal(b)
    b.read(3)
    assert b.judged.verdict is Verdict.APPLIED
    assert b.service().live.hash == "sha256:3"  # type: ignore[union-attr]


def test_one_that_took_it_and_died_with_the_agent_makes_it_partial() -> None:
    a = reading(3)
    signal(a)
    a.baseline()
    a.signalled()
    b = survivor(a, found=False, there=beside(a))
    b.sight("confirmed")
    assert b.judged.verdict is Verdict.PARTIAL
    assert became(b) == ["died", "taken", "untouched"]


def test_a_replacement_goes_on_with_those_that_are_left() -> None:
    a = reading(2, "replace", sockets=(TCP,))
    replaced(a, 20)
    a.spawned(21)
    b = after(a)
    assert {e.generation for e in b.effects if isinstance(e, fx.Switch)} == {3, 2}
    b.read(2)
    assert b.last(fx.Spawn).slot == 1
    replaced(b, 30)
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert pids(b) == [20, 30]
    assert became(b) == ["taken", "taken"]


def test_the_last_replacement_is_done_again_when_it_had_no_verdict() -> None:
    a = reading(2, "replace", sockets=(TCP,))
    replaced(a, 20)
    replaced(a, 21)
    b = after(a)
    assert pids(b) == [20, 11]
    b.read(2)
    replaced(b, 30)
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert pids(b) == [20, 30]


def test_what_is_left_had_taken_it_when_the_agent_died() -> None:
    a = reading(2)
    signal(a)
    b = survivor(a, there=set())
    b.read(2)
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert became(b) == ["taken", "down"]


@pytest.mark.parametrize(
    ("said", "grade"),
    [
        (("confirmed", "confirmed"), Grade.PROVEN),
        (("agreed", "confirmed"), Grade.OBSERVED),
        (("confirmed", "agreed"), Grade.OBSERVED),
    ],
)
def test_it_is_proven_when_it_is_proven_of_each(said: tuple[str, ...], grade: Grade) -> None:
    a = reading(2, grade=Grade.PROVEN)
    for one in said:
        signal(a, one)
    a.read(2)
    assert (a.judged.verdict, a.judged.grade) == (Verdict.APPLIED, grade)


def test_what_an_earlier_agent_heard_of_one_is_no_proof() -> None:
    a = reading(2, grade=Grade.PROVEN)
    signal(a)
    a.baseline()
    a.signalled()
    b = after(a)
    b.sight("confirmed")
    b.read(2)
    assert (b.judged.verdict, b.judged.grade) == (Verdict.APPLIED, Grade.OBSERVED)


def test_a_replacement_beside_one_that_is_down_goes_back() -> None:
    a = reading(3, "replace", sockets=(TCP,))
    dies(a, 1)
    a.spawned(20)
    b = after(a)
    assert {e.generation for e in b.effects if isinstance(e, fx.Switch)} == {1, 3}


def test_one_that_was_starting_for_nobody_gets_its_share() -> None:
    a = up(2, sockets=(TCP,))
    dies(a, 1)
    a.elapse("slot.1")
    a.read(1)
    a.spawned(20)
    a.steps.clear()
    b = after(a)
    assert b.service().running is None
    b.elapse("slot.1")
    assert phases(b) == ["ready", "ready"]
    assert b.last(fx.Switch).generation == 3


def test_all_had_taken_it_when_the_agent_died() -> None:
    a = reading(2)
    signal(a)
    signal(a)
    b = after(a)
    b.sight("confirmed")
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert became(b) == ["taken", "taken"]


@pytest.mark.parametrize("started", [True, False])
def test_a_restart_goes_on_with_the_instance_it_was_at(started: bool) -> None:  # noqa: FBT001
    a = reading(3, "restart")
    a.feed(ev.WrittenDown(a.last(fx.WriteDown).token))
    dies(a, 0, TERM)
    a.spawned(20)
    a.ready()
    a.feed(ev.WrittenDown(a.last(fx.WriteDown).token))
    dies(a, 1, TERM)
    if started:
        a.spawned(21)
        b = after(a)
        assert b.service().instance.slot == 1
        b.elapse("slot.1")
        assert b.service().instance.slot == 2
        b.feed(ev.WrittenDown(b.last(fx.WriteDown).token))
        dies(b, 2, TERM)
        b.spawned(22)
        b.ready()
        b.read(2)
        assert b.judged.verdict is Verdict.APPLIED
        assert became(b) == ["taken"] * 3
    else:
        b = after(a)
        assert b.judged.verdict is Verdict.PARTIAL
        assert became(b) == ["taken", "not_taken", "untouched"]


def test_a_start_of_one_goes_on_under_the_next_agent() -> None:
    a = up(2, backoff=Backoff(1.0))
    dies(a, 1)
    a.elapse("slot.1")
    a.read(1)
    a.spawned(20)
    b = after(a)
    assert b.service().instance.slot == 1
    assert b.service().running is not None
    b.elapse("slot.1")
    b.read(1)
    assert phases(b) == ["ready", "ready"]


def test_evidence_that_cannot_tell_of_a_later_one_makes_it_partial() -> None:
    a = reading(2)
    signal(a)
    a.baseline()
    a.signalled()
    a.sight("unable", since=1.0)
    assert a.judged.verdict is Verdict.PARTIAL
    assert became(a) == ["taken", "unverified"]


@pytest.mark.parametrize("instances", [1, 2])
def test_an_agent_that_died_among_them_leaves_nobody_who_knows_what_is_live(instances: int) -> None:
    a = reading(2, "replace", sockets=(TCP,))
    replaced(a, 20)
    a.specs = (replace(a.specs[0], instances=instances),)
    b = after(a)
    assert b.service().live is None
    assert b.told(facts.LiveChanged)[-1].hash is None


def test_one_that_some_have_taken_and_that_waits_for_its_turn_again_may_be_stopped() -> None:
    """Another agent began it anew, and who has not taken it cannot be started yet."""
    a = up(2)
    r = Reload("R", "t", PERSON, 0.0, taken=(facts.Outcome(0, 1, 10, "taken"),))
    r, _, notes = reload.step(r, ev.Abort("stop of web was asked for"), a.service().view, 1.0)
    assert r.ending is not None
    assert (r.ending.verdict, r.ending.error_type) == (Verdict.FAILED, "service_stopped")
    assert [note for note in notes if isinstance(note.fact, facts.PhaseEnded)] == []


def test_what_a_start_has_taken_is_nothing_when_nobody_serves_any_more() -> None:
    a = up(2)
    dies(a, 0)
    dies(a, 1)
    view = replace(a.service().view, live=manifest(1))
    r = Reload(
        "R",
        "t",
        PERSON,
        0.0,
        Act.LAUNCH,
        stage=Stage.READING,
        started_with=("notify", Grade.PROVEN),
    )
    found = ev.SnapshotDone(ev.Token("web", "reload", 5), manifest(1))
    r, _, _ = reload.step(replace(r, awaiting=5), found, view, 1.0)
    assert (r.ending, r.stage) == (None, Stage.LAUNCHING)
