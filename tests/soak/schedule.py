"""What is done to the world, and when: a pure function of the seed, the length and the services. Does nothing itself.

Every kind of fault comes at least once, however short the run. Kills of the agent are spread, so that there is an agent most of the time;
everything else comes by chance within its share of the time, also within what another fault lasts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    GOOD = "good edit"
    UNFIT = "bad edit, the check finds it"
    BAD = "bad edit, no check can tell"
    RELOAD = "reload"
    BACK = "roll-back"
    HOLD = "hold"
    CRASH = "service killed"
    KILL = "agent killed"
    UPGRADE = "agent upgraded"
    FILL = "disk filled"
    DEAF = "collector stopped"


PER_MINUTE = {
    Act.GOOD: 40,
    Act.UNFIT: 8,
    Act.BAD: 8,
    Act.RELOAD: 20,
    Act.BACK: 3,
    Act.HOLD: 3,
    Act.CRASH: 6,
    Act.KILL: 7,
    Act.UPGRADE: 3,
    Act.FILL: 3,
    Act.DEAF: 2,
}
LASTS = {
    Act.KILL: (0.0, 1.5),
    Act.FILL: (0.5, 5.0),
    Act.DEAF: (1.0, 15.0),
    Act.HOLD: (1.0, 8.0),
}
"""Seconds until the next agent starts, the disk has room again, the collector listens again, the service is released."""
OF_THE_AGENT = frozenset({Act.KILL, Act.UPGRADE, Act.FILL, Act.DEAF})
_SPREAD = OF_THE_AGENT | {Act.HOLD}


@dataclass(frozen=True, order=True)
class Event:
    at: float
    """Seconds from the begin."""
    act: Act
    service: str = ""
    lasts: float = 0.0


def schedule(
    seed: int,
    seconds: float,
    services: Sequence[str],
    crashable: Sequence[str],
    acts: Sequence[Act] = tuple(Act),
) -> tuple[Event, ...]:
    """In the order of time. ``crashable``: those that may be killed; ``acts``: what this machine allows.

    Each kind draws from a source of its own, so that one that is left out changes nothing about the others.
    """
    events: list[Event] = []
    for act in acts:
        chance = random.Random(f"{seed}/{act.name}")
        count = max(1, round(PER_MINUTE[act] * seconds / 60))
        for number in range(count):
            share = seconds / count
            within = 0.6 if act in _SPREAD else 1.0
            at = share * (number + within * chance.random())
            low, high = LASTS.get(act, (0.0, 0.0))
            lasts = min(low + (high - low) * chance.random(), share * 0.35)
            of = crashable if act is Act.CRASH else services
            who = of[int(chance.random() * len(of))] if act not in OF_THE_AGENT else ""
            events.append(Event(round(at, 3), act, who, round(lasts, 3)))
    return tuple(sorted(events))
