"""Each row of the instance's table, by what it does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts, instance
from agentd.core.instance import Instance
from agentd.core.instance_adopt import ASSUMED_READY_AFTER
from agentd.core.memory import Memory
from agentd.core.process import Exit
from agentd.core.spec import (
    Backoff,
    ReadyAfter,
    ReadyProbe,
    Restart,
    Spec,
    StartLimit,
    TcpProbe,
)
from agentd.wire import Verdict
from tests.core.make import BAD, CLEAN, PERSON, TERM, Agent, agent, identity, names, spec, unchecked

PROBE = ReadyProbe(TcpProbe("h", 1), interval=0.5)


def starting(s: Spec | None = None, **changes: object) -> Agent:
    """An agent whose service is being born."""
    a = agent(replace(unchecked(s or spec()), **changes))  # type: ignore[arg-type]
    a.read()
    assert a.phase() == "starting"
    return a


def stop(a: Agent) -> tuple[fx.Effect, ...]:
    return a.feed(ev.StopAsked("web", PERSON))


def test_a_launch_spawns_the_next_generation_and_arms_the_start_timeout() -> None:
    a = starting(start_timeout=12.0)
    spawn, arm = a.last(fx.Spawn), a.last(fx.Arm)
    assert (spawn.generation, spawn.token.machine, arm.delay) == (1, "instance", 12.0)
    assert len(spawn.cookie) == 24
    assert spawn.token.serial != arm.token.serial


def test_spawned_is_not_ready() -> None:
    a = starting()
    a.spawned()
    assert a.phase() == "starting"
    a.ready()
    assert a.phase() == "ready"
    assert names(a.steps[-1].effects)[0] == "Disarm"


def test_ready_may_come_before_the_answer_to_the_spawn() -> None:
    a = starting()
    a.ready()
    assert a.phase() == "starting"
    a.spawned(pid=99)
    assert a.phase() == "ready"
    assert a.service().instance.process == identity(99)


def test_extending_the_timeout_before_the_answer_to_the_spawn_is_not_ready() -> None:
    a = starting()
    a.feed(ev.Notified("web", 1, ready=False, extend=50.0))
    assert a.last(fx.Arm).delay == 50.0
    a.spawned()
    assert a.phase() == "starting"


def test_an_exit_may_come_before_the_answer_to_the_spawn() -> None:
    a = starting()
    a.exited(empty=False)
    assert a.phase() == "stopping"
    assert not [e for e in a.effects if isinstance(e, fx.Kill)]
    a.spawned()
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=True)
    b = starting()
    b.exited()
    assert b.phase() == "backoff"
    assert b.last(fx.Cancel).token == b.last(fx.Spawn).token
    assert b.last(fx.Forget) == fx.Forget("web", 1)


def test_notify_only_counts_for_those_who_declared_it() -> None:
    a = starting(ready=ReadyAfter(3.0))
    a.spawned()
    a.ready()
    assert a.phase() == "starting"
    assert a.last(fx.Arm).delay == 3.0
    a.elapse()
    assert a.phase() == "ready"


def test_ready_after_nothing_is_ready_when_born() -> None:
    a = starting(ready=ReadyAfter(0))
    a.spawned()
    assert a.phase() == "ready"


def test_a_probe_is_asked_until_it_passes() -> None:
    a = starting(ready=PROBE, start_timeout=2.0)
    a.now = 0.25
    a.spawned()
    assert a.last(fx.Ask).pid == 7
    assert a.last(fx.Arm).delay == 1.75
    a.feed(ev.Probed(a.last(fx.Ask).token, "connection refused"), 0.25)
    assert a.last(fx.Arm).delay == 0.5
    first = a.last(fx.Ask).token
    a.elapse()
    assert a.last(fx.Ask).token != first
    a.feed(ev.Probed(a.last(fx.Ask).token, None))
    assert a.phase() == "ready"
    assert a.service().instance.timer is None
    assert a.service().instance.why == ""


def test_a_probe_that_cannot_be_done_says_nothing_about_the_process() -> None:
    a = starting(ready=PROBE)
    a.spawned()
    a.failed(fx.Ask)
    assert a.phase() == "starting"
    assert a.last(fx.Arm).delay == 0.5
    a.elapse()
    a.feed(ev.Probed(a.last(fx.Ask).token, None))
    assert a.phase() == "ready"


def test_the_last_pause_between_probes_ends_at_the_deadline() -> None:
    a = starting(ready=PROBE, start_timeout=2.0)
    a.spawned()
    a.feed(ev.Probed(a.last(fx.Ask).token, "connection refused"), 1.75)
    assert a.last(fx.Arm).delay == 0.25
    a.elapse()
    assert a.phase() == "stopping"
    assert a.told(facts.PhaseEntered)[-1].why == "not ready within 2s: connection refused"
    assert a.judged.error_type == "start_timeout"


def test_a_probe_that_hangs_does_not_outlive_the_start_timeout() -> None:
    a = starting(ready=PROBE, start_timeout=2.0)
    a.spawned()
    a.elapse()
    assert a.phase() == "stopping"
    assert fx.Cancel(a.last(fx.Ask).token) in a.effects
    assert a.service().instance.awaiting is None


def test_too_slow_is_stopped_and_counts_as_a_failure() -> None:
    a = starting(start_timeout=2.0)
    a.spawned()
    a.elapse()
    assert (a.phase(), a.now) == ("stopping", 2.0)
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=False)
    a.exited(CLEAN)
    assert (a.phase(), a.service().instance.failures) == ("backoff", 1)


def test_extending_the_timeout_moves_the_deadline_but_never_back() -> None:
    a = starting(start_timeout=10.0)
    a.spawned()
    a.feed(ev.Notified("web", 1, ready=False, extend=30.0), 5.0)
    assert a.last(fx.Arm).delay == 30.0
    a.feed(ev.Notified("web", 1, ready=False, extend=1.0), 5.0)
    assert a.last(fx.Arm).delay == 25.0


def test_other_words_while_it_starts_are_not_ready_and_move_nothing() -> None:
    a = starting()
    a.spawned()
    before = a.service().instance
    a.feed(ev.Notified("web", 1, reloading=0.5))
    assert (a.service().instance, a.steps[-1].effects) == (before, ())


def test_a_spawn_that_fails_is_a_failure_without_a_process() -> None:
    a = starting()
    a.failed(fx.Spawn, "spawn_failed")
    assert a.phase() == "backoff"
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "spawn_failed")
    assert a.judged.message == "cannot do it"


def test_stop_before_birth_waits_for_it_and_ends_it() -> None:
    a = starting()
    effects = stop(a)
    assert "Kill" not in names(effects)
    assert "Cancel" not in names(effects)
    assert a.phase() == "stopping"
    a.spawned()
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=False)
    a.exited(TERM)
    assert a.phase() == "down"
    last = a.told(facts.PhaseEntered)[-1]
    assert (last.why, last.exit, last.pid) == ("asked", TERM, None)
    assert a.service().instance.output == ("last words",)


def test_born_after_the_grace_is_killed_at_once() -> None:
    a = starting()
    stop(a)
    a.elapse()
    assert a.phase() == "killing"
    assert not [e for e in a.effects if isinstance(e, fx.Kill)]
    a.spawned()
    assert a.last(fx.Kill) == fx.Kill("web", 1, "KILL", group=True)
    a.exited(Exit(signal="KILL"))
    assert a.phase() == "down"


@pytest.mark.parametrize("late", [False, True])
def test_stop_before_a_birth_that_fails_is_down(*, late: bool) -> None:
    a = starting()
    stop(a)
    if late:
        a.elapse()
    a.failed(fx.Spawn)
    assert a.phase() == "down"
    assert a.service().instance.timer is None


def test_stop_gives_a_grace_then_kills_the_group() -> None:
    a = agent(unchecked(spec(stop_signal="QUIT", stop_timeout=4.0))).up()
    stop(a)
    assert a.last(fx.Kill) == fx.Kill("web", 1, "QUIT", group=False)
    assert a.last(fx.Arm).delay == 4.0
    a.elapse()
    assert a.last(fx.Kill) == fx.Kill("web", 1, "KILL", group=True)
    assert a.service().instance.timer is None
    a.exited(Exit(signal="KILL"))
    assert a.phase() == "down"
    assert a.last(fx.Forget) == fx.Forget("web", 1)


def test_out_of_memory_is_the_reason_of_an_end_and_never_of_a_kill_of_our_own() -> None:
    a = agent(unchecked(spec())).up()
    a.exited(Exit(signal="KILL", killed=1))
    ended = a.told(facts.PhaseEntered)[-1]
    assert (ended.phase, ended.why) == ("backoff", "SIGKILL by the kernel, out of memory")
    b = agent(unchecked(spec())).up()
    stop(b)
    b.elapse()
    b.exited(Exit(signal="KILL", killed=1), empty=False)
    b.feed(ev.Emptied("web", 1))
    assert b.told(facts.PhaseEntered)[-1].exit == Exit(signal="KILL")


@pytest.mark.parametrize(("phase", "signal"), [("stopping", "TERM"), ("killing", "KILL")])
def test_what_the_main_process_leaves_behind_is_ended_too(phase: str, signal: str) -> None:
    a = agent(unchecked(spec())).up()
    stop(a)
    if phase == "killing":
        a.elapse()
    a.exited(TERM, empty=False)
    assert a.phase() == phase
    assert a.last(fx.Kill) == fx.Kill("web", 1, signal, group=True)
    a.emptied()
    assert a.phase() == "down"


def test_a_crash_that_leaves_a_group_ends_the_group_first() -> None:
    a = agent(unchecked(spec())).up()
    a.exited(empty=False)
    assert a.phase() == "stopping"
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=True)
    a.ready()  # a last word of the group changes nothing
    a.emptied()
    assert a.phase() == "backoff"
    assert a.service().instance.why == "exit code 3"


@pytest.mark.parametrize(
    ("restart", "end", "phase"),
    [
        (Restart.ON_FAILURE, BAD, "backoff"),
        (Restart.ON_FAILURE, TERM, "backoff"),
        (Restart.ON_FAILURE, Exit(), "backoff"),
        (Restart.ON_FAILURE, CLEAN, "down"),
        (Restart.ALWAYS, CLEAN, "backoff"),
        (Restart.ALWAYS, BAD, "backoff"),
        (Restart.NEVER, CLEAN, "down"),
        (Restart.NEVER, BAD, "failed"),
    ],
)
def test_what_ends_by_itself_is_started_again_as_declared(
    restart: Restart, end: Exit, phase: str
) -> None:
    a = agent(unchecked(spec(restart=restart))).up()
    a.exited(end)
    assert a.phase() == phase
    assert a.service().memory.finished is (phase == "down")
    assert a.service().instance.timer is (
        a.last(fx.Arm).token.serial if phase == "backoff" else None
    )
    assert a.service().live is None


def test_a_slow_start_that_then_ends_cleanly_is_no_success() -> None:
    a = starting(restart=Restart.NEVER)
    a.spawned()
    a.elapse()
    a.exited(CLEAN)
    assert a.phase() == "failed"


def test_the_pause_grows_and_is_forgotten_after_staying_up() -> None:
    a = agent(unchecked(spec(backoff=Backoff(1.0, 3.0, 7.0, 60.0), start_limit=StartLimit(99))))
    a.up()
    pauses = []
    for _ in range(4):
        a.exited()
        pauses.append(a.last(fx.Arm).delay)
        a.elapse()
        a.up()
    assert pauses == [1.0, 3.0, 7.0, 7.0]
    assert a.service().restarts == 4
    arm = a.last(fx.Arm)
    assert arm.delay == 60.0
    a.elapse()
    assert (a.service().instance.failures, a.service().instance.timer) == (0, None)
    assert a.service().instance.starts == ()
    a.exited()
    assert a.last(fx.Arm).delay == 1.0


def test_too_many_starts_are_given_up() -> None:
    a = starting(start_limit=StartLimit(2, 60.0))
    a.failed(fx.Spawn)
    a.elapse()
    a.read()
    a.failed(fx.Spawn)
    assert a.phase() == "failed"
    assert a.service().instance.why == "cannot do it; 2 starts within 60s"
    assert a.service().instance.timer is None


def test_starts_of_long_ago_do_not_count() -> None:
    a = starting(start_limit=StartLimit(2, 60.0))
    a.spawned()
    a.ready()
    a.read()
    a.now = 60.0
    a.exited()
    a.elapse()
    a.read()
    a.failed(fx.Spawn)
    assert a.phase() == "backoff"


@pytest.mark.parametrize("phase", ["starting", "ready", "stopping", "killing"])
def test_a_start_asked_for_forgives(phase: str) -> None:
    a = agent(unchecked(spec(ready=ReadyAfter(5.0))))
    a.read()
    a.failed(fx.Spawn)
    a.elapse()
    a.read()
    a.spawned()
    if phase != "starting":
        a.elapse()
        a.read()
    if phase in ("stopping", "killing"):
        stop(a)
    if phase == "killing":
        a.elapse()
    assert (a.phase(), a.service().instance.failures) == (phase, 1)
    a.feed(ev.StartAsked("web", PERSON))
    assert (a.phase(), a.service().instance.failures) == (phase, 0)
    assert a.service().instance.starts == ()


@pytest.mark.parametrize("given_up", [False, True])
def test_a_stop_ends_the_waiting_for_another_try(*, given_up: bool) -> None:
    a = starting(start_limit=StartLimit(1 if given_up else 9))
    a.failed(fx.Spawn)
    assert a.phase() == ("failed" if given_up else "backoff")
    stop(a)
    assert a.phase() == "down"
    assert fx.Disarm("web", "instance") in a.steps[-1].effects
    assert (a.service().instance.timer, a.service().instance.why) == (None, "asked")


@pytest.mark.parametrize("killing", [False, True])
def test_a_stop_makes_an_end_by_itself_one_that_was_asked_for(*, killing: bool) -> None:
    a = agent(unchecked(spec())).up()
    a.exited(empty=False)
    if killing:
        a.elapse()
    stop(a)
    a.emptied()
    assert a.phase() == "down"
    assert not a.service().memory.finished


# Adoption.


def adopted(phase: str, *, found: bool = True, **changes: object) -> Agent:
    m = Memory("web", "boot", generation=4, phase=phase, process=identity())
    return agent(
        replace(unchecked(spec()), **changes),  # type: ignore[arg-type]
        memories={"web": m},
        found={"web"} if found else set(),
        boot="boot",
    )


def test_an_adopted_ready_instance_stays_ready() -> None:
    a = adopted("ready")
    assert a.phase() == "ready"
    assert a.told(facts.Adopted) == [facts.Adopted("web", 4, 7, found=True)]
    assert a.effects == []
    assert not a.service().view.assumed
    a.exited()
    assert a.phase() == "backoff"


def test_a_ready_that_may_have_met_no_agent_is_not_waited_for() -> None:
    a = adopted("starting")
    assert a.last(fx.Arm).delay == ASSUMED_READY_AFTER == 2.0
    a.elapse()
    assert a.phase() == "ready"
    assert a.service().view.assumed
    assert a.service().instance.why.startswith("assumed")


def test_an_adopted_instance_that_says_ready_is_not_assumed() -> None:
    a = adopted("starting")
    a.ready()
    assert (a.phase(), a.service().view.assumed) == ("ready", False)
    assert a.service().instance.why == ""


def test_an_adopted_start_is_probed_or_awaited_as_declared() -> None:
    a = adopted("starting", ready=PROBE)
    assert a.last(fx.Ask).pid == 7
    b = adopted("starting", ready=ReadyAfter(3.0))
    assert b.last(fx.Arm).delay == 3.0
    b.elapse()
    assert b.phase() == "ready"
    c = adopted("starting", ready=PROBE, start_timeout=6.0)
    assert c.last(fx.Arm).delay == 6.0


@pytest.mark.parametrize("phase", ["stopping", "killing"])
def test_an_adopted_ending_is_ended(phase: str) -> None:
    a = adopted(phase)
    assert (a.phase(), a.service().instance.why) == ("stopping", "asked")
    assert a.last(fx.Kill).signal == "TERM"
    a.exited()
    assert a.service().running is not None
    a.read()
    assert (a.phase(), a.service().instance.generation) == ("starting", 5)


def test_whose_process_it_was_is_said_by_who_finds_it() -> None:
    found, _ = instance.step(Instance(), ev.Adopt(identity(), 4, "ready"), spec(), 0.0)
    gone, _ = instance.step(Instance(), ev.Orphaned(4), spec(), 0.0)
    assert (found.generation, gone.generation) == (4, 4)


def test_gone_while_nobody_looked_is_a_failure() -> None:
    a = adopted("ready", found=False)
    assert a.phase() == "backoff"
    assert a.told(facts.Adopted) == [facts.Adopted("web", 4, 7, found=False)]
    moved = a.told(facts.PhaseEntered)[-1]
    assert (moved.was, moved.why) == ("ready", "ended while no agent was there")
    assert moved.exit == Exit(), "nobody knows how"
    assert a.last(fx.Forget).generation == 4
    a.elapse()
    a.read()
    assert a.last(fx.Spawn).generation == 5
