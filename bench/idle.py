"""How often a supervisor of a hundred settled services wakes while nothing happens, all of its threads together."""

from __future__ import annotations

import time

from kernel import switches
from kit import Place, both
from servers import sleepers
from table import Figure

COUNT = 100
SETTLE = 2.0
SECONDS = 10.0


def measure(place: Place) -> list[Figure]:
    with both(place, sleepers(COUNT)) as (agent, supervisor):
        time.sleep(SETTLE)
        spawner = agent.spawner()
        pids = [agent.process.pid, supervisor.process.pid, *([spawner] if spawner else [])]
        before = [switches(pid) for pid in pids]
        time.sleep(SECONDS)
        ours, theirs, *beside = (
            switches(pid) - count for pid, count in zip(pids, before, strict=True)
        )
    name = f"wake-ups in {SECONDS:g} s with {COUNT} services"
    return [
        Figure(
            name, str(ours), "0", ours == 0, str(theirs),
            note=f"the spawner: {beside[0] if beside else 'gone'}",
        )
    ]  # fmt: skip
