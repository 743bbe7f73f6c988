"""One reload from request to verdict, by what each row does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.manifest import Change, Entry, Manifest, Missing
from agentd.core.memory import Memory
from agentd.core.reload_act import OUTPUT_LINES
from agentd.core.reload_confirm import FIRST_LOOK, GRACE, SLOWEST_LOOK
from agentd.core.spec import Check, ReadyAfter, ReadyProbe, ReloadSpec, TcpProbe, WatchSpec
from agentd.core.steps import Baseline, Evidence, Grade, SendSignal
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
    unchecked,
)

GONE = Missing("missing_input", "web.conf is missing")


def up(*confirm: Evidence, **changes: object) -> Agent:
    return agent(replace(spec("web", *(confirm or (Says(),))), **changes)).up()  # type: ignore[arg-type]


def phases(a: Agent) -> list[str]:
    """The reload's story: +phase, -phase or -phase!error_type, and the verdict."""
    last = a.told(facts.Requested)[-1].reload_id
    told = []
    for f in a.facts:
        if getattr(f, "reload_id", "") != last:
            continue
        match f:
            case facts.PhaseBegan(phase=phase):
                told.append(f"+{phase}")
            case facts.PhaseEnded(phase=phase, error_type=error):
                told.append(f"-{phase}" + (f"!{error}" if error else ""))
            case facts.Judged(verdict=verdict):
                told.append(verdict.value)
            case _:
                pass
    return told


def test_a_reload_is_checked_sent_confirmed_and_compared() -> None:
    a = up()
    a.reload(reply=1)
    r = a.service().running
    assert r is not None
    assert a.last(fx.Answer) == fx.Answer(1, fx.Accepted(r.id, r.trace_id, joined=False))
    a.read(2)
    check = a.last(fx.RunCheck)
    assert (check.check.argv, check.reload_id, check.trace_id) == (("check",), r.id, r.trace_id)
    a.check()
    assert (a.last(fx.TakeBaseline).pid, a.last(fx.TakeBaseline).workers) == (7, True)
    a.baseline()
    sent = a.last(fx.SendReloadSignal)
    assert (sent.generation, sent.pid, sent.signal, sent.assume_handled) == (1, 7, "HUP", False)
    a.now += 1
    a.feed(ev.Signalled(sent.token, 0.75))
    look = a.last(fx.Look)
    assert (look.pid, look.workers, look.patterns, look.sent_at) == (7, True, (None,), 0.75)
    assert a.service().live == manifest(1)
    a.sight("confirmed")
    a.read(2)
    assert phases(a) == [
        *("+snapshot", "-snapshot", "+check", "-check", "+apply", "-apply"),
        *("+confirm", "-confirm", "+commit", "-commit", "applied"),
    ]
    assert a.judged == facts.Judged(
        "web",
        r.id,
        Verdict.APPLIED,
        "signal",
        Trigger.CLI,
        1,
        7,
        "says",
        Grade.OBSERVED,
        hash_after="sha256:2",
        version_after="2",
    )
    s = a.service()
    assert (s.live, s.last_good, s.running, s.waiting) == (manifest(2), manifest(2), None, None)
    assert s.attempted is not None
    assert (s.attempted.hash, s.attempted.verdict) == ("sha256:2", Verdict.APPLIED)
    assert s.last is not None
    assert (s.last.reload_id, s.last.wall_ns) == (r.id, 1_000_000_000)
    assert a.told(facts.LiveChanged)[-1].hash == "sha256:2"
    assert "Cancel" not in names(a.effects)


