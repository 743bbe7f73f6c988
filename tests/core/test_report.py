"""What a service says it did not take: partial, by name."""

from __future__ import annotations

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.question import Question
from agentd.core.spec import HttpProbe
from agentd.core.value import replace
from agentd.wire import Verdict
from tests.core.make import Agent, Says, agent, manifest, spec, unchecked

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
