"""Whose turn it is: what a request becomes, by where the service stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.facts import Cause
from agentd.core.manifest import Missing
from agentd.core.memory import Want
from agentd.core.spec import ReadyAfter, Restart, StartLimit
from agentd.core.steps import Grade
from agentd.wire import ExitCode, Trigger, Verdict
from tests.core.make import (
    BAD,
    CLEAN,
    PERSON,
    TERM,
    WATCH,
    Agent,
    Says,
    agent,
    manifest,
    names,
    spec,
    unchecked,
)

PLAIN = unchecked(spec("web", Says()))


def up() -> Agent:
    return agent(PLAIN).up()


def replies(a: Agent) -> dict[int, fx.Reply]:
    return {e.reply: e.answer for e in a.effects if isinstance(e, fx.Answer)}


def start(a: Agent, reply: int | None = None) -> None:
    a.feed(ev.StartAsked("web", PERSON, reply))


def stop(a: Agent, reply: int | None = None) -> None:
    a.feed(ev.StopAsked("web", PERSON, reply))


def restart(a: Agent, reply: int | None = None) -> None:
    a.feed(ev.RestartAsked("web", PERSON, reply))


def hold(a: Agent, seconds: float | None = None) -> None:
    a.feed(ev.HoldAsked("web", replace(PERSON, reason="freeze"), seconds, 70))


def release(a: Agent, reply: int = 71) -> None:
    a.feed(ev.ReleaseAsked("web", PERSON, reply))


# A reload, asked in each phase.


def test_while_starting_it_waits_and_the_start_may_be_the_act() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.reload(reply=1)
    assert a.service().waiting is not None
    a.ready()
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    a.read(1)
    assert (a.judged.handle, a.judged.verdict) == ("signal", Verdict.APPLIED)
    assert (a.judged.confirmation, a.judged.grade) == ("notify", Grade.PROVEN)
    assert "SendReloadSignal" not in names(a.effects)


def test_while_starting_it_acts_when_the_start_took_other_bytes() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.reload()
    a.ready()
    a.read(1)
    a.read(2)
    assert "TakeBaseline" in names(a.effects)


@pytest.mark.parametrize("proof", [False, True])
def test_a_start_is_the_act_only_as_far_as_proof_goes(*, proof: bool) -> None:
    a = agent(replace(PLAIN, ready=ReadyAfter(5.0)))
    a.read(1)
    a.spawned()
    a.reload(require_proof=proof)
    a.elapse()
    a.read(1)
    a.read(1)
    assert ("TakeBaseline" in names(a.effects)) is proof


def test_an_earlier_start_is_not_the_act_of_a_later_reload() -> None:
    a = up()
    a.reload()
    a.read(1)
    assert "TakeBaseline" in names(a.effects)


def test_behind_a_start_that_fails_it_starts_again_with_what_is_there() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.reload()
    a.exited()
    assert a.phase() == "backoff"
    assert a.service().running is not None
    a.read(2)
    assert (a.phase(), a.service().instance.failures) == ("starting", 0)
    assert a.service().running.act.value == "launch"  # type: ignore[union-attr]
    a.spawned()
    a.ready()
    a.read(2)
    assert (a.judged.handle, a.judged.verdict) == ("signal", Verdict.APPLIED)
    assert a.service().last is not None


def test_behind_a_start_that_ends_cleanly_it_is_cancelled() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.reload()
    a.exited(CLEAN)
    assert (a.phase(), a.judged.verdict) == ("down", Verdict.CANCELLED)
    assert a.judged.message == "web is down"
    assert a.service().waiting is None


@pytest.mark.parametrize("failed", [False, True])
def test_in_backoff_and_failed_only_new_bytes_start_it_unasked(*, failed: bool) -> None:
    a = agent(replace(PLAIN, start_limit=StartLimit(1 if failed else 9)))
    a.read(1)
    a.spawned()
    a.exited()
    assert a.phase() == ("failed" if failed else "backoff")
    a.hint()
    a.elapse("waiting")
    a.read(1)
    assert a.facts[-1] == facts.Skipped("web", Trigger.WATCH, "unchanged")
    a.hint()
    a.elapse("waiting")
    a.read(2)
    assert a.phase() == "starting"


def test_in_backoff_missing_inputs_are_nothing_new() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.exited()
    a.feed(ev.ReloadAsked("web", replace(PERSON, trigger=Trigger.HANGUP)))
    a.failed(fx.TakeSnapshot, "missing_input")
    assert (a.phase(), a.judged.verdict) == ("backoff", Verdict.REJECTED)


def test_a_backoff_that_ends_under_a_reload_leaves_the_start_to_it() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.exited()
    a.reload()
    a.elapse()
    assert a.phase() == "down"
    assert len(a.told(facts.Requested)) == 2
    a.read(1)
    assert a.phase() == "starting"


@pytest.mark.parametrize("phase", ["stopping", "killing", "down"])
def test_on_its_way_down_it_is_turned_away_with_no_id(phase: str) -> None:
    a = up()
    stop(a)
    if phase == "killing":
        a.elapse()
    if phase == "down":
        a.exited(TERM)
    told = len(a.facts)
    a.reload(reply=9)
    turned = replies(a)[9]
    assert isinstance(turned, fx.Turned)
    assert (turned.exit_code, a.phase()) == (ExitCode.NOT_RUNNING, phase)
    assert turned.message == f"cannot reload: web is {phase}; start it with: reloadctl start web"
    assert len(a.facts) == told


def test_ending_by_itself_it_waits_for_what_comes() -> None:
    a = up()
    a.exited(empty=False)
    assert a.phase() == "stopping"
    a.reload(reply=9)
    assert isinstance(replies(a)[9], fx.Accepted)
    a.emptied()
    assert (a.phase(), a.service().running is not None) == ("backoff", True)


def test_ending_by_itself_while_wanted_down_it_is_turned_away() -> None:
    a = up()
    a.exited(empty=False)
    stop(a)
    a.reload(reply=9)
    assert isinstance(replies(a)[9], fx.Turned)
    start(a)
    a.reload(reply=10)
    assert isinstance(replies(a)[10], fx.Turned), "its end was asked for; the start comes next"


@pytest.mark.parametrize("begun", [False, True])
def test_down_and_about_to_start_it_waits(*, begun: bool) -> None:
    db = unchecked(spec("db"))
    a = agent(replace(PLAIN, requires=() if begun else ("db",)), db)
    if not begun:
        a.reload(reply=8)
        assert isinstance(replies(a)[8], fx.Turned)
        start(a)
    assert a.phase() == "down"
    a.reload(reply=9)
    assert isinstance(replies(a)[9], fx.Accepted)


def test_down_and_wanted_down_it_is_turned_away_even_while_something_runs() -> None:
    a = agent(PLAIN)
    stop(a)
    a.reload(reply=9)
    assert isinstance(replies(a)[9], fx.Turned)


# One runs, one waits, the others join.


def test_a_newer_request_joins_the_one_that_waits() -> None:
    a = up()
    a.reload(reply=1)
    a.reload(reply=2, if_changed=True)
    a.reload(reply=3)
    told = replies(a)
    assert isinstance(told[2], fx.Accepted)
    assert told[2].reload_id != told[1].reload_id  # type: ignore[union-attr]
    assert told[3] == replace(told[2], joined=True)
    assert [f.reload_id for f in a.told(facts.Joined)] == [told[2].reload_id]
    assert a.service().waiting.must_act  # type: ignore[union-attr]


@pytest.mark.parametrize("trigger", [Trigger.HANGUP, Trigger.CLI])
def test_only_a_person_makes_the_one_that_waits_act(trigger: Trigger) -> None:
    a = up()
    a.reload()
    a.reload(if_changed=True)
    a.feed(ev.ReloadAsked("web", replace(PERSON, trigger=trigger)))
    assert a.service().waiting.must_act is (trigger is Trigger.CLI)  # type: ignore[union-attr]
    a.feed(ev.ReloadAsked("web", replace(PERSON, trigger=trigger), if_changed=True))
    assert a.service().waiting.must_act is (trigger is Trigger.CLI)  # type: ignore[union-attr]


def test_proof_demanded_by_one_is_demanded_for_all() -> None:
    a = up()
    a.reload()
    a.reload()
    a.reload(require_proof=True)
    assert a.service().waiting.require_proof  # type: ignore[union-attr]
    a.reload()
    assert a.service().waiting.require_proof  # type: ignore[union-attr]


def test_the_one_that_waits_runs_when_its_turn_comes_and_tokens_stay_apart() -> None:
    a = up()
    a.reload()
    a.reload()
    a.act()
    a.sight("confirmed")
    a.read(2)
    stale = [e.token for e in a.effects if isinstance(e, fx.TakeSnapshot)]
    assert len(set(stale)) == len(stale)
    before = a.host
    for token in stale[:-1]:
        a.feed(ev.SnapshotDone(token, manifest(9)))
    assert a.host.services == before.services


def test_what_changes_while_another_reload_acts_is_taken_once_after_it() -> None:
    a = up()
    a.reload()
    a.act(2)
    first = a.service().running
    for _ in range(3):
        a.reload()
    assert (a.service().running, len(a.told(facts.Joined))) == (first, 2)
    a.sight("confirmed")
    a.read(2)
    a.act(5)
    a.sight("confirmed")
    a.read(5)
    assert a.verdicts[1:] == [Verdict.APPLIED, Verdict.APPLIED]
    assert len([e for e in a.effects if isinstance(e, fx.SendReloadSignal)]) == 2
    assert a.service().live == manifest(5)


def test_a_watch_needs_no_second_one_behind_what_waits() -> None:
    a = up()
    a.reload()
    a.reload()
    waits = a.service().waiting
    a.hint()
    assert a.service().waiting is waits


def test_a_persons_request_takes_over_from_a_silent_one() -> None:
    a = up()
    a.hint()
    a.reload(reply=1)
    assert a.service().running is not None
    assert not a.service().running.silent
    assert fx.Disarm("web", "waiting") in a.effects
    assert len(a.told(facts.Requested)) == 2
    b = up()
    b.hint()
    b.elapse("waiting")
    reading = b.last(fx.TakeSnapshot).token
    b.reload()
    assert fx.Cancel(reading) in b.effects
    assert b.last(fx.TakeSnapshot).token != reading
    b.feed(ev.SnapshotDone(reading, manifest(9)))
    assert b.service().running.manifest is None  # type: ignore[union-attr]
    assert b.told(facts.Skipped) == []


@pytest.mark.parametrize("what", ["stop", "crash"])
def test_a_silent_one_ends_silently(what: str) -> None:
    a = up()
    a.hint()
    a.elapse("waiting")
    told = len(a.told(facts.Requested))
    if what == "stop":
        stop(a)
    else:
        a.exited()
    assert a.service().running is None
    assert len(a.told(facts.Requested)) == told
    assert len(a.verdicts) == 1


def test_a_silent_one_that_still_settles_survives_a_crash_and_starts_it() -> None:
    a = up()
    a.hint()
    a.exited()
    assert a.service().waiting is not None
    a.elapse("waiting")
    a.read(2)
    assert a.phase() == "starting"


def test_a_hint_needs_a_watch_and_inputs() -> None:
    for changes in ({"watch": None}, {"inputs": ()}):
        a = agent(replace(PLAIN, **changes)).up()  # type: ignore[arg-type]
        before = len(a.effects)
        a.hint()
        assert (a.service().waiting, a.service().running) == (None, None)
        assert len(a.effects) == before


def test_a_timer_of_a_silent_one_that_moved_is_stale() -> None:
    a = up()
    a.hint()
    first = a.last(fx.Arm).token
    a.hint()
    a.feed(ev.Elapsed(first), 0.2)
    assert a.service().running is None
    a.elapse("waiting")
    assert a.service().running is not None
    a.feed(ev.Elapsed(first))
    assert a.phase() == "ready"


# Stop, start, restart.


def test_stop_is_remembered_and_cancels_what_waits_and_runs() -> None:
    a = up()
    a.reload()
    a.reload()
    stop(a, reply=5)
    assert a.verdicts[1:] == [Verdict.CANCELLED, Verdict.CANCELLED]
    assert a.judged.message == "stop of web was asked for"
    waited = a.judged.reload_id
    assert not [f for f in a.told(facts.PhaseEnded) if f.reload_id == waited], "none had begun"
    assert replies(a)[5] == fx.Done()
    assert a.told(facts.WantSet) == [facts.WantSet("web", "down", "alice")]
    a.exited(TERM)
    assert (a.phase(), a.service().memory.want) == ("down", Want.DOWN)
    assert a.service().running is None
    stop(a)
    assert len(a.told(facts.WantSet)) == 1


def test_stop_after_the_act_leaves_its_outcome_unknown() -> None:
    a = up()
    a.reload()
    a.act()
    stop(a)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_stopped")
    assert a.service().live is None


def test_stop_while_the_signal_is_sent_leaves_its_outcome_unknown() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.baseline()
    stop(a)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_stopped")
    assert fx.Cancel(a.last(fx.SendReloadSignal).token) in a.effects


def test_stop_during_a_start_cancels_it() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    stop(a)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.CANCELLED, "cancelled")
    assert a.phase() == "stopping"
    assert a.service().attempted is None


def test_start_of_what_is_ready_is_done() -> None:
    a = up()
    start(a, reply=5)
    assert replies(a)[5] == fx.Done()
    assert a.service().next_start is None


def test_start_joins_the_start_that_is_under_way() -> None:
    a = agent(PLAIN)
    start(a, reply=5)
    r = a.service().running
    assert r is not None
    assert replies(a)[5] == fx.Accepted(r.id, r.trace_id, joined=True)


def test_start_does_not_join_what_nobody_was_told_of() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.exited()
    a.hint()
    a.elapse("waiting")
    start(a, reply=5)
    accepted = replies(a)[5]
    assert isinstance(accepted, fx.Accepted)
    assert not accepted.joined
    assert a.told(facts.Requested)[-1].reload_id == accepted.reload_id
    assert a.service().running.handle == "start"  # type: ignore[union-attr]


@pytest.mark.parametrize("phase", ["backoff", "failed", "down"])
def test_start_begins_at_once_and_forgets(phase: str) -> None:
    a = agent(replace(PLAIN, start_limit=StartLimit(1 if phase == "failed" else 9)))
    a.read(1)
    a.spawned()
    a.exited(CLEAN if phase == "down" else BAD)
    assert a.phase() == phase
    start(a, reply=5)
    accepted = replies(a)[5]
    assert isinstance(accepted, fx.Accepted)
    assert a.told(facts.Requested)[-1].reload_id == accepted.reload_id
    assert a.told(facts.Requested)[-1].cause == replace(PERSON, trigger=Trigger.START)
    a.read(1)
    assert (a.phase(), a.service().instance.failures) == ("starting", 0)
    assert len(a.service().instance.starts) == 1
    assert a.service().next_start is None


def test_start_while_stopping_comes_next() -> None:
    a = up()
    stop(a)
    start(a, reply=5)
    assert replies(a).get(5) is None
    start(a, reply=6)
    assert replies(a)[5] == fx.Done()
    a.exited(TERM)
    assert isinstance(replies(a)[6], fx.Accepted)
    assert a.service().running is not None


@pytest.mark.parametrize(
    ("end", "restart"), [(CLEAN, Restart.ON_FAILURE), (BAD, Restart.NEVER), (BAD, Restart.ALWAYS)]
)
def test_start_while_it_ends_by_itself_comes_next_too(end: facts.Exit, restart: Restart) -> None:
    a = agent(replace(PLAIN, restart=restart)).up()
    a.exited(end, empty=False)
    start(a, reply=5)
    a.emptied()
    assert isinstance(replies(a)[5], fx.Accepted)
    assert a.service().running is not None
    assert (a.phase(), a.service().instance.timer) == ("down", None)


def test_start_and_then_stop_is_answered() -> None:
    a = up()
    stop(a)
    start(a, reply=5)
    stop(a, reply=6)
    assert replies(a)[5] == fx.Done()
    assert a.service().next_start is None
    a.exited(TERM)
    assert a.phase() == "down"
    assert a.service().running is None


def test_restart_stops_and_starts() -> None:
    a = up()
    a.reload()
    restart(a, reply=5)
    assert (a.phase(), a.judged.verdict) == ("stopping", Verdict.CANCELLED)
    assert a.judged.message == "restart of web was asked for"
    a.exited(TERM)
    assert isinstance(replies(a)[5], fx.Accepted)
    assert a.service().restarts == 0
    a.read(1)
    assert a.last(fx.Spawn).generation == 2


def test_restart_of_what_is_down_starts_it() -> None:
    a = up()
    stop(a)
    a.exited(TERM)
    restart(a, reply=5)
    assert a.service().want is Want.UP
    assert isinstance(replies(a)[5], fx.Accepted)


def test_restart_of_what_crashes_forgets_its_failures() -> None:
    a = agent(PLAIN)
    a.read(1)
    a.spawned()
    a.exited()
    restart(a)
    assert (a.phase(), a.service().instance.failures) == ("down", 0)
    assert a.service().running is not None


# Hold and release.


def test_under_hold_a_reload_is_held_at_once_and_release_asks_once_more() -> None:
    a = up()
    hold(a)
    assert replies(a)[70] == fx.Done()
    assert a.told(facts.HoldSet)[-1] == facts.HoldSet(
        "web", held=True, reason="freeze", user="alice"
    )
    a.reload(reply=1)
    held = a.judged
    assert held.verdict is Verdict.HELD
    assert held.message == "held by alice: freeze; release it with: reloadctl release web"
    assert replies(a)[1].reload_id == held.reload_id  # type: ignore[union-attr]
    assert a.service().running is None
    a.hint()
    assert a.judged == held, "what is pending already will read this change too"
    release(a)
    asked = a.told(facts.Requested)[-1]
    assert (asked.link, asked.cause.trigger) == (held.reload_id, Trigger.CLI)
    assert replies(a)[71] == fx.Accepted(asked.reload_id, asked.trace_id, joined=False)
    assert a.service().running.must_act  # type: ignore[union-attr]
    assert a.service().hold is None
    released = a.told(facts.HoldSet)[-1]
    assert (released.held, released.user) == (False, "alice")


def test_a_released_change_that_goes_missing_tells_all_of_it() -> None:
    a = up()
    hold(a)
    a.hint()
    release(a)
    a.elapse("waiting")
    told = len(a.facts)
    a.read(Missing("missing_input", "gone"))
    id_ = a.service().running.id  # type: ignore[union-attr]
    assert a.facts[told:] == [
        facts.PhaseEnded("web", id_, "snapshot", "missing_input"),
        facts.PhaseBegan("web", id_, "settle"),
    ]


def test_who_is_held_is_told_of_a_reload_of_its_own() -> None:
    a = agent().up()
    hold(a)
    a.feed(ev.ReloadAsked("web", PERSON, 5))
    asked = a.told(facts.Requested)[-1]
    accepted = fx.Accepted(asked.reload_id, asked.trace_id, joined=False)
    assert a.last(fx.Answer) == fx.Answer(5, accepted)


def test_the_message_of_a_hold_says_what_is_known() -> None:
    a = up()
    a.feed(ev.HoldAsked("web", replace(PERSON, user="")))
    a.reload()
    assert a.judged.message == "held; release it with: reloadctl release web"


def test_a_change_under_hold_is_settled_after_the_release() -> None:
    a = up()
    hold(a)
    a.hint()
    assert a.judged.verdict is Verdict.HELD
    assert a.judged.trigger is Trigger.WATCH
    count = len(a.verdicts)
    a.hint()
    assert len(a.verdicts) == count
    release(a)
    waiting = a.service().waiting
    assert waiting is not None
    assert not waiting.must_act
    assert a.facts[-1] == facts.PhaseBegan("web", waiting.id, "settle")
    a.elapse("waiting")
    a.read(2)
    assert "TakeBaseline" in names(a.effects)


def test_a_release_of_a_change_needs_no_watch() -> None:
    memory = replace(up().service().memory, boot="b")
    pending = ev.HoldAsked("web", PERSON)
    a = up()
    a.feed(pending)
    a.hint()
    memory = replace(a.service().memory, boot="b")
    b = agent(replace(PLAIN, watch=None), memories={"web": memory}, found={"web"}, boot="b")
    release(b)
    assert b.service().running is not None
    b.read(2)
    assert "TakeBaseline" in names(b.effects)


def test_a_hold_turns_away_what_waits_and_remembers_it() -> None:
    a = up()
    a.reload()
    a.reload()
    waits = a.service().waiting
    assert waits is not None
    hold(a)
    assert (a.judged.verdict, a.judged.reload_id) == (Verdict.HELD, waits.id)
    assert a.service().waiting is None
    assert a.service().running is not None
    assert a.service().hold.pending == waits.id  # type: ignore[union-attr]


def test_a_hold_does_not_forget_a_change_that_settles() -> None:
    a = up()
    a.hint()
    hold(a)
    assert (a.judged.verdict, a.judged.trigger) == (Verdict.HELD, Trigger.WATCH)
    assert a.told(facts.Requested)[-1].reload_id == a.judged.reload_id
    assert fx.Disarm("web", "waiting") in a.effects
    release(a)
    assert a.service().waiting is not None


def test_force_goes_through_a_hold() -> None:
    a = up()
    hold(a)
    a.reload(force=True)
    assert a.service().running is not None


def test_a_second_hold_keeps_what_the_first_turned_away() -> None:
    a = up()
    hold(a)
    a.reload()
    hold(a, 5.0)
    assert a.service().hold.pending == a.judged.reload_id  # type: ignore[union-attr]
    assert a.last(fx.Arm).delay == 5.0
    a.elapse("hold")
    assert a.service().hold is None
    assert a.told(facts.Requested)[-1].link == a.judged.reload_id


def test_a_hold_without_an_end_disarms_the_one_with() -> None:
    a = up()
    hold(a, 5.0)
    timed = a.last(fx.Arm).token
    hold(a)
    assert fx.Disarm("web", "hold") in a.steps[-1].effects
    a.feed(ev.Elapsed(timed), 5.0)
    assert a.service().hold is not None


def test_a_late_timer_of_a_hold_is_nothing() -> None:
    a = up()
    hold(a, 5.0)
    timed = a.last(fx.Arm).token
    release(a)
    assert fx.Disarm("web", "hold") in a.steps[-1].effects
    a.feed(ev.Elapsed(timed), 5.0)
    assert len(a.told(facts.HoldSet)) == 2
    hold(a)
    a.feed(ev.Elapsed(timed))
    a.feed(ev.EffectFailed(replace(timed, serial=a.service().hold_serial), "broken", ""))
    assert a.service().hold is not None


def test_release_of_nothing_is_done() -> None:
    a = up()
    release(a)
    hold(a)
    release(a, 72)
    assert (replies(a)[71], replies(a)[72]) == (fx.Done(), fx.Done())
    assert a.service().running is None


def test_release_of_what_is_down_is_done() -> None:
    a = up()
    hold(a)
    a.reload()
    stop(a)
    a.exited(TERM)
    release(a)
    assert replies(a)[71] == fx.Done()
    assert a.service().hold is None


def test_a_held_reload_does_not_touch_what_was_attempted() -> None:
    a = up()
    attempted = a.service().attempted
    hold(a)
    a.reload()
    assert a.service().attempted == attempted
    assert a.service().last.verdict is Verdict.HELD  # type: ignore[union-attr]


def test_the_memory_is_the_durable_half() -> None:
    a = up()
    hold(a)
    m = a.service().memory
    assert (m.service, m.generation, m.phase, m.finished) == ("web", 1, "ready", False)
    assert (m.live, m.last_good, m.hold) == (manifest(1), manifest(1), a.service().hold)
    assert (m.process, m.want) == (a.service().instance.process, Want.UP)


def test_a_caller_that_waits_for_nothing_gets_no_answer() -> None:
    a = up()
    a.reload()
    a.feed(ev.ReloadAsked("web", WATCH, if_changed=True))
    assert "Answer" not in names(a.effects)


def on_trial(a: Agent, n: int, within: float | None = 30.0) -> None:
    a.reload(confirm_within=within)
    a.act(n)
    a.sight("confirmed")
    a.read(n)


def test_a_trial_that_is_asked_for_again_ends_where_the_first_one_would() -> None:
    a = agent().up()
    on_trial(a, 2)
    on_trial(a, 2)  # a pipeline that tries again
    pending = a.service().pending
    assert pending is not None, "nobody has confirmed these bytes"
    assert (pending.reload_id, pending.hash) == (a.judged.reload_id, "sha256:1")
    on_trial(a, 3)
    assert a.service().pending.hash == "sha256:1"  # type: ignore[union-attr]
    on_trial(a, 1)
    assert a.service().pending is None, "this is what would be put back"


@pytest.mark.parametrize("ask", [ev.StopAsked, ev.RestartAsked])
def test_what_nobody_confirmed_while_it_was_down_is_put_back_when_it_is_up_again(
    ask: type[ev.StopAsked | ev.RestartAsked],
) -> None:
    a = agent().up()
    on_trial(a, 2)
    id_ = a.judged.reload_id
    a.feed(ask("web", PERSON))
    a.elapse("confirm")
    assert "Restore" not in names(a.effects)
    assert a.service().pending is not None, "it is only late"
    a.exited(TERM)
    a.feed(ev.StartAsked("web", PERSON))
    a.read(2)
    a.spawned(8)
    a.ready()
    assert "Restore" not in names(a.effects), "the start ends first"
    a.read(2)
    assert a.last(fx.Restore).hash == "sha256:1"
    asked = a.told(facts.Requested)[-1]
    assert (asked.cause.trigger, asked.link) == (Trigger.ROLLBACK, id_)
    assert a.service().pending is None


@pytest.mark.parametrize("when", ["restoring", "reading", "checking"])
def test_a_roll_back_that_writes_cannot_be_cancelled(when: str) -> None:
    a = agent().up()
    a.feed(ev.ReloadAsked("web", Cause(Trigger.ROLLBACK, "alice"), restore="sha256:1"))
    if when != "restoring":
        a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    if when == "checking":
        a.read(1)
    running = a.service().running
    assert running is not None
    assert running.stage.value == when
    a.feed(ev.CancelAsked("web", running.id, PERSON, 9))
    assert a.last(fx.Answer).answer.exit_code == ExitCode.STILL_RUNNING
    assert a.service().running is running, "files were written, or are just now"