def test_what_is_told_of_the_steps() -> None:
    a = up()
    a.reload()
    asked = a.told(facts.Requested)[-1]
    assert (asked.hash_before, asked.version_before, asked.handle) == ("sha256:1", "1", "signal")
    a.read(2)
    taken = a.told(facts.SnapshotTaken)[-1]
    assert (taken.files, taken.changed) == (1, (Change("/etc/web.conf", "modified"),))
    a.check(output=tuple(str(n) for n in range(99)))
    said = a.told(facts.CheckEnded)[-1]
    assert (said.executable, said.exit_code, said.timed_out) == ("check", 0, False)
    assert OUTPUT_LINES == 40
    assert said.output == tuple(str(n) for n in range(99 - OUTPUT_LINES, 99))
    a.baseline()
    assert a.told(facts.BaselineTaken)[-1].baseline == Baseline(0)
    assert a.told(facts.StepBegan)[-1].step == "signal SIGHUP"
    assert a.told(facts.StepBegan)[-1].pid == 7
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, 0.5), 1.0)
    done = a.told(facts.StepEnded)[-1]
    assert (done.step, done.at, done.pid, done.error_type) == ("signal SIGHUP", 0.5, 7, "")
    assert [n.at for n in a.steps[-1].notes] == [0.5, 1.0, 1.0]


# Before the act.


@pytest.mark.parametrize(
    ("answer", "error_type", "quarantined"),
    [
        ({"exit_code": 1}, "check_failed", True),
        ({"exit_code": 0}, "check_warned", True),
        ({"exit_code": None, "timed_out": True}, "check_timeout", False),
        ({"exit_code": None, "error": "no such file"}, "check_unavailable", False),
    ],
)
def test_a_check_that_does_not_say_yes(
    answer: dict[str, object], error_type: str, *, quarantined: bool
) -> None:
    strict = spec("web", Says())
    strict = replace(
        strict, reload=replace(strict.reload, check=Check(("check",), 9.0, "line [0-9]"))
    )
    a = agent(strict).up()
    a.reload()
    a.read(2)
    a.check(**answer, output=("line 3: what is this",))  # type: ignore[arg-type]
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, error_type)
    assert a.judged.output == ("line 3: what is this",)
    assert "Cancel" not in names(a.steps[-1].effects)
    assert a.service().live == manifest(1)
    assert "SendReloadSignal" not in names(a.effects)
    q = a.service().quarantine
    assert (
        q is not None and (q.hash, q.digest, q.reason) == ("sha256:2", "", a.judged.message)
    ) is (quarantined)
    assert len(a.told(facts.Quarantined)) == int(quarantined)
    assert phases(a)[-2:] == [f"-check!{error_type}", "rejected"]
    said = {
        "check_failed": "check says no (exit code 1)",
        "check_warned": "check accepts it with a warning",
        "check_timeout": "check did not end within 9s",
        "check_unavailable": "no such file",
    }
    assert a.judged.message == said[error_type]


def test_a_check_knows_its_warnings_and_its_copy() -> None:
    strict = Check(("nginx", "-t", "-c", "{staged}/etc/nginx.conf"), warnings=r"\[warn\]")
    assert strict.staged
    assert strict.on("/tmp/x") == ("nginx", "-t", "-c", "/tmp/x/etc/nginx.conf")
    assert (
        strict.warned(("fine", "nginx: [warn] duplicate", "[warn] more"))
        == "nginx: [warn] duplicate"
    )
    assert strict.warned(("fine",)) == ""
    assert Check(("nginx",)).warned(("[warn]",)) == ""
    assert not Check(("nginx",)).staged


def test_what_was_read_is_what_is_checked() -> None:
    a = up()
    a.reload()
    a.read(2)
    assert a.last(fx.RunCheck).hash == "sha256:2"


def test_a_check_that_was_ended_is_not_also_called_unavailable() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.check(1, timed_out=True, error="ended")
    assert a.judged.error_type == "check_timeout"


def test_without_a_check_it_goes_straight_on() -> None:
    a = agent(unchecked(spec("web", Says()))).up()
    a.reload()
    a.act()
    assert phases(a)[-2:] == ["-apply", "+confirm"]


