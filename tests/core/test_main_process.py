"""The main process becomes another one: what shows it, how long that is waited for, and how the instance goes on."""

from __future__ import annotations

from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts, instance
from agentd.core.instance_adopt import ASSUMED_READY_AFTER
from agentd.core.instance_main import WITHIN
from agentd.core.process import Exit, Identity
from agentd.core.saying import main_pid
from agentd.core.spec import ReadyAfter, ReadyProbe, Restart, SocketKind, SocketSpec, Spec, TcpProbe
from agentd.core.steps import Baseline, Replace, Worker
from agentd.core.value import replace
from agentd.evidence import Workers
from agentd.wire import Verdict
from tests.core.make import (
    BAD,
    CLEAN,
    PERSON,
    TERM,
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

PATH = "/run/web.pid"
PROBE = ReadyProbe(TcpProbe("h", 1), interval=0.5)


def declared(**changes: Any) -> Spec:
    return replace(unchecked(spec()), **changes)


def written(**changes: Any) -> Spec:
    """A service with a pid file."""
    return declared(pid_file=PATH, **changes)


def starting(s: Spec, pid: int = 7) -> Agent:
    a = agent(s)
    a.read()
    a.spawned(pid)
    return a


def up(s: Spec | None = None) -> Agent:
    a = agent(s or declared()).up()
    if a.service().spec.pid_file:
        sought(a, None)
    return a


def claim(a: Agent, pid: int, generation: int = 1) -> tuple[fx.Effect, ...]:
    return a.feed(ev.Claimed("web", generation, identity(pid)))


def sought(a: Agent, pid: int | None, why: str = "it is named") -> tuple[fx.Effect, ...]:
    found = None if pid is None else identity(pid)
    return a.feed(ev.MainSought(a.last(fx.SeekMain).token, found, why))


def ends(a: Agent, end: Exit = CLEAN, *left: int, pid: int = 0, empty: bool = False) -> None:
    a.feed(ev.Exited("web", 1, end, empty, (), pid, left))


def main(a: Agent) -> int:
    process = a.service().instance.process
    assert process is not None
    return process.pid


def seeks(a: Agent) -> int:
    return sum(isinstance(e, fx.SeekMain) for e in a.effects)


# What the service says.


def test_a_claim_is_followed_and_the_former_one_s_end_is_none() -> None:
    a = up()
    effects = claim(a, 8)
    assert effects == (fx.Follow("web", 1, identity(8)),)
    assert main(a) == 8
    assert a.told(facts.MainMoved) == [facts.MainMoved("web", 1, 8, 7, "it said MAINPID")]
    ends(a, BAD, pid=7)
    assert a.phase() == "ready"
    assert a.service().restarts == 0
    ends(a, BAD, pid=8, empty=True)
    assert a.phase() == "backoff"


def test_it_is_written_down_and_the_next_agent_goes_on_with_it() -> None:
    a = up()
    claim(a, 8)
    assert a.steps[-1].touched == ("web",)
    assert a.service().memory.process == identity(8)
    b = survivor(a)
    assert (b.phase(), main(b)) == ("ready", 8)


def test_the_stop_signal_goes_to_the_new_one_and_what_is_left_is_ended() -> None:
    a = up()
    claim(a, 8)
    a.feed(ev.StopAsked("web", PERSON))
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=False)
    ends(a, TERM, pid=8)
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=True)
    a.emptied()
    assert a.phase() == "down"


def test_a_claim_about_the_main_process_itself_changes_nothing() -> None:
    a = up()
    assert claim(a, 7) == ()
    assert a.told(facts.MainMoved) == []
    assert a.service().live == manifest(1)


def test_a_claim_before_the_answer_to_the_spawn_changes_nothing() -> None:
    a = agent(declared())
    a.read()
    assert claim(a, 8) == ()
    a.spawned()
    assert main(a) == 7


@pytest.mark.parametrize("phase", ["stopping", "killing"])
def test_a_claim_comes_too_late_when_it_ends_already(phase: str) -> None:
    a = up()
    a.feed(ev.StopAsked("web", PERSON))
    if phase == "killing":
        a.elapse()
    assert claim(a, 8) == ()
    assert (a.phase(), main(a)) == (phase, 7)


def test_what_drains_is_followed_too() -> None:
    held = (SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80),)
    s = declared(sockets=held)
    a = up(replace(s, reload=replace(s.reload, handle="replace", steps=(Replace(),))))
    a.reload()
    a.read(2)
    a.spawned(8)
    a.feed(ev.Notified("web", 2, ready=True))
    a.feed(ev.Switched(a.last(fx.Switch).token, a.now, moved=True))
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert [i.phase.value for i in a.service().former] == ["draining"]
    claim(a, 9)
    assert a.service().former[0].process == identity(9)
    assert a.service().live == manifest(2), "it serves nobody new"


