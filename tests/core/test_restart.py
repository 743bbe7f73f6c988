"""The restart handle: a reload that stops the one that serves and starts another, with a gap between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.events import Origin
from agentd.core.spec import ReadyProbe, ReloadSpec, TcpProbe
from agentd.core.steps import Grade, Restart
from agentd.wire import Verdict
from tests.core.make import BAD, PERSON, TERM, Agent, agent, manifest, names, spec, survivor

BY_RESTART = ReloadSpec(handle="restart", steps=(Restart(),), timeout=5.0)
WEB = spec("web", reload=BY_RESTART, stop_timeout=4.0)


def up(**changes: Any) -> Agent:
    return agent(replace(WEB, **changes)).up()


def ending(a: Agent | None = None) -> Agent:
    a = a or up()
    a.reload()
    a.read(2)
    a.feed(ev.WrittenDown(a.last(fx.WriteDown).token))
    return a


def launching(a: Agent | None = None) -> Agent:
    a = ending(a)
    a.exited(TERM)
    return a


def stage(a: Agent) -> str:
    r = a.service().running
    return "" if r is None else r.stage.value


def steps(a: Agent) -> list[str]:
    id_ = a.told(facts.Requested)[-1].reload_id
    mine = [f for f in a.told(facts.StepEnded) if f.reload_id == id_]
    return [f.step + (f"!{f.error_type}" if f.error_type else "") for f in mine]


def test_what_cannot_be_written_down_is_not_done() -> None:
    a = up()
    a.reload()
    a.read(2)
    assert (stage(a), a.phase(), a.last(fx.WriteDown).token.machine) == (
        "noting",
        "ready",
        "reload",
    )
    a.failed(fx.WriteDown, "journal_unavailable")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "journal_unavailable")
    assert (a.phase(), a.service().live) == ("ready", manifest(1))
    assert steps(a) == ["process.stop!journal_unavailable"]


def test_one_that_dies_before_it_is_stopped_has_failed() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")


def test_it_is_stopped_then_started() -> None:
    a = ending()
    assert (stage(a), a.phase()) == ("ending", "stopping")
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=False)
    arms = [e for e in a.effects if isinstance(e, fx.Arm) and e.token.machine == "reload"]
    assert arms[-1].delay == 4.0 + 5.0
    began = a.told(facts.StepBegan)[-1]
    assert (began.step, began.pid) == ("process.stop", 7)
    assert a.service().live == manifest(1), "until it is gone"
    a.now = 2.0
    a.exited(TERM)
    r = a.service().running
    assert r is not None
    assert (stage(a), a.phase(), a.service().live) == ("launching", "starting", None)
    assert (r.timer, fx.Disarm("web", "reload") in a.steps[-1].effects) == (None, True)
    spawn = a.last(fx.Spawn)
    assert (spawn.generation, spawn.beside) == (2, False)
    assert spawn.origin == Origin(r.id, r.trace_id, "sha256:2", "2")
    stopped = a.told(facts.StepEnded)[-1]
    assert (stopped.step, stopped.at, stopped.error_type) == ("process.stop", 2.0, "")
    assert a.told(facts.StepBegan)[-1].step == "process.start"
    a.spawned(8)
    a.now = 3.0
    a.ready()
    started = a.told(facts.StepEnded)[-1]
    assert (started.step, started.at, started.pid) == ("process.start", 3.0, 8)
    a.read(2)
    judged = a.judged
    assert (judged.verdict, judged.generation, judged.pid) == (Verdict.APPLIED, 2, 8)
    assert (judged.confirmation, judged.grade, judged.handle) == (
        "notify",
        Grade.PROVEN,
        "restart",
    )
    s = a.service()
    assert (s.live, s.last_good, s.restarts) == (manifest(2), manifest(2), 0)
    assert (s.memory.generation, s.memory.issued) == (2, 0)
    assert steps(a) == ["process.stop", "process.start"]
    began_phases = [f.phase for f in a.told(facts.PhaseBegan) if f.reload_id == judged.reload_id]
    assert began_phases == ["snapshot", "apply", "commit"]
    assert "SendReloadSignal" not in names(a.effects)


def test_it_is_confirmed_by_how_it_got_ready() -> None:
    a = agent(replace(WEB, ready=ReadyProbe(TcpProbe("h", 1))))
    a.read(1)
    a.spawned()
    a.feed(ev.Probed(a.last(fx.Ask).token, None))
    a.read(1)
    launching(a)
    a.spawned(8)
    a.feed(ev.Probed(a.last(fx.Ask).token, None))
    a.read(2)
    assert (a.judged.confirmation, a.judged.grade) == ("ready", Grade.OBSERVED)


def test_the_group_must_be_gone_before_the_next_is_started() -> None:
    a = ending()
    a.exited(TERM, empty=False)
    assert stage(a) == "ending"
    assert "Spawn" not in names(a.steps[-1].effects)
    a.emptied()
    assert a.last(fx.Spawn).generation == 2


def test_a_stubborn_one_is_killed_within_the_same_reload() -> None:
    a = ending()
    a.elapse()
    assert (a.phase(), stage(a)) == ("killing", "ending")
    a.exited(TERM)
    assert stage(a) == "launching"


def test_one_that_never_ends_is_a_failure_and_its_start_comes_when_it_does() -> None:
    a = ending()
    a.elapse()
    a.elapse("reload")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "stop_timeout")
    assert a.judged.message == "the processes of web cannot be ended"
    assert (a.phase(), a.service().live) == ("killing", None)
    assert fx.Disarm("web", "reload") in a.steps[-1].effects
    told = len(a.verdicts)
    a.exited(TERM)
    assert len(a.verdicts) == told
    a.read(2)
    assert a.last(fx.Spawn).generation == 2


def test_a_start_that_fails_leaves_it_down_and_started_again() -> None:
    a = launching()
    a.spawned(8)
    a.exited(BAD)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "exit_3")
    assert (a.judged.message, a.judged.output) == ("exit code 3", ("last words",))
    assert steps(a) == ["process.stop", "process.start!exit_3"]
    assert (a.phase(), a.service().quarantine) == ("backoff", None)
    a.elapse()
    a.read(2)
    assert a.last(fx.Spawn).generation == 3
    assert a.service().restarts == 1


def test_one_that_dies_while_its_inputs_are_compared_has_failed() -> None:
    a = launching()
    a.spawned(8)
    a.ready()
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert a.service().live is None


@pytest.mark.parametrize("when", ["ending", "launching"])
def test_a_stop_after_the_act_leaves_its_outcome_unknown(when: str) -> None:
    a = ending() if when == "ending" else launching()
    a.feed(ev.StopAsked("web", PERSON))
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_stopped")
    assert a.judged.message == "stop of web was asked for"
    assert a.service().live is None
    if when == "launching":
        a.spawned(8)
    a.exited(TERM)
    assert (a.phase(), a.service().running) == ("down", None)


def test_before_the_act_it_is_simply_not_run() -> None:
    a = up()
    a.reload()
    a.feed(ev.StopAsked("web", PERSON))
    assert a.judged.verdict is Verdict.CANCELLED


def test_a_restart_asked_for_meanwhile_is_the_callers_own() -> None:
    a = ending()
    a.feed(ev.RestartAsked("web", PERSON, 5))
    assert a.judged.error_type == "service_stopped"
    a.exited(TERM)
    answer = a.last(fx.Answer).answer
    assert isinstance(answer, fx.Accepted)
    assert a.told(facts.Requested)[-1].reload_id == answer.reload_id


@pytest.mark.parametrize("when", ["ending", "launching"])
def test_a_start_asked_for_meanwhile_joins_it(when: str) -> None:
    a = ending() if when == "ending" else launching()
    r = a.service().running
    assert r is not None
    a.feed(ev.StartAsked("web", PERSON, 5))
    assert a.last(fx.Answer) == fx.Answer(5, fx.Accepted(r.id, r.trace_id, joined=True))
    assert a.service().next_start is None
    if when == "ending":
        a.exited(TERM)
    a.spawned(8)
    a.ready()
    a.read(2)
    a.exited()
    assert (a.phase(), a.service().instance.timer is not None) == ("backoff", True)


def test_what_is_said_by_the_one_that_goes_is_not_its_successors_word() -> None:
    a = launching()
    a.feed(ev.Notified("web", 1, ready=True))
    a.spawned(8)
    a.feed(ev.Notified("web", 1, ready=True))
    assert a.phase() == "starting"


# When the agent dies in between.


def test_an_agent_that_died_before_anything_was_stopped_begins_anew() -> None:
    a = up()
    a.reload()
    a.read(2)
    b = survivor(a)
    assert b.told(facts.Judged) == []
    b.read(2)
    assert (stage(b), b.phase(), b.service().live) == ("noting", "ready", manifest(1))


def test_an_agent_that_died_while_it_was_stopped_cannot_tell_and_starts_it() -> None:
    b = survivor(ending())
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.FAILED, "agent_interrupted")
    assert b.judged.message == "the agent died in between and cannot tell what runs now"
    assert (b.phase(), b.service().live) == ("stopping", None)
    b.exited(TERM)
    b.read(2)
    assert b.last(fx.Spawn).generation == 2


def test_an_agent_that_died_while_the_next_was_started_goes_on() -> None:
    a = launching()
    a.spawned(8)
    b = survivor(a)
    assert (stage(b), b.phase()) == ("launching", "starting")
    b.ready()
    b.read(2)
    assert (b.judged.verdict, b.judged.handle) == (Verdict.APPLIED, "restart")
    assert b.judged.generation == 2