@pytest.mark.parametrize("kind", [fx.TakeSnapshot, fx.RunCheck, fx.TakeBaseline])
def test_what_cannot_be_done_before_the_act_rejects(kind: type) -> None:
    a = up()
    a.reload()
    if kind is not fx.TakeSnapshot:
        a.read(2)
    if kind is fx.TakeBaseline:
        a.check()
    a.failed(kind, "journal_unavailable")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "journal_unavailable")
    phase = {fx.TakeSnapshot: "snapshot", fx.RunCheck: "check", fx.TakeBaseline: "apply"}[kind]
    assert phases(a)[-2:] == [f"-{phase}!journal_unavailable", "rejected"]
    assert a.judged.message == "cannot do it"
    assert a.service().live == manifest(1)
    assert "Cancel" not in names(a.effects)


@pytest.mark.parametrize(
    ("error_type", "verdict"),
    [("signal_unsafe", Verdict.REJECTED), ("no_such_process", Verdict.FAILED)],
)
def test_a_signal_that_was_not_sent(error_type: str, verdict: Verdict) -> None:
    a = up()
    a.reload()
    a.read(2)
    a.check()
    a.baseline()
    a.failed(fx.SendReloadSignal, error_type)
    assert (a.judged.verdict, a.judged.error_type) == (verdict, error_type)
    assert a.judged.message == "cannot do it"
    assert a.told(facts.StepEnded)[-1].error_type == error_type
    assert phases(a)[-2] == f"-apply!{error_type}"
    assert a.service().live == manifest(1)


def test_steps_are_performed_one_after_the_other() -> None:
    two = ReloadSpec(steps=(SendSignal("USR1"), SendSignal("HUP", assume_handled=True)))
    a = agent(spec(reload=two)).up()
    a.reload()
    a.act()
    assert a.last(fx.SendReloadSignal).assume_handled
    assert "Look" not in names(a.effects)
    a.signalled()
    assert "Look" in names(a.effects)
    assert [f.step for f in a.told(facts.StepEnded)[-2:]] == ["signal SIGUSR1", "signal SIGHUP"]


def test_a_second_step_that_was_not_sent_leaves_the_first_one_done() -> None:
    two = ReloadSpec(steps=(SendSignal("USR1"), SendSignal("HUP")))
    a = agent(spec(reload=two)).up()
    a.reload()
    a.act()
    a.failed(fx.SendReloadSignal, "signal_unsafe")
    assert a.judged.verdict is Verdict.FAILED
    assert a.service().live is None


def test_a_service_that_declares_no_step_cannot_reload() -> None:
    a = agent(spec(reload=ReloadSpec())).up()
    a.reload()
    a.read(2)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "no_steps")


# Missing inputs.


def test_an_input_that_was_emptied_is_missing() -> None:
    a = agent().up()
    a.reload()
    a.read(Manifest("sha256:e", "e", (Entry("/etc/web.conf", "e", 0),)))
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "missing_input")
    assert a.judged.message.startswith("/etc/web.conf was not empty before")
    assert a.service().live == manifest(1)


def test_what_was_there_is_known_from_the_last_good_one_when_nobody_knows_what_is_live() -> None:
    a = confirming()
    a.now += 5.0
    a.sight(None)
    assert (a.service().live, a.service().last_good) == (None, manifest(1))
    a.reload()
    assert a.told(facts.Requested)[-1].hash_before is None, "what runs is not known"
    a.read(Manifest("sha256:e", "e", (Entry("/etc/web.conf", "e", 0),)))
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "missing_input")


def test_a_persons_reload_of_missing_inputs_is_rejected_at_once() -> None:
    a = up()
    a.reload()
    a.read(GONE)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "missing_input")
    assert a.judged.message == GONE.message
    assert phases(a) == ["+snapshot", "-snapshot!missing_input", "rejected"]


