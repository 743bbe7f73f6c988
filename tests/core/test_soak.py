"""A change that is looked after for a long while after its verdict: who is asked, what ends it, what becomes of bad bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.instance import Phase
from agentd.core.memory import Soak
from agentd.core.spec import OnFailure, ProcessSpec, Restart, Spec, TcpProbe, Verify
from agentd.wire import Trigger, Verdict
from tests.core.make import (
    BAD,
    CLEAN,
    PERSON,
    Agent,
    Says,
    agent,
    manifest,
    spec,
    survivor,
    unchecked,
)

PROBE = TcpProbe("h", 1)
LONG = Verify(PROBE, 600.0, 60.0, 2)


def declared(on_failure: OnFailure = OnFailure.RESTORE, **more: Any) -> Spec:
    s = unchecked(spec("web", Says(), **more))
    return replace(s, reload=replace(s.reload, soak=LONG, on_failure=on_failure))


def up(s: Spec | None = None) -> Agent:
    """It runs bytes 1, which have soaked."""
    s = s or declared()
    a = agent(s)
    for slot in range(s.instances):
        a.up(1, pid=10 + slot)
    for _ in range(11):
        ask(a, None)
    assert [one.became for one in a.told(facts.Soaked)] == ["passed"]
    return a


def applied(a: Agent, n: int = 2, **more: Any) -> Agent:
    """A person's reload takes bytes ``n``, in each instance."""
    a.reload(**more)
    a.read(n)
    for _ in a.service().slots:
        a.baseline()
        a.signalled()
        a.sight("confirmed")
    a.read(n)
    assert a.judged.verdict is Verdict.APPLIED
    return a


def soaking(s: Spec | None = None) -> Agent:
    return applied(up(s))


def ask(a: Agent, why: str | None) -> fx.Ask:
    """The pause is over, and the probe says this."""
    a.elapse("soak")
    asked = a.last(fx.Ask)
    a.feed(ev.Probed(asked.token, why))
    return asked


def over(a: Agent) -> facts.Soaked:
    """The soak of the last reload has ended so."""
    assert a.service().soak is None
    assert a.service().memory.soak is None
    return a.told(facts.Soaked)[-1]


def test_it_begins_with_the_verdict_and_is_asked_seldom() -> None:
    a = soaking()
    began, id_ = a.now, a.judged.reload_id
    told = a.told(facts.SoakBegan)[-1]
    assert (told.reload_id, told.hash, told.version) == (id_, "sha256:2", "2")
    assert told.trace_id not in {one.trace_id for one in a.told(facts.Requested)}
    assert a.service().memory.soak == Soak(
        id_, told.trace_id, "sha256:2", "2", told.until_wall_ns, manifest(1)
    )
    first = ask(a, None)
    assert (first.probe, first.pid, first.generation, first.beside) == (PROBE, 10, 1, True)
    assert a.now == began + 60.0
    for _ in range(8):
        ask(a, None)
    assert a.service().soak is not None
    ask(a, None)
    assert a.now == began + 600.0
    assert over(a) == facts.Soaked("web", id_, "passed", 10, 0)
    assert a.service().last_good == manifest(2)
    assert a.verdicts[-1] is Verdict.APPLIED


def test_the_last_pause_ends_with_its_time() -> None:
    a = soaking(
        replace(declared(), reload=replace(declared().reload, soak=Verify(PROBE, 100.0, 60.0)))
    )
    ask(a, None)
    assert a.last(fx.Arm).delay == 40.0
    ask(a, None)
    assert over(a).passes == 2


def test_its_time_ends_with_an_answer_that_is_good_and_not_before() -> None:
    a = soaking()
    for _ in range(9):
        ask(a, None)
    ask(a, "answered 500")
    assert a.service().soak is not None
    assert a.last(fx.Arm).delay == 60.0
    ask(a, None)
    told = over(a)
    assert (told.became, told.passes, told.failures, told.why) == ("passed", 10, 1, "answered 500")


def test_bytes_that_do_no_good_are_put_back_by_a_reload_of_its_own() -> None:
    a = soaking()
    id_ = a.judged.reload_id
    ask(a, "answered 500")
    ask(a, None)
    ask(a, "answered 500")
    assert a.service().soak is not None, "not in a row"
    a.feed(ev.HoldAsked("web", PERSON))
    ask(a, "answered 503")
    told = over(a)
    assert told == facts.Soaked("web", id_, "failed", 1, 3, "answered 503, 2 times in a row")
    assert a.service().last_good == manifest(1)
    poison = a.service().quarantine
    assert poison is not None
    assert (poison.hash, poison.version) == ("sha256:2", "2")
    assert poison.reason == "2 did not do well: answered 503, 2 times in a row"
    asked = a.told(facts.Requested)[-1]
    assert (asked.cause.trigger, asked.link, asked.restore) == (Trigger.ROLLBACK, id_, "sha256:1")
    assert asked.cause.reason == poison.reason
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.act(1)
    a.sight("confirmed")
    a.read(1)
    assert (a.judged.verdict, a.service().live) == (Verdict.APPLIED, manifest(1))
    assert a.service().soak is None, "what was good before has soaked"
    assert a.service().quarantine is not None


