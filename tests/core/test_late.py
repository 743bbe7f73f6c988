"""Evidence that comes after a reload timed out: how long it is looked for, and what it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.manifest import Missing
from agentd.core.plan import plan
from agentd.core.steps import Baseline, Grade, Sight
from agentd.core.value import replace
from agentd.evidence import Delivered, Notify, Reread
from agentd.wire import Verdict
from tests.core.make import PERSON, WATCH, Agent, Says, agent, manifest, names, spec, unchecked

if TYPE_CHECKING:
    from agentd.core.steps import Evidence


def timed_out(*confirm: Evidence) -> Agent:
    """At 6 s; the reload could take 5."""
    a = agent(unchecked(spec("web", *(confirm or (Says(),)))))
    a.up()
    a.reload()
    a.act(2)
    a.now = 6.0
    look(a, None)
    assert a.judged.verdict is Verdict.TIMED_OUT
    assert a.service().live is None
    return a


def look(a: Agent, *said: str | None, alive: bool = True) -> None:
    a.sight(*said, alive=alive, since=9.0)


def later(a: Agent) -> fx.Look:
    a.elapse("late")
    return a.last(fx.Look)


def told(a: Agent) -> list[facts.LateEvidence]:
    return a.told(facts.LateEvidence)


def test_what_comes_late_makes_known_what_is_live_and_the_verdict_stays() -> None:
    a = timed_out()
    late = later(a)
    assert late.token.machine == "late"
    look(a, "confirmed")
    a.read(2)
    assert a.service().live == manifest(2)
    id_ = a.judged.reload_id
    assert told(a) == [
        facts.LateEvidence("web", id_, "says", Grade.OBSERVED, manifest(2).hash, "2")
    ]
    assert a.told(facts.LiveChanged)[-1].why == f"late evidence of {id_}"
    assert a.verdicts[1:] == [Verdict.TIMED_OUT]
    assert a.service().late is None


def test_it_is_looked_for_ten_times_as_long_and_ever_less_often() -> None:
    a = timed_out()
    pauses = []
    while a.service().late is not None:
        pauses.append(a.last(fx.Arm).delay)
        later(a)
        look(a, None)
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert a.now == 6.0 + 9 * 5.0
    assert not told(a)


@pytest.mark.parametrize(
    ("said", "alive"), [("contradicted", True), ("unable", True), ("confirmed", False)]
)
def test_it_is_given_up_when_it_cannot_come(said: str, *, alive: bool) -> None:
    a = timed_out()
    later(a)
    look(a, said, alive=alive)
    assert a.service().late is None
    assert a.service().live is None


def test_inputs_that_moved_meanwhile_leave_it_unknown() -> None:
    for found in (3, Missing("missing_input", "gone")):
        a = timed_out()
        later(a)
        look(a, "confirmed")
        a.read(found)
        assert (a.service().late, a.service().live) == (None, None)


def test_a_look_that_fails_is_the_last() -> None:
    a = timed_out()
    later(a)
    a.failed(fx.Look)
    assert a.service().late is None


def test_answers_to_what_is_awaited_no_more_are_dropped() -> None:
    a = timed_out()
    first = later(a).token
    look(a, None)
    a.feed(ev.Sighted(first, (Sight(True, 1.0, (), "confirmed"),)))
    a.feed(ev.Elapsed(first))
    assert a.service().late is not None
    a.feed(ev.StopAsked("web", PERSON))
    a.exited()
    a.feed(ev.Elapsed(first))
    assert a.service().late is None


def test_another_reload_takes_its_place() -> None:
    a = timed_out()
    a.reload()
    assert a.service().late is None
    assert fx.Disarm("web", "late") in a.effects
    b = timed_out()
    token = later(b).token
    b.reload()
    assert fx.Cancel(token) in b.effects


def test_the_end_of_the_instance_is_its_end() -> None:
    a = timed_out()
    a.exited()
    assert a.service().late is None


def test_a_service_that_speaks_late_is_asked_at_once() -> None:
    a = timed_out(Notify())
    a.feed(ev.Notified("web", 2, ready=True))
    a.feed(ev.Notified("web", 1, reloading=a.now))
    token = a.last(fx.Look).token
    a.feed(ev.Notified("web", 1, ready=True))
    assert a.last(fx.Look).token == token, "one look at a time"
    look(a, None)
    a.read(2)
    assert a.service().live == manifest(2)
    assert not a.told(facts.External), "it was asked for"


@pytest.mark.parametrize("evidence", [Reread(), Delivered()])
def test_what_cannot_come_late_is_not_looked_for(evidence: Evidence) -> None:
    a = agent(unchecked(spec("web", evidence))).up()
    a.reload()
    a.act(2)
    a.now = 6.0
    nothing_yet = Sight(True, 0.1, opened=frozenset())
    a.feed(ev.Sighted(a.last(fx.Look).token, (nothing_yet,)))
    assert a.judged.verdict is Verdict.TIMED_OUT
    assert a.service().late is None


def test_other_endings_leave_nothing_to_wait_for() -> None:
    a = agent(unchecked(spec("web", Says()))).up()
    a.reload()
    a.act(2)
    look(a, "contradicted")
    assert a.judged.verdict is Verdict.REFUSED
    assert a.service().late is None


def test_the_next_agent_does_not_look() -> None:
    a = timed_out()
    assert "late" not in repr(a.service().memory)
    assert "Baseline" not in names([a.service().memory])


def test_another_definition_without_evidence_ends_it() -> None:
    for seen in (True, False):
        a = timed_out()
        later(a)
        bare = unchecked(spec("web"))
        if seen:
            look(a, "confirmed")
        assert plan({"web": a.service().spec}, (bare,))
        a.feed(ev.DefinitionsLoaded((bare,), WATCH))
        if seen:
            a.read(2)
        else:
            look(a, "confirmed")
        live = manifest(2) if seen else None
        assert (a.service().late, a.service().live) == (None, live)


def test_without_a_reading_there_is_nothing_to_make_known() -> None:
    a = agent(unchecked(spec("web", Says()))).up()
    a.reload()
    a.act(2)
    running = a.service().running
    assert running is not None
    bare = replace(a.service(), running=replace(running, manifest=None))
    a.host = replace(a.host, services={"web": bare})
    a.now = 6.0
    look(a, None)
    assert a.judged.verdict is Verdict.TIMED_OUT
    assert a.service().late is None
    assert running.baseline == Baseline(0)


def test_another_definition_ends_the_waiting_since_its_evidence_is_another_one() -> None:
    a = timed_out()
    arm = a.last(fx.Arm)
    s = a.service().spec
    other = replace(s, reload=replace(s.reload, confirm=(Says(Grade.DECLARED),)))
    a.feed(ev.DefinitionsLoaded((other,), PERSON, ()))
    assert a.service().spec.reload.confirm == other.reload.confirm
    assert a.service().late is None
    assert fx.Disarm("web", "late") in a.effects
    a.feed(ev.Elapsed(arm.token))
    assert (a.service().live, told(a)) == (None, [])
