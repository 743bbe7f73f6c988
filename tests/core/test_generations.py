"""Two generations of one service: the next one beside the one that serves, the switch, the drain, and what can go wrong on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.events import Origin
from agentd.core.instance_drain import FIRST_COUNT, SLOWEST_COUNT
from agentd.core.manifest import Missing
from agentd.core.memory import Other
from agentd.core.spec import (
    Check,
    ReadyAfter,
    ReadyProbe,
    ReloadSpec,
    Restart,
    SocketKind,
    SocketSpec,
    TcpProbe,
)
from agentd.core.steps import Grade, Replace
from agentd.wire import Trigger, Verdict
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
    unchecked,
)

TCP = SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80)
UNIX = SocketSpec("http", "unix", path="/run/web.sock")
BY_REPLACE = ReloadSpec(handle="replace", steps=(Replace(),), timeout=5.0)
WEB = spec("web", sockets=(TCP,), reload=BY_REPLACE, stop_timeout=4.0, drain_timeout=3.0)


def up(**changes: Any) -> Agent:
    return agent(replace(WEB, **changes)).up()


def begun(a: Agent | None = None, n: int = 2) -> Agent:
    """Bytes ``n`` are read, and the next generation is being born."""
    a = a or up()
    a.reload()
    a.read(n)
    return a


def born(a: Agent | None = None, n: int = 2) -> Agent:
    a = begun(a, n)
    a.spawned(pid=newest(a) + 7)
    return a


def newest(a: Agent) -> int:
    return a.service().newest


def speaks(a: Agent, generation: int) -> None:
    a.feed(ev.Notified("web", generation, ready=True))


def ready(a: Agent | None = None, n: int = 2) -> Agent:
    """The next generation is ready, and the switch is under way."""
    a = born(a, n)
    speaks(a, newest(a))
    return a


def switch(a: Agent, *, moved: bool = True) -> None:
    a.feed(ev.Switched(a.last(fx.Switch).token, a.now, moved))


def comparing(a: Agent | None = None, n: int = 2, *, moved: bool = True) -> Agent:
    a = ready(a, n)
    switch(a, moved=moved)
    return a


def replaced(a: Agent | None = None, n: int = 2, *, moved: bool = True) -> Agent:
    a = comparing(a, n, moved=moved)
    a.read(n)
    assert a.judged.verdict is Verdict.APPLIED
    return a


def ends(a: Agent, generation: int, end: facts.Exit = BAD, *, empty: bool = True) -> None:
    a.feed(ev.Exited("web", generation, end, empty, ("last words",)))


def count(a: Agent, open_: int, queued: int = 0) -> None:
    a.feed(ev.Counted(a.last(fx.Count).token, open_, queued))


def arm(a: Agent, machine: str) -> fx.Arm:
    arms = [e for e in a.effects if isinstance(e, fx.Arm) and e.token.machine == machine]
    return arms[-1]


def told(a: Agent, kind: type[Any]) -> list[str]:
    """What this reload told of phases or steps; an error type after a !."""
    id_ = a.told(facts.Requested)[-1].reload_id
    mine = [f for f in a.told(kind) if f.reload_id == id_]
    words = [(getattr(f, "step", "") or f.phase, getattr(f, "error_type", "")) for f in mine]
    return [word + (f"!{error}" if error else "") for word, error in words]


def generations(a: Agent) -> list[tuple[int, str]]:
    return [(i.generation, i.phase.value) for i in a.service().alive]


def kills(a: Agent) -> list[tuple[int, str]]:
    return [(e.generation, e.signal) for e in a.effects if isinstance(e, fx.Kill)]


# A replacement that goes well.


def test_the_next_one_is_started_beside_the_one_that_serves() -> None:
    a = begun()
    r = a.service().running
    assert r is not None
    spawn = a.last(fx.Spawn)
    assert (spawn.generation, spawn.beside, spawn.token.machine) == (2, True, "instance.2")
    assert spawn.origin == Origin(r.id, r.trace_id, "sha256:2", "2")
    assert spawn.cookie not in {e.cookie for e in a.effects[:-5] if isinstance(e, fx.Spawn)}
    assert generations(a) == [(1, "ready"), (2, "starting")]
    assert kills(a) == []
    assert a.service().memory.issued == 2
    assert a.service().memory.generation == 1


def test_a_start_is_not_beside_anything_and_knows_what_it_is_for() -> None:
    a = agent(WEB)
    a.read(1)
    r = a.service().running
    assert r is not None
    spawn = a.last(fx.Spawn)
    assert (spawn.beside, spawn.origin) == (False, Origin(r.id, r.trace_id, "sha256:1", "1"))


def test_a_start_without_its_inputs_is_for_no_hash() -> None:
    a = agent(WEB)
    a.read(Missing("missing_input", "web.conf is missing"))
    origin = a.last(fx.Spawn).origin
    assert origin is not None
    assert (origin.hash, origin.version) == ("", "")


def test_a_replacement_from_its_request_to_its_verdict() -> None:
    a = ready()
    assert a.last(fx.Switch).generation == 2
    assert a.service().live == manifest(1), "nothing has moved yet"
    a.feed(ev.Switched(a.last(fx.Switch).token, 0.75, moved=True), 1.0)
    assert a.told(facts.Flipped) == [
        facts.Flipped("web", a.service().running.id, 2, 0.75, moved=True)
    ]
    assert kills(a) == [], "the former one stays as it is until the verdict"
    a.read(2)
    judged = a.judged
    assert (judged.verdict, judged.generation, judged.pid) == (Verdict.APPLIED, 2, 9)
    assert (judged.confirmation, judged.grade, judged.handle) == (
        "notify",
        Grade.PROVEN,
        "replace",
    )
    assert told(a, facts.PhaseBegan) == ["snapshot", "apply", "commit"]
    assert told(a, facts.PhaseEnded) == ["snapshot", "apply", "commit"]
    steps = [f for f in a.told(facts.StepEnded) if f.reload_id == judged.reload_id]
    assert [(f.step, f.pid) for f in steps] == [("process.start", 9), ("traffic.switch", None)]
    assert (steps[1].at, steps[1].error_type) == (0.75, "")
    began = [f for f in a.told(facts.StepBegan) if f.reload_id == judged.reload_id]
    assert [(f.step, f.pid) for f in began] == [("process.start", None), ("traffic.switch", 9)]
    s = a.service()
    assert (s.live, s.last_good, s.next, s.instance.beside) == (
        manifest(2),
        manifest(2),
        None,
        False,
    )
    assert generations(a) == [(2, "ready"), (1, "draining")]
    assert a.phase() == "ready"
    assert "SendReloadSignal" not in names(a.effects)


def test_bytes_are_checked_before_anything_is_started() -> None:
    a = begun(up(reload=replace(BY_REPLACE, check=Check(("check",)))))
    assert a.service().next is None
    a.check(1)
    assert a.judged.verdict is Verdict.REJECTED
    assert generations(a) == [(1, "ready")]


def test_a_probe_of_the_next_one_must_be_answered_by_itself() -> None:
    a = agent(replace(WEB, ready=ReadyProbe(TcpProbe("h", 1), 0.1)))
    a.read(1)
    a.spawned()
    first = a.last(fx.Ask)
    assert (first.generation, first.beside) == (1, False)
    a.feed(ev.Probed(first.token, None))
    a.read(1)
    born(a)
    asked = a.last(fx.Ask)
    assert (asked.generation, asked.beside, asked.pid) == (2, True, 9)
    assert asked.token.machine == "instance.2"
    a.feed(ev.Probed(asked.token, None))
    switch(a)
    a.read(2)
    assert (a.judged.confirmation, a.judged.grade) == ("ready", Grade.OBSERVED)


def test_a_probe_of_a_next_one_that_is_ended_is_taken_back() -> None:
    a = agent(replace(WEB, ready=ReadyProbe(TcpProbe("h", 1), 0.1)))
    a.read(1)
    a.spawned()
    a.feed(ev.Probed(a.last(fx.Ask).token, None))
    a.read(1)
    born(a)
    asked = a.last(fx.Ask)
    a.feed(ev.StopAsked("web", PERSON))
    assert fx.Cancel(asked.token) in a.effects


def test_the_one_that_replaced_is_replaced_in_its_turn() -> None:
    a = replaced()
    ends(a, 1, TERM)
    replaced(a, 3)
    assert generations(a) == [(3, "ready"), (2, "draining")]
    assert (a.judged.generation, a.service().live) == (3, manifest(3))


def test_what_replaced_is_supervised_as_any_other() -> None:
    a = replaced()
    ends(a, 1, TERM)
    a.exited()
    assert (a.phase(), a.service().live) == ("backoff", None)
    a.elapse("instance.2")
    a.read(2)
    assert (a.last(fx.Spawn).generation, a.last(fx.Spawn).beside) == (3, False)


def test_a_replacement_that_was_asked_for_twice_is_done_twice() -> None:
    a = begun()
    a.reload()
    a.spawned(8)
    speaks(a, 2)
    switch(a)
    a.read(2)
    a.read(2)
    assert a.last(fx.Spawn).generation == 3


def test_what_the_former_one_says_is_not_about_the_next_one() -> None:
    a = born()
    speaks(a, 1)
    assert generations(a) == [(1, "ready"), (2, "starting")]


# The drain.


def test_what_is_in_flight_may_be_finished() -> None:
    a = replaced()
    former = a.service().former[0]
    assert (former.deadline, former.reload_id) == (a.now + 3.0, a.judged.reload_id)
    assert former.why == "another generation has its place"
    assert a.last(fx.Arm) == fx.Arm(ev.Token("web", "instance", former.timer or 0), FIRST_COUNT)
    a.elapse()
    asked = a.last(fx.Count)
    assert (asked.generation, asked.token.machine) == (1, "instance")
    assert a.service().former[0].timer is None
    count(a, 2, 1)
    a.elapse()
    count(a, 0)
    assert kills(a) == [], (
        "a handshake may have been on its way: nothing is left only when it is so twice"
    )
    assert a.last(fx.Arm).delay == FIRST_COUNT
    a.elapse()
    count(a, 0)
    assert kills(a) == [(1, "TERM")]
    assert "Cancel" not in names(a.steps[-1].effects), "it was answered"
    assert a.last(fx.Arm).delay == 4.0
    drained = a.told(facts.Drained)[-1]
    assert drained == facts.Drained("web", a.judged.reload_id, 1, 7, 0.0, 3, 0)
    ends(a, 1, TERM)
    assert generations(a) == [(2, "ready")]
    assert a.service().former == ()
    assert fx.Forget("web", 1) in a.effects
    assert (a.phase(), a.service().live) == ("ready", manifest(2))


def test_a_queue_that_is_not_empty_is_something_left() -> None:
    a = replaced()
    a.elapse()
    count(a, 0, 1)
    assert not a.service().former[0].idle
    assert a.service().former[0].left == 1


def test_a_connection_that_came_late_begins_the_counting_anew() -> None:
    a = replaced()
    for left in (0, 1, 0):
        a.elapse()
        count(a, left)
        assert kills(a) == []
    a.elapse()
    count(a, 0)
    assert kills(a) == [(1, "TERM")]


def test_the_pauses_between_counts_grow_and_end_at_the_limit() -> None:
    a = up()
    a.now = began = 2.0
    replaced(a)
    pauses = []
    while not kills(a):
        pauses.append(a.last(fx.Arm).delay)
        a.elapse()
        if not kills(a):
            count(a, 5)
    assert FIRST_COUNT == 0.05
    assert pauses[:4] == [FIRST_COUNT, FIRST_COUNT, FIRST_COUNT * 2, FIRST_COUNT * 4]
    assert max(pauses) == SLOWEST_COUNT == 0.5
    assert a.now - began == pytest.approx(3.0)
    drained = a.told(facts.Drained)[-1]
    assert (drained.open, drained.cut, drained.began) == (5, 5, began)


def test_the_most_that_was_counted_is_told_with_what_was_cut() -> None:
    a = replaced()
    for left in (4, 6, 2):
        a.elapse()
        count(a, left)
    a.now = 9.0
    a.elapse()
    assert (a.told(facts.Drained)[-1].open, a.told(facts.Drained)[-1].cut) == (6, 2)


def test_with_no_time_to_drain_it_is_still_counted_once() -> None:
    a = replaced(up(drain_timeout=0.0))
    assert a.last(fx.Arm).delay == 0.0
    a.elapse()
    count(a, 2)
    assert kills(a) == []
    a.elapse()
    assert kills(a) == [(1, "TERM")]
    assert a.told(facts.Drained)[-1].cut == 2


def test_what_cannot_be_counted_is_told_to_stop() -> None:
    a = replaced()
    a.elapse()
    a.failed(fx.Count)
    assert kills(a) == [(1, "TERM")]
    assert "Cancel" not in names(a.steps[-1].effects)


@pytest.mark.parametrize(("sockets", "moved"), [((TCP,), False), ((UNIX,), True), ((), True)])
def test_what_shares_its_listeners_is_told_to_stop_at_once(
    sockets: tuple[SocketSpec, ...], *, moved: bool
) -> None:
    a = replaced(up(sockets=sockets), moved=moved)
    assert kills(a) == [(1, "TERM")]
    assert generations(a) == [(2, "ready"), (1, "stopping")]
    assert a.told(facts.Drained) == []
    assert a.service().former[0].ending is not None
    ends(a, 1, BAD)
    assert (generations(a), a.phase()) == ([(2, "ready")], "ready")


@pytest.mark.parametrize("empty", [True, False])
def test_it_may_end_by_itself_when_it_has_drained(*, empty: bool) -> None:
    a = replaced()
    ends(a, 1, BAD, empty=empty)
    assert (a.told(facts.Drained)[-1].pid, a.told(facts.Drained)[-1].cut) == (7, 0)
    assert kills(a) == ([] if empty else [(1, "TERM")])
    if not empty:
        assert a.last(fx.Kill).group
        a.feed(ev.Emptied("web", 1))
    last = a.told(facts.PhaseEntered)[-1]
    assert (last.generation, last.phase, last.exit) == (1, "down", BAD)
    assert generations(a) == [(2, "ready")]
    assert "backoff" not in [f.phase for f in a.told(facts.PhaseEntered)]


def test_a_former_one_that_does_not_end_is_killed() -> None:
    a = replaced(moved=False)
    a.elapse()
    assert kills(a) == [(1, "TERM"), (1, "KILL")]
    assert a.told(facts.Drained) == []


def test_words_of_one_that_drains_change_nothing() -> None:
    a = replaced()
    before = a.host.services
    speaks(a, 1)
    a.feed(ev.Notified("web", 1, extend=99.0))
    assert a.host.services == before


def test_a_start_asked_for_forgives_those_that_drain_nothing_and_breaks_nothing() -> None:
    a = replaced()
    a.feed(ev.StartAsked("web", PERSON, 1))
    assert a.last(fx.Answer) == fx.Answer(1, fx.Done())
    assert generations(a) == [(2, "ready"), (1, "draining")]


# Room.


def full() -> Agent:
    """Three alive: one serves, two drain."""
    a = replaced(replaced(), 3)
    assert generations(a) == [(3, "ready"), (1, "draining"), (2, "draining")]
    return a


def test_with_too_many_alive_the_oldest_must_end_first() -> None:
    a = begun(full(), 4)
    assert a.service().running.stage.value == "clearing"  # type: ignore[union-attr]
    assert a.last(fx.Spawn).generation == 3
    assert kills(a) == [(1, "TERM")]
    assert arm(a, "reload").delay == 4.0 + 5.0
    assert told(a, facts.StepBegan) == []
    ends(a, 1, TERM)
    assert a.last(fx.Spawn).generation == 4
    assert fx.Disarm("web", "reload") in a.steps[-1].effects
    assert a.service().running.timer is None  # type: ignore[union-attr]
    assert told(a, facts.StepBegan) == ["process.start"]
    assert generations(a) == [(3, "ready"), (4, "starting"), (2, "draining")]


def test_one_that_stops_already_is_waited_for() -> None:
    a = replaced(up(max_generations=2), moved=False)
    begun(a, 3)
    assert kills(a) == [(1, "TERM")], "not once more"
    ends(a, 1, TERM)
    assert a.last(fx.Spawn).generation == 3


def limited() -> Agent:
    return replaced(up(drain_timeout=1.0, stop_timeout=2.0))


def test_what_waits_to_be_accepted_gets_its_stop_timeout_beyond_the_limit() -> None:
    a = limited()
    while a.now < 1.0:
        a.elapse()
        count(a, 3, 2)
    a.elapse()
    assert kills(a) == [], "they would be reset without a word"
    count(a, 3, 0)
    a.elapse()
    assert kills(a) == [(1, "TERM")], "what is accepted is cut at the limit"
    assert a.now < 1.5


def test_a_queue_within_the_limit_is_counted_as_seldom_as_anything() -> None:
    a = limited()
    pauses = []
    while a.now < 1.0:
        pauses.append(a.last(fx.Arm).delay)
        a.elapse()
        count(a, 3, 2)
    assert pauses[:4] == [FIRST_COUNT, FIRST_COUNT, FIRST_COUNT * 2, FIRST_COUNT * 4]
    assert pauses[4] == pytest.approx(FIRST_COUNT * 8)
    assert sum(pauses) == pytest.approx(1.0)


def test_who_accepts_nothing_is_not_waited_for_for_ever() -> None:
    a = limited()
    while not kills(a):
        a.elapse()
        if not kills(a):
            count(a, 0, 2)
    assert 3.0 <= a.now < 3.0 + 2 * FIRST_COUNT
    assert a.told(facts.Drained)[-1].cut == 2


def test_room_for_two_is_needed_when_the_limit_was_lowered() -> None:
    a = full()
    specs = (replace(a.specs[0], max_generations=2),)
    services = {"web": replace(a.service(), spec=specs[0])}
    a.host = replace(a.host, services=services)
    begun(a, 4)
    ends(a, 1, TERM)
    assert a.last(fx.Spawn).generation == 3
    assert a.service().running.stage.value == "clearing"  # type: ignore[union-attr]
    ends(a, 2, TERM)
    assert a.last(fx.Spawn).generation == 4


def test_no_room_refuses_and_leaves_everything_as_it_was() -> None:
    a = begun(full(), 4)
    a.elapse("reload")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REFUSED, "max_generations")
    assert a.judged.message == "3 generations are alive, and the oldest does not end"
    assert told(a, facts.PhaseEnded)[-1] == "apply!max_generations"
    assert (a.service().live, a.phase()) == (manifest(3), "ready")
    assert a.last(fx.Spawn).generation == 3


def test_the_one_that_serves_may_die_while_room_is_made() -> None:
    a = begun(full(), 4)
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert a.service().attempted.hash == "sha256:4"  # type: ignore[union-attr]
    assert a.phase() == "backoff"
    b = begun(full(), 4)
    b.feed(ev.StopAsked("web", PERSON))
    assert b.judged.verdict is Verdict.CANCELLED


# A next one that is not taken.


def refused(a: Agent, error_type: str, why: str) -> None:
    """The former one serves, and nothing of the other is left but its end."""
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REFUSED, error_type)
    assert a.judged.message == f"the next generation did not come up: {why}; the former one serves"
    assert (a.judged.generation, a.judged.pid) == (1, 7)
    s = a.service()
    assert (s.next, s.running, s.live, s.last_good) == (None, None, manifest(1), manifest(1))
    assert (a.phase(), s.quarantine) == ("ready", None)
    assert s.attempted is not None
    assert s.attempted.verdict is Verdict.REFUSED
    assert (1, "TERM") not in kills(a)


def test_a_next_one_that_ends_is_refused() -> None:
    a = born()
    ends(a, 2)
    refused(a, "exit_3", "exit code 3")
    assert a.judged.output == ("last words",)
    assert told(a, facts.StepEnded) == ["process.start!exit_3"]
    assert told(a, facts.PhaseEnded)[-1] == "apply!exit_3"
    ends_ = names(n.fact for n in a.steps[-1].notes)
    assert ends_.index("StepEnded") < ends_.index("PhaseEnded"), "the step is within its phase"
    assert "Switch" not in names(a.effects), "nothing was switched, so nothing is undone"
    assert generations(a) == [(1, "ready")]
    begun(a, 3)
    assert a.last(fx.Spawn).generation == 3, "a number is used once"


def test_a_next_one_that_cannot_be_born_is_refused() -> None:
    a = begun()
    a.failed(fx.Spawn)
    refused(a, "spawn_failed", "cannot do it")


def test_a_next_one_that_leaves_a_group_is_refused_at_once_and_its_group_ended() -> None:
    a = born()
    ends(a, 2, empty=False)
    refused(a, "exit_3", "exit code 3")
    assert kills(a) == [(2, "KILL")], "it serves nobody"
    assert generations(a) == [(1, "ready"), (2, "killing")]
    a.feed(ev.Emptied("web", 2))
    assert generations(a) == [(1, "ready")]


def test_a_next_one_that_is_too_slow_is_ended() -> None:
    a = born()
    a.elapse("instance.2")
    refused(a, "start_timeout", "not ready within 30s")
    assert kills(a) == [(2, "KILL")], "it serves nobody"
    assert [e.machine for e in a.effects if isinstance(e, fx.Disarm)][-2:] == [
        "instance.2",
        "reload",
    ]
    ends(a, 2, CLEAN)
    assert generations(a) == [(1, "ready")]
    assert a.service().instance.failures == 0, "the one that serves has not failed"


def test_what_does_not_take_the_place_is_never_started_again() -> None:
    a = born(up(restart=Restart.ALWAYS))
    ends(a, 2)
    assert [e.token.machine for e in a.steps[-1].effects if isinstance(e, fx.Arm)] == []
    assert a.told(facts.PhaseEntered)[-1].phase == "down"


def test_a_switch_that_fails_is_undone() -> None:
    a = ready()
    a.failed(fx.Switch, "switch_failed")
    refused(a, "switch_failed", "cannot do it")
    assert told(a, facts.StepEnded) == ["process.start", "traffic.switch!switch_failed"]
    assert kills(a) == [(2, "TERM")]
    undone = a.steps[-1].effects
    assert [e.generation for e in undone if isinstance(e, fx.Switch)] == [1]
    assert names(undone).index("Switch") < names(undone).index("Kill")
    assert "Cancel" not in names(undone), "it was answered"


def test_a_next_one_that_dies_while_connections_are_moved_is_refused() -> None:
    a = ready()
    ends(a, 2)
    refused(a, "exit_3", "exit code 3")
    assert told(a, facts.StepEnded)[-1] == "traffic.switch!exit_3"
    moved = [e for e in a.effects if isinstance(e, fx.Switch)]
    assert [e.generation for e in moved] == [2, 1]
    assert fx.Cancel(moved[0].token) in a.effects
    assert moved[0].token != moved[1].token
    a.feed(ev.Switched(moved[0].token, a.now, moved=True))
    a.feed(ev.Switched(moved[1].token, a.now, moved=True))
    assert a.told(facts.Flipped) == []


def test_a_next_one_that_dies_during_commit_is_refused_and_the_switch_undone() -> None:
    a = comparing()
    ends(a, 2)
    refused(a, "exit_3", "exit code 3")
    assert told(a, facts.PhaseEnded)[-1] == "commit!exit_3"
    assert told(a, facts.StepEnded) == ["process.start", "traffic.switch"]
    assert a.last(fx.Switch).generation == 1
    assert fx.Cancel(a.last(fx.TakeSnapshot).token) in a.effects


def test_the_undoing_of_one_switch_is_not_taken_for_the_answer_to_the_next() -> None:
    a = comparing()
    ends(a, 2)
    undo = a.last(fx.Switch).token
    a.reload()
    a.feed(ev.Switched(undo, a.now, moved=True))
    assert a.last(fx.TakeSnapshot).token.serial > undo.serial
    a.read(3)
    a.spawned(10)
    speaks(a, 3)
    a.feed(ev.Switched(undo, a.now, moved=True))
    assert a.service().running.stage.value == "switching"  # type: ignore[union-attr]
    assert a.last(fx.Switch).token.serial > undo.serial
    switch(a)
    a.read(3)
    assert a.judged.verdict is Verdict.APPLIED


# What else may happen meanwhile.


def test_the_former_one_may_die_before_the_next_is_ready() -> None:
    a = born()
    a.exited()
    assert a.service().live is None
    speaks(a, 2)
    switch(a)
    a.read(2)
    assert (a.judged.verdict, a.judged.generation) == (Verdict.APPLIED, 2)
    assert fx.Disarm("web", "instance") in a.steps[-1].effects, "its next try is not waited for"
    assert generations(a) == [(2, "ready")]
    assert (a.service().former, a.service().live) == ((), manifest(2))
    a.elapse()
    assert a.phase() == "ready"


@pytest.mark.parametrize("when", ["born", "ready", "comparing"])
def test_a_former_one_that_died_but_for_its_group_is_ended_and_forgotten(when: str) -> None:
    a = {"born": born, "ready": ready, "comparing": comparing}[when]()
    a.exited(empty=False)
    assert a.phase() == "stopping"
    if when == "born":
        speaks(a, 2)
    if when != "comparing":
        switch(a)
    a.read(2)
    assert (a.judged.verdict, a.judged.generation) == (Verdict.APPLIED, 2)
    assert generations(a) == [(2, "ready"), (1, "stopping")]
    a.feed(ev.Emptied("web", 1))
    assert generations(a) == [(2, "ready")]
    assert a.told(facts.PhaseEntered)[-1].phase == "down", "it has a successor already"


@pytest.mark.parametrize("empty", [True, False])
def test_when_both_are_gone_it_has_failed(*, empty: bool) -> None:
    a = born()
    a.exited(TERM, empty=empty)
    ends(a, 2)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "exit_3")
    message = "web died, and its next generation did not come up: exit code 3"
    assert (a.judged.message, a.judged.output) == (message, ("last words",))
    assert a.service().live is None
    if not empty:
        a.emptied()
    assert a.phase() == "backoff"
    a.elapse()
    a.read(2)
    assert a.last(fx.Spawn).generation == 3, "and it is started again"


@pytest.mark.parametrize("empty", [True, False])
def test_a_start_asked_for_meanwhile_joins_what_brings_it_up(*, empty: bool) -> None:
    a = born()
    a.exited(empty=empty)
    a.feed(ev.StartAsked("web", PERSON, 5))
    r = a.service().running
    assert r is not None
    assert a.last(fx.Answer) == fx.Answer(5, fx.Accepted(r.id, r.trace_id, joined=True))
    assert a.service().next_start is None
    speaks(a, 2)
    switch(a)
    a.read(2)
    assert (a.judged.verdict, a.phase()) == (Verdict.APPLIED, "ready")


@pytest.mark.parametrize("when", ["begun", "born", "ready", "comparing"])
def test_a_stop_ends_both_and_nothing_was_changed(when: str) -> None:
    a = {"begun": begun, "born": born, "ready": ready, "comparing": comparing}[when]()
    a.feed(ev.StopAsked("web", PERSON, 1))
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.CANCELLED, "cancelled")
    assert a.service().attempted is not None
    assert a.service().attempted.hash == "sha256:1", "it was not tried"  # type: ignore[union-attr]
    assert a.last(fx.Answer) == fx.Answer(1, fx.Done())
    if when == "begun":
        a.spawned(8)
    assert sorted(kills(a)) == [(1, "TERM"), (2, "KILL" if when in ("begun", "born") else "TERM")]
    switched = [e.generation for e in a.effects if isinstance(e, fx.Switch)]
    assert switched == ([2, 1] if when in ("ready", "comparing") else [])
    ends(a, 2, TERM)
    assert (generations(a), a.phase()) == ([(1, "stopping")], "stopping")
    ends(a, 1, TERM)
    assert (generations(a), a.phase(), a.service().running) == ([], "down", None)


def test_a_stop_ends_those_that_drain_and_does_not_ask_twice() -> None:
    a = replaced(replaced(moved=False), 3)
    assert kills(a) == [(1, "TERM")]
    a.feed(ev.StopAsked("web", PERSON))
    assert kills(a) == [(1, "TERM"), (2, "TERM"), (3, "TERM")]
    assert a.told(facts.Drained)[-1].generation == 2
    assert a.service().former[1].why == "asked"


def test_a_stop_during_a_count_takes_it_back() -> None:
    a = replaced()
    a.elapse()
    a.feed(ev.StopAsked("web", PERSON))
    assert fx.Cancel(a.last(fx.Count).token) in a.effects
    a.feed(ev.Counted(a.last(fx.Count).token, 0, 0))
    assert kills(a) == [(1, "TERM"), (2, "TERM")]


def test_a_restart_gives_up_the_next_one_and_starts_anew() -> None:
    a = ready()
    a.feed(ev.RestartAsked("web", PERSON, 5))
    assert (a.judged.verdict, a.phase()) == (Verdict.CANCELLED, "stopping")
    ends(a, 1, TERM)
    assert isinstance(a.last(fx.Answer).answer, fx.Accepted)
    a.read(2)
    assert (a.last(fx.Spawn).generation, a.last(fx.Spawn).beside) == (3, False)
    assert generations(a) == [(3, "starting"), (2, "stopping")]


def test_an_ending_agent_ends_both_and_leaves_when_nothing_is_left() -> None:
    a = ready()
    a.feed(ev.ShutdownAsked(leave=False))
    assert a.judged.verdict is Verdict.CANCELLED
    assert kills(a) == [(2, "TERM"), (1, "TERM")]
    ends(a, 1, TERM)
    assert "Leave" not in names(a.effects)
    ends(a, 2, TERM)
    assert "Leave" in names(a.effects)


def test_an_ending_agent_ends_those_that_drain() -> None:
    a = replaced()
    a.feed(ev.ShutdownAsked(leave=False))
    assert kills(a) == [(1, "TERM"), (2, "TERM")]
    ends(a, 2, TERM)
    assert "Leave" not in names(a.effects)
    ends(a, 1, TERM)
    assert "Leave" in names(a.effects)


def test_an_ending_agent_ends_those_that_drain_of_one_that_stops_already() -> None:
    a = replaced()
    stopping = replace(a.service().instance, phase=a.service().instance.phase)
    assert stopping.phase.value == "ready"
    a.exited(empty=False)
    a.feed(ev.ShutdownAsked(leave=False))
    assert (1, "TERM") in kills(a)
    assert a.service().instance.ending.value == "asked"  # type: ignore[union-attr]


def test_what_is_needed_is_not_stopped_while_a_former_generation_of_the_other_lives() -> None:
    db = unchecked(spec("db"))
    a = agent(db, replace(WEB, requires=("db",)))
    a.read(Missing("missing_input", "none"))
    a.spawned()
    a.ready("db")
    a.read(1)  # db's own comparison; it had no bytes
    a.up()
    replaced(a)
    a.feed(ev.ShutdownAsked(leave=False))
    ends(a, 2, TERM)
    assert a.phase("db") == "ready"
    ends(a, 1, TERM)
    assert a.phase("db") == "stopping"


# What is known in the end.


def test_inputs_that_moved_leave_it_unverified_in_its_place_and_another_follows() -> None:
    a = comparing()
    a.read(3)
    judged = a.judged
    assert (judged.verdict, judged.error_type) == (Verdict.UNVERIFIED, "inputs_moved")
    assert (judged.generation, a.service().live) == (2, None)
    assert generations(a) == [(2, "ready"), (1, "draining")]
    follow = a.told(facts.Requested)[-1]
    assert (follow.link, follow.handle) == (judged.reload_id, "replace")
    a.read(3)
    assert a.last(fx.Spawn).generation == 3


def test_what_cannot_be_compared_is_unverified_in_its_place() -> None:
    a = comparing()
    a.failed(fx.TakeSnapshot, "broken")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.UNVERIFIED, "broken")
    assert a.judged.message == "cannot do it"
    assert told(a, facts.PhaseEnded)[-1] == "commit!broken"
    assert (a.service().live, a.service().last_good) == (None, manifest(1))
    assert generations(a) == [(2, "ready"), (1, "draining")]
    assert "Cancel" not in names(a.steps[-1].effects)


@pytest.mark.parametrize("proven", [True, False])
def test_proof_can_be_demanded_of_a_replacement(*, proven: bool) -> None:
    a = agent(replace(WEB, **({} if proven else {"ready": ReadyAfter(1.0)})))
    a.read(1)
    a.spawned()
    a.ready() if proven else a.elapse()
    a.read(1)
    a.reload(require_proof=True)
    a.read(2)
    a.spawned(8)
    speaks(a, 2) if proven else a.elapse("instance.2")
    switch(a)
    a.read(2)
    verdict = Verdict.APPLIED if proven else Verdict.UNVERIFIED
    assert (a.judged.verdict, a.judged.error_type) == (verdict, "" if proven else "not_proven")
    assert a.judged.grade is (Grade.PROVEN if proven else Grade.DECLARED)
    assert generations(a)[0] == (2, "ready"), "it serves, whatever can be proven"
    assert a.service().live == manifest(2)


def test_evidence_of_the_recipe_is_not_asked_of_a_replacement() -> None:
    a = replaced(up(reload=replace(BY_REPLACE, confirm=(Says(),))))
    assert "Look" not in names(a.effects)
    assert a.judged.confirmation == "notify"


def test_a_crash_is_followed_by_a_start_and_a_reload_in_backoff_starts_it_too() -> None:
    a = up()
    a.exited()
    a.reload()
    a.read(2)
    assert (a.last(fx.Spawn).generation, a.last(fx.Spawn).beside) == (2, False)
    a.spawned(8)
    a.ready()
    a.read(2)
    assert (a.judged.verdict, a.judged.handle) == (Verdict.APPLIED, "replace")
    assert a.judged.trigger is Trigger.CLI


# What the next agent must know of it.


def test_those_beside_it_are_remembered_with_what_they_are_there_for() -> None:
    a = begun()
    assert a.service().memory.others == (), "it has no process yet"
    a.spawned(8)
    assert a.service().memory.others == (Other(2, "starting", identity(8)),)
    assert a.steps[-1].touched == ("web",)
    speaks(a, 2)
    assert a.service().memory.others == (Other(2, "ready", identity(8)),)
    switch(a)
    a.read(2)
    m, id_ = a.service().memory, a.judged.reload_id
    assert (m.generation, m.process, m.issued) == (2, identity(8), 2)
    assert m.others == (Other(1, "draining", identity(7), id_),)
    ends(a, 1, TERM)
    assert a.service().memory.others == ()


def test_one_that_is_declared_no_more_ends_those_that_drain_too() -> None:
    a = replaced()
    a.feed(ev.DefinitionsLoaded((), PERSON))
    assert kills(a) == [(2, "TERM"), (1, "TERM")] or kills(a) == [(1, "TERM"), (2, "TERM")]


@pytest.mark.parametrize("gone", [False, True])
def test_a_stop_in_backoff_closes_what_nobody_will_serve(*, gone: bool) -> None:
    a = up()
    ends(a, 1)
    assert (a.phase(), "CloseSockets" in names(a.effects)) == ("backoff", False), "clients wait"
    a.feed(ev.DefinitionsLoaded((), PERSON) if gone else ev.StopAsked("web", PERSON))
    assert a.phase() == "down"
    assert names(a.effects).count("CloseSockets") == 1
