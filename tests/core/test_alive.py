"""A service that is asked whether it still serves: when, who, and what so many failures mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.plan import Action, change
from agentd.core.spec import Alive, Spec, TcpProbe
from agentd.wire import Verdict
from tests.core.make import BAD, PERSON, Agent, Says, agent, identity, spec, survivor, unchecked

ALIVE = Alive(TcpProbe("h", 1), 10.0, 2)


def asked(alive: Alive | None = ALIVE, **changes: Any) -> Spec:
    return unchecked(spec(alive=alive, **changes))


def answers(a: Agent, why: str | None = None, machine: str = "alive.1") -> None:
    a.elapse(machine)
    a.feed(ev.Probed(a.last(fx.Ask).token, why))


def why(a: Agent) -> tuple[str, str]:
    last = a.told(facts.PhaseEntered)[-1]
    return last.phase, last.why


def test_it_is_asked_again_and_again_and_only_its_own_answer_counts() -> None:
    a = agent(asked()).up()
    assert a.last(fx.Arm) == fx.Arm(ev.Token("web", "alive.1", a.service().serial), 10.0)
    a.elapse("alive.1")
    ask = a.last(fx.Ask)
    assert (ask.probe, ask.pid, ask.generation, ask.beside) == (ALIVE.probe, 7, 1, True)
    a.feed(ev.Probed(ask.token, None))
    assert a.last(fx.Arm).delay == 10.0


def test_so_many_failures_in_a_row_are_its_end_and_it_is_started_again() -> None:
    a = agent(asked()).up()
    answers(a, "refused")
    answers(a)
    answers(a, "refused")
    assert a.service().asking[0].failures == 1
    assert a.phase() == "ready"
    answers(a, "no answer")
    assert why(a) == ("stopping", "not alive, asked 2 times in a row: no answer")
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=False)
    assert a.service().asking == ()
    a.exited()
    assert why(a) == ("backoff", "not alive, asked 2 times in a row: no answer")
    assert a.service().instance.failures == 1
    a.elapse()
    a.read(1)
    a.spawned(8)
    a.feed(ev.Notified("web", 2, ready=True))
    a.read(1)
    assert a.last(fx.Arm).token.machine == "alive.2"


def test_once_may_be_enough_and_a_probe_that_cannot_be_done_is_no_answer() -> None:
    a = agent(asked(replace(ALIVE, threshold=1))).up()
    a.elapse("alive.1")
    a.failed(fx.Ask)
    assert why(a) == ("stopping", "not alive, asked once: cannot do it")


def test_nobody_asks_while_a_reload_runs_and_counting_begins_anew() -> None:
    a = agent(asked()).up()
    answers(a, "refused")
    a.elapse("alive.1")
    probe = a.last(fx.Ask).token
    a.reload()
    assert fx.Cancel(probe) in a.effects
    assert a.service().asking == ()
    a.feed(ev.Probed(probe, "refused"))
    a.feed(ev.CancelAsked("web", a.service().running.id, PERSON))  # type: ignore[union-attr]
    assert a.judged.verdict is Verdict.CANCELLED
    assert [one.failures for one in a.service().asking] == [0]
    a.reload()
    assert a.effects.count(fx.Disarm("web", "alive.1")) == 1


def test_an_answer_that_is_awaited_no_more_is_dropped() -> None:
    a = agent(asked()).up()
    before = a.service().asking
    a.feed(ev.Probed(ev.Token("web", "alive.1", 1), "refused"))
    a.feed(ev.Elapsed(ev.Token("web", "alive.1", 1)))
    assert a.service().asking == before


def test_who_stops_is_not_asked() -> None:
    a = agent(asked()).up()
    a.feed(ev.StopAsked("web", PERSON))
    assert a.effects.count(fx.Disarm("web", "alive.1")) == 1
    assert a.service().asking == ()


def test_while_its_main_process_is_sought_nobody_asks() -> None:
    a = agent(asked(pid_file="/run/web.pid")).up()
    a.feed(ev.MainSought(a.last(fx.SeekMain).token, identity(), "the pid file"))
    a.exited(BAD, empty=False)
    assert a.service().instance.lost
    assert a.service().asking == ()
    a.feed(ev.MainSought(a.last(fx.SeekMain).token, identity(8), "the pid file"), 1.0)
    a.elapse("alive.1")
    assert a.last(fx.Ask).pid == 8


def test_each_of_several_is_asked_by_itself() -> None:
    a = agent(asked(instances=2))
    for generation in (1, 2):
        a.read(1)
        a.spawned(6 + generation)
        a.feed(ev.Notified("web", generation, ready=True))
        a.read(1)
    assert [one.generation for one in a.service().asking] == [1, 2]
    for generation in (1, 2):
        answers(a, "refused", f"alive.{generation}")
    answers(a, "refused", "alive.1")
    answers(a, None, "alive.2")
    assert [i.phase.value for i in a.service().slots] == ["stopping", "ready"]
    b = agent(asked(replace(ALIVE, threshold=1), instances=2))
    for generation in (1, 2):
        b.read(1)
        b.spawned(6 + generation)
        b.feed(ev.Notified("web", generation, ready=True))
        b.read(1)
    answers(b, "refused", "alive.2")
    assert [i.phase.value for i in b.service().slots] == ["ready", "stopping"]


@pytest.mark.parametrize("first", [None, ALIVE])
def test_another_definition_is_in_force_without_a_restart(first: Alive | None) -> None:
    second = replace(ALIVE, interval=3.0) if first is None else None
    old, new = asked(first), asked(second)
    changed = change(old, new)
    assert changed is not None
    assert (changed.action, changed.keys) == (Action.UPDATE, ("alive",))
    a = agent(old).up()
    a.feed(ev.DefinitionsLoaded((new,), PERSON))
    assert a.phase() == "ready"
    assert len(a.service().asking) == (first is None)


def test_the_next_agent_asks_too() -> None:
    a = agent(asked()).up()
    answers(a, "refused")
    b = survivor(a)
    assert [one.failures for one in b.service().asking] == [0]
    assert b.last(fx.Arm).delay == 10.0


def test_a_service_whose_definition_has_no_such_question_is_left_alone() -> None:
    a = agent(unchecked(spec("web", Says()))).up()
    assert a.service().asking == ()
    a.feed(ev.Elapsed(ev.Token("web", "alive.1", 3)))
