"""Putting a former configuration back, changes on trial, and giving up what has touched nothing."""

from __future__ import annotations

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.boot import Left
from agentd.core.facts import Cause
from agentd.core.memory import Memory, Pending
from agentd.wire import ExitCode, Trigger, Verdict
from tests.core.make import PERSON, WATCH, Agent, Says, agent, manifest, spec

BACK = Cause(Trigger.ROLLBACK, "alice")


def roll_back(a: Agent, to: str = "sha256:1", **more: object) -> None:
    a.feed(ev.ReloadAsked("web", BACK, restore=to, **more))  # type: ignore[arg-type]


def restored(a: Agent) -> None:
    a.feed(ev.Restored(a.last(fx.Restore).token, 2))


def applied(a: Agent, n: int) -> None:
    a.act(n)
    a.sight("confirmed")
    a.read(n)


# Rolling back.


def test_the_files_are_put_back_before_they_are_read_and_checked() -> None:
    a = agent().up()
    a.reload()
    applied(a, 2)
    roll_back(a)
    asked = a.last(fx.Restore)
    assert (asked.hash, asked.spec.name) == ("sha256:1", "web")
    assert a.service().running.stage.value == "restoring"  # type: ignore[union-attr]
    restored(a)
    id_ = a.told(facts.Requested)[-1].reload_id
    assert a.told(facts.Restored) == [facts.Restored("web", id_, "sha256:1", 2)]
    applied(a, 1)
    assert (a.judged.verdict, a.judged.trigger) == (Verdict.APPLIED, Trigger.ROLLBACK)
    assert a.service().live == manifest(1)


def test_what_cannot_be_put_back_has_touched_nothing() -> None:
    a = agent().up()
    roll_back(a)
    a.failed(fx.Restore, "restore_refused")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "restore_refused")
    assert a.service().live == manifest(1)
    ended = a.told(facts.PhaseEnded)[-1]
    assert (ended.phase, ended.error_type) == ("restore", "restore_refused")


def test_a_roll_back_takes_the_place_of_a_reload_that_waits() -> None:
    a = agent().up()
    a.reload()
    a.feed(ev.ReloadAsked("web", PERSON, 5))
    waiting = a.service().waiting
    assert waiting is not None
    roll_back(a)
    assert (a.judged.reload_id, a.judged.verdict) == (waiting.id, Verdict.CANCELLED)
    assert a.service().waiting.restore == "sha256:1"  # type: ignore[union-attr]
    a.feed(ev.ReloadAsked("web", PERSON, 6))
    assert a.last(fx.Answer).answer.joined, "who asks then gets its verdict"


def test_an_interrupted_roll_back_puts_back_once_more() -> None:
    asked = facts.Requested(
        "web", "R", "t", "signal", BACK, None, None, restore="sha256:1", confirm_within=4.0
    )
    records = (
        facts.Record(1, 0, 0.0, "b", asked),
        facts.Record(2, 0, 0.1, "b", facts.PhaseBegan("web", "R", "restore")),
    )
    a = Agent((spec("web", Says()),), Left({}, (), (records,), "b"))
    a.up()
    assert a.service().running.confirm_within == 4.0  # type: ignore[union-attr]
    assert a.last(fx.Restore).hash == "sha256:1"


# On trial.


def on_trial(a: Agent, n: int = 2, seconds: float = 30.0) -> Agent:
    a.reload(confirm_within=seconds)
    applied(a, n)
    return a


def test_a_change_that_nobody_confirms_is_put_back_in_spite_of_a_hold() -> None:
    a = on_trial(agent().up())
    id_ = a.judged.reload_id
    assert a.service().pending == Pending(id_, "sha256:1", a.service().pending.until_wall_ns)  # type: ignore[union-attr]
    a.feed(ev.HoldAsked("web", PERSON))
    a.elapse("confirm")
    assert a.service().pending is None
    assert a.told(facts.Quarantined)[-1] == facts.Quarantined(
        "web", "sha256:2", "not confirmed in time"
    )
    poison = a.service().quarantine
    assert poison is not None
    assert (poison.hash, poison.reason) == ("sha256:2", "not confirmed in time")
    asked = a.told(facts.Requested)[-1]
    assert (asked.cause.trigger, asked.link, asked.restore) == (Trigger.ROLLBACK, id_, "sha256:1")
    restored(a)
    applied(a, 1)
    assert (a.judged.verdict, a.service().live) == (Verdict.APPLIED, manifest(1))


