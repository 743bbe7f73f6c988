"""Start and stop of a thousand services: from exec to the last one ready, from SIGTERM until everything is gone.

For supervisord, which knows no readiness, the start ends when the last child has executed. The floor of the start is a
loop that spawns the same thousand programs; that of the stop, one that kills and reaps them.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from bell import ENV, median
from servers import sleepers
from table import Figure, at_most

if TYPE_CHECKING:
    from kit import Place

COUNT = 1000
TURNS = 3
START_GOAL = 2.5
STOP_GOAL = 1.0


def measure(place: Place) -> list[Figure]:
    services = sleepers(COUNT)
    took: dict[str, list[tuple[float, float]]] = {"agentd": [], "supervisord": [], "floor": []}
    for turn in range(TURNS):
        agent = place.agent(services)
        took["agentd"].append((agent.start(), agent.stop()))
        took["floor"].append(_floor(services[0].command))
        if not turn:  # slow, and steady
            supervisor = place.supervisor(services)
            took["supervisord"].append((supervisor.start(), supervisor.stop()))
    start = {name: median(s for s, _ in pairs) for name, pairs in took.items()}
    stop = {name: median(s for _, s in pairs) for name, pairs in took.items()}
    return [
        Figure(
            f"{what} of {COUNT}",
            f"{seconds['agentd']:.2f} s",
            f"≤ {goal:g} s",
            at_most(goal, seconds["agentd"]),
            f"{seconds['supervisord']:.2f} s",
            f"{seconds['floor']:.2f} s {floor}",
        )
        for what, seconds, goal, floor in (
            ("start", start, START_GOAL, "posix_spawn each"),
            ("stop", stop, STOP_GOAL, "kill and wait"),
        )
    ]


def _floor(command: tuple[str, ...]) -> tuple[float, float]:
    began = time.monotonic()
    pids = [os.posix_spawn(command[0], command, ENV, setsid=True) for _ in range(COUNT)]
    middle = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for pid in pids:
        os.waitpid(pid, 0)
    return middle - began, time.monotonic() - middle
