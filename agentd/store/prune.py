"""Forgetting: which reloads and records are too many or too old. When it is done is the caller's decision.

A reload without a verdict is never forgotten, nor the newest record (sequence numbers must not begin again), nor the
newest reloads whatever their age: a wall clock that jumped a year ahead must not empty the history. What nobody has
received yet is forgotten by the same limits, oldest first, and counted, so that it can be said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_PIECE = 200
"""Reloads in one transaction: a few milliseconds in which a write has to wait."""
_ALWAYS_KEPT = 20

_VICTIMS = """
SELECT seq, reload_id FROM reload WHERE verdict IS NOT NULL
  AND seq <= coalesce((SELECT seq FROM reload ORDER BY seq DESC LIMIT 1 OFFSET :always), 0)
  AND (requested_ns < :before OR :full
    OR seq <= coalesce((SELECT seq FROM reload ORDER BY seq DESC LIMIT 1 OFFSET :count), 0))
ORDER BY seq LIMIT :piece
"""
_OTHERS_TO = "DELETE FROM record WHERE reload_id IS NULL AND seq <= ? AND seq < (SELECT max(seq) FROM record)"
_OTHERS_OLD = """
DELETE FROM record WHERE seq IN (SELECT seq FROM record WHERE reload_id IS NULL AND wall_ns < ? LIMIT 2000)
  AND seq < (SELECT max(seq) FROM record)
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much history is kept: reloads asked for since ``before_ns``, at most ``count``, at most ``size`` bytes."""

    before_ns: int
    count: int
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many reloads went, and how many of each signal's items that nobody had received."""

    reloads: int = 0
    unsent: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(self.reloads + other.reloads, self.unsent + other.unsent)


def prune(db: sqlite3.Connection, limits: Limits) -> tuple[Forgotten, bool]:
    """One piece, inside the caller's transaction: what went, and whether there may be more to do."""
    values = {
        "before": limits.before_ns,
        "count": limits.count,
        "always": min(_ALWAYS_KEPT, limits.count),
        "full": limits.size is not None and _used(db) > limits.size,
        "piece": _PIECE,
    }
    victims = db.execute(_VICTIMS, values).fetchall()
    newest = "AND seq < (SELECT max(seq) FROM record)"
    db.executemany(f"DELETE FROM record WHERE reload_id = ? {newest}", [(v[1],) for v in victims])  # noqa: S608 -- ours
    unsent = _unsent(db, [v[1] for v in victims])
    db.executemany("DELETE FROM reload WHERE seq = ?", [(v[0],) for v in victims])
    if victims:
        db.execute(_OTHERS_TO, (victims[-1][0],))
    others = db.execute(_OTHERS_OLD, (limits.before_ns,)).rowcount
    return Forgotten(len(victims), unsent), bool(victims) or others > 0


def _unsent(db: sqlite3.Connection, reloads: list[str]) -> Counter[str]:
    """What waits to be sent goes with its reload, and is counted; what was set aside has been told of before."""
    gone: Counter[str] = Counter()
    for reload_id in reloads:
        signals = db.execute(
            "SELECT signal FROM outbox WHERE reload_id = ? AND aside IS NULL", (reload_id,)
        )
        gone.update(signal for (signal,) in signals)
        db.execute("DELETE FROM outbox WHERE reload_id = ?", (reload_id,))
    return gone


def _used(db: sqlite3.Connection) -> int:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)
