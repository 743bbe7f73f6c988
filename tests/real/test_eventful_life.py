"""Everything at once, in short: the soak with one seed, so that what ``make soak`` runs for ten minutes keeps running at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from host import HERE, clean_env

SECONDS, SEED = 20, 30


@pytest.mark.slow
def test_twenty_seconds_of_an_eventful_life(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, HERE.parent / "soak" / "run.py"),
            *("--seconds", str(SECONDS), "--seed", str(SEED), "--directory", tmp_path / "soak"),
        ],
        capture_output=True,
        text=True,
        env=clean_env(),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert "0 violations; again: make soak SECONDS=20 SEED=30" in done.stdout
