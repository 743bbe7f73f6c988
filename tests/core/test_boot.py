"""What the next agent makes of what the last one left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.boot import Left
from agentd.core.facts import Cause, Record
from agentd.core.memory import Hold, Memory, Want
from agentd.core.spec import (
    ProcessSpec,
    ReloadSpec,
    Restart,
    SocketKind,
    SocketSpec,
    StartLimit,
)
from agentd.core.steps import Grade, RunCommand, SendSignal
from agentd.evidence.reply import Reply
from agentd.wire import Trigger, Verdict
from tests.core.make import (
    BAD,
    CLEAN,
    PERSON,
    Agent,
    Says,
    agent,
    identity,
    manifest,
    names,
    spec,
    survivor,
    unchecked,
)

PLAIN = unchecked(spec("web", Says()))


def up() -> Agent:
    return agent(PLAIN).up()


def test_nothing_changed_so_nothing_is_done() -> None:
    b = survivor(up())
    assert (b.phase(), b.effects, b.service().live) == ("ready", [], manifest(1))
    assert names(b.facts) == ["Adopted"]


def test_want_hold_and_judgements_are_remembered() -> None:
    a = up()
    a.feed(ev.HoldAsked("web", PERSON))
    a.reload()
    b = survivor(a)
    assert b.service().hold == a.service().hold
    assert b.service().memory == replace(b.service().memory, hold=a.service().hold)
    assert (b.service().last, b.service().attempted) == (a.service().last, a.service().attempted)
    assert b.service().last_good == manifest(1)


def after(a: Agent, wall_s: float) -> Agent:
    """The agent that comes ``wall_s`` seconds of wall time after the first one's start."""
    memories = {s.spec.name: replace(s.memory, boot="boot") for s in a.host.services.values()}
    left = Left(memories, set(memories), (), "boot")
    return Agent(a.specs, left, now=3.0, wall_ms=int(wall_s * 1000))


@pytest.mark.parametrize(("wall_s", "remains"), [(4.0, 6.5), (10.5, 0.0), (60.0, 0.0)])
def test_a_hold_ends_when_it_was_to_end(wall_s: float, remains: float) -> None:
    a = up()
    a.now = 0.5
    a.feed(ev.HoldAsked("web", PERSON, seconds=10.0))
    assert a.service().hold.until_wall_ns == 10_500_000_000  # type: ignore[union-attr]
    b = after(a, wall_s)
    arm = b.last(fx.Arm)
    assert (arm.token.machine, arm.delay) == ("hold", remains)
    assert b.service().hold
    b.elapse("hold")
    assert b.service().hold is None


def test_a_hold_without_an_end_has_none_after_a_restart() -> None:
    a = up()
    a.feed(ev.HoldAsked("web", PERSON))
    b = after(a, 60.0)
    assert b.service().hold == Hold(user="alice")
    assert b.effects == []


def test_a_hold_that_is_set_anew_after_a_restart_has_one_end() -> None:
    a = up()
    a.feed(ev.HoldAsked("web", PERSON, seconds=10.0))
    b = after(a, 4.0)
    old = b.last(fx.Arm)
    b.feed(ev.HoldAsked("web", PERSON, seconds=20.0))
    b.feed(ev.Elapsed(old.token), 6.0)
    assert b.service().hold
    b.elapse("hold")
    assert b.service().hold is None


@pytest.mark.parametrize("how", ["alone", "joined", "given up for another"])
def test_what_a_request_demanded_is_not_lost(how: str) -> None:
    a = agent(unchecked(spec("web", Says()))).up()
    if how != "alone":
        a.feed(ev.ReloadAsked("web", Cause(Trigger.HANGUP)))
    if how == "joined":
        a.feed(ev.ReloadAsked("web", Cause(Trigger.HANGUP)))
    a.reload(require_proof=True)
    if how == "joined":
        a.read(1)
    b = survivor(a)
    b.act(1)
    b.sight("confirmed")
    b.read(1)
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.UNVERIFIED, "not_proven")


@pytest.mark.parametrize("if_changed", [True, False])
def test_if_changed_is_not_lost(*, if_changed: bool) -> None:
    a = agent(unchecked(spec("web", Says()))).up()
    a.reload(if_changed=if_changed)
    b = survivor(a)
    b.read(1)
    assert (b.verdicts == [Verdict.UNCHANGED]) is if_changed