@pytest.mark.parametrize(
    ("text", "pid"), [("12", 12), ("012", None), ("-1", None), ("1x", None), ("", None)]
)
def test_only_a_number_is_a_pid(text: str, pid: int | None) -> None:
    assert main_pid({"MAINPID": text}) == pid
    assert main_pid({}) is None


# What is known of its configuration.


def test_another_main_process_that_nobody_asked_for_makes_live_unknown() -> None:
    a = up()
    claim(a, 8)
    assert a.service().live is None
    why = "its main process is another one, pid 8"
    assert a.told(facts.External) == [facts.External("web", 1, why)]
    assert a.told(facts.LiveChanged)[-1].why == f"reloaded behind the agent's back: {why}"
    claim(a, 9)
    assert len(a.told(facts.External)) == 1, "it is not known anyhow"


def test_one_that_takes_over_while_it_starts_is_its_main_process_from_the_start() -> None:
    a = starting(declared())
    claim(a, 8)
    a.ready()
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    assert (a.judged.pid, a.service().live) == (8, manifest(1))


def test_one_that_takes_over_by_a_reload_of_ours_is_no_other_reload() -> None:
    a = up()
    a.reload()
    a.act()
    claim(a, 8)
    assert a.told(facts.External) == []


def test_one_that_was_there_before_the_act_leaves_nobody_knowing_what_runs() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(5)))
    a.signalled()
    claim(a, 8)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "main_process_moved")
    assert a.judged.message == "its main process is another one, pid 8, which was not told"
    assert a.service().live is None
    assert a.service().quarantine is None
    assert a.phase() == "ready"


def test_the_workers_of_the_former_one_are_known_no_more() -> None:
    a = agent(unchecked(spec("web", Workers()))).up()
    a.feed(ev.WorkersSeen("web", 1, (Worker(10, 10, "worker"),)))
    claim(a, 8)
    assert a.service().workers == {}


def two(*confirm: Says) -> Agent:
    """Both instances serve."""
    a = agent(replace(unchecked(spec("web", *confirm)), instances=2))
    for n in range(2):
        a.read()
        a.spawned(7 + n)
        a.feed(ev.Notified("web", 1 + n, ready=True))
        a.read()
    return a


def test_one_of_several_that_was_told_and_is_another_one_since_is_not_verified() -> None:
    a = two(Says())
    a.reload()
    a.read(2)
    for n in range(2):
        a.baseline()
        a.signalled()
        if n:
            claim(a, 20, generation=1)
        a.sight("confirmed")
    a.read(2)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.PARTIAL, "main_process_moved")
    assert [one.became for one in a.judged.instances] == ["unverified", "taken"]
    assert a.service().live is None


def test_of_several_instances_nobody_knows_what_that_one_runs() -> None:
    a = two()
    s = a.service()
    assert s.live == manifest(1)
    other = s.others[0].generation
    claim(a, 20, other)
    after = a.service()
    assert after.live is None
    assert [(i.generation, i.runs) for i in after.slots] == [
        (i.generation, None if i.generation == other else manifest(1)) for i in s.slots
    ]


# Its pid file.


def test_its_file_is_read_when_it_is_ready() -> None:
    a = starting(written())
    a.ready()
    seek = a.last(fx.SeekMain)
    assert (seek.spec.pid_file, seek.generation, seek.before) == (PATH, 1, None)
    sought(a, 8)
    assert main(a) == 8
    assert a.told(facts.MainMoved)[-1].why == "it is named"
    a.read(1)
    assert a.service().live == manifest(1)
    assert a.told(facts.External) == []


def test_a_file_that_names_the_main_process_or_none_changes_nothing() -> None:
    for pid in (7, None):
        a = starting(written())
        a.ready()
        assert sought(a, pid) == ()
        assert (a.phase(), main(a)) == ("ready", 7)


def test_nobody_could_look_when_it_was_ready() -> None:
    a = starting(written())
    a.ready()
    a.failed(fx.SeekMain)
    assert (a.phase(), a.service().instance.awaiting) == ("ready", None)


def test_a_service_that_failed_before_forgets_it_after_its_pause_all_the_same() -> None:
    a = starting(written())
    a.exited(BAD)
    a.elapse()
    a.read()
    a.spawned(8)
    a.feed(ev.Notified("web", 2, ready=True))
    assert a.last(fx.Arm).delay == a.service().spec.backoff.reset
    a.feed(ev.MainSought(a.last(fx.SeekMain).token, None, ""))
    a.feed(ev.Exited("web", 2, CLEAN, empty=False))
    a.feed(ev.MainSought(a.last(fx.SeekMain).token, identity(9), ""))
    assert a.last(fx.Arm).delay == a.service().spec.backoff.reset
    a.elapse()
    assert a.service().instance.failures == 0