def test_a_watch_waits_a_little_for_a_file_that_is_being_replaced() -> None:
    a = up()
    a.hint()
    a.elapse("waiting")
    a.read(GONE, after=1.0)
    assert a.last(fx.Arm).delay == 2.0
    assert a.service().running is not None
    a.hint()
    assert a.last(fx.Arm).delay <= 0.2
    a.elapse("reload")
    a.read(GONE, after=1.5)
    assert a.last(fx.Arm).delay == pytest.approx(0.5)
    a.elapse("reload")
    a.read(GONE)
    assert a.judged.error_type == "missing_input"
    assert phases(a) == [
        *("+settle", "-settle", "+snapshot", "-snapshot!missing_input"),
        *("+settle", "-settle", "+snapshot", "-snapshot!missing_input"),
        *("+settle", "-settle", "+snapshot", "-snapshot!missing_input", "rejected"),
    ]


def test_a_file_that_comes_back_is_taken() -> None:
    a = up()
    a.hint()
    a.elapse("waiting")
    a.read(GONE)
    a.elapse("reload")
    a.read(2)
    a.check()
    assert a.service().running is not None
    a.baseline()
    a.signalled()
    a.sight("confirmed")
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED


def test_a_file_that_is_gone_again_has_a_grace_of_its_own() -> None:
    a = up()
    a.hint()
    a.elapse("waiting")
    a.read(GONE)
    assert a.last(fx.Arm).delay == 2.0


# Evidence.


def confirming(*confirm: Evidence, **changes: object) -> Agent:
    a = up(*confirm, **changes)
    a.reload()
    a.act()
    return a


def test_each_evidence_must_agree_and_the_strongest_is_named() -> None:
    a = confirming(Says(), Says(Grade.PROVEN))
    a.sight("confirmed", None)
    a.elapse("reload")
    a.sight(None, "confirmed")
    a.elapse("reload")
    a.sight("confirmed", "confirmed")
    a.read(2)
    assert (a.judged.verdict, a.judged.grade) == (Verdict.APPLIED, Grade.PROVEN)


def test_a_contradiction_refuses_and_leaves_live() -> None:
    a = confirming(Says(), Says(Grade.PROVEN))
    a.sight("confirmed", "contradicted")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REFUSED, "contradicted")
    assert a.judged.message == "says contradicts it"
    assert a.judged.output == ("contradicted",)  # the line by which it was known
    assert a.service().live == manifest(1)
    assert phases(a)[-2:] == ["-confirm!contradicted", "refused"]


def test_a_complaint_of_only_some_of_it_is_partial_and_live_unknown() -> None:
    some = ReloadSpec("signal", (SendSignal("HUP"),), None, (Says(),), 5.0, partial="contra")
    a = agent(spec("web", reload=some)).up()
    a.reload()
    a.act()
    a.sight("contradicted")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.PARTIAL, "contradicted")
    assert a.judged.message == "the service took only some of it, by its own word"
    assert (a.judged.output, a.service().live) == (("contradicted",), None)


def test_the_pauses_between_looks_grow_and_end_at_the_deadline() -> None:
    a = confirming()
    first = a.now
    pauses = []
    while a.service().running:
        a.sight(None)
        if a.service().running:
            pauses.append(a.last(fx.Arm).delay)
            a.elapse("reload")
    assert pauses[:4] == [FIRST_LOOK, FIRST_LOOK * 2, FIRST_LOOK * 4, FIRST_LOOK * 8]
    assert max(pauses) == SLOWEST_LOOK == 0.1
    assert a.now - first == pytest.approx(5.0)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.TIMED_OUT, "timeout")
    assert a.judged.message == "no evidence by says within 5s; the service was left alone"
    assert a.service().live is None
    assert phases(a)[-2:] == ["-confirm!timeout", "timed_out"]


def test_a_timeout_is_not_quarantined_and_may_be_tried_again() -> None:
    a = confirming()
    a.now += 5.0
    a.sight(None)
    assert a.judged.verdict is Verdict.TIMED_OUT
    assert a.service().quarantine is None
    a.hint()
    a.elapse("waiting")
    a.read(2)
    assert a.service().running is not None


