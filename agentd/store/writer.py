"""The writer's thread: takes what waits, makes one transaction of it, tells the event loop how it went.

``synchronous=NORMAL`` loses nothing when the agent is killed; the batches that hold the verdict of a reload are also flushed to
the disk, so that a power cut does not take these (sqlite.org/pragma.html, "synchronous"). A step that is about to be performed is
only committed: what it is done to goes with the power in any case. What could not be written
goes with the next write that succeeds, so the history has no hole from a short fault. How long anybody waits for an
answer is not decided here.

What could not be written is tried again by itself every ``AGAIN_S``, too: a quiet host may have no next write for hours, and
until then a kill of the agent would take it.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from agentd.ports import AdapterError
from agentd.store.codec import CodecError
from agentd.store.prune import Forgotten, Limits, prune
from agentd.store.rows import Mark, Rows

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from pathlib import Path

    from agentd.core.facts import Record
    from agentd.core.memory import Memory

AGAIN_S = 1.0
"""Seconds until what could not be written is tried again, when nothing else is written meanwhile."""
_BATCH = 4_000
"""Rows in one transaction: a few tens of milliseconds of the writer."""
_KEPT = 2_000
"""Records that could not be written and are tried again."""
_CHECKPOINT = 500
"""Rows after which an idle writer moves the log into the database, before SQLite does it inside somebody's commit."""
_VACUUM = 500
"""Pages given back to the file system with each piece of forgetting."""
_ERRNO = {"SQLITE_FULL": errno.ENOSPC, "SQLITE_READONLY": errno.EROFS, "SQLITE_BUSY": errno.EBUSY}
_Args = TypeVarTuple("_Args")
_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Write:
    """One call of ``write`` on its way through the thread."""

    records: Sequence[Record]
    memories: Sequence[Memory]
    done: asyncio.Future[None]
    due: float
    error: AdapterError | None = None

    @property
    def rows(self) -> int:
        """How many this is."""
        return len(self.records) + len(self.memories)


@dataclass(slots=True, eq=False)
class Prune:
    """Forgetting, a piece at a time: between two pieces it queues again behind the writes that came meanwhile."""

    limits: Limits
    done: asyncio.Future[Forgotten]
    removed: Forgotten = field(default_factory=Forgotten)
    error: AdapterError | None = None


@dataclass(slots=True, eq=False)
class Act:
    """A small change that nobody waits for. When it fails it is not tried again: whoever asks for one can do without."""

    change: Callable[[sqlite3.Connection], object]


@dataclass(slots=True, eq=False)
class Close:
    """The last job."""

    done: asyncio.Future[None]


Job = Write | Prune | Act | Close


