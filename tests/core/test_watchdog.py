"""A service that must say that it lives: when it is listened to, what its silence means, and what it may say about that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.instance import Ending
from agentd.core.process import Exit
from agentd.core.saying import heard, lives
from agentd.core.spec import ProcessSpec, Restart, SocketKind, SocketSpec, Spec
from agentd.core.steps import Replace
from agentd.wire import Verdict
from tests.core.make import BAD, PERSON, Agent, Says, agent, identity, spec, survivor, unchecked


def watched(watchdog: float | None = 4.0, **changes: Any) -> Spec:
    return unchecked(spec(process=ProcessSpec(("web",), watchdog=watchdog), **changes))


def ping(a: Agent, after: float = 0.0, generation: int = 1, **more: Any) -> tuple[fx.Effect, ...]:
    return a.feed(ev.Pinged("web", generation, **more), after)


def why(a: Agent) -> tuple[str, str]:
    last = a.told(facts.PhaseEntered)[-1]
    return last.phase, last.why


def test_silence_is_its_end_and_it_is_started_again() -> None:
    a = agent(watched()).up()
    assert a.last(fx.Arm).delay == 4.0
    a.elapse()
    assert a.last(fx.Kill) == fx.Kill("web", 1, "ABRT", group=False)
    assert a.last(fx.Arm).delay == a.service().spec.stop_timeout
    assert why(a) == ("stopping", "no WATCHDOG=1 within 4s")
    a.elapse()
    assert a.last(fx.Kill) == fx.Kill("web", 1, "KILL", group=True)
    a.exited(Exit(signal="KILL"))
    assert why(a) == ("backoff", "no WATCHDOG=1 within 4s")
    assert a.service().instance.failures == 1
    assert a.service().restarts == 0
    a.elapse()
    a.read(1)
    assert a.last(fx.Spawn).generation == 2


@pytest.mark.parametrize(
    ("restart", "phase"),
    [(Restart.ALWAYS, "backoff"), (Restart.ON_FAILURE, "backoff"), (Restart.NEVER, "failed")],
)
def test_that_it_ends_cleanly_then_does_not_make_it_a_clean_end(
    restart: Restart, phase: str
) -> None:
    a = agent(watched(restart=restart)).up()
    a.elapse()
    a.exited(Exit(code=0))
    assert a.phase() == phase


def test_a_word_moves_no_timer_and_is_looked_at_when_that_is_due() -> None:
    a = agent(watched()).up()
    assert ping(a, 3.0) == ()
    a.feed(ev.Elapsed(a.last(fx.Arm).token), 1.0)
    assert a.phase() == "ready"
    assert a.last(fx.Arm).delay == 3.0, "counted from its last word"
    a.elapse()
    assert why(a) == ("stopping", "no WATCHDOG=1 within 4s")


def test_it_may_say_itself_that_it_hangs() -> None:
    a = agent(watched(None)).up()
    ping(a, trigger=True)
    assert why(a) == ("stopping", "it said WATCHDOG=trigger")
    assert a.service().instance.ending is Ending.SILENT
    assert a.last(fx.Kill).signal == "ABRT"


def test_it_may_say_how_long_it_may_be_silent() -> None:
    a = agent(watched()).up()
    ping(a, 1.0, interval=60.0)
    assert a.last(fx.Arm).delay == 60.0
    ping(a, 1.0, interval=0.0)
    assert a.service().instance.timer is None
    assert isinstance(a.effects[-1], fx.Disarm)
    ping(a, 1.0)
    assert a.service().instance.heard == 2.0, "nobody listens any more"
    ping(a, 1.0, interval=0.5)
    a.elapse()
    assert why(a) == ("stopping", "no WATCHDOG=1 within 0.5s")


def test_what_it_says_of_that_before_it_is_ready_counts_from_then_on() -> None:
    a = agent(watched())
    a.read(1)
    ping(a)
    a.spawned()
    ping(a, trigger=True)
    ping(a, interval=9.0)
    assert a.phase() == "starting"
    a.ready()
    assert a.last(fx.Arm).delay == 9.0


def test_nobody_listens_while_it_stops() -> None:
    a = agent(watched()).up()
    a.feed(ev.StopAsked("web", PERSON))
    ping(a, trigger=True)
    assert why(a) == ("stopping", "asked")
    a.elapse()
    ping(a, trigger=True)
    assert a.phase() == "killing"
    a.exited(BAD)
    assert a.phase() == "down"


def test_nobody_listens_to_a_generation_that_drains() -> None:
    one = watched(sockets=(SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80),))
    a = agent(replace(one, reload=replace(one.reload, steps=(Replace(),), handle="replace"))).up()
    a.reload()
    a.read(2)
    a.spawned(8)
    a.feed(ev.Notified("web", 2, ready=True))
    switch = a.last(fx.Switch)
    a.feed(ev.Switched(switch.token, a.now, moved=True))
    a.read(2)
    former = a.service().former[0]
    assert former.phase.value == "draining"
    ping(a, trigger=True)
    assert a.service().former == (former,)
    assert a.service().instance.silent == a.now + 4.0, "the one that took its place is listened to"


def test_it_is_listened_to_although_its_failures_are_not_forgotten_yet() -> None:
    a = agent(watched(10.0)).up()
    a.exited(BAD)
    a.elapse()
    a.read(1)
    a.spawned()
    a.ready()
    a.read(1)
    assert a.service().instance.failures == 1
    for _ in range(8):
        ping(a, 7.5, generation=2)
        arms = [e for e in a.effects if isinstance(e, fx.Arm) and e.token.machine == "instance"]
        a.feed(ev.Elapsed(arms[-1].token))
    assert a.phase() == "ready"
    assert a.service().instance.failures == 0
    assert a.service().instance.settles is None


def test_the_next_agent_gives_it_a_whole_interval_and_knows_what_it_had_said() -> None:
    a = agent(watched()).up()
    ping(a, 1.0, interval=60.0)
    b = survivor(a)
    assert b.last(fx.Arm).delay == 60.0
    b.elapse()
    assert why(b) == ("stopping", "no WATCHDOG=1 within 60s")


def test_who_was_never_told_is_not_listened_to() -> None:
    a = agent(watched(None)).up()
    b = survivor(a, specs=(watched(),))
    assert b.service().instance.silent is None
    assert not [e for e in b.effects if isinstance(e, fx.Arm)]


def test_each_of_several_is_listened_to_by_itself() -> None:
    a = agent(watched(instances=2))
    for generation in (1, 2):
        a.read(1)
        a.spawned(6 + generation)
        a.feed(ev.Notified("web", generation, ready=True))
        a.read(1)
    first, second = a.service().slots
    assert first.timer is not None
    assert second.timer is not None
    ping(a, 3.0, generation=second.generation)
    a.feed(ev.Elapsed(ev.Token("web", first.machine, first.timer)), 1.0)
    a.feed(ev.Elapsed(ev.Token("web", second.machine, second.timer)))
    assert [i.phase.value for i in a.service().slots] == ["stopping", "ready"]
    again = survivor(a, there={("web", second.generation)})
    assert again.service().slots[1].silent == again.now + 4.0


def test_while_its_main_process_is_sought_nobody_listens() -> None:
    a = agent(watched(pid_file="/run/web.pid")).up()
    a.feed(ev.MainSought(a.last(fx.SeekMain).token, identity(), "the pid file"))
    a.exited(Exit(code=0), empty=False)
    assert a.service().instance.lost
    ping(a, trigger=True, interval=9.0)
    assert a.phase() == "ready"
    a.feed(ev.MainSought(a.last(fx.SeekMain).token, identity(8), "the pid file"), 1.0)
    assert a.service().instance.silent == a.now + 9.0


def test_a_reload_under_way_is_told_why_it_died() -> None:
    a = agent(unchecked(watched(reload=spec("web", Says()).reload))).up()
    a.reload()
    a.act()
    ping(a, trigger=True)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert "it said WATCHDOG=trigger" in a.judged.message


def test_a_next_generation_that_falls_silent_is_not_taken() -> None:
    one = watched(sockets=(SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80),))
    a = agent(replace(one, reload=replace(one.reload, steps=(Replace(),), handle="replace"))).up()
    a.reload()
    a.read(2)
    a.spawned(8)
    a.feed(ev.Notified("web", 2, ready=True))
    ping(a, generation=2, trigger=True)
    a.feed(ev.Exited("web", 2, BAD, empty=True))
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REFUSED, "watchdog_timeout")
    assert a.service().instance.generation == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"WATCHDOG": "1"}, ev.Pinged("web", 1)),
        ({"WATCHDOG": "trigger"}, ev.Pinged("web", 1, trigger=True)),
        ({"WATCHDOG_USEC": "20000"}, ev.Pinged("web", 1, interval=0.02)),
        ({"WATCHDOG": "1", "WATCHDOG_USEC": "0"}, ev.Pinged("web", 1, interval=0.0)),
        ({"WATCHDOG": "2", "WATCHDOG_USEC": "soon"}, None),
        ({"READY": "1"}, None),
    ],
)
def test_what_it_says(fields: dict[str, str], said: ev.Pinged | None) -> None:
    assert lives("web", 1, fields) == said
    assert (heard("web", 1, fields) is not None) == ("READY" in fields)
