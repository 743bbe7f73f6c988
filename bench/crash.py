"""From the death of a service to the first thing its next process does, in a host of a hundred services.

The service is a shell that writes its pid into a FIFO and becomes ``sleep``. The floor is the same shell, started by a
program that does nothing else: kill, wait, spawn.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bell import ENV, Bell, median
from servers import Service, sleepers
from table import Figure, at_most

if TYPE_CHECKING:
    from kit import Place

TURNS = 20
LIMITS = {"agentd": TURNS, "supervisord": 6}
"""It takes a second each time."""
OTHERS = 99
GOAL = 4.0
_SH = shutil.which("sh") or "/bin/sh"


def _shell(bell: Bell) -> tuple[str, ...]:
    return (_SH, "-c", 'echo $$ >"$0"; exec sleep 100000', str(bell.path))


def measure(place: Place) -> list[Figure]:
    home = place.directory()
    ours, theirs, plain = Bell(home), Bell(home), Bell(home)
    agent = place.agent([Service("dies", _shell(ours)), *sleepers(OTHERS)])
    quoted = place.directory() / "dies"
    quoted.write_text(f'echo $$ >"{theirs.path}"; exec sleep 100000\n')
    supervisor = place.supervisor([Service("dies", (_SH, str(quoted))), *sleepers(OTHERS)])
    took: dict[str, list[float]] = {"agentd": [], "supervisord": [], "floor": []}
    with agent, supervisor:
        pids = {"agentd": int(ours.wait()[1]), "supervisord": int(theirs.wait()[1])}
        child = _spawn(plain)
        for _ in range(TURNS):
            for name, bell in (("agentd", ours), ("supervisord", theirs)):
                if len(took[name]) == LIMITS[name]:
                    continue
                _asleep(pids[name])
                began = time.monotonic_ns()
                os.kill(pids[name], signal.SIGKILL)
                at, said = bell.wait()
                took[name].append((at - began) / 1e6)
                pids[name] = int(said)
            _asleep(child)
            began = time.monotonic_ns()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            child = os.posix_spawn(_SH, _shell(plain), ENV)
            took["floor"].append((plain.wait()[0] - began) / 1e6)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    middle = {name: median(values) for name, values in took.items()}
    worst = sorted(took["agentd"])[-2]
    return [
        Figure(
            "crash → first word of the next process",
            f"{middle['agentd']:.1f} ms",
            f"≤ {GOAL:g} ms",
            at_most(GOAL, middle["agentd"]),
            f"{middle['supervisord']:.1f} ms",
            f"{middle['floor']:.1f} ms kill, wait, spawn",
            f"second worst of {TURNS}: {worst:.1f} ms",
        )
    ]


def _spawn(bell: Bell) -> int:
    pid = os.posix_spawn(_SH, _shell(bell), ENV)
    bell.wait()
    return pid


def _asleep(pid: int) -> None:
    """The shell wrote before it became ``sleep``: let it, and let its supervisor finish with the start."""
    path = Path(f"/proc/{pid}/comm")
    while path.read_text() != "sleep\n":
        time.sleep(0.005)
    time.sleep(0.1)
