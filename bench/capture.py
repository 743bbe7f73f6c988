"""How fast the output of one busy service is taken, and what is lost when its supervisor is killed meanwhile.

The rate is the writer's own: it cannot be ahead of its supervisor by more than a pipe. Both supervisors rotate at 10 MB
and keep five files. The floor is the same writer straight into a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bell import ENV, Bell, median, until
from servers import Server, Service
from table import Figure

if TYPE_CHECKING:
    from kit import Place

TURNS = 5
MODES = {"blocks of 64 KB": (64_000, 192_000_000), "a write for each line": (200, 48_000_000)}
"""Bytes at once and in all."""
NUMBERED = 160_000_000
KILLS = 5
LINE = 200
WRITER = Path(__file__).with_name("writer.py")


class _Busy:
    """One writer and the two FIFOs it is talked to with."""

    def __init__(self, place: Place, total: int, at_once: int, *more: str) -> None:
        home = place.directory()
        self.bell = Bell(home)
        self.word = home / "go"
        os.mkfifo(self.word)
        python = (place.python, "-I", "-S", str(WRITER), str(self.bell.path), str(self.word))
        self.command = (*python, str(total), str(at_once), *more)

    def go(self) -> None:
        """Returns once the writer has the word."""
        self.word.write_bytes(b"g")

    def heard(self) -> tuple[int, str]:
        """Bytes written, and the nanoseconds that took or why it ended."""
        written, how = self.bell.wait()[1].split()
        return int(written), how.decode()

    def rate(self) -> float:
        """MB/s of one run."""
        self.go()
        written, nanoseconds = self.heard()
        return written / int(nanoseconds) * 1e3


def measure(place: Place) -> list[Figure]:
    return [*(_speed(place, mode) for mode in MODES), *_loss(place)]


def _speed(place: Place, mode: str) -> Figure:
    at_once, total = MODES[mode]
    took: dict[str, list[float]] = {"agentd": [], "supervisord": [], "floor": []}
    for _ in range(TURNS):
        for name, make in (("agentd", place.agent), ("supervisord", place.supervisor)):
            busy = _Busy(place, total, at_once)
            took[name].append(_under(make, busy))
        took["floor"].append(_floor(place, _Busy(place, total, at_once)))
    rates = {name: median(values) for name, values in took.items()}
    ratio = median(a / b for a, b in zip(took["agentd"], took["supervisord"], strict=True))
    return Figure(
        f"log capture, {mode}",
        f"{rates['agentd']:.0f} MB/s",
        "≥ supervisord",
        ratio >= 1,
        f"{rates['supervisord']:.0f} MB/s",
        f"{rates['floor']:.0f} MB/s into a file",
        f"{ratio:.2f}x, median of pairs",
    )


def _under(make: Callable[[list[Service]], Server], busy: _Busy) -> float:
    keep = "stdout_logfile_maxbytes=10MB\nstdout_logfile_backups=5\n"
    with make([Service("busy", busy.command, supervisord=keep)]):
        return busy.rate()


def _floor(place: Place, busy: _Busy) -> float:
    out = place.directory() / "out"
    flags = os.O_WRONLY | os.O_CREAT
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(out), flags, 0o600)]
    argv = list(busy.command)
    pid = os.posix_spawn(argv[0], argv, ENV, file_actions=actions)
    rate = busy.rate()
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    out.unlink()
    return rate


def _loss(place: Place) -> list[Figure]:
    busy = _Busy(place, NUMBERED, 64_000, "numbered")
    agent = place.agent([Service("busy", busy.command, 'logs = { size = "1G", keep = 1 }\n')])
    with agent:
        log = agent.dir / "state" / "logs" / "busy.log"
        busy.go()
        downs = []
        for kill in range(KILLS):
            _grown(log, NUMBERED * (kill + 1) // (KILLS + 2))
            agent.kill()
            downs.append(agent.start())
        written, how = busy.heard()
        _grown(log, written)
        ours = _count(log, written // LINE)
    theirs = _their_loss(place)
    name = f"lines lost, doubled or torn over {KILLS} x kill -9"
    back = f"{median(downs) * 1000:.0f} ms"
    ours += f" of {written // LINE}" if how != "broken" else ", and the writer broke"
    return [
        Figure(name, ours, "0", ours.startswith("0 of"), theirs),
        Figure("kill -9 → the next agent has adopted and answers", back),
    ]


def _their_loss(place: Place) -> str:
    """One kill is enough: the service loses its reader."""
    busy = _Busy(place, NUMBERED, 64_000, "numbered")
    log = place.directory() / "busy.log"
    to = f"stdout_logfile={log}\nstdout_logfile_maxbytes=0\n"
    supervisor = place.supervisor([Service("busy", busy.command, supervisord=to)])
    supervisor.start()
    busy.go()
    _grown(log, NUMBERED // (KILLS + 2))
    supervisor.kill()
    written, how = busy.heard()
    return (
        f"{_count(log, written // LINE)} of {written // LINE}, then the service's output is {how}"
    )


def _grown(log: Path, size: int) -> None:
    until(lambda: log.exists() and log.stat().st_size >= size, f"{log} holds {size} bytes")


def _count(log: Path, lines: int) -> str:
    """How many of the lines that were written are not there once, whole."""
    time.sleep(0.1)
    seen = bytearray(lines)
    wrong = 0
    with log.open("rb") as file:
        for text in file:
            if len(text) == LINE and text[:9].isdigit() and int(text[:9]) < lines:
                wrong += seen[int(text[:9])]
                seen[int(text[:9])] = 1
            else:
                wrong += 1
    return str(wrong + seen.count(0))