def test_wanted_down_and_gone_its_places_are_released() -> None:
    b = survivor(up(), found=False, want=Want.DOWN)
    assert b.phase() == "down"
    assert fx.Forget("web", 1) in b.effects


def test_wanted_down_and_still_alive_is_stopped() -> None:
    b = survivor(up(), want=Want.DOWN)
    assert b.phase() == "stopping"
    assert b.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=False)
    moved = b.told(facts.PhaseEntered)[-1]
    assert (moved.phase, moved.was) == ("stopping", "ready")
    b.exited()
    assert b.phase() == "down"


def test_wanted_down_and_being_stopped_is_told_once() -> None:
    a = up()
    a.feed(ev.StopAsked("web", PERSON))
    b = survivor(a)
    assert [type(e) for e in b.effects] == [fx.Kill, fx.Arm]
    assert b.told(facts.PhaseEntered) == []


def test_wanted_down_and_gone_is_down() -> None:
    b = survivor(up(), found=False, want=Want.DOWN)
    assert (b.phase(), b.service().instance.timer, b.service().live) == ("down", None, None)
    assert b.service().running is None


def test_gone_while_nobody_looked_is_not_live() -> None:
    b = survivor(up(), found=False)
    assert (b.phase(), b.service().live, b.service().last_good) == ("backoff", None, manifest(1))


@pytest.mark.parametrize("boot", ["boot", "another"])
def test_what_was_given_up_stays_so_in_this_boot_of_the_host(boot: str) -> None:
    a = agent(replace(PLAIN, restart=Restart.NEVER))
    a.read()
    a.spawned()
    a.exited(BAD)
    b = survivor(a, found=False, boot=boot)
    assert b.phase() == ("failed" if boot == "boot" else "down")
    assert (b.service().running is None) is (boot == "boot")
    if boot == "boot":
        assert b.service().instance.why == "failed before agentd was restarted"


@pytest.mark.parametrize("boot", ["boot", "another"])
def test_what_had_finished_stays_so_in_this_boot_of_the_host(boot: str) -> None:
    a = up()
    a.exited(CLEAN)
    assert a.service().memory.finished
    b = survivor(a, found=False, boot=boot)
    assert b.phase() == "down"
    assert (b.service().running is None) is (boot == "boot")
    assert b.service().memory.finished is (boot == "boot")


def test_after_another_boot_nothing_has_crashed() -> None:
    a = agent(replace(PLAIN, restart=Restart.NEVER)).up()
    b = survivor(a, found=False, boot="another")
    assert b.phase() == "down"
    assert b.service().running is not None
    assert b.service().live is None
    assert b.told(facts.Adopted) == []
    b.read()
    assert b.last(fx.Spawn).generation == 2


def test_what_is_never_restarted_and_died_with_its_agent_is_given_up() -> None:
    b = survivor(agent(replace(PLAIN, restart=Restart.NEVER)).up(), found=False)
    assert (b.phase(), b.service().running) == ("failed", None)


def test_a_service_that_is_no_longer_declared_is_stopped() -> None:
    m = Memory("old", "boot", generation=3, phase="ready", process=identity(5))
    a = agent(PLAIN, memories={"old": m}, found={"old"}, boot="boot")
    assert a.phase("old") == "stopping"
    assert a.last(fx.Kill) == fx.Kill("old", 3, "TERM", group=False)
    a.exited(name="old")
    assert a.phase("old") == "down"
    assert "old" in a.steps[0].touched


def test_what_was_wanted_of_a_service_outlives_its_removal() -> None:
    m = Memory("old", "boot", generation=3, phase="ready", process=identity(5))
    a = agent(PLAIN, memories={"old": m}, found={"old"}, boot="boot")
    a.exited(name="old")
    assert not a.service("old").wanted
    again = agent(
        replace(PLAIN, name="old"), memories={"old": a.service("old").memory}, boot="boot"
    )
    assert again.service("old").want is Want.UP
    assert again.last(fx.TakeSnapshot).spec.name == "old"


def test_a_program_may_be_called_as_it_likes() -> None:
    a = agent(replace(PLAIN, process=ProcessSpec(("removed",))))
    assert a.service().wanted


def test_a_service_that_is_no_longer_declared_still_owes_its_verdicts() -> None:
    asked = facts.Requested("old", "R", "T", "signal", PERSON, None, None)
    story = (Record(1, 0, 0.0, "boot", asked),)
    a = agent(PLAIN, open_reloads=(story,), boot="boot")
    (judged,) = a.told(facts.Judged)
    assert (judged.reload_id, judged.verdict) == ("R", Verdict.CANCELLED)
    assert (a.service("old").wanted, a.phase("old")) == (False, "down")


