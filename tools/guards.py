"""Takes out of the code what a scenario is guarded by, and sees that one of its tests fails.

For each text of tests/scenarios/scenarios.toml under ``without`` and ``also``: a copy of the checkout without it, in which the scenario's
tests are run one after the other, the quick ones first, until one fails; that one must pass with the text, or its failure told nothing.
``--each``: every test must notice one of its scenario's texts. ``--match TEXT``: only scenarios with this in them; ``--sample N``: so many
of them, others on another day; ``--fast``: only tests that need no real servers, and nothing is said of what they do not notice.
Fails when a text can go and the scenario's tests all pass, with ``--each`` when a test notices none.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCENARIOS = ROOT / "tests" / "scenarios" / "scenarios.toml"
PARTS = ("agentd", "reloadctl", "tests", "tools", "bench", "man", "completions")
LIMIT_S = 300
"""A test that does not end has noticed, too; but nobody waits longer than this."""
PATIENCE_S = 4 * LIMIT_S
"""For one that is to pass: on a busy machine the longest take several times what they take on a quiet one."""


def main() -> int:
    """0: every guard is needed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--match", default="")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--sample", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=int(time.time() // 86400))
    args = parser.parse_args()
    found = tomllib.loads(SCENARIOS.read_text(encoding="utf-8"))["scenario"]
    todo = [s for s in found if "without" in s and args.match in s["expect"]]
    if args.sample is not None:
        print(
            f"{args.sample} of {len(todo)} scenarios; the same ones again with --seed {args.seed}"
        )
        todo = random.Random(args.seed).sample(todo, min(args.sample, len(todo)))
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        there = Path(place)
        copy(there)
        for n, scenario in enumerate(todo, 1):
            tests = sorted(scenario["tests"], key=is_slow)
            tests = [t for t in tests if not (args.fast and is_slow(t))]
            if not tests:
                continue
            print(f"[{n}/{len(todo)}] {scenario['expect']}")
            edits = [scenario["without"], *scenario.get("also", [])]
            for complaint in complaints(there, edits, tests, each=args.each):
                print(f"    {complaint}")
                wrong += not args.fast
    print(f"{len(todo)} scenarios, {wrong} guards or tests that can go without a test that fails")
    return int(bool(wrong))


def is_slow(test: str) -> bool:
    """Whether it starts an agent, and perhaps servers."""
    return test.startswith("tests/real")


def complaints(
    there: Path, edits: list[list[str]], tests: list[str], *, each: bool
) -> Iterator[str]:
    """What was not noticed, and who noticed nothing; on the way it is printed who did."""
    blind = list(tests)
    for edit in edits:
        noticed = ""
        for test in sorted(tests, key=lambda t: t not in blind):
            if noticed and not (each and test in blind):
                continue
            began = time.monotonic()
            if notices(there, edit, test):
                noticed = test
                blind = [t for t in blind if t != test]
                print(f"    {test} ({time.monotonic() - began:.0f} s)", flush=True)
        if not noticed:
            yield f"NOT NOTICED: {edit[0]}: {edit[1].strip()}"
    if each:
        yield from (f"NOTICES NOTHING: {test}" for test in blind)


def copy(there: Path) -> None:
    """The checkout as it is."""
    ignore = shutil.ignore_patterns("__pycache__", ".hypothesis", ".*_cache")
    for part in PARTS:
        shutil.copytree(ROOT / part, there / part, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile"):
        shutil.copy2(ROOT / name, there)
    (there / ".venv").symlink_to(ROOT / ".venv")


def notices(there: Path, edit: list[str], test: str) -> bool:
    """Whether it fails because of the edit."""
    path, text, instead = edit
    file = there / path
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace(text, instead), encoding="utf-8")
    try:
        failure = fails(there, test, LIMIT_S)
    finally:
        file.write_text(before, encoding="utf-8")
    if failure and (anyway := fails(there, test, PATIENCE_S)):
        print(f"    FAILS ANYWAY: {test}\n{anyway}", flush=True)
        return False
    return bool(failure)


def fails(there: Path, test: str, limit_s: float) -> str:
    """How it does, in the copy; empty: it passes. Its session ends with it: what a broken agent leaves behind must not stay."""
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    try:
        done = subprocess.run(
            argv, cwd=there, capture_output=True, timeout=limit_s, check=False, text=True
        )
    except subprocess.TimeoutExpired:
        return f"it does not end within {limit_s:g} s"
    if done.returncode not in (0, 1):
        raise SystemExit(f"{test} cannot be run: {done.stdout[-2000:]}{done.stderr[-500:]}")
    return done.stdout[-1500:] if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
