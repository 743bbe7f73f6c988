"""A reload whose evidence asks the service: what is asked when, and what becomes of the answers."""

from __future__ import annotations

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.manifest import Entry, Manifest
from agentd.core.question import Question, Said
from agentd.core.spec import ExecProbe, HttpProbe
from agentd.core.steps import Baseline, Evidence, Sight, Worker
from agentd.core.value import replace
from agentd.evidence import Changes, Reread, Version, Workers
from agentd.wire import Verdict
from tests.core.make import Agent, Says, agent, spec, survivor, unchecked

QUESTION = Question(HttpProbe("http://h/version"))
NAMES = Version(QUESTION, "{version}")


def asking(*confirm: Evidence) -> Agent:
    a = agent(unchecked(spec("web", *(confirm or (NAMES,)))))
    a.up()
    a.reload()
    return a


def before(a: Agent, *answers: Said | None) -> None:
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(1, answers=answers)))
    seen = Baseline(2, (Worker(9, 2, "w"),), log_offset=5)
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, a.now, seen))


def says(a: Agent, *said: Said | None, since: float = 0.0) -> None:
    sights = tuple(Sight(True, since, said=one) for one in said)
    a.feed(ev.Sighted(a.last(fx.Look).token, sights))


def test_it_is_asked_before_the_act_and_after_it_and_its_own_generation_must_answer() -> None:
    a = asking(NAMES, Says())
    a.read(2)
    inquiry = fx.Inquiry(a.service().spec, 1, (QUESTION, None))
    assert a.last(fx.TakeBaseline).inquiry == inquiry
    before(a, Said("1"), None)
    assert a.last(fx.Look).inquiry == inquiry
    assert a.service().running.baseline == Baseline(  # type: ignore[union-attr]
        2, (Worker(9, 2, "w"),), 5, (Said("1"), None)
    ), "of the moment of the signal, with the answers of before"


def test_a_worker_that_the_server_started_by_itself_before_it_read_its_files_confirms_nothing() -> (
    None
):
    """Apache httpd tends its spare children once more after the signal, and then reads files of which it may die."""
    a = asking(Workers())
    a.read(2)
    old, spare, new = Worker(9, 2, "w"), Worker(10, 5, "w"), Worker(11, 5, "w")
    first = Baseline(5, (old,), written="1:1")
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, first))
    a.feed(ev.Signalled(a.last(fx.SendReloadSignal).token, a.now, first))

    def look(*workers: Worker, written: str) -> None:
        a.feed(ev.Sighted(a.last(fx.Look).token, (Sight(True, 0.1, workers, written=written),)))

    look(old, spare, written="1:1")
    a.elapse("reload")
    look(spare, written="1:1")
    a.elapse("reload")
    look(spare, written="2:2")
    assert len(a.verdicts) == 1, "nothing but its start is judged"
    a.elapse("reload")
    look(spare, new, written="2:2")
    a.elapse("reload")
    look(new, written="2:2")
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED


def test_where_nothing_asks_nobody_is_asked() -> None:
    a = asking(Says())
    a.act()
    assert a.last(fx.TakeBaseline).inquiry is None
    assert a.last(fx.Look).inquiry is None


def test_a_version_that_was_not_there_before_is_proof() -> None:
    a = asking()
    a.read(2)
    before(a, Said("1"))
    says(a, Said("1"))
    assert not a.told(facts.Judged)[1:]
    a.elapse("reload")
    says(a, Said("2"))
    a.read(2)
    judged = a.judged
    assert (judged.verdict, judged.confirmation, judged.grade) == ("applied", "version", "proven")


def test_the_same_bytes_once_more_are_proven_by_what_it_runs() -> None:
    a = asking()
    a.read(1)
    before(a, Said("1"))
    says(a, Said("1"), since=0.1)
    assert len(a.verdicts) == 1, "it may not have come to read them yet"
    a.elapse("reload")
    says(a, Said("1"), since=0.2)
    a.read(1)
    assert a.verdicts[1:] == [Verdict.APPLIED]


def test_an_answer_that_was_so_before_ends_unverified_after_a_grace() -> None:
    a = asking()
    a.read(2)
    before(a, Said("2"))
    says(a, Said("2"), since=0.1)
    assert a.service().running is not None, "it may die of it yet"
    a.elapse("reload")
    says(a, Said("2"), since=0.3)
    judged = a.judged
    assert (judged.verdict, judged.error_type) == (Verdict.UNVERIFIED, "no_evidence")
    assert judged.message == "delivered, but version proves nothing: it answered the same before"
    assert a.service().live is None


def test_nobody_knows_what_it_would_have_answered() -> None:
    a = asking()
    a.read(2)
    before(a, Said(why="no answer within 2s", known=False))
    says(a, Said("2"), since=0.3)
    assert a.judged.message == (
        "delivered, but version proves nothing: what it would have answered before is not known: "
        "no answer within 2s"
    )
    b = asking()
    b.read(2)
    before(b)
    says(b, Said("2"), since=0.3)
    assert b.judged.message.endswith("what it would have answered before is not known")


