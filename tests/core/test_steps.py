"""Steps that ask somebody who answers, and what the service itself says of a reload by sd_notify(3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.reload_act import OUTPUT_LINES
from agentd.core.reload_confirm import SAYINGS
from agentd.core.spec import ReloadSpec
from agentd.core.steps import (
    Baseline,
    CallHttp,
    Evidence,
    Grade,
    Replace,
    Restart,
    RunCommand,
    SendSignal,
    Step,
)
from agentd.evidence import Notify, Reply
from agentd.wire import Verdict
from tests.core.make import (
    PERSON,
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

COMMAND = RunCommand(("/usr/sbin/rndc", "-k", "hunter2"))
CALL = CallHttp("POST", "http://127.0.0.1:2019/load?token=hunter2", body="/etc/web.json")
HASH = "sha256:9be01d4a02c1ffee"


def by(*steps: Step, confirm: tuple[Evidence, ...] = (), timeout: float = 5.0) -> Agent:
    handle = ReloadSpec("exec", steps, None, confirm, timeout)
    return agent(spec("web", reload=handle)).up()


def asking(*steps: Step, **more: Any) -> Agent:
    """The first step is under way."""
    a = by(*(steps or (COMMAND,)), **more)
    a.reload()
    a.read(2)
    a.baseline()
    return a


def performed(a: Agent, status: int | None = 0, at: float | None = None, **more: Any) -> None:
    token = a.last(fx.Perform).token
    a.feed(ev.Performed(token, a.now if at is None else at, status, **more))


def stage(a: Agent) -> str:
    r = a.service().running
    return "" if r is None else r.stage.value


def steps(a: Agent, kind: type[Any] = facts.StepEnded) -> list[str]:
    id_ = a.told(facts.Requested)[-1].reload_id
    mine = [f for f in a.told(kind) if f.reload_id == id_]
    error = [getattr(f, "error_type", "") for f in mine]
    return [f.step + (f"!{e}" if e else "") for f, e in zip(mine, error, strict=True)]


# What a step is.


def test_a_step_is_called_by_what_it_does_and_keeps_its_secrets() -> None:
    assert [s.label for s in (SendSignal("HUP"), COMMAND, CALL, Restart(), Replace())] == [
        "signal SIGHUP",
        "exec rndc",
        "http POST",
        "process.stop",
        "process.start",
    ]
    assert RunCommand(("reload",)).label == "exec reload"


def test_a_command_says_yes_by_exit_code_0() -> None:
    assert [code for code in (-1, 0, 1, 2, 200) if COMMAND.accepts(code)] == [0]
    assert COMMAND.error_type(3) == "exit_3"


def test_a_call_says_yes_by_any_success_or_as_declared() -> None:
    some = (100, 199, 200, 202, 204, 299, 300, 304, 400, 503)
    assert [status for status in some if CALL.accepts(status)] == [200, 202, 204, 299]
    strict = replace(CALL, expect=(200, 304))
    assert [status for status in some if strict.accepts(status)] == [200, 304]
    assert CALL.error_type(503) == "503"


# A step that is answered.


def test_a_command_is_performed_and_its_yes_is_the_evidence() -> None:
    a = asking(confirm=(Reply(synchronous=True),))
    r, asked = a.service().running, a.last(fx.Perform)
    assert r is not None
    assert (asked.step, asked.generation, asked.timeout) == (COMMAND, 1, 5.0)
    assert (asked.origin.reload_id, asked.origin.trace_id) == (r.id, r.trace_id)
    assert asked.place == "apply/exec rndc"
    assert asked.token.machine == "reload"
    began = a.told(facts.StepBegan)[-1]
    assert (began.step, began.pid) == ("exec rndc", None)
    a.now = 2.0
    performed(a, 0, at=1.5)
    done = a.told(facts.StepEnded)[-1]
    assert (done.step, done.at, done.error_type, done.pid) == ("exec rndc", 1.5, "", None)
    assert [n.at for n in a.steps[-1].notes] == [2.0, 2.0, 2.0], "it began before it ended"
    look = a.last(fx.Look)
    assert (look.sent_at, look.pid) == (1.5, 7)
    a.sight(None)
    a.read(2)
    assert (a.judged.verdict, a.judged.confirmation) == (Verdict.APPLIED, "reply")
    assert (a.judged.grade, a.service().live) == (Grade.PROVEN, manifest(2))
    assert "SendReloadSignal" not in names(a.effects)
    assert "Cancel" not in names(a.effects)


@pytest.mark.parametrize(
    ("step", "status", "error_type", "message"),
    [
        (COMMAND, 3, "exit_3", "exec rndc says no (exit 3)"),
        (CALL, 422, "422", "http POST says no (422)"),
        (CALL, 302, "302", "http POST says no (302)"),
    ],
)
def test_a_no_is_the_services_own_word(
    step: Step, status: int, error_type: str, message: str
) -> None:
    a = asking(step, confirm=(Reply(),))
    output = tuple(str(n) for n in range(99))
    a.now = 2.0
    performed(a, status, at=1.5, output=output)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REFUSED, error_type)
    assert (a.judged.message, a.judged.output) == (message, output[-OUTPUT_LINES:])
    failed = a.told(facts.StepEnded)[-1]
    assert (failed.step, failed.at, failed.error_type) == (step.label, 1.5, error_type)
    assert a.told(facts.PhaseEnded)[-1] == facts.PhaseEnded(
        "web", a.judged.reload_id, "apply", error_type
    )
    s = a.service()
    assert (s.live, s.running, s.quarantine) == (manifest(1), None, None)
    assert "Look" not in names(a.effects)
    assert "Cancel" not in names(a.effects)


def test_a_no_that_says_it_took_some_of_it_is_partial_and_live_unknown() -> None:
    handle = ReloadSpec("http", (CALL,), None, (Reply(),), 5.0, partial="one or more errors")
    for output, verdict in (
        ("no such key", Verdict.REFUSED),
        ("one or more errors", Verdict.PARTIAL),
    ):
        a = agent(spec("web", reload=handle)).up()
        a.reload()
        a.read(2)
        a.baseline()
        performed(a, 500, output=("failed to reload", output))
        assert (a.judged.verdict, a.judged.error_type) == (verdict, "500")
        assert a.judged.output == ("failed to reload", output)
        partly = verdict is Verdict.PARTIAL
        assert a.service().live == (None if partly else manifest(1))
        assert a.service().last_good == manifest(1)


def test_one_that_takes_too_long_leaves_the_service_alone() -> None:
    a = asking(confirm=(Reply(),))
    performed(a, None, timed_out=True)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.TIMED_OUT, "timeout")
    assert a.judged.message == "exec rndc did not end within 5s; the service was left alone"
    assert steps(a) == ["exec rndc!timeout"]
    assert (a.service().live, a.service().last_good) == (None, manifest(1))
    assert a.service().quarantine is None


def test_one_that_gives_no_answer_leaves_it_to_the_evidence() -> None:
    a = asking(CALL, confirm=(Says(),))
    performed(a, None, error="closed without an answer")
    assert steps(a) == ["http POST!no_answer"]
    assert stage(a) == "confirming"
    a.sight("confirmed")
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED


def test_no_answer_is_no_yes() -> None:
    a = asking(CALL, confirm=(Reply(),))
    performed(a, None, error="closed without an answer")
    a.sight(None)
    a.now += 5.0
    a.elapse("reload")
    a.sight(None)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.TIMED_OUT, "timeout")


@pytest.mark.parametrize(
    ("error_type", "verdict"),
    [("spawn_failed", Verdict.REJECTED), ("no_such_process", Verdict.FAILED)],
)
def test_one_that_cannot_begin_has_touched_nothing(error_type: str, verdict: Verdict) -> None:
    a = asking()
    a.failed(fx.Perform, error_type)
    assert (a.judged.verdict, a.judged.error_type) == (verdict, error_type)
    assert a.judged.message == "cannot do it"
    assert steps(a) == [f"exec rndc!{error_type}"]
    assert "Cancel" not in names(a.steps[-1].effects)
    assert a.service().live == manifest(1)


def test_a_later_one_that_cannot_begin_leaves_the_first_one_done() -> None:
    a = asking(COMMAND, CALL)
    performed(a)
    a.failed(fx.Perform, "spawn_failed")
    assert (a.judged.verdict, a.service().live) == (Verdict.FAILED, None)
    assert steps(a) == ["exec rndc", "http POST!spawn_failed"]


def test_a_later_one_that_says_no_leaves_nobody_knowing_what_runs() -> None:
    a = asking(COMMAND, CALL)
    performed(a)
    performed(a, 500)
    assert (a.judged.verdict, a.judged.error_type, a.service().live) == (
        Verdict.FAILED,
        "500",
        None,
    )


def test_after_several_steps_a_contradiction_leaves_nobody_knowing_what_runs() -> None:
    a = asking(COMMAND, CALL, confirm=(Says(),))
    performed(a)
    performed(a, 200)
    a.sight("contradicted")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "contradicted")
    assert a.service().live is None


def test_each_has_what_the_others_left_of_the_time() -> None:
    a = asking(COMMAND, CALL, SendSignal("HUP"))
    a.now = 2.0
    performed(a)
    second = a.last(fx.Perform)
    assert (second.step, second.timeout, second.place) == (CALL, 3.0, "apply/http POST")
    assert a.service().running.deadline == 5.0  # type: ignore[union-attr]
    a.now = 6.0
    performed(a, 204)
    assert a.last(fx.SendReloadSignal).signal == "HUP"
    assert a.told(facts.StepBegan)[-1].pid == 7
    assert steps(a) == ["exec rndc", "http POST"]
    a.signalled()
    assert a.told(facts.StepEnded)[-1].pid == 7
    assert stage(a) == "confirming"


def test_with_no_time_left_the_last_one_has_none_and_not_less() -> None:
    a = asking(COMMAND, CALL)
    a.now = 9.0
    performed(a)
    assert a.last(fx.Perform).timeout == 0.0


def test_only_the_last_one_replies() -> None:
    a = asking(COMMAND, SendSignal("HUP"), confirm=(Reply(),))
    performed(a)
    assert stage(a) == "sending"
    a.signalled()
    a.sight(None)
    assert stage(a) == "confirming", "the command's yes was for the command"


def test_a_signal_after_a_command_keeps_the_baseline_from_before_both() -> None:
    a = by(COMMAND, SendSignal("HUP"), confirm=(Says(),))
    a.reload()
    a.read(2)
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(1, log_offset=10)))
    performed(a)
    assert a.last(fx.SendReloadSignal).workers
    later = Baseline(2, log_offset=20)
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, 0.0, later))
    assert a.last(fx.Look).log_offset == 10, "what the first step wrote is evidence too"


@pytest.mark.parametrize("later", [True, False])
def test_the_baseline_is_of_the_moment_of_the_first_signal(*, later: bool) -> None:
    a = by(SendSignal("HUP"), confirm=(Says(),))
    a.reload()
    a.read(2)
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(1, log_offset=10)))
    newer = Baseline(2, log_offset=20) if later else None
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, 0.0, newer))
    assert a.last(fx.Look).log_offset == (20 if later else 10)


def test_a_signal_asks_for_workers_only_where_they_are_evidence() -> None:
    a = asking(SendSignal("HUP"), confirm=(Notify(),))
    assert not a.last(fx.SendReloadSignal).workers
    b = asking(SendSignal("HUP"), confirm=(Notify(), Says()))
    assert b.last(fx.SendReloadSignal).workers


def test_an_end_while_it_is_asked_is_a_death_and_the_command_is_ended() -> None:
    a = asking()
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert fx.Cancel(a.last(fx.Perform).token) in a.effects
    assert a.service().live is None


def test_a_stop_while_it_is_asked_leaves_its_outcome_unknown() -> None:
    a = asking()
    a.feed(ev.StopAsked("web", PERSON))
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_stopped")
    assert a.service().live is None


def test_an_agent_that_died_while_it_asked_asks_only_the_evidence() -> None:
    b = survivor(asking(confirm=(Says(),)))
    assert (stage(b), b.service().running.certain) == ("confirming", False)  # type: ignore[union-attr]
    assert "Perform" not in names(b.effects)


# What the service says of it.


def sending(*confirm: Evidence) -> Agent:
    a = agent(unchecked(spec("web", *(confirm or (Notify(),))))).up()
    a.now = 10.0
    a.reload()
    a.read(replace(manifest(2), hash=HASH))
    a.baseline()
    return a


def says(a: Agent, generation: int = 1, **what: Any) -> None:
    a.feed(ev.Notified("web", generation, **what))


def confirming(at: float = 10.0) -> Agent:
    a = sending()
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, at))
    a.sight(None)
    assert stage(a) == "confirming"
    return a


def asked_again(a: Agent) -> None:
    """It spoke, so the evidence was asked at once; now it is seen."""
    assert a.service().running.timer is None  # type: ignore[union-attr]
    a.sight(None)


def test_the_handshake_is_evidence_and_is_not_waited_for_longer_than_needed() -> None:
    a = confirming()
    looks = names(a.effects).count("Look")
    says(a, reloading=10.5)
    assert names(a.steps[-1].effects) == ["Disarm", "Look"], "the pause is over"
    assert names(a.effects).count("Look") == looks + 1
    says(a, ready=True)
    assert names(a.effects).count("Look") == looks + 1, "one look is under way, and will see it"
    asked_again(a)
    a.read(replace(manifest(2), hash=HASH))
    assert (a.judged.verdict, a.judged.confirmation) == (Verdict.APPLIED, "notify")
    assert a.judged.grade is Grade.OBSERVED
    assert a.phase() == "ready"


@pytest.mark.parametrize("first", [True, False])
def test_the_handshake_with_the_hash_of_what_it_took_is_proof(*, first: bool) -> None:
    a = confirming()
    says(a, reloading=10.5, hash=HASH if first else "")
    says(a, ready=True, hash="" if first else HASH)
    a.sight(None)
    asked_again(a)
    a.read(replace(manifest(2), hash=HASH))
    assert (a.judged.verdict, a.judged.grade) == (Verdict.APPLIED, Grade.PROVEN)


def test_a_stronger_evidence_that_only_agreed_is_no_stronger_than_the_others() -> None:
    a = sending(Says(), Notify())
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, 10.0))
    says(a, reloading=10.0, ready=True)
    a.sight("confirmed", None)
    a.read(replace(manifest(2), hash=HASH))
    assert (a.judged.confirmation, a.judged.grade) == ("says", Grade.OBSERVED)


def test_both_words_may_come_in_one_datagram() -> None:
    a = confirming()
    says(a, reloading=10.0, ready=True)
    asked_again(a)
    assert stage(a) == "comparing"


def test_what_is_said_before_the_answer_to_the_signal_counts_by_its_own_time() -> None:
    a = sending()
    says(a, reloading=10.2)
    says(a, ready=True)
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, 10.1), 1.0)
    a.sight(None)
    assert stage(a) == "comparing"


def test_what_is_said_while_a_command_runs_counts_too() -> None:
    a = asking(confirm=(Notify(),))
    says(a, reloading=0.5, ready=True)
    performed(a, 0, at=0.2)
    a.sight(None)
    assert stage(a) == "comparing"


@pytest.mark.parametrize(
    "words",
    [
        ({"reloading": 9.9}, {"ready": True}),
        ({"ready": True},),
        ({"ready": True}, {"reloading": 10.1}),
        ({"reloading": 10.1},),
        ({"reloading": 9.9, "ready": True, "refused": "line 3"},),
        ({"ready": True, "refused": "line 3"},),
        ({"reloading": 10.1, "ready": True}, {"reloading": 10.2}),
    ],
    ids=[
        "a RELOADING from before the signal",
        "READY to no RELOADING",
        "READY before RELOADING",
        "RELOADING that has not ended",
        "a complaint of an earlier one",
        "a complaint of no reload",
        "it has begun once more",
    ],
)
def test_what_is_no_answer_to_this_signal(words: tuple[dict[str, Any], ...]) -> None:
    a = confirming()
    for word in words:
        says(a, **word)
    a.sight(None)
    assert stage(a) == "confirming"


def test_one_that_begins_once_more_is_done_when_that_is() -> None:
    a = confirming()
    for word in ({"reloading": 10.1, "refused": "line 3"}, {"reloading": 10.2}, {"ready": True}):
        says(a, **word)  # type: ignore[arg-type]
    a.sight(None)
    assert stage(a) == "comparing"


@pytest.mark.parametrize(
    "words",
    [
        ({"reloading": 10.1}, {"ready": True, "refused": "errno 22: line 3"}),
        ({"reloading": 10.1, "refused": "errno 22: line 3"}, {"ready": True}),
        ({"reloading": 10.1}, {"refused": "errno 22: line 3"}),
    ],
    ids=["with READY", "before READY", "without READY"],
)
def test_its_own_complaint_refuses_with_its_own_words(words: tuple[dict[str, Any], ...]) -> None:
    a = confirming()
    for word in words:
        says(a, **word)
    a.sight(None)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REFUSED, "contradicted")
    assert a.judged.message == "notify contradicts it: errno 22: line 3"
    assert a.service().live == manifest(1)


@pytest.mark.parametrize(
    ("named", "verdict"),
    [
        (HASH, None),
        ("9be01d4a02c1ffee", None),
        ("sha256:9be01d4", None),
        ("9BE01D4A", None),
        ("9be01d", "9be01d"),
        ("9be01d4b", "9be01d4b"),
        ("sha256:3f2c9a1b77de0000", "3f2c9a1b77de"),
    ],
)
def test_a_hash_that_it_names_must_be_ours(named: str, verdict: str | None) -> None:
    a = confirming()
    says(a, reloading=10.1, ready=True, hash=named)
    a.sight(None)
    if verdict is None:
        assert stage(a) == "comparing"
        return
    assert a.judged.verdict is Verdict.REFUSED
    said = f"it says that it runs {verdict}, not 9be01d4a02c1"
    assert a.judged.message == f"notify contradicts it: {said}"


def test_a_hash_in_no_answer_is_nothing() -> None:
    a = confirming()
    says(a, ready=True, hash="3f2c9a1b77de")
    a.sight(None)
    assert stage(a) == "confirming"


def test_other_evidence_that_contradicts_says_so_plainly() -> None:
    a = sending(Says())
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, 10.0))
    a.sight("contradicted")
    assert a.judged.message == "says contradicts it"


def test_a_chatterer_is_not_remembered_for_ever() -> None:
    a = confirming()
    says(a, reloading=10.1)
    for n in range(SAYINGS + 3):
        says(a, extend=float(n + 1))
    kept = a.service().running.said  # type: ignore[union-attr]
    assert len(kept) == SAYINGS == 16
    assert kept[-1].extend == SAYINGS + 3


def test_what_an_earlier_generation_says_is_not_heard() -> None:
    a = confirming()
    says(a, generation=0, reloading=10.1, ready=True)
    assert a.service().running.said == ()  # type: ignore[union-attr]


def test_before_the_act_nothing_is_heard() -> None:
    a = agent(spec("web", Notify())).up()
    a.reload()
    says(a, reloading=99.0, ready=True)
    a.read(2)
    says(a, reloading=99.0, ready=True)
    assert a.service().running.said == ()  # type: ignore[union-attr]


def test_with_nothing_to_hear_it_waits_as_long_as_for_other_evidence() -> None:
    a = confirming()
    a.now = 15.0
    a.elapse("reload")
    a.sight(None)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.TIMED_OUT, "timeout")
    assert a.judged.message.startswith("no evidence by notify within 5s")
    assert a.service().instance.process == identity()