def test_a_story_without_its_beginning_is_no_reload() -> None:
    story = (Record(1, 0, 0.0, "boot", facts.PhaseBegan("web", "R", "check")),)
    a = agent(PLAIN, open_reloads=(story,), boot="boot")
    assert a.told(facts.Judged) == []


# An interrupted reload.


def test_before_the_act_it_is_begun_anew() -> None:
    a = agent(spec("web", Says())).up()
    a.reload()
    a.read(2)
    b = survivor(a)
    running = b.service().running
    assert running is not None
    assert running.id == a.told(facts.Requested)[-1].reload_id
    assert running.must_act
    assert [type(f).__name__ for f in b.facts] == ["Adopted", "PhaseEnded", "PhaseBegan"]
    assert b.facts[1] == facts.PhaseEnded("web", running.id, "check", "agent_interrupted")
    b.act(3)
    b.sight("confirmed")
    b.read(3)
    assert b.judged.verdict is Verdict.APPLIED


def test_begun_anew_it_is_as_good_a_witness_as_any() -> None:
    a = agent(unchecked(spec("web", Says(Grade.DECLARED)))).up()
    a.reload()
    b = survivor(a)
    b.act(2)
    b.sight("confirmed")
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED


def test_of_two_that_had_not_acted_one_goes_on() -> None:
    a = up()
    a.reload()
    a.reload()
    b = survivor(a)
    first, second = a.told(facts.Requested)[-2:]
    assert b.service().running.id == first.reload_id  # type: ignore[union-attr]
    assert (b.judged.reload_id, b.judged.verdict) == (second.reload_id, Verdict.CANCELLED)
    assert b.judged.error_type == "agent_interrupted"
    assert b.service().live == manifest(1)


def test_begun_anew_it_can_be_given_up_while_it_waits() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.reload()
    b = survivor(a)
    assert b.service().waiting is not None
    b.feed(ev.StopAsked("web", PERSON))
    assert fx.Disarm("web", "waiting") in b.steps[-1].effects
    assert b.judged.verdict is Verdict.CANCELLED


def test_a_watch_that_was_interrupted_settles_again() -> None:
    a = up()
    a.hint()
    a.elapse("waiting")
    a.read(2)
    b = survivor(a)
    assert b.service().running.stage.value == "settling"  # type: ignore[union-attr]
    b.feed(ev.ReloadAsked("web", PERSON))
    b.elapse("reload")
    b.read(1)
    assert b.verdicts == [Verdict.UNCHANGED]


def interrupted(*confirm: Says, step_told: bool = False) -> Agent:
    a = agent(unchecked(spec("web", *confirm))).up()
    a.reload()
    a.read(2)
    a.now = 1.0
    a.baseline()
    if step_told:
        a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, 1.5), 1.0)
    return a


@pytest.mark.parametrize("step_told", [False, True])
def test_after_the_act_the_evidence_is_asked_and_nothing_is_sent_again(*, step_told: bool) -> None:
    a = interrupted(Says(), step_told=step_told)
    b = survivor(a)
    look = b.last(fx.Look)
    assert look.sent_at == (1.5 if step_told else 1.0)
    assert b.service().running.certain is step_told  # type: ignore[union-attr]
    began = [type(f).__name__ for f in b.facts]
    assert began == (["Adopted"] if step_told else ["Adopted", "PhaseEnded", "PhaseBegan"])
    b.sight("confirmed")
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED
    assert b.service().live == manifest(2), "with its entries, which no record had"
    assert "SendReloadSignal" not in names(b.effects)


def test_an_act_nobody_can_witness_is_agent_interrupted() -> None:
    b = survivor(interrupted())
    b.sight(None, since=0.1)
    b.elapse("reload")
    b.sight(None, since=0.3)
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.FAILED, "agent_interrupted")
    assert b.judged.message == "the agent died while sending, and nothing tells whether it was sent"
    assert b.service().live is None


def test_an_act_that_was_told_but_cannot_be_proven_is_unverified() -> None:
    b = survivor(interrupted(step_told=True))
    b.sight(None, since=0.3)
    b.read(2)
    assert b.judged.verdict is Verdict.UNVERIFIED


