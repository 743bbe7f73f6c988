"""Forgets what is old: reloads by age, count and size, and the snapshots that no remembered reload names.

Runs when the agent starts and after every few hundred verdicts, never by a timer: a host where nothing happens has nothing to forget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agentd.config.definitions import Retain
from agentd.core.facts import Judged, Record
from agentd.exporting import Exporting
from agentd.ports import AdapterError
from agentd.store.prune import Limits
from agentd.store.sqlite import SqliteStore
from agentd.system.snapshots import Snapshots

SNAPSHOTS = 1000
"""How many of the newest readings keep their snapshot."""
EVERY = 500
"""Verdicts from one round to the next; fewer where less is kept."""


class Retention:
    """Counts verdicts; ``run`` is a task that waits for its turn."""

    def __init__(
        self,
        store: SqliteStore,
        snapshots: Snapshots,
        say: Callable[[str], None],
        retain: Retain | None = None,
        exporting: Exporting | None = None,
    ) -> None:
        """``say`` takes a sentence when something could not be removed; it is tried again next time."""
        self._retain = retain or Retain()
        self._exporting = exporting
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
            if self._verdicts % min(EVERY, max(self._retain.count // 10, 1)) == 0:
                self._due.set()

    async def run(self) -> None:
        """Forget whenever it is due."""
        while await self._due.wait():
            self._due.clear()
            try:
                await self._forget()
                await asyncio.to_thread(self._snapshots.prune, self._named())
            except AdapterError as error:
                self._say(f"history is not pruned: {error.what}")

    async def _forget(self) -> None:
        """What is counted and not yet kept is kept first; what nobody had received is told of."""
        retain = self._retain
        if self._exporting is not None:
            await self._exporting.keep_counts()
        before = time.time_ns() - round(retain.age * 1e9)
        gone = await self._store.prune(Limits(before, retain.count, retain.size))
        if not gone.unsent:
            return
        if self._exporting is not None:
            self._exporting.dropped(gone.unsent)
        what = ", ".join(f"{signal} of {n}" for signal, n in gone.unsent.items())
        self._say(
            f"{gone.reloads} reloads were forgotten, and nobody had received the {what} of them:"
            " retain in [agent.telemetry] says how much is kept"
        )

    def _named(self) -> set[str]:
        """What a service runs, ran last or tried, what may have to be put back, and what the newest reloads read."""
        named = set(self._store.journal.read_hashes(SNAPSHOTS))
        for memory in self._store.memories():
            found = (
                *(memory.live, memory.last_good, memory.attempted),
                *(memory.quarantine, memory.pending),
                memory.soak.back if memory.soak else None,
            )
            named |= {one.hash for one in found if one is not None}
        return named
