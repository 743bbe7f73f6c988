"""What is due to be sent and was not yet received, as rows beside the journal: one for each verdict and signal.

A row is written in the transaction of its verdict (``rows``) and goes when a receiver has it; it names the reload, whose
records are what is sent, and the agent that told the verdict. What a receiver will never take is set aside, with the
reason. When to send, and what an answer means, is decided in ``agentd.telemetry.delivery``.
"""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING

from agentd.core.facts import Requested
from agentd.ports import AdapterError, Due, Standing
from agentd.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_DUE = """
SELECT outbox.seq, reload_id, resource FROM outbox LEFT JOIN run ON run.id = outbox.run
WHERE signal = ? AND outbox.seq > ? AND aside IS NULL ORDER BY outbox.seq LIMIT ?
"""
_STANDING = """
SELECT sum(aside IS NULL), sum(aside IS NOT NULL), min(CASE WHEN aside IS NULL THEN wall_ns END) FROM outbox WHERE signal = ?
"""

_MANY, _FRESH_S = 5_000, 5.0
"""Counting takes the loop 0.1 ms for a thousand rows: so many are counted again only when the last count is so old."""


def forget_runs(db: sqlite3.Connection) -> None:
    """The rows of agents that nothing refers to any more go."""
    db.execute("DELETE FROM run WHERE id NOT IN (SELECT run FROM outbox)")


class SqliteOutbox:
    """The rows as one thread reads them; changes go through the store's writer. Raises AdapterError."""

    def __init__(
        self, path: Path, change: Callable[[Callable[[sqlite3.Connection], object]], None]
    ) -> None:
        """``change`` hands a change to the writer, from any thread."""
        self.journal = Journal(path)
        self._change = change
        self._stood: dict[str, tuple[Standing | None, float]] = {}

    def due(self, signal: str, after: int, limit: int) -> tuple[Due, ...]:
        """The oldest that are numbered above ``after``."""
        rows = self.journal.rows(_DUE, (signal, after, limit))
        return tuple(self._due(*row) for row in rows)

    def _due(self, seq: int, reload_id: str, resource: str | None) -> Due:
        records = self.journal.records(reload_id)
        link = ""
        if records and isinstance(records[0].fact, Requested):
            link = records[0].fact.link
        linked = self.journal.row(link) if link else None
        return Due(seq, reload_id, resource or "", records, linked.trace_id if linked else None)

    def delivered(self, signal: str, upto: int) -> None:
        """A receiver has everything up to this number. Also makes good for an earlier change that failed."""
        self._change(partial(_delivered, signal, upto))

    def set_aside(self, signal: str, seq: int, why: str) -> None:
        """No receiver will take it: it is kept with its reload and not tried again."""
        self._change(partial(_set_aside, signal, seq, why))

    def standing(self, signal: str) -> Standing:
        """How much waits, since when, and how much was set aside."""
        known, at = self._stood.get(signal, (None, 0.0))
        if known is not None and known.waiting > _MANY and time.monotonic() - at < _FRESH_S:
            return known
        try:
            ((waiting, aside, oldest),) = self.journal.rows(_STANDING, (signal,))
        except AdapterError:
            return Standing(0, 0, None)
        found = Standing(int(waiting or 0), int(aside or 0), oldest)
        self._stood[signal] = found, time.monotonic()
        return found

    def close(self) -> None:
        """No more questions."""
        self.journal.close()


def _delivered(signal: str, upto: int, db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM outbox WHERE signal = ? AND seq <= ? AND aside IS NULL", (signal, upto))


def _set_aside(signal: str, seq: int, why: str, db: sqlite3.Connection) -> None:
    db.execute("UPDATE outbox SET aside = ? WHERE signal = ? AND seq = ?", (why, signal, seq))
