"""The judge sees each thing that is not as promised, and accuses nobody of what the manual says can happen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak import judge
from tests.soak.judge import Failure, Look, Seen, Span, Told, Violation, Voice, Window

TOLD = Told("01A", "web", "signal", "cli", ("applied",), signals=1)
GONE = [Window(10, 12)]
SPANS = [
    Span("r", "caller", "t", "reload", 10, 20),
    Span("c", "r", "t", "reload.check", 11, 12),
    Span("a", "r", "t", "reload.apply", 12, 19),
]


def kinds(found: list[Violation]) -> list[str]:
    return [one.kind for one in found]


@pytest.mark.parametrize("how", ["refused", "reset", "cut", "status 503", "timeout"])
def test_a_connection_that_failed_is_one_whose_service_promises_none(how: str) -> None:
    failures = [Failure("web", 5.0, how), Failure("mortal", 5.0, how)]
    found, doubtful = judge.connections(failures, frozenset({"web"}), {4.0: 0.5, 9.0: 99.0})
    assert [(one.service, one.kind) for one in found] == [("web", "connection")]
    assert not doubtful


def test_who_waited_too_long_on_a_busy_machine_shows_nothing_but_who_was_refused_does() -> None:
    failures = [Failure("web", 5.0, "timeout"), Failure("web", 5.0, "refused")]
    found, doubtful = judge.connections(failures, frozenset({"web"}), {5.0: 9.0})
    assert [one.what.split()[0] for one in found] == ["refused"]
    assert doubtful == {"timeout": 1}


def test_a_load_without_ports_left_is_nobodys_fault() -> None:
    found, doubtful = judge.connections([Failure("web", 5.0, "local")], frozenset({"web"}), {})
    assert (found, doubtful) == ([], {"local": 1})


@pytest.mark.parametrize(
    "heard", [(1, 2, 4), (2, 3, 4), (1, 2, 2, 3), (1, 3, 2, 4), (1, 2, 3)], ids=str
)
def test_a_line_that_is_missing_doubled_or_out_of_order_is_seen(heard: tuple[int, ...]) -> None:
    found, _ = judge.lines([Voice("web", "1.5", 4, heard, 30.0)], GONE)
    assert "lines" in kinds(found)


def test_a_line_whose_writer_died_before_it_counted_it_is_no_violation() -> None:
    found, counted = judge.lines([Voice("web", "1.5", 3, (1, 2, 3, 4), 30.0)], GONE)
    assert (found, counted["heard"]) == ([], 4)


def test_the_last_lines_of_who_died_while_nobody_was_there_are_excused_and_counted() -> None:
    voice = Voice("web", "1.5", 4, (1, 2), 11.0)
    found, counted = judge.lines([voice], GONE)
    assert (found, counted.total() - counted["heard"]) == ([], 2)
    assert judge.lines([replace(voice, last=14.0)], GONE)[0]
    assert judge.lines([replace(voice, heard=(1, 3))], GONE)[0], "but not one in the middle"


@pytest.mark.parametrize("verdicts", [(), ("applied", "applied"), ("applied", "failed")], ids=str)
def test_a_reload_has_one_verdict(verdicts: tuple[str, ...]) -> None:
    assert judge.verdicts([TOLD], [], []) == []
    assert kinds(judge.verdicts([replace(TOLD, verdicts=verdicts)], [], [])) == ["verdict"]


@pytest.mark.parametrize("answer", [("web", "01A", "failed", 5.0), ("web", "01B", "applied", 5.0)])
def test_what_a_client_was_told_is_in_the_journal(answer: tuple[str, str, str, float]) -> None:
    assert judge.verdicts([TOLD], [("web", "01A", "applied", 5.0)], []) == []
    assert kinds(judge.verdicts([TOLD], [answer], GONE)) == ["verdict"]
    assert judge.verdicts([TOLD], [(*answer[:3], 11.0)], GONE) == []


def test_a_whole_tree_may_hang_in_the_trace_of_who_asked() -> None:
    assert judge.subtree(TOLD, SPANS) == []


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [*SPANS, Span("x", "nowhere", "t", "lost", 11, 12)],
        [*SPANS, SPANS[1]],
        [*SPANS, Span("x", "r", "other", "strange", 11, 12)],
        [*SPANS, Span("x", "r", "t", "open", 11, 0)],
        [*SPANS, Span("x", "r", "t", "early", 9, 12)],
    ],
    ids=["none", "two roots", "twice", "two traces", "open", "before its parent"],
)
def test_a_tree_that_is_not_whole_is_seen(spans: list[Span]) -> None:
    assert "spans" in kinds(judge.subtree(TOLD, spans))


def test_a_span_that_never_came_or_came_as_two_is_seen() -> None:
    expected = {"r": TOLD, "c": TOLD}
    assert judge.received(expected, {"r": ["x", "x"], "c": ["y"]}) == []
    assert kinds(judge.received(expected, {"r": ["x"]})) == ["receiver"]
    (found,) = judge.received(expected, {"r": ["x: 1\ny: 1", "x: 1\ny: 2"], "c": ["y"]})
    assert "2 versions" in found.what
    assert "y: 2" in found.what


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        (["01A", "01A"], TOLD),
        (["01A"], replace(TOLD, signals=0, verdicts=("rejected",))),
        (["01A"], replace(TOLD, service="other")),
        ([], TOLD),
        (["01B", "01A"], TOLD),
    ],
    ids=["twice", "none was told of", "another's", "applied without", "of nobody"],
)
def test_a_signal_that_no_reload_tells_of_is_seen(heard: list[str], told: Told) -> None:
    found = judge.hangups({("web", "1.5"): heard, ("other", "1.6"): []}, [told], lost=False)
    assert set(kinds(found)) == {"signal"}


def test_signals_that_reloads_tell_of_are_none_too_many() -> None:
    back = Told("01B", "web", "signal", "cli", ("rolled_back",), signals=2)
    started = Told("01C", "web", "signal", "api", ("applied",))
    heard = {("web", "1.5"): ["01A", "01B", "01B"]}
    assert judge.hangups(heard, [TOLD, back, started], lost=False) == []
    assert judge.hangups({("web", "1.5"): ["01A", "01D"]}, [TOLD], lost=True) == []


def test_an_upgrade_that_nothing_disturbed_succeeds() -> None:
    assert judge.upgrades([(Window(5, 6), 0, ""), (Window(11, 13), 156, "gone")], GONE) == []
    assert kinds(judge.upgrades([(Window(5, 6), 150, "no")], GONE)) == ["upgrade"]


def test_who_asks_an_agent_that_is_there_gets_an_answer() -> None:
    assert judge.silence([(Window(5, 6), "web", "no"), (Window(11, 13), "web", None)], GONE) == []
    assert kinds(judge.silence([(Window(5, 6), "web", None)], GONE)) == ["silence"]


OURS = Seen(5, 100, 5, "web", "1")
WORKER = Seen(6, 101, 5, "web", "1")


def looks(*seen: frozenset[Seen], known: dict[int, str] | None) -> list[Look]:
    alive = frozenset({5})
    return [Look(float(at), one, known, alive) for at, one in enumerate(seen)]


def test_who_is_in_status_and_its_workers_are_known() -> None:
    assert judge.strangers(looks(*[frozenset({OURS, WORKER})] * 9, known={5: "web"}), 3) == []


def test_who_is_never_in_status_is_a_stranger_told_once() -> None:
    other = Seen(7, 102, 7, "web", "2")
    found = judge.strangers(looks(*[frozenset({OURS, other})] * 9, known={5: "web"}), 3)
    assert kinds(found) == ["stranger"]


def test_who_is_unknown_for_a_moment_or_while_there_is_nobody_to_ask_is_none() -> None:
    other = Seen(7, 102, 7, "web", "2")
    both, one = frozenset({OURS, other}), frozenset({OURS})
    assert judge.strangers(looks(one, both, both, both, one, both, known={5: "web"}), 3) == []
    assert judge.strangers(looks(*[both] * 9, known=None), 3) == []


def test_who_is_in_status_and_gone_is_a_ghost() -> None:
    gone = {5: "web", 9: "web"}
    assert kinds(judge.strangers(looks(*[frozenset({OURS})] * 9, known=gone), 3)) == ["ghost"]


def test_two_processes_of_one_generation_are_twins() -> None:
    twin = Seen(8, 103, 8, "web", "1")
    known = {5: "web", 8: "web"}
    found = judge.strangers(
        [Look(float(at), frozenset({OURS, twin}), known, frozenset({5, 8})) for at in range(9)], 3
    )
    assert kinds(found) == ["twins"]


def test_who_ran_and_is_in_no_record_is_told() -> None:
    seen = looks(*[frozenset({OURS, WORKER})] * 3, known={5: "web"})
    assert judge.unrecorded(seen, {("web", 5)}, []) == []
    assert kinds(judge.unrecorded(seen, {("web", 4)}, [])) == ["journal"]
    assert judge.unrecorded(seen, set(), [Window(0, 1)]) == []
    assert judge.unrecorded(seen[:1], set(), []) == []
