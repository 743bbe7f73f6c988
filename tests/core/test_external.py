"""Reloads that nobody here asked for: what shows them, and what does not."""

from __future__ import annotations

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.question import Question, Said
from agentd.core.spec import HttpProbe
from agentd.core.steps import Baseline, Sight, Worker
from agentd.evidence import Notify, Version, Workers
from tests.core.make import BAD, PERSON, Agent, agent, manifest, spec, unchecked

OLD, NEW, NEXT = (Worker(n, n, "worker") for n in (10, 20, 30))
NAMES = Version(Question(HttpProbe("http://h/"), names=True), "{version}")
RESULT = Version(Question(HttpProbe("http://h/")), "ok")


def seen(a: Agent, *workers: Worker, generation: int = 1) -> None:
    a.feed(ev.WorkersSeen("web", generation, workers))


def why(a: Agent) -> list[str]:
    return [f.why for f in a.told(facts.External)]


def up() -> Agent:
    return agent(unchecked(spec("web", Workers()))).up()


def applied(a: Agent) -> None:
    """A reload after which NEW serves."""
    a.reload()
    a.read(2)
    baseline = Baseline(15, (OLD,))
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, baseline))
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, a.now, baseline))
    a.feed(ev.Sighted(a.last(fx.Look).token, (Sight(True, 0.0, (NEW,)),)))
    a.read(2)
    assert a.judged.verdict == "applied"


def test_other_workers_than_the_known_ones_make_live_unknown() -> None:
    a = up()
    seen(a, OLD)
    assert a.service().live == manifest(1), "these are the first that anybody saw"
    seen(a, OLD, NEW)
    assert a.service().live == manifest(1), "one more is no reload"
    seen(a, NEW)
    assert a.service().live is None
    assert why(a) == ["its workers are new ones"]
    changed = a.told(facts.LiveChanged)[-1]
    assert changed.why == "reloaded behind the agent's back: its workers are new ones"
    seen(a, OLD)
    assert len(why(a)) == 1, "it is not known anyhow"


def test_the_workers_of_a_reload_of_ours_are_known() -> None:
    a = up()
    seen(a, OLD)
    applied(a)
    seen(a, NEW)
    assert a.service().live == manifest(2)
    seen(a, NEXT)
    assert a.service().live is None


def test_after_another_ending_nobody_knows_which_are_still_to_come() -> None:
    a = up()
    seen(a, OLD)
    a.reload()
    a.read(2)
    baseline = Baseline(15, (OLD,))
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, baseline))
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, a.now, baseline))
    a.now += 6
    a.feed(ev.Sighted(a.last(fx.Look).token, (Sight(True, 6.0, (OLD,)),)))
    assert a.judged.verdict == "timed_out"
    assert a.service().workers == {}


def test_a_reload_that_touched_nothing_leaves_them_known() -> None:
    a = agent(spec("web", Workers())).up()
    seen(a, OLD)
    a.reload()
    a.read(2)
    a.check(1)
    assert a.judged.verdict == "rejected"
    assert a.service().workers == {1: (OLD,)}


def test_a_look_of_another_time_says_nothing() -> None:
    a = up()
    seen(a, OLD)
    seen(a, NEW, generation=2)
    a.reload()
    seen(a, NEW)
    assert a.service().live == manifest(1)
    assert a.service().workers == {1: (OLD,)}


def test_workers_of_an_instance_that_ended_are_forgotten() -> None:
    a = up()
    seen(a, OLD)
    a.feed(ev.StopAsked("web", PERSON))
    a.exited()
    assert a.service().workers == {}
    seen(a, OLD)
    assert a.service().workers == {}


def test_the_next_reload_finds_it_out_before_it_acts() -> None:
    a = up()
    seen(a, OLD)
    a.reload()
    a.read(2)
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(15, (NEW,))))
    assert why(a) == ["its workers are new ones"]