def test_one_failure_may_be_enough_and_what_cannot_be_asked_is_one() -> None:
    s = declared()
    a = soaking(replace(s, reload=replace(s.reload, soak=Verify(PROBE, 600.0, 60.0, 1))))
    a.elapse("soak")
    a.failed(fx.Ask)
    assert over(a).why == "cannot do it, 1 time in a row"


def test_kept_bytes_are_quarantined_and_nothing_is_put_back() -> None:
    a = soaking(declared(OnFailure.KEEP))
    ask(a, "refused")
    ask(a, "refused")
    assert over(a).became == "failed"
    assert a.service().last_good == manifest(1)
    assert a.service().quarantine is not None
    assert a.told(facts.Requested)[-1].restore == ""
    assert a.service().live == manifest(2)


def test_the_first_bytes_of_all_have_nothing_to_fall_back_to() -> None:
    a = agent(declared()).up(1)
    ask(a, "refused")
    ask(a, "refused")
    assert over(a).became == "failed"
    assert (a.service().last_good, a.service().quarantine) == (manifest(1), None)
    assert len(a.verdicts) == 1


def test_a_service_that_ends_finds_the_good_bytes_at_its_next_start() -> None:
    a = soaking()
    a.exited(BAD)
    assert over(a).why == "it ended: exit code 3"
    assert len(a.verdicts) == 2, "no reload of one that is down"
    a.elapse()
    a.read(2)
    asked = a.last(fx.Restore)
    assert asked.hash == "sha256:1"
    a.feed(ev.Restored(asked.token, 1))
    a.read(1)
    a.spawned(8)
    a.ready()
    a.read(1)
    assert a.service().live == manifest(1)
    assert a.service().soak is None


@pytest.mark.parametrize(("how", "why"), [(Restart.ON_FAILURE, CLEAN), (Restart.NEVER, BAD)])
def test_an_end_that_nobody_asked_for_is_bad_also_where_no_start_follows(
    how: Restart, why: Any
) -> None:
    a = soaking(replace(declared(), restart=how))
    a.exited(why)
    assert over(a).became == "failed"


def test_who_stops_the_service_ends_it() -> None:
    a = soaking()
    a.feed(ev.StopAsked("web", PERSON))
    assert over(a).became == "stopped"
    assert a.service().quarantine is None


def test_a_restart_goes_on_soaking_with_the_next_process() -> None:
    a = soaking()
    a.feed(ev.RestartAsked("web", PERSON))
    a.exited()
    a.read(2)
    a.elapse("soak")
    assert a.last(fx.Ask).generation == 1, "nobody is there who could be asked"
    a.spawned(8)
    a.ready()
    a.elapse("soak")
    assert a.last(fx.Ask).generation == 1, "its start has not ended"
    a.read(2)
    assert ask(a, None).generation == 2
    assert a.service().soak.passes == 1  # type: ignore[union-attr]


def test_a_start_that_fails_with_them_tells_that_they_are_bad() -> None:
    a = soaking()
    a.feed(ev.RestartAsked("web", PERSON))
    a.exited()
    a.read(2)
    a.spawned(8)
    a.exited()
    assert over(a).became == "failed"
    assert a.service().last_good == manifest(1)


def test_the_same_bytes_once_more_go_on_soaking() -> None:
    a = soaking()
    first = a.service().memory.soak
    applied(a, 2)
    assert a.service().memory.soak == first
    assert len(a.told(facts.SoakBegan)) == 2


def test_other_bytes_overtake_it_and_fall_back_to_what_has_soaked() -> None:
    a = soaking()
    first = a.judged.reload_id
    ask(a, None)
    a.elapse("soak")
    asked = a.last(fx.Ask).token
    applied(a, 3)
    assert a.told(facts.Soaked)[-1] == facts.Soaked("web", first, "overtaken", 1, 0)
    assert fx.Cancel(asked) in a.effects
    told = a.service().memory.soak
    assert told is not None
    assert (told.hash, told.back) == ("sha256:3", manifest(1))
    a.feed(ev.Probed(asked, "refused"))
    assert a.service().soak.failures == 0, "an answer to what is awaited no more"  # type: ignore[union-attr]


def test_going_back_by_hand_to_what_has_soaked_is_no_soak() -> None:
    a = applied(soaking(), 1)
    assert over(a).became == "overtaken"
    assert fx.Disarm("web", "soak") in a.effects


