"""What one transaction inserts: records and memories as rows, and the index of reloads that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentd.core.facts import LATE_SPANS, Judged, Requested
from agentd.store.codec import encode
from agentd.wire import Trigger

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from agentd.core.facts import Record
    from agentd.core.memory import Memory

_RECORD = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_MEMORY = """
INSERT INTO memory VALUES (?, ?) ON CONFLICT(service) DO UPDATE SET data = excluded.data
"""
_REQUESTED = "INSERT OR REPLACE INTO reload VALUES (?, ?, ?, ?, ?, ?, NULL, ?, NULL)"
_RUN = "INSERT OR IGNORE INTO run(resource) VALUES (?)"
_DUE = """
INSERT OR IGNORE INTO outbox SELECT ?, ?, reload_id, run.id, ?, NULL FROM reload, run
WHERE reload_id = ? AND resource = ? AND verdict IS NOT NULL
"""
"""What comes late may also come early: of a reload that an agent's death interrupted a former generation ends before its verdict."""
EVENTS = "logs"
"""The signal that has nothing to say of what was not run."""
_JUDGED = "UPDATE reload SET verdict = ?, handle = ?, ended_ns = ? WHERE reload_id = ?"


@dataclass(frozen=True, slots=True)
class Mark:
    """What verdicts are due for, and who told them, as text: a trace that is sent again names the agent of then."""

    resource: str
    signals: tuple[str, ...]


@dataclass(slots=True)
class Rows:
    """Rows in the order of time; of each service the newest memory only."""

    records: list[tuple[object, ...]] = field(default_factory=list)
    requested: list[tuple[object, ...]] = field(default_factory=list)
    judged: list[tuple[object, ...]] = field(default_factory=list)
    due: list[tuple[int, str, int, str]] = field(default_factory=list)
    """Verdicts that may have to be sent: number, reload, time, and ``reload.status``, empty for what was not run."""
    memories: dict[str, Memory] = field(default_factory=dict)
    """Encoded last, when it is known which one of a service's is the newest."""
    flush: bool = False
    """It holds the verdict of a reload: a power cut must not take it. Not of a start: the next boot starts anew."""

    def __bool__(self) -> bool:
        return bool(self.records or self.memories)

    def add(self, records: Sequence[Record], memories: Sequence[Memory]) -> None:
        """All or, when a fact has no JSON, nothing of it. Raises CodecError."""
        texts = [encode(record.fact) for record in records]
        self.memories.update((memory.service, memory) for memory in memories)
        for record, text in zip(records, texts, strict=True):
            self._add(record, text)

    def _add(self, r: Record, text: str) -> None:
        fact = r.fact
        reload_id: str | None = getattr(fact, "reload_id", None)
        service: str | None = getattr(fact, "service", None)
        kind = type(fact).__name__
        self.records.append((r.seq, reload_id, service, r.wall_ns, r.mono, r.boot, kind, text))
        if isinstance(fact, Requested):
            by = fact.cause.trigger.value
            asked = (r.seq, reload_id, fact.trace_id, service, by, fact.handle, r.wall_ns)
            self.requested.append(asked)
        elif isinstance(fact, Judged):
            self.judged.append((fact.verdict.value, fact.handle, r.wall_ns, reload_id))
            self.due.append((r.seq, fact.reload_id, r.wall_ns, fact.verdict.status or ""))
            self.flush = self.flush or fact.trigger is not Trigger.START
        elif isinstance(fact, LATE_SPANS):  # the trace goes out once more, with it
            self.due.append((r.seq, fact.reload_id, r.wall_ns, ""))

    def then(self, later: Rows) -> Rows:
        """Both."""
        return Rows(
            self.records + later.records,
            self.requested + later.requested,
            self.judged + later.judged,
            self.due + later.due,
            self.memories | later.memories,
            self.flush or later.flush,
        )

    def newest(self, count: int) -> Rows:
        """The last ``count`` rows of each table; all memories, which are as many as there are services."""
        kept = (self.records[-count:], self.requested[-count:], self.judged[-count:])
        return Rows(*kept, self.due[-count:], self.memories, self.flush)

    def insert(self, db: sqlite3.Connection, mark: Mark | None = None) -> None:
        """Inside the caller's transaction. A verdict follows its request, so requests go first. Raises CodecError.

        ``mark``: verdicts are due to be sent, which is known as durably as the verdict itself.
        """
        db.executemany(_RECORD, self.records)
        db.executemany(_REQUESTED, self.requested)
        db.executemany(_JUDGED, self.judged)
        if mark is not None and self.due:
            db.execute(_RUN, (mark.resource,))
            for signal in mark.signals:
                due = [d for d in self.due if d[3] or signal != EVENTS]
                told = [(signal, seq, ns, id_, mark.resource) for seq, id_, ns, _ in due]
                db.executemany(_DUE, told)
        db.executemany(_MEMORY, [(name, encode(m)) for name, m in self.memories.items()])