def test_a_dead_service_is_not_judged_by_its_evidence() -> None:
    a = confirming()
    a.sight("contradicted", alive=False)
    assert a.service().running is not None
    a.exited(BAD)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert a.judged.message == "web died: exit code 3; next restart loads FAILED 2"
    assert a.judged.output == ("last words",)
    assert a.service().live is None


def test_with_nothing_declared_it_is_unverified_after_the_grace() -> None:
    a = confirming(reload=replace(spec().reload, confirm=()))
    assert a.last(fx.Look).patterns == (None,)
    assert not a.last(fx.Look).workers
    a.sight(None, since=GRACE - 0.01)
    assert a.service().running is not None
    a.elapse("reload")
    a.sight(None, since=GRACE)
    a.read(2)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.UNVERIFIED, "no_evidence")
    assert (a.judged.confirmation, a.judged.grade) == ("none", None)
    assert a.judged.message == "delivered, but nothing declared can prove it"
    assert a.service().live is None
    assert a.service().last_good == manifest(1)
    assert phases(a)[-2:] == ["-commit", "unverified"]


def test_with_nothing_declared_a_timeout_is_still_unverified() -> None:
    a = confirming(reload=replace(spec().reload, confirm=(), timeout=0.1))
    a.now += 0.1
    a.sight(None, since=0.1)
    a.read(2)
    assert a.judged.error_type == "no_evidence"


@pytest.mark.parametrize(
    ("grade", "verdict"),
    [(Grade.PROVEN, Verdict.APPLIED), (Grade.OBSERVED, Verdict.UNVERIFIED)],
)
def test_proof_can_be_demanded(grade: Grade, verdict: Verdict) -> None:
    a = up(Says(grade))
    a.reload(require_proof=True)
    a.act()
    a.sight("confirmed")
    a.read(2)
    assert (a.judged.verdict, a.judged.grade) == (verdict, grade)
    assert a.service().live == manifest(2)
    assert (a.service().last_good == manifest(2)) is (verdict is Verdict.APPLIED)
    if verdict is Verdict.UNVERIFIED:
        assert a.judged.error_type == "not_proven"
        assert a.judged.message == "observed by says, and proof was demanded"
        assert phases(a)[-2:] == ["-commit", "unverified"]


@pytest.mark.parametrize("found", [manifest(3), GONE])
def test_inputs_that_moved_are_unverified_and_followed_by_another(found: object) -> None:
    a = confirming()
    a.sight("confirmed")
    a.read(found)  # type: ignore[arg-type]
    judged = a.judged
    assert (judged.verdict, judged.error_type) == (Verdict.UNVERIFIED, "inputs_moved")
    assert a.service().live is None
    follow = a.told(facts.Requested)[-1]
    assert (follow.link, follow.cause) == (judged.reload_id, PERSON)
    assert not follow.must_act, "it takes what moved, not what was taken already"
    assert a.service().running is not None
    a.read(4)
    a.check()
    a.baseline()
    a.signalled()
    a.sight("confirmed")
    a.read(5)
    assert a.told(facts.Requested)[-1] == follow, "a follower has no follower of its own"


def test_no_follower_when_another_one_waits_already() -> None:
    a = confirming()
    a.reload()
    a.sight("confirmed")
    a.read(3)
    assert len(a.told(facts.Requested)) == 3
    assert a.service().running is not None
    assert a.service().waiting is None


@pytest.mark.parametrize("kind", [fx.Look, fx.TakeSnapshot])
def test_what_cannot_be_done_after_the_act_leaves_live_unknown(kind: type) -> None:
    a = confirming()
    if kind is fx.TakeSnapshot:
        a.sight("confirmed")
    a.failed(kind, "broken")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "broken")
    assert a.service().live is None
    assert "Cancel" not in names(a.steps[-1].effects)


def test_an_end_before_the_act_leaves_no_doubt_about_the_bytes() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.exited(CLEAN, empty=False)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert fx.Cancel(a.last(fx.RunCheck).token) in a.effects
    assert a.service().live == manifest(1)


