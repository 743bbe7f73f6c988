"""What a service says it did not take: partial, by name."""

from __future__ import annotations

from typing import Any

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.question import Question
from agentd.core.spec import HttpProbe, ReloadSpec
from agentd.core.value import replace
from agentd.evidence import Reply
from agentd.wire import Verdict
from tests.core.make import Agent, Says, agent, manifest, spec, unchecked
from tests.core.test_reload import phases
from tests.core.test_steps import CALL, performed

PENDING = Question(HttpProbe("http://h/pending"))


def asked(*confirm: Says) -> Agent:
    """Confirmed, and about to be asked."""
    s = unchecked(spec("web", *confirm))
    a = agent(replace(s, reload=replace(s.reload, report=PENDING))).up()
    a.reload()
    a.act(2)
    a.sight("confirmed", since=1.0)
    effect = a.last(fx.AskReport)
    assert effect == fx.AskReport(effect.token, a.service().spec, 1, 7, PENDING)
    return a


def in_part(**more: Any) -> Agent:
    """By its own word it took some of it, and is about to be asked what else."""
    s = unchecked(spec("web", Says()))
    a = agent(replace(s, reload=replace(s.reload, partial="contra", **more))).up()
    a.reload()
    a.act(2)
    a.sight("contradicted", since=1.0)
    return a


def report(a: Agent, names: tuple[str, ...] | None, why: str = "") -> None:
    a.feed(ev.Reported(a.last(fx.AskReport).token, names, why))


def test_nothing_is_named_and_it_is_applied() -> None:
    a = asked(Says())
    report(a, ())
    a.read(2)
    assert (a.judged.verdict, a.judged.not_taken) == (Verdict.APPLIED, ())
    assert [f.phase for f in a.told(facts.PhaseEnded)][-2:] == ["confirm", "commit"]


def test_what_is_named_makes_it_partial() -> None:
    a = asked(Says())
    report(a, ("port", "user"))
    a.read(2)
    judged = a.judged
    assert (judged.verdict, judged.error_type) == (Verdict.PARTIAL, "partial")
    assert judged.not_taken == ("port", "user")
    assert judged.message == "not taken, or only after a restart: port, user"
    assert (judged.confirmation, judged.grade) == ("says", "observed")
    assert a.service().live == manifest(2)
    assert a.service().last_good == manifest(1), "it may not work without what is missing"


def test_a_message_does_not_name_a_hundred() -> None:
    a = asked(Says())
    report(a, tuple(f"s{n}" for n in range(12)))
    a.read(2)
    assert a.judged.message.endswith("s8, s9 and 2 more")
    assert len(a.judged.not_taken) == 12


def test_without_an_answer_it_is_unverified() -> None:
    a = asked(Says())
    report(a, None, "connection refused")
    judged = a.judged
    assert (judged.verdict, judged.error_type) == (Verdict.UNVERIFIED, "no_report")
    assert judged.message == (
        "confirmed by says, but what was not taken cannot be asked: connection refused"
    )
    assert a.service().live is None


def test_an_answer_that_fails_leaves_it_unknown() -> None:
    a = asked(Says())
    a.failed(fx.AskReport)
    assert a.judged.verdict is Verdict.FAILED


def test_without_evidence_it_is_asked_too_and_proves_nothing() -> None:
    a = asked()
    report(a, ())
    a.read(2)
    assert a.judged.verdict is Verdict.UNVERIFIED


def test_what_was_taken_in_part_is_named_too_and_then_it_is_known_what_runs() -> None:
    a = in_part(report=PENDING)
    report(a, ("port",))
    a.read(2)
    judged = a.judged
    assert (judged.verdict, judged.error_type) == (Verdict.PARTIAL, "partial")
    assert judged.message == "not taken, or only after a restart: port"
    assert (judged.not_taken, judged.output) == (("port",), ("contradicted",))
    assert (judged.confirmation, judged.grade) == ("none", None)
    assert (a.service().live, a.service().last_good) == (manifest(2), manifest(1))
    assert phases(a)[-4:] == ["-confirm!contradicted", "+commit", "-commit", "partial"]


def test_what_was_taken_in_part_and_moved_is_read_by_another() -> None:
    a = in_part(report=PENDING)
    report(a, ("port",))
    a.read(3)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.UNVERIFIED, "inputs_moved")


def test_its_own_word_stands_where_the_report_names_nothing_or_does_not_come() -> None:
    word = "the service took only some of it, by its own word"
    a = in_part(report=PENDING)
    report(a, ())
    assert (a.judged.verdict, a.judged.message, a.service().live) == (Verdict.PARTIAL, word, None)
    a = in_part(report=PENDING)
    report(a, None, "connection refused")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.PARTIAL, "contradicted")
    asked = "what it did not take cannot be asked: connection refused"
    assert (a.judged.message, a.service().live) == (f"{word}; {asked}", None)


def test_what_one_of_several_took_in_part_is_named_as_well() -> None:
    s = unchecked(spec("web", Says(), instances=2))
    a = agent(replace(s, reload=replace(s.reload, partial="contra", report=PENDING)))
    for pid in (10, 11):
        a.up(1, pid=pid)
    a.reload()
    a.act(2)
    a.sight("contradicted", since=1.0)
    report(a, ("port",))
    judged = a.judged
    assert (judged.verdict, judged.not_taken) == (Verdict.PARTIAL, ("port",))
    assert [one.became for one in judged.instances] == ["not_taken", "untouched"]
    assert a.service().live is None


def test_a_no_that_says_it_took_some_of_it_is_asked_what_else() -> None:
    handle = ReloadSpec(
        "http", (CALL,), None, (Reply(),), 5.0, partial="one or more errors", report=PENDING
    )
    a = agent(spec("web", reload=handle)).up()
    a.reload()
    a.read(2)
    a.baseline()
    performed(a, 500, output=("one or more errors",))
    told = phases(a)[-4:]
    report(a, ("rules",))
    a.read(2)
    assert (a.judged.verdict, a.judged.not_taken) == (Verdict.PARTIAL, ("rules",))
    assert told == ["-snapshot", "+apply", "-apply!500", "+confirm"]
    assert phases(a)[-4:] == ["-confirm!500", "+commit", "-commit", "partial"]
