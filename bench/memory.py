"""What each supervisor costs in memory with 0, 100 and 1,000 services: its share of the pages it uses (PSS).

Shared pages of the same Python, such as this program's own, are counted by halves and thirds on both sides; what is
private is noted beside. The spawner beside the agent is a process of its own and has a row of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import pss
from servers import sleepers
from table import Figure, at_most

if TYPE_CHECKING:
    from kit import Place

GOALS = {0: 24.0, 100: 25.0, 1000: 32.0}


def measure(place: Place) -> list[Figure]:
    figures, spawners = [], []
    for count, goal in GOALS.items():
        with place.supervisor(sleepers(count)) as supervisor:
            theirs, _ = pss(supervisor.process.pid)
        agent = place.agent(sleepers(count))
        with agent:
            ours, private = pss(agent.process.pid)
            spawner = agent.spawner()
            beside = pss(spawner)[0] if spawner else 0.0
        figures.append(
            Figure(
                f"PSS with {count} services",
                f"{ours:.1f} MiB",
                f"≤ {goal:g} MiB",
                at_most(goal, ours),
                f"{theirs:.1f} MiB",
                note=f"{private:.1f} private",
            )
        )
        spawners.append(Figure(f"the spawner beside it, {count} services", f"{beside:.1f} MiB"))
    return figures + spawners
