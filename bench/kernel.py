"""What the kernel says of a process: its children, its memory, how often it ran. Reads /proc, decides nothing."""

from __future__ import annotations

import time
from pathlib import Path

CALM = 0.25
"""Seconds between two readings of memory that should agree."""


def read(path: Path) -> str:
    """The text of a file in /proc; empty when the process is gone."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _field(text: str, name: str) -> int:
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return []


def children(pid: int) -> list[int]:
    """The children of a process, whichever of its threads started them."""
    return [int(c) for t in _tasks(pid) for c in read(t / "children").split()]


def commandline(pid: int) -> str:
    """Its words, each ended by a NUL; empty when the process is gone."""
    return read(Path(f"/proc/{pid}/cmdline"))


def pss(pid: int) -> tuple[float, float]:
    """Proportional and private MiB of a process, once they stand still."""
    last = (0.0, 0.0)
    end = time.monotonic() + 10
    while True:
        text = read(Path(f"/proc/{pid}/smaps_rollup"))
        private = _field(text, "Private_Clean:") + _field(text, "Private_Dirty:")
        now = (_field(text, "Pss:") / 1024, private / 1024)
        if abs(now[0] - last[0]) < 0.02 or time.monotonic() > end:
            return now
        last = now
        time.sleep(CALM)


def switches(pid: int) -> int:
    """Context switches of all threads of a process so far: how often it was woken or made to wait."""
    texts = [read(task / "status") for task in _tasks(pid)]
    return sum(
        _field(text, "voluntary_ctxt_switches") + _field(text, "nonvoluntary_ctxt_switches")
        for text in texts
        if text
    )


def cpu_ms(pid: int) -> float:
    """Processor time that a process has used in all its threads, in ms; of its children none."""
    return sum(int((read(task / "schedstat") or "0").split()[0]) for task in _tasks(pid)) / 1e6
