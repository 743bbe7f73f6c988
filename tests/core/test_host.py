"""Who waits for whom, and how the agent ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts, host
from agentd.core.instance import Phase
from agentd.core.manifest import Missing
from agentd.core.order import dependents, start_order
from agentd.core.spec import Restart, StartLimit
from agentd.wire import ExitCode, Verdict
from tests.core.make import BAD, CLEAN, PERSON, TERM, Agent, agent, names, spec, unchecked

DB = unchecked(spec("db", restart=Restart.NEVER))
NEEDS = unchecked(spec("web", requires=("db",)))
AFTER = unchecked(spec("web", after=("db",)))


def begun(a: Agent) -> list[str]:
    return [f.service for f in a.told(facts.Requested)]


def start_db(a: Agent, *, ready: bool = True) -> None:
    a.read(Missing("missing_input", "none"))
    a.spawned()
    if ready:
        a.ready("db")


def test_what_is_required_must_be_ready() -> None:
    a = agent(DB, NEEDS)
    assert begun(a) == ["db"]
    start_db(a)
    assert begun(a) == ["db", "web"]


@pytest.mark.parametrize("end", [BAD, CLEAN])
def test_what_is_required_and_fails_is_waited_for(end: facts.Exit) -> None:
    a = agent(DB, NEEDS)
    start_db(a, ready=False)
    a.exited(end, "db")
    assert begun(a) == ["db"]
    a.feed(ev.StartAsked("db", PERSON))
    a.read(Missing("missing_input", "none"))
    a.spawned()
    a.ready("db")
    assert begun(a) == ["db", "db", "web"]


@pytest.mark.parametrize("end", [BAD, CLEAN])
def test_one_that_is_blocked_had_its_try_for_those_after_it(end: facts.Exit) -> None:
    a = agent(DB, NEEDS, unchecked(spec("app", after=("web",))))
    start_db(a, ready=False)
    assert begun(a) == ["db"]
    a.exited(end, "db")
    assert begun(a) == ["db", "app"]


def test_blocked_by_one_that_is_blocked_is_blocked() -> None:
    proxy = unchecked(spec("proxy", requires=("web",)))
    a = agent(DB, NEEDS, proxy, unchecked(spec("app", after=("proxy",))))
    start_db(a, ready=False)
    a.exited(BAD, "db")
    assert begun(a) == ["db", "app"]


def test_one_whose_turn_has_only_not_come_is_not_blocked() -> None:
    a = agent(DB, NEEDS, unchecked(spec("app", after=("web",))))
    start_db(a)
    assert begun(a) == ["db", "web"]


def test_one_that_waits_for_another_while_what_it_requires_is_ready_is_not_blocked() -> None:
    web = replace(NEEDS, after=("cache",))
    a = agent(DB, unchecked(spec("cache")), web, unchecked(spec("app", after=("web",))))
    first = next(e for e in a.effects if isinstance(e, fx.TakeSnapshot))
    assert first.spec.name == "db"
    a.feed(ev.SnapshotDone(first.token, Missing("missing_input", "none")))
    a.spawned()
    a.ready("db")
    assert (a.phase("db"), begun(a)) == ("ready", ["db", "cache"])


def test_one_that_requires_what_is_unknown_or_unwanted_is_blocked() -> None:
    app = unchecked(spec("app", after=("web",)))
    assert begun(agent(NEEDS, app)) == ["app"]
    a = agent(DB, NEEDS, app)
    a.feed(ev.StopAsked("db", PERSON))
    assert begun(a) == ["db", "app"]


def test_an_unknown_requirement_is_never_ready_and_an_unknown_predecessor_no_obstacle() -> None:
    assert begun(agent(NEEDS)) == []
    assert begun(agent(AFTER)) == ["web"]


@pytest.mark.parametrize("what", ["ready", "crash", "clean", "backoff", "down"])
def test_after_waits_for_a_try_however_it_ends(what: str) -> None:
    a = agent(replace(DB, restart=Restart.ALWAYS) if what == "backoff" else DB, AFTER)
    start_db(a, ready=what == "ready")
    if what in ("crash", "clean", "backoff"):
        a.exited(CLEAN if what == "clean" else BAD, "db")
    if what == "down":
        assert begun(a) == ["db"]
        a.feed(ev.StopAsked("db", PERSON))
    assert begun(a) == ["db", "web"]


def test_after_waits_for_what_is_itself_kept_waiting() -> None:
    a = agent(DB, NEEDS, unchecked(spec("app", after=("web",))))
    assert begun(a) == ["db"]
    start_db(a)
    assert begun(a) == ["db", "web"]
    a.read()
    a.spawned()
    a.ready("web")
    assert begun(a) == ["db", "web", "app"]


def test_after_waits_while_the_other_is_between_its_tries() -> None:
    a = agent(replace(DB, restart=Restart.ALWAYS), AFTER)
    a.feed(ev.StopAsked("web", PERSON))
    start_db(a, ready=False)
    a.exited(BAD, "db")
    a.elapse("instance", "db")
    assert a.phase("db") == "down"
    a.feed(ev.StartAsked("web", PERSON))
    assert begun(a) == ["db", "db"]


def test_what_crashes_is_not_started_again_before_what_it_needs() -> None:
    a = agent(DB, NEEDS)
    start_db(a)
    a.read()
    a.spawned()
    a.ready("web")
    a.exited(BAD, "db")
    a.exited(BAD, "web")
    a.elapse("instance", "web")
    assert (a.phase("web"), begun(a)) == ("down", ["db", "web"])


def test_new_bytes_do_not_start_what_lacks_what_it_needs() -> None:
    a = agent(DB, replace(NEEDS, start_limit=StartLimit(1)))
    start_db(a)
    a.read()
    a.spawned()
    a.exited(BAD, "web")
    a.exited(BAD, "db")
    a.reload()
    assert a.service().running is None
    assert a.service().waiting is not None
    a.feed(ev.StartAsked("db", PERSON))
    a.read(Missing("missing_input", "none"))
    a.spawned()
    a.ready("db")
    assert a.service().running is not None


# To whom an event belongs.


@pytest.mark.parametrize(
    "ask",
    [
        ev.ReloadAsked("nobody", PERSON, 1),
        ev.StartAsked("nobody", PERSON, 1),
        ev.StopAsked("nobody", PERSON, 1),
        ev.RestartAsked("nobody", PERSON, 1),
        ev.HoldAsked("nobody", PERSON, None, 1),
        ev.ReleaseAsked("nobody", PERSON, 1),
    ],
    ids=lambda e: type(e).__name__,
)
def test_who_is_not_there_is_asked_nothing(ask: ev.Ask) -> None:
    a = agent(DB)
    (answer,) = a.feed(ask)
    turned = fx.Turned(ExitCode.NO_SUCH_SERVICE, "there is no service nobody")
    assert answer == fx.Answer(1, turned)
    assert a.feed(replace(ask, reply=None)) == ()
    assert a.steps[-1].touched == ()


def test_an_answer_for_a_service_that_is_not_there_is_dropped() -> None:
    a = agent(DB)
    before = a.host
    assert a.feed(ev.Elapsed(ev.Token("nobody", "instance", 1))) == ()
    assert a.feed(ev.Emptied("nobody", 1)) == ()
    assert a.host == before


def test_a_refused_pair_is_dropped_and_said() -> None:
    a = agent(DB)
    broken = replace(a.service("db"), instance=replace(a.service("db").instance, phase=Phase.READY))
    h = replace(a.host, services={"db": broken})
    launch = ev.SnapshotDone(a.last(fx.TakeSnapshot).token, Missing("missing_input", "none"))
    step = host.step(h, launch, 1.0)
    assert step.refused == "db: Launch while ready"
    assert (step.host, step.effects, step.notes, step.touched) == (h, (), (), ())


def test_touched_are_those_that_changed() -> None:
    a = agent(DB, NEEDS)
    assert a.steps[0].touched == ("db", "web")
    start_db(a)
    assert a.steps[-1].touched == ("db",), "of web, which begins, nothing durable has changed yet"
    a.feed(ev.HoldAsked("web", PERSON))
    assert a.steps[-1].touched == ("web",)
    a.feed(ev.Elapsed(ev.Token("web", "instance", 99)))
    assert a.steps[-1].touched == ()


# The end.


def ready_pair(web: object = NEEDS) -> Agent:
    a = agent(DB, web)  # type: ignore[arg-type]
    start_db(a)
    a.read()
    a.spawned()
    a.ready("web")
    a.read()
    return a


def test_leaving_touches_nobody() -> None:
    a = ready_pair()
    before = a.host
    assert a.feed(ev.ShutdownAsked(leave=True)) == (fx.Leave(),)
    assert a.host == before


@pytest.mark.parametrize("web", [NEEDS, AFTER])
def test_all_stop_in_reverse_order_then_the_agent_leaves(web: object) -> None:
    a = ready_pair(web)
    a.feed(ev.ShutdownAsked(leave=False))
    assert (a.phase("web"), a.phase("db")) == ("stopping", "ready")
    a.exited(TERM, "web", empty=False)
    assert a.phase("db") == "ready"
    a.emptied("web")
    assert (a.phase("web"), a.phase("db")) == ("down", "stopping")
    assert "Leave" not in names(a.effects)
    a.exited(TERM, "db")
    assert a.steps[-1].effects[-1] == fx.Leave()
    assert begun(a) == ["db", "web"]
    a.feed(ev.Elapsed(ev.Token("web", "instance", 99)))
    assert a.steps[-1].effects == ()
    assert not a.told(facts.WantSet)


def test_an_agent_with_nothing_to_stop_leaves_at_once() -> None:
    a = agent(DB)
    a.feed(ev.StopAsked("db", PERSON))
    assert a.feed(ev.ShutdownAsked(leave=False))[-1] == fx.Leave()


def test_one_that_must_be_killed_still_keeps_what_it_needs() -> None:
    a = ready_pair()
    a.feed(ev.ShutdownAsked(leave=False))
    a.elapse("instance", "web")
    assert (a.phase("web"), a.phase("db")) == ("killing", "ready")


def test_an_ending_agent_takes_no_requests() -> None:
    a = ready_pair()
    a.feed(ev.ShutdownAsked(leave=False))
    a.feed(ev.StartAsked("web", PERSON, 1))
    turned = fx.Turned(ExitCode.NOT_RUNNING, "agentd is stopping its services")
    assert a.last(fx.Answer) == fx.Answer(1, turned)


def test_what_has_no_process_does_not_wait_for_its_turn() -> None:
    a = agent(DB, AFTER)
    start_db(a, ready=False)
    a.exited(BAD, "db")
    a.read()
    a.spawned()
    a.feed(ev.StartAsked("db", PERSON, 1))
    assert a.service("db").running is not None
    a.feed(ev.ShutdownAsked(leave=False))
    assert (a.phase("web"), a.phase("db"), a.service("db").running) == ("stopping", "down", None)
    assert Verdict.CANCELLED in a.verdicts
    messages = {f.message for f in a.told(facts.Judged) if f.verdict is Verdict.CANCELLED}
    assert messages == {"agentd stops"}
    a.exited(TERM, "web")
    assert a.last(fx.Leave) == fx.Leave()


def test_backoff_ends_with_the_agent() -> None:
    a = agent(replace(DB, restart=Restart.ALWAYS))
    start_db(a, ready=False)
    a.exited(BAD, "db")
    a.feed(ev.ShutdownAsked(leave=False))
    assert (a.phase("db"), a.last(fx.Leave)) == ("down", fx.Leave())


def test_a_failed_service_is_left_as_it_is_unless_something_is_under_way() -> None:
    a = agent(DB)
    start_db(a, ready=False)
    a.exited(BAD, "db")
    b = agent(DB)
    start_db(b, ready=False)
    b.exited(BAD, "db")
    b.feed(ev.ReloadAsked("db", PERSON))
    for each in (a, b):
        each.feed(ev.ShutdownAsked(leave=False))
        assert each.last(fx.Leave) == fx.Leave()
    assert (a.phase("db"), b.phase("db")) == ("failed", "down")
    assert b.judged.verdict is Verdict.CANCELLED


def test_whoever_waits_for_a_start_is_answered_when_the_agent_ends() -> None:
    a = agent(NEEDS)
    a.feed(ev.StartAsked("web", PERSON, 1))
    assert "Answer" not in names(a.effects)
    effects = a.feed(ev.ShutdownAsked(leave=False))
    assert fx.Answer(1, fx.Done()) in effects
    assert a.service().next_start is None


def test_a_thousand_services_stop_in_one_step() -> None:
    many = [unchecked(spec(f"s{n}")) for n in range(1000)]
    a = agent(*many)
    a.feed(ev.ShutdownAsked(leave=False))
    assert [type(e) for e in a.steps[-1].effects].count(fx.Leave) == 1
    assert a.verdicts == [Verdict.CANCELLED] * 1000


# Order.


def test_dependencies_start_first_otherwise_as_written() -> None:
    specs = [spec("a", after=("c",)), spec("b"), spec("c", requires=("d", "gone")), spec("d")]
    assert start_order(specs) == ("d", "c", "a", "b")
    both = spec("x", after=("b", "d"), requires=("d",))
    assert dependents([*specs, both]) == {
        "a": (),
        "b": ("x",),
        "c": ("a",),
        "d": ("c", "x"),
        "x": (),
    }