def test_what_was_not_confirmed_is_quarantined_until_somebody_puts_it_back() -> None:
    a = on_trial(agent().up())
    a.elapse("confirm")
    restored(a)
    applied(a, 1)
    assert a.service().quarantine is not None, "the roll-back does not make it any better"
    roll_back(a, "sha256:2")
    restored(a)
    applied(a, 2)
    assert a.service().quarantine is None


def test_when_it_runs_is_not_known_there_is_nothing_to_quarantine() -> None:
    a = on_trial(agent().up())
    a.exited()
    a.elapse("confirm")
    assert a.told(facts.Quarantined) == []
    assert a.told(facts.Requested)[-1].restore == "sha256:1"


def test_a_confirmed_change_stays() -> None:
    a = on_trial(agent().up())
    id_ = a.judged.reload_id
    a.feed(ev.ConfirmAsked("web", "another", PERSON, 8))
    assert a.last(fx.Answer).answer.exit_code == ExitCode.NOT_RUNNING
    a.feed(ev.ConfirmAsked("web", id_, PERSON, 9))
    assert a.last(fx.Answer) == fx.Answer(9, fx.Done())
    assert a.told(facts.Confirmed) == [facts.Confirmed("web", id_, "alice")]
    assert a.service().pending is None
    assert fx.Disarm("web", "confirm") in a.effects
    arm = next(e for e in a.effects if isinstance(e, fx.Arm) and e.token.machine == "confirm")
    a.feed(ev.Elapsed(arm.token), 40)
    assert a.service().running is None, "its timer may have been in the mailbox"
    a.feed(ev.ConfirmAsked("web", id_, PERSON, 10))
    assert a.last(fx.Answer).answer.exit_code == ExitCode.NOT_RUNNING


def test_a_later_change_takes_the_place_of_one_on_trial() -> None:
    a = on_trial(agent().up())
    first = a.judged.reload_id
    a.reload()
    applied(a, 3)
    assert a.service().pending is None
    assert a.told(facts.Confirmed) == [facts.Confirmed("web", first, "")]
    on_trial(a, 4)
    arms = [
        e.token.serial for e in a.effects if isinstance(e, fx.Arm) and e.token.machine == "confirm"
    ]
    assert len(set(arms)) == 2


def test_the_last_good_version_is_what_a_trial_falls_back_to() -> None:
    a = agent().up()
    a.reload()
    a.act(2)
    a.sight(alive=False)
    a.elapse("reload")
    while not a.verdicts[1:]:
        a.sight()
        a.elapse("reload")
    assert (a.judged.verdict, a.service().live) == (Verdict.TIMED_OUT, None)
    on_trial(a, 3)
    pending = a.service().pending
    assert pending is not None
    assert pending.hash == "sha256:1"


def test_a_trial_that_ended_while_it_was_down_ends_once() -> None:
    a = on_trial(agent().up(), seconds=5.0)
    a.exited()
    a.now = 60.0
    a.elapse()
    a.read(2)
    a.spawned(8)
    a.ready()
    assert a.service().pending is not None, "not before its start has ended"
    a.read(2)
    assert a.service().pending is None
    assert a.told(facts.Requested)[-1].restore == "sha256:1"
    assert a.effects.count(fx.Disarm("web", "confirm")) == 1


def test_the_same_bytes_are_on_no_trial() -> None:
    a = on_trial(agent().up(), n=1)
    assert (a.judged.verdict, a.service().pending) == (Verdict.APPLIED, None)


def test_a_reload_that_was_not_applied_is_on_no_trial() -> None:
    a = agent().up()
    a.reload(confirm_within=5.0)
    a.read(2)
    a.check(1)
    assert (a.judged.verdict, a.service().pending) == (Verdict.REJECTED, None)