def test_the_file_names_another_one_when_the_main_process_has_ended() -> None:
    a = up(written())
    ends(a, CLEAN, 8, 9)
    assert (a.phase(), a.service().instance.lost) == ("ready", True)
    assert a.last(fx.Arm).delay == WITHIN
    assert sought(a, 8)[0] == fx.Follow("web", 1, identity(8))
    i = a.service().instance
    assert (i.phase, i.process, i.exit, i.timer, i.lost) == (
        "ready",
        identity(8),
        None,
        None,
        False,
    )
    assert a.service().live is None, "it read its configuration when nobody here had asked"


def test_a_file_that_is_renamed_later_is_looked_at_again() -> None:
    a = up(written())
    before = seeks(a)
    ends(a)
    pauses = []
    for _ in range(4):
        sought(a, None, "no such file")
        pauses.append(a.last(fx.Arm).delay)
        a.elapse()
    assert pauses == [0.05, 0.05, 0.1, 0.2]
    assert seeks(a) == before + 5
    sought(a, 8)
    assert (a.phase(), main(a)) == ("ready", 8)


def test_when_nothing_shows_in_time_it_has_ended_and_what_is_left_is_ended() -> None:
    a = up(written())
    ends(a, BAD, 8)
    while a.phase() == "ready":
        sought(a, None, "no such file")
        a.elapse()
    assert a.now == pytest.approx(WITHIN)
    assert a.phase() == "stopping"
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=True)
    assert a.told(facts.PhaseEntered)[-1].why == "exit code 3; no such file"
    a.emptied()
    assert a.phase() == "backoff"


def test_a_look_that_hangs_does_not_outlive_its_time() -> None:
    a = up(written())
    ends(a, CLEAN, 8)
    a.elapse()
    assert a.phase() == "stopping"
    assert fx.Cancel(a.last(fx.SeekMain).token) in a.effects
    why = "exit code 0; it left process 8, and neither MAINPID nor a pid_file shows that"
    assert a.told(facts.PhaseEntered)[-1].why.startswith(why)


def test_a_look_that_fails_is_tried_again() -> None:
    a = up(written())
    ends(a)
    a.failed(fx.SeekMain)
    a.elapse()
    sought(a, 8)
    assert main(a) == 8


def test_what_was_left_ends_while_it_is_looked_for() -> None:
    a = up(written(restart=Restart.ALWAYS))
    ends(a)
    a.emptied()
    assert a.phase() == "backoff"
    assert fx.Cancel(a.last(fx.SeekMain).token) in a.effects


def test_the_news_that_nothing_is_left_may_be_older_than_who_is_followed() -> None:
    a = up(written())
    ends(a)
    sought(a, 8)
    a.emptied()
    assert a.phase() == "ready", "the end of the one that is followed is on its way"
    ends(a, Exit(), pid=8, empty=True)
    assert a.phase() == "backoff"


def test_it_is_stopped_while_it_is_looked_for() -> None:
    a = up(written())
    ends(a)
    a.feed(ev.StopAsked("web", PERSON))
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=True)
    assert sought(a, 8) == ()
    a.emptied()
    assert a.phase() == "down"


def test_a_reload_waits_until_it_is_known_who_takes_the_signal() -> None:
    a = up(written())
    ends(a)
    a.reload()
    assert a.service().waiting is not None
    sought(a, 8)
    assert a.service().running is not None
    a.act()
    assert a.last(fx.SendReloadSignal).pid == 8


def test_one_of_fewer_instances_that_has_no_main_process_is_stopped_at_once() -> None:
    a = up(written())
    i = a.service().instance
    lost = replace(i, exit=CLEAN)
    after, effects = instance.step(lost, ev.Drain("R", moved=True), a.service().spec, 1.0)
    assert after.phase == "stopping"
    assert names(effects) == ["Kill", "Arm"]
    asked = replace(i, awaiting=99)
    after, effects = instance.step(asked, ev.Drain("R", moved=False), a.service().spec, 1.0)
    assert names(effects) == ["Cancel", "Kill", "Arm"]
    assert after.awaiting is None


# A daemon that goes into the background.


def test_the_first_process_of_a_daemon_ends_before_the_file_is_written() -> None:
    a = starting(written(ready=PROBE, start_timeout=9.0))
    ask = a.last(fx.Ask).token
    ends(a, CLEAN, 8)
    assert a.phase() == "starting"
    assert fx.Cancel(ask) in a.effects
    assert a.last(fx.Arm).delay == 9.0
    sought(a, None, "no such file")
    a.elapse()
    sought(a, 8)
    assert (a.last(fx.Ask).pid, a.last(fx.Arm).delay) == (8, 8.95)
    a.feed(ev.Probed(a.last(fx.Ask).token, None))
    assert (a.phase(), main(a)) == ("ready", 8)


