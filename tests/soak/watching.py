"""Looks at the world once a second, and remembers: processes and what the agent knows of, the load of the machine, the agent's size."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.soak.judge import Look
    from tests.soak.world import World


@dataclass(frozen=True)
class Size:
    """What an agent takes. ``pss``: kB, its share of shared pages counted."""

    pss: int
    descriptors: int

    def __repr__(self) -> str:
        return f"{self.pss / 1024:.0f} MB, {self.descriptors} fds"


def size(pid: int) -> Size | None:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return Size(pss, len([*Path(f"/proc/{pid}/fd").iterdir()]))
    return None


class Watching(threading.Thread):
    """Until ``end``."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._world = world
        self._over = threading.Event()
        self.looks: list[Look] = []
        self.busy: dict[float, float] = {}
        self.sizes: list[Size] = []

    def run(self) -> None:
        cores = os.cpu_count() or 1
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1, time.monotonic())
            self.busy[time.monotonic()] = os.getloadavg()[0] / cores
            self.looks.append(self._world.look())
            agent = self._world.host.agent
            if agent is not None and (now := size(agent.pid)) is not None:
                self.sizes.append(now)

    def end(self) -> None:
        self._over.set()
        self.join()