# Triggers that need not act.


def test_a_watch_settles_silently_and_is_counted_when_nothing_changed() -> None:
    a = up()
    told = len(a.facts)
    a.hint()
    a.elapse("waiting")
    a.read(1)
    assert a.facts[told:] == [facts.Skipped("web", Trigger.WATCH, "unchanged")]
    assert a.service().running is None


def test_a_watch_waits_a_little_longer_by_chance_and_still_not_for_ever() -> None:
    s = spec("web", Says())
    a = agent(replace(s, reload=replace(s.reload, splay=10.0))).up()
    a.hint()
    first = a.last(fx.Arm).delay
    assert 0.2 < first <= 10.2
    lag = first - 0.2
    a.now += 0.5
    a.hint()
    assert a.last(fx.Arm).delay == pytest.approx(first), "seen again, it waits anew"
    a.now += lag
    a.hint()
    assert a.last(fx.Arm).delay == pytest.approx(0.5), "the settle limit is a second"
    a.elapse("waiting")
    a.read(2)
    assert a.service().running.stage.value == "checking"  # type: ignore[union-attr]
    a.check()
    a.baseline()
    a.signalled()
    a.sight("confirmed")
    a.read(2)
    a.hint()
    assert a.last(fx.Arm).delay not in (first, 0.2), "drawn anew each time"
    a.reload()
    assert a.service().running.stage.value == "reading", "a person does not wait"  # type: ignore[union-attr]


def test_a_watch_that_matters_tells_its_story_from_the_first_moment() -> None:
    a = up()
    a.now = 100.0
    a.hint()
    a.elapse("waiting")
    a.now += 1
    a.read(2)
    notes = [(round(n.at, 3), type(n.fact).__name__) for n in a.steps[-1].notes]
    assert notes == [
        (100.0, "Requested"),
        (100.0, "PhaseBegan"),
        (100.2, "PhaseEnded"),
        (100.2, "PhaseBegan"),
        (101.2, "SnapshotTaken"),
        (101.2, "PhaseEnded"),
        (101.2, "PhaseBegan"),
    ]


def test_each_change_begins_the_quiet_anew_up_to_the_settle_limit() -> None:
    a = up(watch=WatchSpec(0.4, 1.0))
    a.hint()
    pauses = [a.last(fx.Arm).delay]
    for _ in range(4):
        a.now += 0.3
        a.hint()
        pauses.append(a.last(fx.Arm).delay)
    assert pauses == pytest.approx([0.4, 0.4, 0.4, 0.1, 0.0])
    a.elapse("waiting")
    assert a.service().running is not None


def test_a_change_while_it_is_read_is_seen_by_the_comparison_or_asked_again() -> None:
    a = up()
    a.hint()
    a.elapse("waiting")
    a.hint()
    assert a.service().waiting is not None
    a.read(2)
    a.check()
    a.hint()
    assert a.service().waiting is not None


def test_quarantined_bytes_are_left_alone_by_a_watch_but_not_by_a_person() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.check(1)
    a.hint()
    a.elapse("waiting")
    a.read(2)
    assert a.facts[-1] == facts.Skipped("web", Trigger.WATCH, "quarantined")
    a.reload(if_changed=True)
    a.act()
    a.sight("confirmed")
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.service().quarantine is None


def test_a_quarantine_ends_with_the_definition_it_was_made_under() -> None:
    a = up(digest="old")
    a.reload()
    a.read(2)
    a.check(1)
    memory = replace(a.service().memory, boot="b")
    b = agent(spec("web", Says(), digest="new"), memories={"web": memory}, found={"web"}, boot="b")
    b.hint()
    b.elapse("waiting")
    b.read(2)
    assert b.service().running is not None


def test_a_quarantine_ends_when_other_bytes_are_applied() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.check(1)
    a.reload()
    a.act(3)
    a.sight("confirmed")
    a.read(3)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.service().quarantine is None