def test_a_roll_back_by_hand_is_no_soak() -> None:
    a = up()
    applied(applied(a, 2), 3)
    a.feed(ev.ReloadAsked("web", PERSON, restore="sha256:2"))
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.act(2)
    a.sight("confirmed")
    a.read(2)
    assert over(a).became == "overtaken"
    a.feed(ev.Elapsed(a.last(fx.Arm).token))
    a.feed(ev.Elapsed(ev.Token("web", "soak", 1)))


def test_when_nobody_knows_what_runs_nobody_knows_how_it_does() -> None:
    a = soaking()
    a.reload()
    a.act(2)
    a.sight("confirmed")
    a.failed(fx.TakeSnapshot)
    assert a.service().live is None
    assert over(a).became == "unknown"


def test_other_bytes_that_run_without_the_proof_that_was_demanded_overtake_it_too() -> None:
    a = soaking()
    a.reload(require_proof=True)
    a.act(3)
    a.sight("confirmed")
    a.read(3)
    assert (a.judged.verdict, a.service().live) == (Verdict.UNVERIFIED, manifest(3))
    assert over(a).became == "overtaken"


def test_a_definition_without_it_ends_it() -> None:
    a = soaking()
    s = declared()
    a.feed(ev.DefinitionsLoaded((replace(s, reload=replace(s.reload, soak=None)),), PERSON, ()))
    assert over(a).became == "undeclared"


def test_what_was_not_applied_does_not_soak() -> None:
    a = up()
    a.reload(require_proof=True)
    a.act(2)
    a.sight("confirmed")
    a.read(2)
    assert a.judged.verdict is Verdict.UNVERIFIED
    assert len(a.told(facts.SoakBegan)) == 1


def test_a_start_that_its_check_had_condemned_does_not_soak() -> None:
    s = spec("web", Says())
    a = agent(replace(s, reload=replace(s.reload, soak=LONG)))
    a.read(1)
    a.check(1)
    a.spawned()
    a.ready()
    a.read(1)
    assert (a.judged.verdict, a.told(facts.SoakBegan)) == (Verdict.APPLIED, [])


def test_while_a_reload_acts_nobody_is_asked_and_no_answer_counts() -> None:
    a = soaking()
    a.elapse("soak")
    asked = a.last(fx.Ask).token
    a.reload()
    a.read(2)
    a.feed(ev.Probed(asked, "refused"))
    assert a.service().soak.failures == 0  # type: ignore[union-attr]
    a.elapse("soak")
    assert a.last(fx.Ask).token == asked


def test_what_one_that_is_gone_answered_does_not_count() -> None:
    a = soaking()
    a.elapse("soak")
    asked = a.last(fx.Ask).token
    a.feed(ev.RestartAsked("web", PERSON))
    a.exited()
    a.read(2)
    a.spawned(8)
    a.ready()
    a.read(2)
    a.feed(ev.Probed(asked, "refused"))
    assert a.service().soak.failures == 0  # type: ignore[union-attr]


def test_each_instance_is_asked_in_its_turn_and_each_counts() -> None:
    a = soaking(declared(instances=3))
    assert [ask(a, None).pid for _ in range(4)] == [10, 11, 12, 10]
    generation = a.service().slots[2].generation
    a.feed(ev.Exited("web", generation, BAD, empty=True))
    assert over(a).became == "failed"
    asked = a.told(facts.Requested)[-1]
    assert (asked.cause.trigger, asked.restore) == (Trigger.ROLLBACK, "sha256:1")


def test_a_trial_that_did_not_do_well_is_put_back_once() -> None:
    a = applied(up(), 2, confirm_within=3000.0)
    assert a.service().pending is not None
    ask(a, "refused")
    ask(a, "refused")
    assert a.service().pending is None
    assert fx.Disarm("web", "confirm") in a.effects
    assert a.told(facts.Requested)[-1].restore == "sha256:1"


def test_it_outlives_the_agent() -> None:
    a = soaking()
    ask(a, None)
    later = survivor(a)
    later.now = a.now
    assert later.service().memory.soak == a.service().memory.soak
    assert later.told(facts.SoakBegan) == []
    assert later.last(fx.Arm) == fx.Arm(ev.Token("web", "soak", 1), 60.0)
    assert later.service().phase is Phase.READY
    ask(later, "refused")
    ask(later, "refused")
    assert over(later).became == "failed"
    assert later.told(facts.Requested)[-1].restore == "sha256:1"


def test_one_that_no_definition_asks_for_any_more_ends_with_the_next_agent() -> None:
    a = soaking()
    later = survivor(a, specs=(unchecked(spec("web", Says())),))
    assert over(later).became == "undeclared"
    gone = survivor(a, specs=(Spec("other", ProcessSpec(("other",))),))
    assert gone.told(facts.Soaked)[-1].became == "undeclared"
