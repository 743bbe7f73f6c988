"""What instances cost, read from the kernel when somebody asks, a bounded number at a time.

``/proc`` gives CPU seconds since the start; a percentage needs two readings. The first is over the whole life, later ones
over the time since the one before, at least a second, because the kernel counts in hundredths.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentd.core.process import Identity
from agentd.ports import ProcessTable

FRESH = 100
"""Readings for one request at most; the rest keep their last, and come first the next time."""
_TICK = os.sysconf("SC_CLK_TCK")


Who = tuple[str, int]
"""A service and a generation of it."""


class Cost(NamedTuple):
    """Of one instance; None: not known."""

    uptime_s: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None


@dataclass(slots=True)
class _Sample:
    identity: Identity
    at: int
    """Of the newest reading, in ticks; the percentage is over the time from ``since``."""
    since: int
    cpu_s: float
    """At ``since``."""
    percent: float | None
    rss: int | None


class Costs:
    """The last readings, by instance."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._samples: dict[Who, _Sample] = {}

    def of(self, asked: Sequence[tuple[Who, Identity]]) -> dict[Who, Cost]:
        """The cost of each, those whose reading is oldest read anew."""
        now = self._table.ticks()
        due = asked
        if len(asked) > FRESH:
            due = sorted(asked, key=self._age)[:FRESH]
        for who, identity in due:
            self._read(who, identity, now)
        return {who: self._cost(who, identity, now) for who, identity in asked}

    def forget(self, known: Collection[Who]) -> None:
        """Keep nothing of instances that are no more."""
        if len(self._samples) > len(known):
            self._samples = {who: sample for who, sample in self._samples.items() if who in known}

    def _age(self, asked: tuple[Who, Identity]) -> int:
        sample = self._samples.get(asked[0])
        return sample.at if sample is not None and sample.identity == asked[1] else -1

    def _read(self, who: Who, identity: Identity, now: int) -> None:
        used = self._table.usage(identity.pid)
        old = self._samples.get(who)
        if old is None or old.identity is not identity:
            old = self._samples[who] = _Sample(identity, now, identity.started, 0.0, None, None)
        old.at = now
        if used is None:
            old.rss = None
            return
        old.rss = used.rss_bytes
        elapsed = (now - old.since) / _TICK
        if elapsed >= 1 or old.percent is None:
            old.percent = round(max(used.cpu_s - old.cpu_s, 0.0) / max(elapsed, 0.01) * 100, 1)
            if elapsed >= 1:
                old.since, old.cpu_s = now, used.cpu_s

    def _cost(self, who: Who, identity: Identity, now: int) -> Cost:
        uptime = max(now - identity.started, 0) / _TICK
        sample = self._samples.get(who)
        if sample is None or sample.identity is not identity:
            return Cost(uptime)
        return Cost(uptime, sample.percent, sample.rss)
