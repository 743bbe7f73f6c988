"""The store: writes that are awaited with a deadline, and the journal to read.

A disk that is stuck, full or read-only fails the *awaiting* and nothing else: memory stays bounded, the loop goes on.
What a failed write means for a reload or a spawn is the core's decision; how rows get to the disk is ``writer``'s.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from agentd.ports import AdapterError, Store
from agentd.store.journal import Journal
from agentd.store.outbox import forget_runs
from agentd.store.rows import Mark
from agentd.store.schema import open_database
from agentd.store.writer import Act, Close, Job, Prune, Write, Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from agentd.core.facts import Record
    from agentd.core.memory import Memory
    from agentd.store.prune import Forgotten, Limits

_WAITING = 50_000
"""Rows that may wait for a slow disk; beyond, a write fails at once. About 50 MB at the very worst."""


class SqliteStore(Store):
    """The journal and the memories in one SQLite file; ``journal`` reads it. For the loop's thread."""

    def __init__(
        self,
        path: Path,
        *,
        deadline_s: float = 2.0,
        outbox: tuple[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Open or begin the database. ``outbox``: who tells the verdicts of now on, as text, and the signals they are due for.

        Raises:
            AdapterError: there can be no journal at this path.
        """
        self._path = path
        self._deadline = deadline_s
        db, self.aside = open_database(path, busy_s=10 * deadline_s)
        self._opening = ""
        self.journal = Journal(path)
        self._new = self.journal.last_seq() == 0
        self._queue: SimpleQueue[Job] = SimpleQueue()
        # The loop's half: who waits, oldest first, and one timer for the oldest.
        self._awaited: deque[Write] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._stuck = False
        self._turned_away: dict[str, Memory] = {}
        self._closed: asyncio.Future[None] | None = None
        mark = None if outbox is None else Mark(*outbox)
        if mark is not None:
            with suppress(sqlite3.Error):  # a disk that is full is no reason not to start
                forget_runs(db)
        self._writer = Writer(db, self._queue, path, self._finished, mark)
        self._writer.start()

    @property
    def forgetful(self) -> bool:
        """Whether there may be processes of which it does not tell: it is new, or not all of it was understood."""
        return self._new or self.aside is not None or bool(self.journal.notice)

    @property
    def path(self) -> Path:
        """Of the database."""
        return self._path

    @property
    def notice(self) -> str:
        """What the operator should know of the file: rows that could not be understood, no export. Else empty."""
        return "; ".join(filter(None, (self._opening, self.journal.notice)))

    def memories(self) -> tuple[Memory, ...]:
        """What earlier agents knew; read once at start."""
        return self.journal.memories()

    def open_reloads(self) -> tuple[tuple[Record, ...], ...]:
        """The records of each reload without a verdict, oldest first."""
        return self.journal.open_reloads()

    def write(self, records: Sequence[Record], memories: Sequence[Memory]) -> Awaitable[None]:
        """Append and replace, in one transaction; done when committed, AdapterError when that is not known in time."""
        loop = asyncio.get_running_loop()
        write = Write(records, memories, loop.create_future(), loop.time() + self._deadline)
        if self._closed is not None:
            write.done.set_exception(AdapterError(f"{self._cannot}: it is closed"))
            return write.done
        if self._waiting and self._waiting + write.rows > _WAITING:
            self._turned_away.update((memory.service, memory) for memory in memories)
            write.done.set_exception(AdapterError(f"{self._cannot}: too much waits for the disk"))
            return write.done
        if self._turned_away:
            newer = self._turned_away | {memory.service: memory for memory in memories}
            write.memories = tuple(newer.values())
            self._turned_away = {}
        self._waiting += write.rows
        self._queue.put(write)
        if self._stuck:
            write.done.set_exception(self._late())  # queued, but nobody else waits for this disk
            return write.done
        self._awaited.append(write)
        if self._timer is None:
            self._timer = loop.call_at(write.due, self._overdue, loop)
        return write.done

    def change(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """A small change in a transaction of its own, from any thread; nobody waits for it, and it may be lost with the agent."""
        self._queue.put(Act(change))

    def keep(self, name: str, text: str) -> None:
        """A text beside the records; ``journal.kept`` reads it."""
        kept = (name, text)
        self.change(lambda db: db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", kept))

    async def prune(self, limits: Limits) -> Forgotten:
        """Forget old reloads, never one without a verdict. Raises AdapterError."""
        job = Prune(limits, asyncio.get_running_loop().create_future())
        if self._closed is not None:
            raise AdapterError(f"{self._cannot}: it is closed")
        self._queue.put(job)
        return await job.done

    async def close(self) -> None:
        """Write what waits, for at most twice the deadline."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            self.journal.close()  # before the writer: the last to close folds the log into the database
            self._queue.put(Close(self._closed))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._closed), 2 * self._deadline)

    # On the loop's thread.

    @property
    def _cannot(self) -> str:
        return f"cannot write the journal {self._path}"

    def _late(self) -> AdapterError:
        why = f"the disk has not answered for {self._deadline:g} s"
        return AdapterError(f"{self._cannot}: {why}", errno.ETIMEDOUT)

    def _overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._awaited and (self._awaited[0].done.done() or self._awaited[0].due <= now):
            write = self._awaited.popleft()
            if not write.done.done():
                self._stuck = True
                write.done.set_exception(self._late())
        if self._awaited:
            self._timer = loop.call_at(self._awaited[0].due, self._overdue, loop)

    def _finished(self, writes: Sequence[Write]) -> None:
        self._stuck = False
        for write in writes:
            self._waiting -= write.rows
            if write.done.done():
                continue
            if write.error is None:
                write.done.set_result(None)
            else:
                write.done.set_exception(write.error)
        while self._awaited and self._awaited[0].done.done():
            self._awaited.popleft()
        if not self._awaited and self._timer is not None:
            self._timer.cancel()  # nothing waits, so nothing wakes
            self._timer = None
