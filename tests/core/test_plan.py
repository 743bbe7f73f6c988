"""What a change of the definitions means, and that only what changed is touched."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts, host
from agentd.core.facts import Cause
from agentd.core.instance import Phase
from agentd.core.memory import Hold, Memory, Pending, Want
from agentd.core.plan import Action, Change, change, plan
from agentd.core.spec import LogSpec, ProcessSpec, Restart, SocketKind, SocketSpec, Spec
from agentd.core.steps import Replace
from agentd.core.value import replace
from agentd.wire import ExitCode, Trigger, Verdict
from tests.core.make import CLEAN, PERSON, Agent, Says, agent, manifest, spec

HANGUP = Cause(Trigger.HANGUP)
SOCKET = SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80)


def with_command(s: Spec, *command: str) -> Spec:
    return replace(s, process=ProcessSpec(command))


def replacing(s: Spec) -> Spec:
    return replace(s, reload=replace(s.reload, handle="replace", steps=(Replace(),)))


WEB, DB = spec("web", Says()), spec("db", Says())
NEWER = with_command(WEB, "web", "-v")
NEVER_AGAIN = replace(WEB, restart=Restart.NEVER)
CHOICES = st.lists(
    st.sampled_from([WEB, NEWER, DB, replace(WEB, logs=LogSpec(1, 1)), replacing(DB)]),
    unique_by=lambda s: s.name,
)


@given(specs=CHOICES)
def test_nothing_changes_between_equal_definitions(specs: list[Spec]) -> None:
    assert plan({s.name: s for s in specs}, specs) == ()


@given(old=CHOICES, new=CHOICES)
def test_what_a_plan_does_not_name_is_the_same_on_both_sides(
    old: list[Spec], new: list[Spec]
) -> None:
    before, after = ({s.name: s for s in specs} for specs in (old, new))
    named = {c.service: c for c in plan(before, new)}
    for name in before.keys() | after.keys():
        if name not in named:
            assert before[name] == after[name]
        else:
            assert named[name] == (
                Change(name, Action.START)
                if name not in before
                else Change(name, Action.STOP)
                if name not in after
                else change(before[name], after[name])
            )


def test_the_keys_that_differ_and_those_that_force_a_new_process() -> None:
    both = replace(NEWER, logs=LogSpec(1, 1), sockets=(SOCKET,))
    assert change(WEB, both) == Change(
        "web", Action.RESTART, ("command", "sockets", "logs"), ("command", "sockets")
    )
    assert change(WEB, replace(WEB, logs=LogSpec(1, 1))) == Change("web", Action.UPDATE, ("logs",))
    assert change(replacing(WEB), replacing(NEWER)) == Change(
        "web", Action.REPLACE, ("command",), ("command",)
    )
    held = replace(replacing(WEB), sockets=(SOCKET,))
    assert change(held, replacing(WEB)).action is Action.RESTART, "it may want to bind it itself"  # type: ignore[union-attr]
    assert change(replacing(WEB), held).action is Action.REPLACE  # type: ignore[union-attr]
    assert change(WEB, replace(WEB, digest="another way to write it")) is None


def test_one_that_is_gone_and_comes_back_is_new() -> None:
    assert plan({"web": replace(WEB, removed=True)}, [WEB]) == (Change("web", Action.START),)
    assert plan({"web": replace(WEB, removed=True)}, []) == ()


# In the host.


def define(a: Agent, *specs: Spec, **more: Any) -> None:
    a.feed(ev.DefinitionsLoaded(specs, HANGUP, **more))


def test_what_did_not_change_is_not_touched() -> None:
    a = agent(WEB).up()
    before = a.service()
    a.effects = []
    define(a, WEB)
    assert a.service() is before or a.service() == before
    assert a.effects == []
    assert a.told(facts.DefinitionsTaken) == [facts.DefinitionsTaken("", Trigger.HANGUP, ())]


def test_a_key_that_the_process_need_not_know_is_taken_at_once() -> None:
    a = agent(WEB).up()
    a.effects = []
    define(a, replace(WEB, stop_timeout=99.0))
    assert a.service().spec.stop_timeout == 99.0
    assert (a.phase(), a.effects) == ("ready", [])
    assert a.told(facts.DefinitionsTaken)[-1].changed == ("web update",)


def test_another_command_is_a_restart() -> None:
    a = agent(WEB).up()
    define(a, NEWER)
    assert a.phase() == "stopping"
    a.exited(CLEAN)
    a.read(1)
    assert a.last(fx.Spawn).spec.process.command == ("web", "-v")


def test_another_command_of_one_that_is_replaced_is_a_replacement_even_when_held() -> None:
    a = agent(replacing(WEB)).up()
    a.feed(ev.HoldAsked("web", PERSON))
    define(a, replacing(NEWER))
    a.read(1)
    a.check()
    spawn = a.last(fx.Spawn)
    assert (spawn.beside, spawn.spec.process.command) == (True, ("web", "-v"))


def test_another_command_of_one_that_failed_starts_it_again() -> None:
    for s, new in ((WEB, NEWER), (replacing(WEB), replacing(NEWER))):
        a = agent(s)
        a.read(1)
        a.check()
        a.spawned()
        a.exited()
        assert a.phase() == "backoff"
        define(a, new)
        assert a.service().running is not None
        assert a.service().instance.failures == 0


def test_one_that_is_not_wanted_is_not_started_by_a_change() -> None:
    a = agent(WEB).up()
    a.feed(ev.StopAsked("web", PERSON))
    a.exited(CLEAN)
    for new in (NEWER, replacing(WEB)):
        define(a, new)
        assert (a.phase(), a.service().running, a.service().spec) == ("down", None, new)


def test_a_change_waits_for_the_reload_that_runs() -> None:
    a = agent(WEB).up()
    a.reload()
    define(a, NEWER)
    assert (a.service().spec, a.phase()) == (WEB, "ready")
    a.act()
    a.sight("confirmed")
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert (a.service().spec, a.phase()) == (NEWER, "stopping")


def test_a_change_that_is_taken_back_before_its_turn_never_happens() -> None:
    a = agent(WEB).up()
    a.reload()
    define(a, NEWER)
    define(a, WEB)
    a.act()
    a.sight("confirmed")
    a.read(2)
    assert (a.service().spec, a.phase()) == (WEB, "ready")


def test_one_that_is_declared_no_more_is_stopped_whatever_runs() -> None:
    a = agent(WEB).up()
    a.reload()
    define(a)
    assert a.judged.verdict is Verdict.CANCELLED
    assert a.phase() == "stopping"
    a.feed(ev.ReloadAsked("web", PERSON, 7))
    answer = a.last(fx.Answer)
    assert (answer.reply, answer.answer.exit_code) == (7, ExitCode.NO_SUCH_SERVICE)
    a.exited(CLEAN)
    assert (a.phase(), a.service().want) == ("down", Want.UP)


def test_one_that_comes_back_goes_on_with_its_numbers() -> None:
    a = agent(WEB).up()
    define(a)
    a.exited(CLEAN)
    define(a, WEB)
    a.read(1)
    assert a.last(fx.Spawn).generation == 2
    tokens = [e.token for e in a.effects if hasattr(e, "token") and not isinstance(e, fx.Cancel)]
    assert len(tokens) == len(set(tokens)), "no number is used twice"


def test_one_that_had_finished_by_itself_starts_when_it_comes_back() -> None:
    a = agent(WEB).up()
    a.exited(CLEAN)
    assert a.phase() == "down"
    define(a)
    define(a, WEB)
    assert a.service().running is not None


def test_one_that_had_failed_starts_when_it_comes_back() -> None:
    a = agent(NEVER_AGAIN).up()
    a.exited()
    assert a.phase() == "failed"
    define(a)
    define(a, NEVER_AGAIN)
    assert a.service().running is not None


def test_who_waits_for_the_start_of_one_that_goes_is_answered() -> None:
    held_up = replace(WEB, requires=("db",))
    a = agent(held_up, DB)
    a.feed(ev.StartAsked("web", PERSON, 7))
    define(a, DB)
    assert a.last(fx.Answer) == fx.Answer(7, fx.Done())


def test_of_a_new_one_nothing_runs() -> None:
    a = agent(WEB).up()
    left = Memory("db", generation=4, want=Want.DOWN, live=manifest(1))
    define(a, WEB, DB, memories=(left,))
    assert a.service("db").live is None


def test_one_that_failed_keeps_nobody_waiting_at_its_sockets() -> None:
    a = agent(replace(NEVER_AGAIN, sockets=(SOCKET,))).up()
    a.exited()
    assert a.effects.count(fx.CloseSockets("web")) == 1


def test_one_without_sockets_has_none_to_close() -> None:
    a = agent(WEB).up()
    a.feed(ev.StopAsked("web", PERSON))
    a.exited(CLEAN)
    assert fx.CloseSockets("web") not in a.effects


def test_a_new_one_keeps_what_was_wanted_of_it_and_its_clocks() -> None:
    a = agent(WEB).up()
    hold = Hold("freeze", until_wall_ns=5_000_000_000)
    left = Memory(
        "db",
        generation=4,
        want=Want.DOWN,
        hold=hold,
        live=None,
        pending=Pending("R", "sha256:1", 9_000_000_000),
    )
    define(a, WEB, DB, memories=(left,))
    s = a.service("db")
    assert (s.want, s.hold, s.newest, s.instance.phase) == (Want.DOWN, hold, 4, Phase.DOWN)
    arms = {
        e.token.machine: e.delay
        for e in a.effects
        if isinstance(e, fx.Arm) and e.token.service == "db"
    }
    assert arms == {"hold": 5.0 - a.now, "confirm": 9.0 - a.now}


def test_order_follows_the_new_definitions() -> None:
    a = agent(WEB).up()
    define(a, replace(WEB, requires=("db",)), DB)
    assert list(a.host.services) == ["db", "web"]
    assert a.host.dependents == {"web": (), "db": ("web",)}


def test_an_agent_that_ends_takes_nothing_up_any_more() -> None:
    a = agent(WEB).up()
    a.feed(ev.ShutdownAsked(leave=False))
    define(a, NEWER)
    assert a.service().spec is WEB


def test_one_that_stays_down_keeps_nobody_waiting_at_its_sockets() -> None:
    a = agent(replace(WEB, sockets=(SOCKET,))).up()
    a.exited()
    assert fx.CloseSockets("web") not in a.effects, "it comes back: clients wait"
    a.feed(ev.StopAsked("web", PERSON))
    a.elapse()
    b = agent(replace(WEB, sockets=(SOCKET,))).up()
    b.feed(ev.StopAsked("web", PERSON))
    assert fx.CloseSockets("web") not in b.effects
    b.exited(CLEAN)
    assert fx.CloseSockets("web") in b.effects


def test_one_that_finished_by_itself_keeps_nobody_waiting() -> None:
    a = agent(replace(WEB, sockets=(SOCKET,))).up()
    a.exited(CLEAN)
    assert fx.CloseSockets("web") in a.effects


def test_settle_is_what_boot_does() -> None:
    assert host.settle(agent(WEB).host, 0.0).refused == ""


def test_what_is_new_is_started_at_once() -> None:
    a = agent(WEB).up()
    define(a, WEB, DB)
    assert a.last(fx.TakeSnapshot).spec is DB


def test_what_is_gone_is_watched_no_more() -> None:
    a = agent(WEB).up()
    define(a, DB)
    assert (a.phase(), a.service().spec.watch) == ("stopping", None)