def test_the_operators_word_is_no_witness_of_an_act() -> None:
    b = survivor(interrupted(Says(Grade.DECLARED)))
    b.sight("confirmed")
    assert b.service().running is not None
    b.now += 5.0
    b.elapse("reload")
    b.sight("confirmed")
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.FAILED, "agent_interrupted")
    c = survivor(interrupted(Says(Grade.DECLARED), step_told=True))
    c.sight("confirmed")
    assert c.service().running.stage.value == "comparing"  # type: ignore[union-attr]


def test_the_deadline_begins_anew() -> None:
    b = survivor(interrupted(Says()))
    assert b.service().running.deadline == 5.0  # type: ignore[union-attr]


def test_half_of_the_steps_is_no_certainty() -> None:
    two = ReloadSpec(steps=(SendSignal("USR1"), SendSignal("HUP")))
    a = agent(spec(reload=two)).up()
    a.reload()
    a.act()
    b = survivor(a)
    assert not b.service().running.certain  # type: ignore[union-attr]


@pytest.mark.parametrize(("found", "boot"), [(False, "boot"), (True, "another")])
def test_after_the_act_of_what_is_gone_nobody_knows(boot: str, *, found: bool) -> None:
    b = survivor(interrupted(Says()), found=found, boot=boot)
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.FAILED, "agent_interrupted")
    assert b.judged.message == "the agent died in between and cannot tell what runs now"
    assert b.service().live is None


def test_after_the_act_of_what_is_on_its_way_down_nobody_knows() -> None:
    b = survivor(interrupted(Says()), want=Want.DOWN)
    assert b.judged.error_type == "agent_interrupted"


def test_only_one_interrupted_reload_goes_on() -> None:
    a = interrupted(Says())
    a.reload()
    b = survivor(a)
    assert b.service().running is not None
    assert b.service().waiting is not None


def starting() -> Agent:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    return a


def test_an_interrupted_start_goes_on_where_it_was() -> None:
    b = survivor(starting())
    running = b.service().running
    assert running is not None
    assert (running.stage.value, b.phase()) == ("launching", "starting")
    b.ready()
    b.read(1)
    assert (b.judged.verdict, b.judged.handle) == (Verdict.APPLIED, "start")
    assert b.judged.confirmation == "notify"
    assert [f.phase for f in b.told(facts.PhaseEnded)] == ["apply", "commit"]
    assert "Spawn" not in names(b.effects)


def test_a_start_interrupted_while_it_was_compared_is_compared_again() -> None:
    a = starting()
    a.ready()
    b = survivor(a)
    assert [f.error_type for f in b.told(facts.PhaseEnded)] == ["agent_interrupted"]
    assert [f.phase for f in b.told(facts.PhaseBegan)] == ["commit"]
    assert b.told(facts.StepEnded) == []
    b.read(1)
    assert b.judged.verdict is Verdict.APPLIED


def test_a_start_that_was_ready_before_its_step_was_told_is_told_now() -> None:
    a = starting()
    b = survivor(a, phase="ready")
    assert b.told(facts.StepEnded)[-1].step == "process.start"
    b.read(1)
    assert b.judged.verdict is Verdict.APPLIED


@pytest.mark.parametrize("boot", ["boot", "another"])
def test_an_interrupted_start_of_what_is_gone_is_begun_anew(boot: str) -> None:
    b = survivor(starting(), found=False, boot=boot)
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.FAILED, "agent_interrupted")
    assert b.judged.message == "the agent died before the service was ready; it is started again"
    if boot == "boot":
        b.elapse()
    b.read(1)
    assert b.phase() == "starting"


@pytest.mark.parametrize("phase", ["starting", "ready"])
def test_a_start_whose_bytes_nobody_noted_proves_nothing(phase: str) -> None:
    a = agent(PLAIN)
    a.failed(fx.TakeSnapshot)
    a.spawned()
    b = survivor(a, phase=phase)
    assert (b.judged.verdict, b.service().live) == (Verdict.FAILED, None)


def test_an_interrupted_start_that_was_being_stopped_is_over() -> None:
    b = survivor(starting(), want=Want.DOWN)
    assert b.judged.error_type == "agent_interrupted"


def test_a_reload_that_was_a_launch_goes_on_as_one() -> None:
    a = starting()
    a.exited()
    a.reload()
    a.read(2)
    assert a.phase() == "starting"
    a.spawned()
    b = survivor(a)
    b.ready()
    b.read(2)
    assert (b.judged.verdict, b.judged.handle) == (Verdict.APPLIED, "signal")