def test_a_daemon_that_has_to_live_for_a_while_has_to_from_then_on() -> None:
    a = starting(written(ready=ReadyAfter(3.0)))
    ends(a)
    sought(a, 8)
    assert a.last(fx.Arm).delay == 3.0
    a.elapse()
    assert a.phase() == "ready"


def test_a_daemon_that_never_shows_is_too_slow() -> None:
    a = starting(written(ready=PROBE, start_timeout=1.0))
    ends(a, CLEAN, 8)
    while a.phase() == "starting":
        sought(a, None, "no such file")
        a.elapse()
    assert a.now == pytest.approx(1.0)
    assert a.last(fx.Kill) == fx.Kill("web", 1, "TERM", group=True)
    why = a.told(facts.PhaseEntered)[-1].why
    assert why == "not ready within 1s: exit code 0; no such file"
    a.emptied()
    assert a.phase() == "backoff"


def test_a_first_process_that_fails_has_not_gone_into_the_background() -> None:
    for end in (BAD, TERM):
        a = starting(written())
        ends(a, end, 8, 9)
        assert a.phase() == "stopping"
        assert a.told(facts.PhaseEntered)[-1].why == f"{end}; it left processes 8, 9"


def test_a_daemon_says_who_it_is_when_its_first_process_is_gone() -> None:
    a = starting(declared())
    ends(a, CLEAN, 8)
    assert (a.phase(), a.last(fx.Arm).delay, seeks(a)) == ("starting", WITHIN, 0)
    claim(a, 8)
    assert a.last(fx.Arm).delay == a.service().spec.start_timeout
    a.ready()
    assert (a.phase(), main(a)) == ("ready", 8)


def test_a_daemon_may_say_first_that_it_is_ready() -> None:
    a = starting(declared())
    ends(a, CLEAN, 8)
    a.feed(ev.Notified("web", 1, extend=5.0))
    a.ready()
    assert a.phase() == "starting", "nobody knows yet who is"
    claim(a, 8)
    assert (a.phase(), main(a)) == ("ready", 8)


def test_a_daemon_that_says_nothing_has_ended() -> None:
    a = starting(declared())
    ends(a, CLEAN, *range(10, 16))
    a.elapse()
    assert (a.phase(), a.now) == ("stopping", WITHIN)
    assert a.told(facts.PhaseEntered)[-1].why == (
        "exit code 0; it left processes 10, 11, 12, 13, 14, …, and neither MAINPID nor a pid_file shows "
        "that one of them is the main process"
    )


def test_where_nothing_can_show_it_the_end_of_the_first_process_is_the_end() -> None:
    a = starting(declared(ready=PROBE))
    ends(a)
    assert a.phase() == "stopping"
    b = up()
    ends(b)
    assert b.phase() == "stopping"


def test_the_agent_dies_while_a_daemon_starts() -> None:
    a = starting(declared())
    claim(a, 8)
    b = survivor(a)
    assert (b.phase(), main(b)) == ("starting", 8)
    ends(b, Exit(), 9, pid=8)
    claim(b, 9)
    assert b.last(fx.Arm).delay == ASSUMED_READY_AFTER, "its READY=1 may have met no agent"
    b.elapse()
    assert b.phase() == "ready"


def test_the_agent_dies_and_the_file_names_another_one_since() -> None:
    b = survivor(up(written()))
    ends(b, Exit(), 8, pid=7)
    sought(b, 8)
    assert (b.phase(), main(b), b.service().restarts) == ("ready", 8, 0)


# Back to the one before.


def test_when_the_successor_ends_the_one_before_goes_on() -> None:
    a = up()
    claim(a, 8)
    ends(a, BAD, 7, pid=8)
    assert a.last(fx.SeekMain).before == identity(7)
    sought(a, 7, "the main process before it lives")
    assert (a.phase(), main(a)) == ("ready", 7)
    ends(a, BAD, pid=7, empty=True)
    assert a.phase() == "backoff"


def test_the_one_before_is_gone_too() -> None:
    a = up()
    claim(a, 8)
    ends(a, BAD, 9, pid=8)
    sought(a, None, "")
    assert a.phase() == "stopping"
    assert a.told(facts.PhaseEntered)[-1].why == "exit code 3; it left process 9"


def test_a_process_is_known_by_more_than_its_pid() -> None:
    one = identity(7)
    assert one.same(Identity(7, 1, "boot", "other", 5, 6))
    assert not one.same(replace(one, started=2))
    assert not one.same(replace(one, boot="another"))
