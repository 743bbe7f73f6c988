"""Forgets what is old: reloads by age, count and size, and the snapshots that no remembered reload names.

Runs when the agent starts and after every few hundred verdicts, never by a timer: a host where nothing happens has nothing to forget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agentd.core.facts import Judged, Record
from agentd.ports import AdapterError
from agentd.store.prune import Limits
from agentd.store.sqlite import SqliteStore
from agentd.system.snapshots import Snapshots

AGE_NS = 90 * 86_400 * 1_000_000_000
COUNT = 100_000
SIZE = 256 * 1024 * 1024
SNAPSHOTS = 1000
"""How many of the newest readings keep their snapshot."""
EVERY = 500
"""Verdicts from one round to the next."""


class Retention:
    """Counts verdicts; ``run`` is a task that waits for its turn."""

    def __init__(
        self, store: SqliteStore, snapshots: Snapshots, say: Callable[[str], None]
    ) -> None:
        """``say`` takes a sentence when something could not be removed; it is tried again next time."""
        self._store = store
        self._snapshots = snapshots
        self._say = say
        self._due = asyncio.Event()
        self._due.set()
        self._verdicts = 0

    def hear(self, record: Record) -> None:
        """Listen to the journal."""
        if isinstance(record.fact, Judged):
            self._verdicts += 1
            if self._verdicts % EVERY == 0:
                self._due.set()

    async def run(self) -> None:
        """Forget whenever it is due."""
        while await self._due.wait():
            self._due.clear()
            try:
                await self._store.prune(Limits(time.time_ns() - AGE_NS, COUNT, SIZE))
                await asyncio.to_thread(self._snapshots.prune, self._named())
            except AdapterError as error:
                self._say(f"history is not pruned: {error.what}")

    def _named(self) -> set[str]:
        """What a service runs, ran last or tried, and what the newest reloads read."""
        named = set(self._store.journal.read_hashes(SNAPSHOTS))
        for memory in self._store.memories():
            found = (memory.live, memory.last_good, memory.attempted, memory.quarantine)
            named |= {one.hash for one in found if one is not None}
        return named
