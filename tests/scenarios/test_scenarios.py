"""Every scenario has a test that exists, or a reason; what ``make guards`` takes out of the code is there exactly once."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SCENARIOS = tomllib.loads((ROOT / "tests/scenarios/scenarios.toml").read_text())["scenario"]
KEYS = {"part", "expect", "tests", "without", "also", "why"}


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s["expect"][:50])
def test_a_scenario_is_guarded_or_says_why_not(scenario: dict[str, Any]) -> None:
    assert scenario.keys() <= KEYS
    assert scenario["part"]
    assert scenario["expect"].endswith(".")
    tests = scenario.get("tests", [])
    assert tests or scenario.get("why"), "neither a test nor a reason"
    assert tests or "without" not in scenario
    assert "without" in scenario or "also" not in scenario
    for test in tests:
        path, _, name = test.partition("::")
        assert name in names_in(path), f"there is no {test}"


@pytest.mark.parametrize(
    "without",
    [w for s in SCENARIOS if "without" in s for w in (s["without"], *s.get("also", []))],
    ids=lambda w: w[1][:40],
)
def test_what_is_taken_out_is_there_once(without: list[str]) -> None:
    path, text, instead = without
    assert (ROOT / path).read_text().count(text) == 1
    assert text != instead


def test_no_scenario_is_there_twice() -> None:
    told = [s["expect"] for s in SCENARIOS]
    assert len(set(told)) == len(told)


def test_the_faults_that_the_page_names_are_those_that_have_a_test() -> None:
    page = (ROOT / "man/agentd.8").read_text()
    section = page.partition(".Sh FAULTS\n")[2].partition("\n.Sh ")[0]
    named = [line.removeprefix(".It ") for line in section.splitlines() if line.startswith(".It ")]
    guarded = [s["expect"].partition(":")[0] for s in SCENARIOS if s["part"] == "faults"]
    assert named == guarded
