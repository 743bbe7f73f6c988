"""The seed says everything: what is done, when, to whom."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.schedule import LASTS, OF_THE_AGENT, PER_MINUTE, Act, Event, schedule

NAMES = ("a", "b", "c", "d")
MORTAL = ("c", "d")
SEEDS = st.integers(0, 1 << 20)


@given(SEEDS, st.integers(10, 600))
def test_the_same_seed_is_the_same_schedule(seed: int, seconds: int) -> None:
    assert schedule(seed, seconds, NAMES, MORTAL) == schedule(seed, seconds, NAMES, MORTAL)


def test_the_schedule_of_a_seed_stays_what_it_is() -> None:
    """What was found with a seed can be looked for again years later, by another Python too."""
    assert schedule(7, 60, NAMES, MORTAL)[:5] == (
        Event(0.06, Act.KILL, lasts=0.541),
        Event(0.612, Act.GOOD, "c"),
        Event(0.807, Act.HOLD, "c", lasts=3.331),
        Event(1.807, Act.GOOD, "a"),
        Event(2.186, Act.RELOAD, "b"),
    )


def test_another_seed_is_another_schedule() -> None:
    assert len({schedule(seed, 60, NAMES, MORTAL) for seed in range(20)}) == 20


@given(SEEDS, st.integers(1, 600))
def test_everything_comes_in_time_and_in_order(seed: int, seconds: int) -> None:
    events = schedule(seed, seconds, NAMES, MORTAL)
    assert {e.act for e in events} == set(Act)
    assert list(events) == sorted(events)
    assert all(0 <= e.at <= seconds for e in events)
    assert all(e.service in MORTAL for e in events if e.act is Act.CRASH)
    counts = Counter(e.act for e in events)
    for act, rate in PER_MINUTE.items():
        assert counts[act] == max(1, round(rate * seconds / 60))


@given(SEEDS)
def test_what_lasts_is_over_before_it_comes_again(seed: int) -> None:
    for act in LASTS:
        its = [e for e in schedule(seed, 120, NAMES, MORTAL) if e.act is act]
        for one, other in itertools.pairwise(its):
            assert one.at + one.lasts <= other.at


@given(SEEDS, st.sampled_from(Act))
def test_what_a_machine_does_not_allow_changes_nothing_else(seed: int, without: Act) -> None:
    acts = tuple(act for act in Act if act is not without)
    rest = tuple(e for e in schedule(seed, 60, NAMES, MORTAL) if e.act is not without)
    assert schedule(seed, 60, NAMES, MORTAL, acts) == rest


@pytest.mark.parametrize("act", OF_THE_AGENT)
def test_what_is_done_to_the_agent_names_no_service(act: Act) -> None:
    assert {e.service for e in schedule(1, 60, NAMES, MORTAL) if e.act is act} == {""}
