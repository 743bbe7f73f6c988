"""The core against a hostile world: many seeds, and the agent's death after every effect of every story."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.sim import chaos
from tests.sim.scenarios import STORIES, tell

EVENTS = int(os.environ.get("SIM_EVENTS", "1000000"))
"""How many events all seeds together take; a longer run is asked for by this variable."""
EACH = 4000
FIRST_SEED = int(os.environ.get("SIM_SEED", "0"))


def some(seeds: range) -> int:
    """Events of these seeds; the first failure names its seed."""
    return sum(chaos.run(seed, EACH) for seed in seeds)


def test_every_seed_keeps_the_invariants_and_comes_to_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seeds = range(FIRST_SEED, FIRST_SEED + max(EVENTS // EACH, 1))
    parts = [seeds[n : n + 10] for n in range(0, len(seeds), 10)]
    began = time.perf_counter()
    workers = min(os.cpu_count() or 1, 8)
    spawn = multiprocessing.get_context("spawn")  # a fork would copy this process's threads' locks
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        events = sum(pool.map(some, parts))
    took = time.perf_counter() - began
    with capsys.disabled():
        print(f"\n{events:,} events of {len(seeds)} seeds in {took:.1f} s", end=" ")
    assert events >= EVENTS


@pytest.mark.parametrize("name", STORIES)
def test_the_agent_may_die_after_every_effect(name: str) -> None:
    for k in range(1, tell(name).performed + 1):
        try:
            tell(name, k)
        except AssertionError as error:
            raise AssertionError(f"{name}, death after effect {k}: {error}") from error


@pytest.mark.parametrize("name", STORIES)
def test_and_its_journal_may_be_lost_with_it(name: str) -> None:
    for k in range(1, tell(name).performed + 1, 3):
        try:
            tell(name, k, lost=True)
        except AssertionError as error:
            raise AssertionError(f"{name}, lost after effect {k}: {error}") from error


def test_a_seed_reproduces_everything() -> None:
    first, second = (chaos.Chaos(7) for _ in range(2))
    for each in (first, second):
        each.world.keep_notes = True
        each.run(1500)
    assert first.world.notes == second.world.notes
    assert first.world.now == second.world.now