def test_a_start_asked_of_an_adopted_start_has_nothing_to_begin() -> None:
    a = starting()
    b = agent(
        *a.specs,
        memories={"web": replace(a.service().memory, boot="boot")},
        found={"web"},
        boot="boot",
    )
    b.feed(ev.StartAsked("web", PERSON, 1))
    assert b.last(fx.Answer) == fx.Answer(1, fx.Done())
    assert b.service().next_start is None
    b.reload()
    assert b.service().waiting is not None
    b.ready()
    assert b.service().running is not None


def test_the_ids_of_two_agents_differ() -> None:
    a = up()
    held = replace(a.service().memory, hold=Hold(pending="R", trigger=Trigger.WATCH), boot="boot")
    b = agent(*a.specs, memories={"web": held}, found={"web"}, boot="boot")
    b.feed(ev.ReleaseAsked("web", PERSON, 1))
    assert b.told(facts.Requested)[-1].link == "R"
    assert b.service().waiting.cause.trigger is Trigger.WATCH  # type: ignore[union-attr]


def test_a_yes_that_was_heard_is_not_forgotten() -> None:
    """The agent died between the answer and the verdict: nobody is asked again, and nothing else could confirm it."""
    by_command = ReloadSpec(
        handle="exec", steps=(RunCommand(("tell",)),), confirm=(Reply(),), timeout=5.0
    )
    a = agent(unchecked(spec("web", reload=by_command))).up()
    a.reload()
    a.read(2)
    a.baseline()
    a.feed(ev.Performed(a.last(fx.Perform).token, a.now, 0))
    b = survivor(a)
    b.sight(None)
    b.read(2)
    assert (b.judged.verdict, b.judged.confirmation) == (Verdict.APPLIED, "reply")


@pytest.mark.parametrize("waits", ["alone", "behind another"])
def test_a_trial_that_was_asked_for_is_not_lost(waits: str) -> None:
    a = agent(unchecked(spec("web", Says()))).up()
    if waits == "behind another":
        a.feed(ev.ReloadAsked("web", Cause(Trigger.HANGUP)))
    else:
        a.exited()
        a.elapse()  # it is started again, and a reload waits for that
    a.reload()
    a.reload(confirm_within=7.0)
    b = survivor(a)
    waiting = b.service().waiting or b.service().running
    assert waiting is not None
    assert waiting.confirm_within == 7.0


def test_a_signal_that_was_sent_is_no_answer_of_the_command_after_it() -> None:
    two = ReloadSpec(steps=(SendSignal("USR1"), RunCommand(("tell",))), confirm=(Reply(),))
    a = agent(unchecked(spec("web", reload=two))).up()
    a.reload()
    a.act()
    assert a.last(fx.Perform).step == RunCommand(("tell",))
    b = survivor(a)
    running = b.service().running
    assert running is not None
    assert (running.step, running.replied) == (1, False)


SOCKETS = (SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80),)


def _stopped(a: Agent) -> None:
    a.feed(ev.StopAsked("web", PERSON))
    a.exited(CLEAN)


def _given_up(a: Agent) -> None:
    a.exited()
    assert a.phase() == "failed"


def _finished(a: Agent) -> None:
    a.exited(CLEAN)


def _serves(_: Agent) -> None:
    pass


def _crashed(a: Agent) -> None:
    a.exited()
    assert a.phase() == "backoff"


@pytest.mark.parametrize("ends", [_stopped, _given_up, _finished])
def test_what_was_kept_open_for_one_that_does_not_come_back_is_closed(
    ends: Callable[[Agent], None],
) -> None:
    """The last agent may have been killed a moment before it did that itself."""
    limit = StartLimit(1, 60.0) if ends is _given_up else StartLimit(1000, 1.0)
    a = agent(unchecked(spec("web", Says(), sockets=SOCKETS, start_limit=limit))).up()
    ends(a)
    b = survivor(a, found=False)
    assert b.effects == [fx.CloseSockets("web")]
    assert survivor(a, found=False, specs=(PLAIN,)).effects == [], "it has none"


@pytest.mark.parametrize("ends", [_serves, _crashed])
def test_clients_of_one_that_is_wanted_go_on_waiting(ends: Callable[[Agent], None]) -> None:
    a = agent(unchecked(spec("web", Says(), sockets=SOCKETS))).up()
    ends(a)
    b = survivor(a, found=ends is _serves)
    assert "CloseSockets" not in names(b.effects)
