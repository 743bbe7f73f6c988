"""Another definition while one serves: in force when a generation of it was taken, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.facts import Cause
from agentd.core.memory import Declined
from agentd.core.plan import Action, Change, change, plan, to_open
from agentd.core.spec import Check, ProcessSpec, SocketKind, SocketSpec, Spec
from agentd.core.value import replace
from agentd.wire import ExitCode, Trigger, Verdict
from tests.core.make import BAD, CLEAN, PERSON, Agent, agent, spec, survivor
from tests.core.test_generations import BY_REPLACE, speaks, switch

OPERATOR = Cause(Trigger.CLI, "alice", reason="new release")
WEB = spec("web", reload=BY_REPLACE, digest="a")
SOCKET = SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80)


def command(s: Spec, *words: str, **more: Any) -> Spec:
    """The same with another command, and a digest to go with it."""
    return replace(s, process=ProcessSpec(words), digest=" ".join(words), **more)


NEWER, OTHER = command(WEB, "web", "-v"), command(WEB, "web", "-q")


def define(a: Agent, *specs: Spec, reply: int | None = None) -> None:
    replies = tuple((s.name, reply) for s in specs) if reply is not None else ()
    a.feed(ev.DefinitionsLoaded(specs, OPERATOR, replies=replies))


def answers(a: Agent) -> dict[int, fx.Reply]:
    return {e.reply: e.answer for e in a.effects if isinstance(e, fx.Answer)}


def trial(s: Spec = WEB, new: Spec = NEWER, **more: Any) -> Agent:
    """``s`` serves, ``new`` was applied, and the next generation is being born."""
    a = agent(s).up()
    define(a, new, **more)
    a.read(1)
    return a


def fails(a: Agent, *, pid: int = 9) -> None:
    """The next generation ends before it was ready."""
    a.spawned(pid)
    a.feed(ev.Exited("web", a.service().newest, BAD, empty=True))


def taken(a: Agent, n: int = 1) -> None:
    a.spawned(9)
    speaks(a, a.service().newest)
    switch(a)
    a.read(n)


def commands(a: Agent) -> list[tuple[str, ...]]:
    return [e.spec.process.command for e in a.effects if isinstance(e, fx.Spawn)]


# Taken, or not.


def test_it_is_in_force_when_a_generation_of_it_was_taken() -> None:
    a = trial()
    assert a.service().spec == WEB, "not before"
    taken(a)
    assert a.judged.verdict is Verdict.APPLIED
    assert (a.service().spec, a.service().declined) == (NEWER, None)
    a.exited()
    a.elapse()
    a.read(1)
    assert commands(a)[-1] == NEWER.process.command, "the next start too"


def test_one_that_is_refused_harms_nobody() -> None:
    a = trial()
    fails(a)
    assert a.judged.verdict is Verdict.REFUSED
    s = a.service()
    assert (s.spec, a.phase(), s.instance.generation) == (WEB, "ready", 1)
    assert s.declined == Declined(
        "web -v", a.judged.reload_id, Verdict.REFUSED, a.judged.message, ("command",)
    )
    assert a.judged.message.endswith(
        "its definition has changed: command; the former definition stays in force"
    )
    assert "these very bytes" not in a.judged.message
    assert (s.quarantine, a.told(facts.Quarantined)) == (None, [])
    assert plan({"web": s.spec}, [NEWER]) == (
        Change("web", Action.REPLACE, ("command",), ("command",)),
    )


def test_after_a_refusal_a_crash_starts_the_former_one() -> None:
    a = trial()
    fails(a)
    a.exited()
    a.elapse()
    a.read(1)
    assert commands(a) == [WEB.process.command, NEWER.process.command, WEB.process.command]


def test_one_that_was_refused_is_tried_again_when_it_is_applied_again() -> None:
    a = trial()
    fails(a)
    define(a, NEWER)
    a.read(1)
    assert a.service().declined is not None, "until it is known better"
    taken(a)
    assert (a.service().spec, a.service().declined) == (NEWER, None)


def test_one_that_is_taken_back_from_the_file_is_forgotten() -> None:
    a = trial()
    fails(a)
    define(a, WEB)
    assert (a.service().declined, a.service().running) == (None, None)


def test_the_next_generation_goes_by_its_own_definition() -> None:
    a = agent(WEB).up()
    define(a, command(NEWER, "web", "-v", start_timeout=77.0, stop_signal="INT"))
    a.read(1)
    timers = [e for e in a.effects if isinstance(e, fx.Arm) and e.token.machine == "instance.2"]
    assert timers[-1].delay == 77.0
    a.exited()
    assert a.service().instance.phase.value == "backoff"
    taken(a)
    assert a.service().spec.start_timeout == 77.0


def test_what_its_check_says_no_to_is_declined_and_the_bytes_are_not_to_blame() -> None:
    strict = replace(BY_REPLACE, check=Check(("strict",)))
    a = agent(WEB).up()
    define(a, command(WEB, "web", "-v", reload=strict))
    a.read(1)
    assert a.last(fx.RunCheck).check.argv == ("strict",)
    a.check(1)
    assert (a.judged.verdict, a.service().spec) == (Verdict.REJECTED, WEB)
    assert a.service().quarantine is None


def test_one_that_is_restored_on_failure_puts_no_files_back() -> None:
    restores = replace(BY_REPLACE, on_failure="restore")
    a = agent(replace(WEB, reload=restores)).up()
    define(a, command(WEB, "web", "-v", reload=restores))
    a.read(2)
    fails(a)
    assert a.judged.verdict is Verdict.REFUSED
    assert a.told(facts.RollingBack) == []


def test_who_waits_for_whom_is_in_force_at_once() -> None:
    a = agent(WEB).up()
    define(a, replace(NEWER, after=("db",), requires=("db",)), spec("db"))
    s = a.service()
    assert (s.spec.process, s.spec.after, s.spec.requires) == (WEB.process, ("db",), ("db",))


# Again, and something else, meanwhile.


def test_the_same_one_again_joins_the_reload_that_tries_it() -> None:
    a = trial(reply=3)
    id_ = a.service().running.id  # type: ignore[union-attr]
    assert answers(a)[3].reload_id == id_  # type: ignore[union-attr]
    define(a, NEWER, reply=4)
    joined = answers(a)[4]
    assert isinstance(joined, fx.Accepted)
    assert (joined.reload_id, joined.joined) == (id_, True)
    taken(a)
    assert (a.service().running, a.service().waiting, a.service().spec) == (None, None, NEWER)


def test_another_one_meanwhile_waits_for_the_end_of_the_first() -> None:
    a = trial()
    define(a, OTHER, reply=4)
    assert 4 not in answers(a)
    taken(a)
    assert a.service().spec == NEWER
    assert answers(a)[4].reload_id == a.service().running.id  # type: ignore[union-attr]
    a.read(1)
    taken(a)
    assert (a.service().spec, commands(a)[-1]) == (OTHER, OTHER.process.command)


def test_one_that_is_taken_back_meanwhile_is_replaced_in_its_turn() -> None:
    a = trial()
    define(a, WEB, reply=4)
    taken(a)
    assert a.service().spec == NEWER
    a.read(1)
    taken(a)
    assert (a.service().spec, a.judged.verdict) == (WEB, Verdict.APPLIED)


def test_one_that_is_taken_back_and_was_refused_needs_nothing() -> None:
    a = trial()
    define(a, WEB, reply=4)
    fails(a)
    assert (a.service().spec, a.service().running, answers(a)[4]) == (WEB, None, fx.Done())
    assert a.service().declined is None


def test_one_that_is_declared_no_more_meanwhile_ends() -> None:
    a = trial()
    define(a)
    assert (a.judged.verdict, a.phase()) == (Verdict.CANCELLED, "stopping")
    assert a.service().spec.removed


def waits() -> Agent:
    """It was applied while one of two instances comes up, whose start an earlier agent began: it has to wait for that."""
    two = replace(WEB, instances=2)
    left = agent(two).up().up(pid=8)
    left.feed(ev.Exited("web", 2, BAD, empty=True))
    arms = [e for e in left.effects if isinstance(e, fx.Arm)]
    left.feed(ev.Elapsed(arms[-1].token), arms[-1].delay)
    left.read(1)
    left.spawned(11)
    memories = {"web": replace(left.service().memory, boot="boot")}
    a = agent(two, memories=memories, found={"web"}, found_beside={("web", 3)}, boot="boot")
    assert [i.phase.value for i in a.service().slots] == ["ready", "starting"]
    define(a, replace(NEWER, instances=2), reply=3)
    assert a.service().waiting is not None
    return a


def settled(a: Agent) -> None:
    """What was waited for is ready."""
    a.feed(ev.Notified("web", 3, ready=True))


def test_a_start_that_it_waited_for_is_not_taken_for_its_own() -> None:
    two = replace(WEB, instances=2)
    left = agent(two).up()
    left.read(1)
    left.spawned(8)
    b = survivor(left, specs=(two,))
    b.feed(ev.DefinitionsLoaded((replace(NEWER, instances=2),), OPERATOR))
    b.feed(ev.Notified("web", 2, ready=True))
    b.read(1)
    r = b.service().running
    assert r is not None
    assert (r.handle, r.started_with) == ("replace", None)
    b.read(1)
    assert b.service().running is not None, "the start was one of the former definition"


def test_several_instances_take_it_one_after_the_other_or_none_does() -> None:
    two = replace(WEB, instances=2)
    a = agent(two).up().up()
    define(a, replace(NEWER, instances=2))
    a.read(1)
    a.spawned(20)
    speaks(a, a.service().newest)
    switch(a)
    assert a.service().spec == two
    fails(a, pid=21)
    assert (a.judged.verdict, a.service().spec) == (Verdict.PARTIAL, two)
    assert a.service().declined is not None


@pytest.mark.parametrize("good", [True, False])
def test_another_number_of_instances_comes_with_it(*, good: bool) -> None:
    a = trial(new=replace(NEWER, instances=2))
    if good:
        taken(a)
        assert len(a.service().slots) == 2
        assert a.service().running is not None, "the other one starts"
    else:
        fails(a)
        assert len(a.service().slots) == 1


def test_when_nobody_serves_any_more_it_is_in_force_with_its_start() -> None:
    a = waits()
    for i in a.service().slots:
        a.feed(ev.Exited("web", i.generation, BAD, empty=True))
    assert a.service().spec.process.command == NEWER.process.command
    a.read(1)
    assert commands(a)[-1] == NEWER.process.command


def test_a_hold_does_not_turn_it_away() -> None:
    a = waits()
    a.feed(ev.HoldAsked("web", PERSON))
    assert a.service().waiting is not None
    settled(a)
    assert a.service().running is not None


def test_a_reload_that_is_asked_for_meanwhile_joins_it() -> None:
    a = waits()
    a.reload(reply=5)
    assert answers(a)[5].reload_id == a.service().waiting.id  # type: ignore[union-attr]
    settled(a)
    assert a.service().running.definition == ("command",)  # type: ignore[union-attr]


def test_one_that_is_applied_while_a_reload_waits_goes_with_it() -> None:
    a = waits()
    define(a, replace(WEB, instances=2))
    a.reload(reply=5)
    define(a, replace(NEWER, instances=2), reply=4)
    assert answers(a)[4].reload_id == answers(a)[5].reload_id  # type: ignore[union-attr]
    assert a.told(facts.Joined)[-1].definition == ("command",)
    settled(a)
    assert a.service().running.spec.process == NEWER.process  # type: ignore[union-attr]


def test_changed_again_while_it_waits_it_is_given_up() -> None:
    a = waits()
    define(a, replace(OTHER, instances=2), reply=4)
    assert a.judged.verdict is Verdict.CANCELLED
    settled(a)
    assert a.service().running.spec.process == OTHER.process  # type: ignore[union-attr]


def test_a_person_who_cancels_it_leaves_the_former_one_in_force() -> None:
    a = waits()
    a.feed(ev.CancelAsked("web", a.service().waiting.id, PERSON))  # type: ignore[union-attr]
    assert (a.judged.verdict, a.service().spec.process) == (Verdict.CANCELLED, WEB.process)
    assert a.service().declined.verdict is Verdict.CANCELLED  # type: ignore[union-attr]


# Another agent.


def test_an_agent_that_begins_with_one_that_was_refused_knows_it() -> None:
    a = trial()
    fails(a)
    b = survivor(a, specs=(NEWER,))
    s = b.service()
    assert s.declined is not None
    assert s.declined.digest == s.spec.digest
    b.reload()
    b.read(1)
    taken(b)
    assert b.service().declined is None, "by now a generation of it serves"


def test_an_agent_that_begins_with_another_one_has_nothing_to_tell() -> None:
    a = trial()
    fails(a)
    for now in (WEB, OTHER):
        assert survivor(a, specs=(now,)).service().declined is None


def test_an_agent_that_dies_while_it_is_tried_leaves_it_to_the_next() -> None:
    a = trial()
    a.spawned(9)
    b = survivor(a, specs=(NEWER,))
    r = b.service().running
    assert r is not None
    assert r.definition == ("command",)
    b.read(1)
    fails(b, pid=12)
    assert b.judged.verdict is Verdict.REFUSED
    assert b.judged.message.endswith("its definition has changed: command")
    assert b.service().declined.digest == NEWER.digest  # type: ignore[union-attr]


def test_a_joined_definition_is_not_forgotten_by_the_next_agent() -> None:
    a = waits()
    define(a, replace(WEB, instances=2))
    a.reload()
    define(a, replace(NEWER, instances=2))
    b = survivor(a, specs=(replace(NEWER, instances=2),))
    r = b.service().waiting or b.service().running
    assert r is not None
    assert r.definition == ("command",)


# Sockets.


def listens(port: int, name: str = "http") -> SocketSpec:
    return SocketSpec(name, SocketKind.TCP, "127.0.0.1", port)


def test_another_address_is_opened_beside_the_former_one() -> None:
    old, new = replace(WEB, sockets=(SOCKET,)), replace(WEB, sockets=(listens(81),))
    assert change(old, new) == Change("web", Action.REPLACE, ("sockets",), ("sockets",))


def test_the_keys_that_force_the_strongest_action_are_named() -> None:
    old = replace(WEB, sockets=(SOCKET,))
    new = replace(WEB, process=ProcessSpec(("web",), nice=5))
    assert change(old, new) == Change("web", Action.RESTART, ("nice", "sockets"), ("sockets",))


def test_an_address_that_somebody_else_wants_is_let_go_at_once() -> None:
    old, other = replace(WEB, sockets=(SOCKET,)), replace(spec("db"), sockets=(SOCKET,))
    new = replace(WEB, sockets=(listens(81),))
    changes = plan({"web": old}, [new, other])
    assert [c.action for c in changes] == [Action.RESTART, Action.START]
    everywhere = replace(WEB, sockets=(replace(SOCKET, host="0.0.0.0"),))
    assert change(old, everywhere).action is Action.RESTART  # type: ignore[union-attr]


def test_what_is_new_is_opened_first_but_not_what_one_of_ours_has_still() -> None:
    old, other = replace(WEB, sockets=(SOCKET,)), replace(spec("db"), sockets=(listens(82),))
    new = replace(WEB, sockets=(SOCKET, listens(81, "admin"), listens(82, "more")))
    assert [(s.name, i) for s, i in to_open([old, other], [new])] == [("web", 1)]
    assert list(to_open([old], [old])) == []


def kept(a: Agent) -> list[tuple[SocketSpec, ...]]:
    return [e.spec.sockets for e in a.effects if isinstance(e, fx.KeepSockets)]


def test_which_sockets_stay_open_is_told_when_it_is_known() -> None:
    old, new = replace(WEB, sockets=(SOCKET,)), command(WEB, "web", "-v", sockets=(listens(81),))
    a = trial(old, new)
    assert kept(a) == []
    fails(a)
    assert kept(a) == [old.sockets]
    define(a, new)
    a.read(1)
    taken(a)
    assert kept(a) == [old.sockets, new.sockets]
    define(a)
    assert kept(a)[-1] == (), "it is declared no more"


# Who wants to know.


def test_whoever_applies_is_told_what_is_done() -> None:
    by_restart = spec("job", digest="j")
    a = agent(WEB, by_restart)
    define(a, WEB, by_restart, reply=1)
    assert answers(a)[1] == fx.Done(), "nothing"


def test_a_restart_and_a_start_are_told_when_they_begin() -> None:
    job = spec("web", digest="j")
    a = agent(job).up()
    define(a, command(job, "web", "-v"), reply=2)
    assert 2 not in answers(a)
    a.exited(CLEAN)
    begun = answers(a)[2]
    assert isinstance(begun, fx.Accepted)
    assert a.told(facts.Requested)[-1].cause == replace(OPERATOR, trigger=Trigger.START)
    b = agent(job).up()
    define(b, job, spec("db"), reply=2)
    assert b.told(facts.Requested)[-1].cause.reason == "new release"


def test_what_is_only_taken_note_of_or_stopped_is_done() -> None:
    a = agent(WEB).up()
    define(a, replace(WEB, stop_timeout=9.0), reply=2)
    assert answers(a)[2] == fx.Done()
    a.feed(ev.DefinitionsLoaded((), OPERATOR, replies=(("web", 3),)))
    assert answers(a)[3] == fx.Done()


def test_who_is_overtaken_is_answered() -> None:
    a = agent(WEB).up()
    a.reload()
    define(a, NEWER, reply=2)
    define(a, OTHER, reply=3)
    assert answers(a) == {2: fx.Done()}


def test_an_agent_that_ends_turns_everybody_away() -> None:
    a = agent(WEB).up()
    a.feed(ev.ShutdownAsked(leave=False))
    define(a, NEWER, reply=2)
    turned = answers(a)[2]
    assert isinstance(turned, fx.Turned)
    assert turned.exit_code == ExitCode.NOT_RUNNING