def test_unverified_bytes_are_not_tried_again_unasked() -> None:
    a = confirming(reload=replace(spec().reload, confirm=()))
    a.sight(None, since=1.0)
    a.read(2)
    a.hint()
    a.elapse("waiting")
    a.read(2)
    assert a.facts[-1] == facts.Skipped("web", Trigger.WATCH, "unchanged")


@pytest.mark.parametrize("trigger", [Trigger.HANGUP, Trigger.TIMER, Trigger.SOURCE])
def test_others_are_told_that_nothing_changed(trigger: Trigger) -> None:
    a = up()
    a.feed(ev.ReloadAsked("web", replace(PERSON, trigger=trigger)))
    a.read(1)
    assert a.judged.verdict is Verdict.UNCHANGED
    assert a.judged.message == "the inputs are what is live"
    assert a.service().attempted.verdict is Verdict.APPLIED, "nothing was tried"  # type: ignore[union-attr]
    assert phases(a) == ["+snapshot", "-snapshot", "unchanged"]


def test_others_are_told_of_a_quarantine() -> None:
    a = up()
    a.reload()
    a.read(2)
    a.check(1)
    a.feed(ev.ReloadAsked("web", replace(PERSON, trigger=Trigger.HANGUP)))
    a.read(2)
    assert (a.judged.verdict, a.judged.message) == (Verdict.UNCHANGED, "quarantined")


def test_a_persons_reload_always_acts_unless_told_otherwise() -> None:
    a = up()
    a.reload(if_changed=True)
    a.read(1)
    assert a.judged.verdict is Verdict.UNCHANGED
    a.reload()
    a.act(1)
    a.sight("confirmed")
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    assert len(a.told(facts.LiveChanged)) == 1


# Starts.


@pytest.mark.parametrize(
    ("ready", "said", "grade"),
    [
        (None, "notify", Grade.PROVEN),
        (ReadyAfter(0), "ready", Grade.DECLARED),
        (ReadyProbe(TcpProbe("h", 1)), "ready", Grade.OBSERVED),
    ],
)
def test_a_start_is_confirmed_by_how_it_got_ready(ready: object, said: str, grade: Grade) -> None:
    a = agent(unchecked(spec(**({"ready": ready} if ready else {}))))
    a.read(1)
    a.spawned()
    if isinstance(ready, ReadyProbe):
        a.feed(ev.Probed(a.last(fx.Ask).token, None))
    elif ready is None:
        a.ready()
    a.read(1)
    assert (a.judged.verdict, a.judged.confirmation, a.judged.grade) == (
        Verdict.APPLIED,
        said,
        grade,
    )
    assert (a.judged.handle, a.judged.trigger) == ("start", Trigger.START)
    assert phases(a) == [
        "+snapshot",
        "-snapshot",
        "+apply",
        "-apply",
        "+commit",
        "-commit",
        "applied",
    ]
    assert a.told(facts.StepEnded)[-1].step == "process.start"
    assert a.service().last is None


def test_a_ready_that_nobody_heard_proves_nothing() -> None:
    a = agent(unchecked(spec()))
    a.read(1)
    records = tuple(
        facts.Record(n, 0, 0.0, "boot", f) for n, f in enumerate(a.facts) if hasattr(f, "reload_id")
    )
    m = replace(a.service().memory, boot="boot", process=identity())
    b = agent(*a.specs, memories={"web": m}, found={"web"}, open_reloads=(records,), boot="boot")
    b.elapse()
    b.read(1)
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.UNVERIFIED, "no_evidence")
    assert b.judged.message == "alive, but its READY=1 may have met no agent"
    assert b.service().live is None


def test_a_start_is_checked_unless_its_bytes_are_known_to_be_good() -> None:
    a = agent(spec())
    a.read(1)
    assert "RunCheck" in names(a.effects)
    a.check()
    a.spawned()
    a.ready()
    a.read(1)
    a.exited()
    a.elapse()
    a.read(1)
    assert a.phase() == "starting"
    a.exited()
    a.elapse()
    a.read(2)
    assert a.last(fx.RunCheck).token.serial == a.service().running.awaiting  # type: ignore[union-attr]


