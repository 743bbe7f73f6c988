"""What an answer means and when to try next, without a socket and without a clock."""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.telemetry.delivery import (
    MOST,
    Answer,
    Decision,
    Fate,
    Lane,
    backoff,
    decide,
    retry_after,
)

NOW, WALL = 100.0, 1_800_000_000.0
REFUSED = Answer(None, "connection refused")


def after(lane: Lane, answer: Answer, items: int = MOST, chance: float = 0.0) -> Decision:
    return decide(lane, answer, items, now=NOW, wall_s=WALL, chance=chance)


def waits(decision: Decision) -> float:
    return decision.lane.not_before - NOW


@pytest.mark.parametrize("status", [200, 202, 204])
def test_what_was_received_is_done(status: int) -> None:
    assert after(Lane(), Answer(status)) == Decision(Lane(), Fate.TAKEN)


def test_a_part_that_was_rejected_is_delivered_and_said_once() -> None:
    first = after(Lane(), Answer(200, "too old", rejected=3))
    assert first.fate is Fate.TAKEN
    assert first.say == "the receiver has rejected 3 of what it was sent, which is lost: too old"
    assert after(first.lane, Answer(200, "too old", rejected=1)).say == ""


@pytest.mark.parametrize("status", [None, 500, 502, 503, 504, 408, 429])
def test_who_is_gone_or_busy_is_asked_again_ever_later(status: int | None) -> None:
    lane, waited = Lane(), []
    for _ in range(8):
        decision = after(lane, Answer(status, "gone"), chance=1.0)
        assert decision.fate is Fate.KEPT
        waited.append(waits(decision))
        lane = decision.lane
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30]
    assert after(lane, Answer(200)).lane == Lane()  # forgotten with the first success


def test_a_trouble_is_told_once_and_its_end_once() -> None:
    first = after(Lane(), REFUSED)
    assert first.say == "connection refused; it is kept and tried again"
    second = after(first.lane, Answer(503))
    assert (second.say, second.lane.trouble) == ("", "HTTP status 503")
    assert after(second.lane, Answer(200)).say == "telemetry is delivered again"


@pytest.mark.parametrize("status", [429, 503, 502])
def test_a_receiver_that_says_when_is_obeyed(status: int) -> None:
    decision = after(Lane(), Answer(status, retry_after="7"))
    assert waits(decision) == 7
    in_20_s = formatdate(WALL + 20, usegmt=True)
    assert waits(after(Lane(), Answer(status, retry_after=in_20_s))) == 20
    later = waits(after(Lane(failures=5), Answer(status, retry_after="7"), chance=1.0))
    assert 7 <= later < 8  # what it asks for, not what we would have waited


def test_a_receiver_cannot_send_us_away_for_ever_nor_have_us_at_once() -> None:
    assert waits(after(Lane(), Answer(503, retry_after="999999999"))) == 900
    assert waits(after(Lane(), Answer(503, retry_after="0"))) > 0
    past = formatdate(WALL - 3600, usegmt=True)
    assert waits(after(Lane(), Answer(503, retry_after=past))) > 0


def test_a_moment_that_cannot_be_read_is_none() -> None:
    for text in ("", "soon", "-3", "1.5", "Mon, 99 Foo 2026", "٣"):
        assert retry_after(text, WALL) is None
    assert retry_after(" 12 ", WALL) == 12


@pytest.mark.parametrize("status", [401, 403, 404, 405, 415, 301])
def test_who_does_not_know_us_is_asked_seldom_and_that_is_said_once(status: int) -> None:
    first = after(Lane(), Answer(status, "who are you"))
    assert first.fate is Fate.KEPT
    assert 30 <= waits(first) <= 60
    assert first.say.startswith(f"HTTP status {status} (who are you); it is kept; look at")
    assert after(first.lane, Answer(status)).say == ""
    assert waits(after(replace(first.lane, failures=9), Answer(status), chance=1.0)) == 300


def test_a_page_of_html_is_no_receiver_whatever_its_status_says() -> None:
    decision = after(Lane(), Answer(200, foreign=True))
    assert decision.fate is Fate.KEPT
    assert waits(decision) >= 30
    assert "a page of HTML" in decision.say


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_malformed_is_halved_until_it_is_alone(status: int) -> None:
    lane, items = Lane(), MOST
    for _ in range(6):
        decision = after(lane, Answer(status), items)
        assert (decision.fate, waits(decision)) == (Fate.HALVED, 0)
        lane = decision.lane
        items = lane.most
    assert items == 1
    alone = after(lane, Answer(status, "bad span"), 1)
    assert (alone.fate, waits(alone)) == (Fate.ASIDE, 0)
    assert "set aside: HTTP status " in alone.say
    assert alone.lane.trouble == ""


@pytest.mark.parametrize("poison", [{0}, {63}, {3, 4}, {0, 17, 63}, set(range(5))])
def test_only_the_poison_is_set_aside_and_the_others_arrive_in_order(poison: set[int]) -> None:
    lane, queue, arrived, aside, tries = Lane(), list(range(64)), [], [], 0
    while queue:
        batch = queue[: lane.most]
        decision = after(lane, Answer(400 if poison & set(batch) else 200), len(batch))
        lane, tries = decision.lane, tries + 1
        if decision.fate is Fate.HALVED:
            continue
        (arrived if decision.fate is Fate.TAKEN else aside).extend(batch)
        queue = queue[len(batch) :]
    assert set(aside) == poison
    assert arrived == [n for n in range(64) if n not in poison]
    assert tries < 64


def test_a_receiver_to_whom_everything_is_malformed_does_not_empty_the_outbox() -> None:
    lane, waited = Lane(most=1), []
    for _ in range(8):
        decision = after(lane, Answer(400), 1, chance=1.0)
        waited.append(waits(decision))
        lane = decision.lane
    assert waited == [0, 1, 2, 4, 8, 16, 30, 30]
    assert after(lane, Answer(200), 1).lane == Lane(most=2)


@given(st.integers(0, 200), st.floats(0, 1))
def test_a_pause_is_bounded_and_never_nothing(failures: int, chance: float) -> None:
    assert 0.5 <= backoff(failures, 1.0, 30.0, chance) <= 30


@given(st.text(), st.sampled_from([None, 100, 200, 302, 400, 404, 429, 503, 599, 999]))
def test_any_answer_has_a_decision_that_does_not_come_at_once_for_ever(
    text: str, status: int | None
) -> None:
    decision = after(Lane(), Answer(status, text, text), chance=0.5)
    assert decision.fate is not Fate.KEPT or waits(decision) > 0
    assert waits(decision) <= 901
