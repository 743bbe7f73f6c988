"""Takes out of the code what a scenario is guarded by, and sees that one of its tests fails.

For each entry of tests/scenarios/scenarios.toml with ``without``: a copy of the checkout without that text, in which the scenario's tests
are run one after the other until one fails. ``--match TEXT``: only scenarios with this in them; ``--fast``: none that needs real servers.
Fails when a scenario's tests all pass without their guard.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SCENARIOS = ROOT / "tests" / "scenarios" / "scenarios.toml"
PARTS = ("agentd", "reloadctl", "tests", "tools", "bench", "man", "completions")
LIMIT_S = 300
"""A test that does not end has noticed, too; but nobody waits longer than this."""


def main() -> int:
    """0: every guard is needed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--match", default="")
    parser.add_argument("--fast", action="store_true")
    args = parser.parse_args()
    found = tomllib.loads(SCENARIOS.read_text(encoding="utf-8"))["scenario"]
    todo = [s for s in found if "without" in s and args.match in s["expect"]]
    unneeded = []
    with tempfile.TemporaryDirectory() as place:
        there = Path(place)
        copy(there)
        for n, scenario in enumerate(todo, 1):
            tests = [t for t in scenario["tests"] if not (args.fast and t.startswith("tests/real"))]
            if not tests:
                continue
            began = time.monotonic()
            noticed = without(there, scenario["without"], tests)
            took = f"{time.monotonic() - began:.0f} s"
            print(f"[{n}/{len(todo)}] {noticed or 'NOT NOTICED'} ({took}): {scenario['expect']}")
            sys.stdout.flush()
            if not noticed:
                unneeded.append(scenario["expect"])
    print(f"{len(todo)} scenarios, {len(unneeded)} whose guard can go without a test that fails")
    return int(bool(unneeded))


def copy(there: Path) -> None:
    """The checkout as it is."""
    ignore = shutil.ignore_patterns("__pycache__", ".hypothesis", ".*_cache")
    for part in PARTS:
        shutil.copytree(ROOT / part, there / part, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile"):
        shutil.copy2(ROOT / name, there)
    (there / ".venv").symlink_to(ROOT / ".venv")


def without(there: Path, edit: list[Any], tests: list[str]) -> str:
    """The test that noticed; empty: none did."""
    path, text, instead = edit
    file = there / path
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace(text, instead), encoding="utf-8")
    try:
        return next((test for test in tests if not passes(there, test)), "")
    finally:
        file.write_text(before, encoding="utf-8")


def passes(there: Path, test: str) -> bool:
    """Whether it does, in the copy. Its session ends with it: what a broken agent leaves behind must not stay."""
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    try:
        done = subprocess.run(
            argv, cwd=there, capture_output=True, timeout=LIMIT_S, check=False, text=True
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        raise SystemExit(f"{test} cannot be run: {done.stdout[-2000:]}{done.stderr[-500:]}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