@pytest.mark.parametrize(("code", "quarantined"), [(1, True), (None, False)])
def test_a_start_goes_on_whatever_the_check_says(code: int | None, *, quarantined: bool) -> None:
    a = agent(spec())
    a.read(1)
    a.check(code, error=None if code else "no such file")
    assert a.phase() == "starting"
    a.spawned()
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "exit_3")
    assert (a.judged.message, a.judged.output) == ("exit code 3", ("last words",))
    assert (a.service().quarantine is not None) is quarantined
    assert phases(a)[-2] == "-apply!exit_3"


def test_a_start_of_condemned_bytes_that_gets_ready_proves_the_check_wrong() -> None:
    a = agent(spec())
    a.read(1)
    a.check(1)
    a.spawned()
    a.ready()
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.service().quarantine is None


@pytest.mark.parametrize("broken", [False, True])
def test_a_start_goes_on_without_its_inputs(*, broken: bool) -> None:
    a = agent(spec())
    if broken:
        a.failed(fx.TakeSnapshot, "missing_input")
    else:
        a.read(GONE)
    assert a.phase() == "starting"
    a.spawned()
    a.ready()
    a.read(1)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.UNVERIFIED, "missing_input")
    assert a.judged.message == ("cannot do it" if broken else GONE.message)
    assert a.service().live is None
    assert a.service().running is None
    assert phases(a)[:2] == ["+snapshot", "-snapshot!missing_input"]


def test_a_start_goes_on_when_its_check_cannot_be_run() -> None:
    a = agent(spec())
    a.read(1)
    a.failed(fx.RunCheck, "broken")
    assert a.phase() == "starting"
    assert a.told(facts.PhaseEnded)[-1].error_type == "check_unavailable"


def test_a_start_changes_from_what_ran_last() -> None:
    a = agent(spec()).up()
    a.exited()
    a.elapse()
    assert a.told(facts.Requested)[-1].hash_before == "sha256:1"
    a.read(2)
    assert a.told(facts.SnapshotTaken)[-1].changed == (Change("/etc/web.conf", "modified"),)


def test_where_it_is_not_known_what_is_live_it_changes_from_what_was_good() -> None:
    a = agent(spec()).up()
    a.reload()
    a.act(2)
    a.feed(ev.EffectFailed(a.last(fx.Look).token, "broken", "cannot do it"))
    assert a.service().live is None
    a.reload()
    assert a.told(facts.Requested)[-1].hash_before is None
    a.read(3)
    assert a.told(facts.SnapshotTaken)[-1].changed == (Change("/etc/web.conf", "modified"),)


def test_an_end_while_the_inputs_are_compared_is_a_failure() -> None:
    a = agent(unchecked(spec()))
    a.read(1)
    a.spawned()
    a.ready()
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert a.service().live is None


@pytest.mark.parametrize(
    ("end", "error_type"),
    [
        ({"code": 7}, "exit_7"),
        ({"signal": "SEGV"}, "signal_SEGV"),
        ({"signal": "KILL"}, "signal_KILL"),
        ({"signal": "KILL", "killed": 1}, "oom_kill"),
        ({"code": 137, "killed": 1}, "exit_137"),
        ({}, "exit_unknown"),
    ],
)
def test_how_it_ended_is_the_error_type(end: dict[str, object], error_type: str) -> None:
    a = agent(unchecked(spec()))
    a.read(1)
    a.spawned()
    a.feed(ev.Exited("web", 1, facts.Exit(**end), empty=True))  # type: ignore[arg-type]
    assert a.judged.error_type == error_type


def test_a_memory_of_an_unknown_service_is_no_service() -> None:
    a = agent(memories={"old": Memory("old")})
    assert list(a.host.services) == ["web"]