def test_without_a_version_to_put_back_there_is_no_trial() -> None:
    a = agent()
    a.feed(ev.ReloadAsked("web", PERSON, 3, confirm_within=5.0))
    answer = a.last(fx.Answer).answer
    assert (answer.exit_code, answer.message) == (
        ExitCode.USAGE,
        "cannot reload web on trial: no version is known that could be put back",
    )


def test_who_joins_may_put_the_change_on_trial() -> None:
    a = agent().up()
    a.reload()
    a.reload()
    a.reload(confirm_within=7.0)
    assert a.service().waiting.confirm_within == 7.0  # type: ignore[union-attr]
    a.reload()
    assert a.service().waiting.confirm_within == 7.0  # type: ignore[union-attr]


def test_a_trial_outlives_the_agent() -> None:
    pending = Pending("R", "sha256:1", 8_000_000_000)
    for now, left in ((0.0, 8.0), (20.0, 0.0)):
        a = Agent(
            (spec("web", Says()),),
            Left({"web": Memory("web", pending=pending)}, ()),
            now=now,
            wall_ms=int(now * 1000),
        )
        (arm,) = [e for e in a.effects if isinstance(e, fx.Arm) and e.token.machine == "confirm"]
        assert arm.delay == left
        assert a.service().memory.pending == pending


# Cancelling.


def test_one_that_waits_or_only_reads_is_given_up() -> None:
    a = agent().up()
    a.reload()
    a.reload()
    s = a.service()
    assert s.running is not None
    assert s.waiting is not None
    for r in (s.waiting, s.running):
        a.feed(ev.CancelAsked("web", r.id, PERSON, 4))
        assert a.last(fx.Answer) == fx.Answer(4, fx.Done())
        assert (a.judged.reload_id, a.judged.verdict) == (r.id, Verdict.CANCELLED)
        assert a.judged.message == "cancelled by alice"
    a.feed(ev.CancelAsked("web", s.running.id, PERSON, 5))
    answer = a.last(fx.Answer).answer
    assert (answer.exit_code, answer.message) == (
        ExitCode.NOT_RUNNING,
        f"reload {s.running.id} has ended",
    )


@pytest.mark.parametrize("stage", ["reading", "checking", "baseline"])
def test_whatever_has_not_acted_is_given_up(stage: str) -> None:
    a = agent().up()
    a.reload()
    if stage != "reading":
        a.read(2)
    if stage == "baseline":
        a.check()
    r = a.service().running
    assert r is not None
    assert r.stage.value == stage
    a.feed(ev.CancelAsked("web", r.id, PERSON, 6))
    assert a.last(fx.Answer) == fx.Answer(6, fx.Done())
    assert a.judged.verdict is Verdict.CANCELLED


def test_one_that_acts_is_not() -> None:
    a = agent().up()
    a.reload()
    a.act()
    r = a.service().running
    assert r is not None
    a.feed(ev.CancelAsked("web", r.id, Cause(Trigger.API), 4))
    assert a.last(fx.Answer).answer.exit_code == ExitCode.STILL_RUNNING
    assert a.service().running is not None


def test_a_start_is_not_cancelled() -> None:
    a = agent()
    r = a.service().running
    assert r is not None
    a.feed(ev.CancelAsked("web", r.id, PERSON, 4))
    assert a.last(fx.Answer).answer.exit_code == ExitCode.STILL_RUNNING


def test_one_that_settles_is_given_up_by_nobody_in_particular() -> None:
    a = agent().up()
    a.hint()
    a.feed(ev.ReloadAsked("web", WATCH, link="earlier"))
    r = a.service().waiting or a.service().running
    assert r is not None
    a.feed(ev.CancelAsked("web", r.id, Cause(Trigger.API), 4))
    assert a.last(fx.Answer) == fx.Answer(4, fx.Done())


@pytest.mark.parametrize("ask", [ev.ConfirmAsked, ev.CancelAsked])
def test_of_a_service_that_is_not_there(ask: type) -> None:
    a = agent()
    a.feed(ask("nobody", "R", PERSON, 4))
    assert a.last(fx.Answer).answer.exit_code == ExitCode.NO_SUCH_SERVICE