def test_other_evidence_may_still_come() -> None:
    a = asking(NAMES, Says())
    a.read(2)
    before(a, Said("2"), None)
    says(a, Said("2"), None, since=0.3)
    assert a.service().running is not None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Said("1"), "; it last answered 1"),
        (Said(why="answered 503"), "; answered 503"),
        (None, ""),
    ],
)
def test_what_it_last_said_is_in_the_message_of_a_timeout(said: Said | None, told: str) -> None:
    a = asking()
    a.read(2)
    before(a, Said("1"))
    a.now += 6
    says(a, said)
    assert a.judged.verdict is Verdict.TIMED_OUT
    expected = f"no evidence by version within 5s{told}; the service was left alone"
    assert a.judged.message == expected


def test_a_result_that_fell_is_the_services_own_no() -> None:
    marked = replace(QUESTION, metric="ok", mark="when")
    a = asking(Version(marked, "1"))
    a.read(2)
    before(a, Said("1", "10"))
    says(a, Said("0", "10"))
    assert a.judged.verdict is Verdict.REFUSED
    assert a.judged.message == "version contradicts it: it last answered 0"
    assert a.service().live is not None


def test_a_command_is_not_started_every_tenth_of_a_second() -> None:
    a = asking(Changes(Question(ExecProbe(("ask",)))))
    a.read(2)
    before(a, Said("1"))
    for _ in range(12):
        says(a, Said("1"))
        slowest = a.last(fx.Arm).delay
        a.elapse("reload")
    assert slowest == 1.0


def test_the_next_agent_compares_with_what_was_answered_before_the_act() -> None:
    a = asking()
    a.read(2)
    before(a, Said("1"))
    b = survivor(a)
    says(b, Said("2"))
    b.read(2)
    assert b.judged.verdict is Verdict.APPLIED


def test_a_reload_that_an_agent_died_of_without_a_reading_waits_for_its_end() -> None:
    a = asking()
    a.read(2)
    before(a, Said("1"))
    running = a.service().running
    assert running is not None
    services = {
        **a.host.services,
        "web": replace(a.service(), running=replace(running, manifest=None)),
    }
    a.host = replace(a.host, services=services)
    says(a, Said("2"), since=0.3)
    assert a.service().running is not None


def files(**entries: str) -> Manifest:
    """A reading of these inputs, by the name and what is in them."""
    read = tuple(Entry(f"/{name}", text, 1) for name, text in sorted(entries.items()))
    return Manifest("sha256:" + "".join(entries.values()), "v", read)


def reading(*confirm: Evidence, **env: tuple[str, ...]) -> Agent:
    s = unchecked(spec("web", *confirm))
    a = agent(replace(s, process=replace(s.process, **env)))
    first = files(a="1", b="1", env="1")
    a.read(first)
    a.spawned()
    a.ready()
    a.read(first)
    a.reload()
    return a


def test_who_opens_what_changed_is_watched_until_the_verdict() -> None:
    a = reading(Reread(), env_file=("/env",))
    new = files(a="1", b="2", env="2")
    a.read(new)
    assert a.last(fx.TakeBaseline).watch == ("/b",), "what only a start reads is not waited for"
    before(a, None)
    assert a.last(fx.Look).opens
    opened = Sight(True, 0.2, opened=frozenset({"/b"}))
    a.feed(ev.Sighted(a.last(fx.Look).token, (opened,)))
    a.read(new)
    assert (a.judged.verdict, a.judged.confirmation) == ("applied", "reread")
    assert a.effects[-1] == fx.Unwatch("web")


def test_where_nothing_changed_everything_is_to_be_opened() -> None:
    a = reading(Reread())
    a.read(files(a="1", b="1", env="1"))
    assert a.last(fx.TakeBaseline).watch == ("/a", "/b", "/env")


def test_what_nobody_can_tell_ends_unverified_and_says_why() -> None:
    a = reading(Reread())
    a.read(files(a="2", b="1", env="1"))
    before(a, None)
    blind = Sight(True, 0.2, opened=None, blind="it cannot be seen")
    a.feed(ev.Sighted(a.last(fx.Look).token, (blind,)))
    assert a.judged.verdict is Verdict.UNVERIFIED
    assert a.judged.message == "delivered, but reread proves nothing: it cannot be seen"


def test_it_is_watched_no_more_when_it_ends_on_the_way() -> None:
    a = reading(Reread())
    a.read(files(a="2", b="1", env="1"))
    a.failed(fx.TakeBaseline)
    assert fx.Unwatch("web") in a.effects
    b = reading(Says())
    b.read(files(a="2", b="1", env="1"))
    assert not b.last(fx.TakeBaseline).watch
    b.failed(fx.TakeBaseline)
    assert fx.Unwatch("web") not in b.effects


def test_of_a_live_that_is_not_known_the_last_good_one_tells_what_changed() -> None:
    a = reading(Reread())
    a.host = replace(
        a.host, services={**a.host.services, "web": replace(a.service(), live=None, last_good=None)}
    )
    a.read(files(a="2", b="1", env="1"))
    assert a.last(fx.TakeBaseline).watch == ("/a", "/b", "/env")