class Writer:
    """One connection and the thread that owns it."""

    def __init__(
        self,
        db: sqlite3.Connection,
        queue: SimpleQueue[Job],
        path: Path,
        finished: Callable[[Sequence[Write]], None],
        mark: Mark | None = None,
    ) -> None:
        """``mark``: verdicts are due to be sent.

        ``finished`` is called on the event loop's thread with the writes of each transaction, good or bad.
        """
        self._db = db
        self._queue = queue
        self._path = path
        self._finished = finished
        self._mark = mark
        self._unwritten = Rows()
        self._flushing = False
        self._since_checkpoint = 0
        # A daemon: a disk that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Ends with the job Close."""
        self._thread.start()

    def _run(self) -> None:
        while True:
            writes, last = self._take()
            if writes:
                self._commit(writes)
                self._tell(writes[0].done, self._finished, writes)
            if isinstance(last, Close):
                break
            if isinstance(last, Prune):
                self._prune(last)
            elif isinstance(last, Act):
                with suppress(sqlite3.Error):
                    self._transact(last.change, flush=False)
            elif self._queue.empty():
                self._checkpoint()
        self._end(last)

    def _take(self) -> tuple[list[Write], Prune | Act | Close | None]:
        """Wait for the first, then take what else is there: the writes, and the job that ended the run of them."""
        writes: list[Write] = []
        rows = 0
        job = self._first()
        with suppress(Empty):
            while isinstance(job, Write):
                writes.append(job)
                rows += job.rows
                if rows >= _BATCH:
                    return writes, None
                job = self._queue.get_nowait()
            return writes, job
        return writes, None

    def _first(self) -> Job:
        while self._unwritten:
            with suppress(Empty):
                return self._queue.get(timeout=AGAIN_S)
            self._commit([])
        return self._queue.get()

    def _commit(self, writes: list[Write]) -> None:
        rows = Rows()
        for write in writes:
            try:
                rows.add(write.records, write.memories)
            except CodecError as why:
                write.error = AdapterError(f"cannot write the journal {self._path}: {why}")
        rows = self._unwritten.then(rows)
        try:
            self._transact(lambda db: rows.insert(db, self._mark), flush=rows.flush)
        except sqlite3.OperationalError as why:
            # Full, read-only, locked, broken: the machine's, and it may pass.
            self._unwritten = rows.newest(_KEPT)
            self._fail(writes, why)
        except (sqlite3.Error, ValueError, OverflowError) as why:
            # A row of these: find out whose.
            self._unwritten = Rows()
            if len(writes) == 1:
                self._fail(writes, why)
                return
            for write in writes:
                self._commit([write])
        else:
            self._unwritten = Rows()
            self._since_checkpoint += len(rows.records) + len(rows.memories)

    def _transact(self, act: Callable[[sqlite3.Connection], _T], *, flush: bool) -> _T:
        if flush is not self._flushing:  # without effect inside a transaction
            self._db.execute(f"PRAGMA synchronous={'FULL' if flush else 'NORMAL'}")
            self._flushing = flush
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = act(self._db)
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                with suppress(sqlite3.Error):  # a full disk has rolled back by itself
                    self._db.execute("ROLLBACK")
        return result

    def _fail(self, writes: Sequence[Write], why: Exception) -> None:
        code = _ERRNO.get(getattr(why, "sqlite_errorname", ""), errno.EIO)
        for write in writes:
            write.error = write.error or AdapterError(
                f"cannot write the journal {self._path}: {why}", code
            )

    def _prune(self, job: Prune) -> None:
        try:
            removed, more = self._transact(lambda db: prune(db, job.limits), flush=False)
            self._db.execute(f"PRAGMA incremental_vacuum({_VACUUM})").fetchall()
        except sqlite3.Error as why:
            job.error = AdapterError(f"cannot prune the journal {self._path}: {why}")
            more = False
        else:
            job.removed += removed
        if more:
            self._queue.put(job)
        else:
            self._tell(job.done, _answer, job.done, job.removed, job.error)

    def _checkpoint(self) -> None:
        if self._since_checkpoint >= _CHECKPOINT:
            self._since_checkpoint = 0
            with suppress(sqlite3.Error):  # only housekeeping: the rows are committed
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _end(self, last: Close) -> None:
        if self._unwritten:
            with suppress(sqlite3.Error):  # said when it was written first
                self._transact(lambda db: self._unwritten.insert(db, self._mark), flush=True)
        with suppress(sqlite3.Error):
            self._db.close()
        with suppress(Empty):  # a forgetting that queued again behind the end
            while isinstance(job := self._queue.get_nowait(), Prune | Act):
                if isinstance(job, Act):
                    continue
                self._tell(job.done, _answer, job.done, job.removed, job.error)
        self._tell(last.done, _answer, last.done, None, None)

    def _tell(
        self, done: asyncio.Future[Any], call: Callable[[*_Args], None], *args: *_Args
    ) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            done.get_loop().call_soon_threadsafe(call, *args)


def _answer(done: asyncio.Future[_T], result: _T, error: AdapterError | None) -> None:
    if done.done():  # cancelled by who awaited it
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