def test_an_answer_to_a_baseline_that_is_not_awaited_says_nothing() -> None:
    a = up()
    seen(a, OLD)
    a.reload()
    a.read(2)
    token = a.last(fx.TakeBaseline).token
    a.feed(ev.BaselineDone(token, Baseline(15, (OLD,))))
    a.feed(ev.BaselineDone(token, Baseline(15, (NEW,))))
    assert why(a) == []


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((Said("1"), Said("no")), []),
        ((Said("7"), Said("no")), ["it says that it runs 7"]),
        ((Said(why="connection refused"), Said("no")), []),
        ((), []),
    ],
    ids=["what is live", "something else", "nothing", "nobody asked"],
)
def test_what_it_names_before_the_act_tells_what_others_did(
    answers: tuple[Said, ...], told: list[str]
) -> None:
    a = agent(unchecked(spec("web", NAMES, RESULT))).up()
    a.reload()
    a.read(2)
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(1, answers=answers)))
    assert why(a) == told


def test_what_is_not_known_cannot_be_contradicted() -> None:
    a = agent(unchecked(spec("web", NAMES))).up()
    a.feed(ev.Notified("web", 1, reloading=0.5))
    a.reload()
    a.read(2)
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(1, answers=(Said("7"),))))
    assert why(a) == ["it said RELOADING=1 unasked"]


def test_reloading_is_only_said_unasked_when_no_reload_acts() -> None:
    a = agent(unchecked(spec("web", Notify()))).up()
    a.reload()
    a.act(2)
    a.feed(ev.Notified("web", 1, reloading=a.now))
    assert why(a) == []
    b = agent(unchecked(spec("web", Notify()))).up()
    b.feed(ev.Notified("web", 1, ready=True))
    b.feed(ev.Notified("web", 2, reloading=0.5))
    assert why(b) == []
    b.feed(ev.Notified("web", 1, reloading=0.5))
    assert why(b) == ["it said RELOADING=1 unasked"]
    assert b.service().live is None


def three() -> Agent:
    a = agent(unchecked(spec("web", Workers(), instances=3)))
    for slot in range(3):
        a.up(1, pid=10 + slot)
    return a


def test_each_of_several_instances_has_workers_of_its_own() -> None:
    a = three()
    for generation, workers in ((1, OLD), (2, NEW), (3, NEXT)):
        seen(a, workers, generation=generation)
    assert a.service().live == manifest(1), "these are the first that anybody saw"
    for generation, workers in ((1, OLD), (2, NEW), (3, NEXT)):
        seen(a, workers, generation=generation)
    assert a.service().live == manifest(1)
    seen(a, OLD, generation=3)
    assert a.service().live is None
    assert [(f.generation, f.why) for f in a.told(facts.External)] == [
        (3, "its workers are new ones")
    ]
    assert [i.runs for i in a.service().slots] == [manifest(1), manifest(1), None]


def test_the_word_of_any_of_several_instances_counts() -> None:
    a = three()
    a.feed(ev.Notified("web", 2, reloading=5.0))
    assert why(a) == ["it said RELOADING=1 unasked"]
    assert a.service().live is None


def test_after_a_reload_of_several_the_workers_that_are_seen_next_are_known() -> None:
    a = three()
    for generation in (1, 2, 3):
        seen(a, OLD, generation=generation)
    a.reload()
    a.read(2)
    for _ in range(3):
        baseline = Baseline(15, (OLD,))
        a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, baseline))
        a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, a.now, baseline))
        a.feed(ev.Sighted(a.last(fx.Look).token, (Sight(True, 0.0, (NEW,)),)))
    a.read(2)
    assert (a.judged.verdict, a.service().workers) == ("applied", {})
    seen(a, NEW, generation=2)
    assert a.service().live == manifest(2)
    seen(a, NEXT, generation=2)
    assert a.service().live is None


def test_those_of_one_of_several_that_ended_are_forgotten() -> None:
    a = three()
    for generation in (1, 2, 3):
        seen(a, OLD, generation=generation)
    a.feed(ev.Exited("web", 2, BAD, empty=True))
    assert set(a.service().workers) == {1, 3}
