"""A next generation that takes over by itself: it has the place when it is ready, and the former one ends by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.memory import Other
from agentd.core.spec import OnFailure, ProcessSpec, ReloadSpec, TcpProbe, Verify
from agentd.core.steps import Grade, Replace, SendSignal
from agentd.wire import Verdict
from tests.core.make import (
    BAD,
    CLEAN,
    PERSON,
    TERM,
    Agent,
    agent,
    identity,
    manifest,
    spec,
    survivor,
)
from tests.core.test_generations import begun, born, ends, generations, kills, speaks, switch, told

BY_REPLACE = ReloadSpec(handle="replace", steps=(Replace(),), timeout=5.0)
HOT = spec(
    "web",
    takes_over=True,
    reload=BY_REPLACE,
    stop_timeout=4.0,
    drain_timeout=30.0,
    max_generations=3,
)
PROBE = Verify(TcpProbe("h", 1), 1.0, 0.2, 2)


def up(**changes: Any) -> Agent:
    return agent(replace(HOT, **changes)).up()


def taken(a: Agent | None = None, n: int = 2) -> Agent:
    """The next one is ready; whether the bytes are still the same is being looked at."""
    a = born(a or up(), n)
    speaks(a, a.service().newest)
    return a


def replaced(a: Agent | None = None, n: int = 2) -> Agent:
    a = taken(a, n)
    a.read(n)
    assert a.judged.verdict is Verdict.APPLIED
    return a


def watched(**more: Any) -> Agent:
    """Up and found well, under a definition that looks after its health."""
    a = agent(replace(HOT, reload=replace(BY_REPLACE, verify=PROBE, **more)))
    a.read(1)
    a.spawned()
    a.ready()
    well(a)
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    return a


def well(a: Agent) -> None:
    """It is asked until its while is over."""
    probed(a, None)
    a.now += PROBE.seconds
    a.elapse("reload")
    probed(a, None)


def unwell(a: Agent) -> None:
    probed(a, "503")
    a.elapse("reload")
    probed(a, "503")


def probed(a: Agent, why: str | None) -> None:
    a.feed(ev.Probed(a.last(fx.Ask).token, why))


def count(a: Agent) -> tuple[int, int]:
    """Which generation was started last, and how many it is told have taken over with it."""
    spawn = a.last(fx.Spawn)
    return spawn.generation, spawn.takeovers


def test_ready_it_has_the_place_and_the_former_one_is_left_alone() -> None:
    a = taken()
    assert generations(a) == [(2, "ready"), (1, "draining")]
    assert not [e for e in a.effects if isinstance(e, fx.Switch | fx.Count | fx.Kill)]
    assert a.service().live is None, "nobody knows before the verdict"
    a.read(2)
    assert (a.judged.confirmation, a.judged.grade) == ("notify", Grade.PROVEN)
    assert a.service().live == manifest(2)
    assert told(a, facts.StepEnded) == ["process.start"]
    assert [f.generation for f in a.told(facts.Flipped)] == [2]
    ends(a, 1, CLEAN)
    assert generations(a) == [(2, "ready")]
    drained = a.told(facts.Drained)[-1]
    assert drained == facts.Drained("web", a.judged.reload_id, 1, 7, 0.0, None, None)


def test_at_the_limit_it_is_told_to_stop() -> None:
    a = replaced()
    arm = a.last(fx.Arm)
    assert (arm.token.machine, arm.delay) == ("instance", 30.0)
    a.feed(ev.Elapsed(arm.token), 29.5)  # of a definition with a lower limit, say
    assert kills(a) == []
    a.elapse("instance")
    assert kills(a) == [(1, "TERM")]


def test_each_is_told_how_many_took_over_one_from_the_other() -> None:
    a = up()
    assert count(a) == (1, 0)
    replaced(a, 2)
    assert count(a) == (2, 1)
    ends(a, 1, CLEAN)
    begun(a, 3)
    assert count(a) == (3, 2)
    ends(a, 3)
    assert a.judged.verdict is Verdict.REFUSED
    begun(a, 4)
    assert count(a) == (4, 2), "it takes over from the one that serves, not from one that failed"


def test_who_starts_anew_counts_on_while_a_former_one_is_there() -> None:
    a = replaced()
    ends(a, 2)
    a.elapse("instance.2")
    a.read(2)
    assert count(a) == (3, 1)
    a.spawned(pid=9)
    speaks(a, 3)
    ends(a, 1, CLEAN)
    ends(a, 3)
    a.read(2)
    a.elapse("instance.2")
    a.read(2)
    assert count(a) == (4, 0)


def test_one_that_failed_and_is_not_gone_yet_is_not_counted() -> None:
    a = begun(up())
    a.spawned(pid=9)
    ends(a, 2, empty=False)
    assert a.judged.verdict is Verdict.REFUSED
    assert generations(a) == [(1, "ready"), (2, "killing")]
    begun(a, 3)
    assert count(a) == (3, 1)


def test_under_another_agent_who_starts_anew_counts_on_too() -> None:
    b = survivor(replaced(replaced(), 3))
    assert generations(b) == [(3, "ready"), (1, "draining"), (2, "draining")]
    ends(b, 1, CLEAN)
    ends(b, 3)
    b.elapse("instance")
    b.read(3)
    assert count(b) == (4, 2)


def test_others_are_told_nothing() -> None:
    a = agent(replace(HOT, takes_over=False)).up()
    begun(a)
    assert count(a) == (2, 0)


def test_one_that_does_not_come_up_is_refused_and_the_former_one_goes_on() -> None:
    a = born(up())
    ends(a, 2)
    assert a.judged.verdict is Verdict.REFUSED
    assert generations(a) == [(1, "ready")]
    assert a.service().live == manifest(1)


def test_found_bad_it_stays_since_the_former_one_accepts_nothing_more() -> None:
    a = taken(watched())
    ask = a.last(fx.Ask)
    assert (ask.generation, ask.pid) == (2, 9)
    unwell(a)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "verify_failed")
    assert generations(a) == [(2, "ready"), (1, "draining")]
    assert a.service().live is None


def test_found_bad_what_was_good_is_taken_by_one_more() -> None:
    a = taken(watched(on_failure=OnFailure.RESTORE))
    unwell(a)
    a.feed(ev.Restored(a.last(fx.Restore).token, ("/etc/web.conf",), ""))
    a.read(1)
    assert count(a) == (3, 2)
    a.spawned(pid=10)
    speaks(a, 3)
    assert generations(a) == [(3, "ready"), (1, "draining"), (2, "draining")]
    well(a)
    a.read(1)
    assert a.judged.verdict is Verdict.ROLLED_BACK


def test_dead_within_the_reload_it_has_failed_and_is_started_again() -> None:
    a = taken()
    ends(a, 2)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert generations(a) == [(1, "draining")]
    assert a.phase() == "backoff"


def test_no_former_one_is_ended_to_make_room() -> None:
    a = replaced(up(max_generations=2))
    a.reload()
    a.read(3)
    assert generations(a) == [(2, "ready"), (1, "draining")]
    assert kills(a) == []
    ends(a, 1, CLEAN)
    assert count(a) == (3, 2)


def test_under_a_definition_that_takes_nothing_over_the_former_one_is_stopped() -> None:
    a = up()
    plain = replace(HOT, process=ProcessSpec(("web", "-v")), takes_over=False, digest="plain")
    a.feed(ev.DefinitionsLoaded((plain,), PERSON))
    a.read(1)
    assert count(a) == (2, 0)
    a.spawned(pid=9)
    speaks(a, 2)
    switch(a, moved=False)
    a.read(1)
    assert (a.judged.verdict, kills(a)) == (Verdict.APPLIED, [(1, "TERM")])


# After the agent died.


def test_what_drains_is_remembered_and_drains_on() -> None:
    a = replaced()
    id_ = a.judged.reload_id
    m = a.service().memory
    assert (m.takeovers, m.others) == (1, (Other(1, "draining", identity(7), id_),))
    b = survivor(a)
    assert generations(b) == [(2, "ready"), (1, "draining")]
    assert kills(b) == []
    begun(b, 3)
    assert count(b) == (3, 2)


def test_one_on_its_way_is_waited_for_and_its_reload_goes_on() -> None:
    a = born(up())
    id_ = a.told(facts.Requested)[-1].reload_id
    b = survivor(a)
    assert generations(b) == [(1, "ready"), (2, "starting")]
    assert kills(b) == []
    b.elapse("instance.2")  # a READY that met no agent is not waited for
    assert generations(b) == [(2, "ready"), (1, "draining")]
    b.read(2)
    assert b.judged.verdict is Verdict.UNVERIFIED
    assert b.judged.reload_id == id_


def test_one_on_its_way_that_fails_is_refused() -> None:
    b = survivor(born(up()))
    ends(b, 2)
    assert b.judged.verdict is Verdict.REFUSED
    assert generations(b) == [(1, "ready")]


def test_one_on_its_way_that_is_gone_is_started_anew() -> None:
    b = survivor(born(up()), beside=False)
    assert generations(b) == [(1, "ready")]
    b.read(2)
    assert count(b) == (3, 1)


def test_one_on_its_way_is_ended_where_nobody_wants_the_service() -> None:
    b = survivor(born(up()), want="down")
    assert kills(b) == [(1, "TERM"), (2, "TERM")]


def test_one_on_its_way_is_ended_where_the_way_back_is_another_one_by_now() -> None:
    a = taken(watched(on_failure=OnFailure.RESTORE))
    unwell(a)
    a.feed(ev.Restored(a.last(fx.Restore).token, ("/etc/web.conf",), ""))
    a.read(1)
    a.spawned(pid=10)
    b = survivor(a, specs=(replace(HOT, reload=ReloadSpec(steps=(SendSignal("HUP"),))),))
    assert (b.service().next, kills(b)) == (None, [(3, "KILL")])


def test_who_has_ended_the_former_one_meanwhile_has_its_place() -> None:
    b = survivor(born(up()), found=False)
    assert b.told(facts.Adopted) == [
        facts.Adopted("web", 1, 7, found=False),
        facts.Adopted("web", 2, 9, found=True),
    ]
    assert generations(b) == [(2, "starting")]
    assert b.service().live is None
    b.elapse("instance")
    b.read(2)
    assert b.judged.verdict is Verdict.UNVERIFIED
    assert generations(b) == [(2, "ready")]
    begun(b, 3)
    assert count(b) == (3, 2)


def test_one_that_had_the_place_goes_on_to_its_verdict() -> None:
    b = survivor(taken())
    assert generations(b) == [(2, "ready"), (1, "draining")]
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert (b.service().live, kills(b)) == (manifest(2), [])


def test_on_the_way_back_one_more_is_waited_for_too() -> None:
    a = taken(watched(on_failure=OnFailure.RESTORE))
    unwell(a)
    a.feed(ev.Restored(a.last(fx.Restore).token, ("/etc/web.conf",), ""))
    a.read(1)
    a.spawned(pid=10)
    b = survivor(a)
    assert generations(b) == [(2, "ready"), (3, "starting"), (1, "draining")]
    speaks(b, 3)
    well(b)
    b.read(1)
    assert b.judged.verdict is Verdict.ROLLED_BACK
    assert [x for x in kills(b) if x[1] == "KILL"] == []


def test_on_the_way_back_one_that_is_gone_is_not_taken_for_the_one_before() -> None:
    a = taken(watched(on_failure=OnFailure.RESTORE))
    unwell(a)
    a.feed(ev.Restored(a.last(fx.Restore).token, ("/etc/web.conf",), ""))
    a.read(1)
    a.spawned(pid=10)
    b = survivor(a, there={("web", 1)})
    assert generations(b) == [(2, "ready"), (1, "draining")]
    b.feed(ev.Restored(b.last(fx.Restore).token, ("/etc/web.conf",), ""))
    b.read(1)
    assert count(b) == (4, 2)


def test_the_end_of_who_was_told_to_stop_is_not_asked_for_twice() -> None:
    a = replaced()
    a.feed(ev.Elapsed(a.last(fx.Arm).token), 30.0)
    ends(a, 1, TERM)
    assert generations(a) == [(2, "ready")]
    ends(a, 2, BAD)
    assert a.phase() == "backoff"
