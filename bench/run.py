"""Measures agentd beside supervisord and the plainest program that could do the same, on one machine in one run.

``run.py --bin DIR [FAMILY …]``: DIR holds the installed ``agentd``, ``reloadctl`` and their ``python``. Prints one
table, goals and figures side by side. It measures and does not judge: a missed goal is marked, and the exit code is 0; only a family
that cannot be measured makes it 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import capture
import crash
import evidence
import graceful
import idle
import memory
import outbox
import react
import scale
import status
from bell import ENV
from kit import Place
from table import Figure, render

FAMILIES: dict[str, Callable[[Place], list[Figure]]] = {
    "status": status.measure,
    "react": react.measure,
    "crash": crash.measure,
    "memory": memory.measure,
    "scale": scale.measure,
    "idle": idle.measure,
    "capture": capture.measure,
    "graceful": graceful.measure,
    "outbox": outbox.measure,
    "evidence": evidence.measure,
}


def machine(python: str) -> str:
    """The machine in one line."""
    code = "import sys; print(sys.version.split()[0])"
    got = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env=ENV)
    release, cores = platform.release(), len(os.sched_getaffinity(0))
    load = f"load {os.getloadavg()[0]:.1f}"
    return (
        f"{cores} cores, Linux {release} {platform.machine()}, Python {got.stdout.strip()}, {load}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure agentd beside supervisord.")
    parser.add_argument("--bin", type=Path, required=True, help="where agentd is installed")
    parser.add_argument("family", nargs="*", help=f"of {', '.join(FAMILIES)}; default: all")
    options = parser.parse_args()
    if unknown := set(options.family) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; known: {', '.join(FAMILIES)}")
    bin_ = Path.cwd() / options.bin  # not resolved: its python is a link out of it
    print(machine(str(bin_ / "python")), flush=True)
    groups, failed = [], 0
    for family in options.family or FAMILIES:
        began = time.monotonic()
        place = Place(bin_)
        try:
            groups.append((family, FAMILIES[family](place)))
        except (OSError, RuntimeError) as error:  # TimeoutError is an OSError
            print(f"{family} cannot be measured: {error}", file=sys.stderr)
            failed = 1
        finally:
            place.close()
        print(f"{family}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(render(groups))
    missed = sum(figure.met is False for _, figures in groups for figure in figures)
    print(f"\n{missed} missed" if missed else "\nevery goal met")
    return failed


if __name__ == "__main__":
    sys.exit(main())
