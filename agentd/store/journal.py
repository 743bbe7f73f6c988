"""Reading the journal: past and running reloads, their records, what earlier agents knew.

Each question is one indexed query on a connection of its own that cannot write, asked on the event loop's thread: about
0.1 ms and 20 µs for each record decoded. Who may see what, and how it is shown, is decided by the caller.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentd.core.facts import Record
from agentd.ports import AdapterError, Asked, Reading
from agentd.store.codec import CodecError, decode_fact, decode_memory
from agentd.store.schema import read_only
from agentd.wire import Trigger, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agentd.core.memory import Memory

_ROWS = """
SELECT reload_id, trace_id, service, trigger, handle, verdict, requested_ns, ended_ns FROM reload WHERE
"""
_READINGS = """
SELECT json_extract(record.data, '$.hash'), json_extract(record.data, '$.version'), reload.reload_id, reload.trigger,
  reload.verdict, record.wall_ns
FROM reload CROSS JOIN record ON record.reload_id = reload.reload_id AND record.kind = 'SnapshotTaken'
WHERE reload.service = ? ORDER BY reload.seq DESC LIMIT ?
"""
_RECORDS = "SELECT seq, wall_ns, mono, boot, kind, data FROM record WHERE"
_COUNTED = "'Requested', 'Judged', 'Skipped'"
_BACK = re.compile(r"(.+)\^(\d{1,6})")
_FOUND = 50


@dataclass(frozen=True, slots=True)
class ReloadRow:
    """One reload as the index has it; a running one has no verdict and no end."""

    reload_id: str
    trace_id: str
    service: str
    trigger: Trigger
    handle: str
    verdict: Verdict | None
    requested_ns: int
    ended_ns: int | None


class Journal:
    """The read side of the store. Raises AdapterError when the database cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notice = ""
        """What could not be understood and was passed over, for the operator; empty when nothing was."""
        self._passed_over: set[str] = set()
        with self._reading():
            self._db = read_only(path)

    def close(self) -> None:
        """No more questions."""
        self._db.close()

    def reloads(
        self,
        service: str | None = None,
        verdict: Verdict | None = None,
        limit: int = 20,
        *,
        starts: bool = True,
    ) -> tuple[ReloadRow, ...]:
        """Newest first; ``starts``: process starts too."""
        where = ["1"]
        values: list[str | int] = []
        if service is not None:
            where.append("service = ?")
            values.append(service)
        if verdict is not None:
            where.append("verdict = ?")
            values.append(verdict.value)
        if not starts:
            where.append("trigger <> 'start'")
        return self._rows(f"{' AND '.join(where)} ORDER BY seq DESC LIMIT ?", (*values, limit))

    def row(self, reload_id: str) -> ReloadRow | None:
        """None: no such reload."""
        rows = self._rows("reload_id = ?", (reload_id,))
        return rows[0] if rows else None

    def find(self, ref: str) -> tuple[str, ...]:
        """The ids that a REF of the command line means, newest first: none, one, all of one trace, or the candidates.

        In this order: a whole reload id, a whole trace id, ``SVC`` (its latest; process starts do not count) and
        ``SVC^n`` (the n-th before it), else every reload whose id or trace id begins so, at most 50.
        """
        upper, lower = ref.upper(), ref.lower()
        exact = self._rows("reload_id IN (?, ?)", (ref, upper))
        exact = exact or self._rows("trace_id = ? ORDER BY seq DESC", (lower,))
        if exact or not ref:
            return tuple(row.reload_id for row in exact)
        back = _BACK.fullmatch(ref)
        service, skip = (back[1], int(back[2])) if back else (ref, 0)
        of_service = "service = ? AND trigger <> 'start' ORDER BY seq DESC LIMIT 1 OFFSET ?"
        found = self._rows(of_service, (service, skip))
        if not found and not back:
            # A range, not LIKE: '%' and '_' in what a person typed are letters.
            begins = "reload_id >= ? AND reload_id < ? OR trace_id >= ? AND trace_id < ?"
            bounds = (upper, upper + "~", lower, lower + "~", _FOUND)
            found = self._rows(f"{begins} ORDER BY seq DESC LIMIT ?", bounds)
        return tuple(row.reload_id for row in found)

    def records(self, reload_id: str) -> tuple[Record, ...]:
        """Everything about one reload, oldest first; empty when there is no such reload."""
        return self._records("reload_id = ? ORDER BY seq", (reload_id,))

    def after(self, seq: int, limit: int = 1000) -> tuple[Record, ...]:
        """What was written after record ``seq``, of every kind, oldest first."""
        return self._records("seq > ? ORDER BY seq LIMIT ?", (seq, limit))

    def told(self, seq: int, limit: int) -> tuple[Record, ...]:
        """Of what was written after record ``seq`` what is counted: requests, verdicts, and what was passed over."""
        return self._records(f"seq > ? AND kind IN ({_COUNTED}) ORDER BY seq LIMIT ?", (seq, limit))

    def kept(self, name: str) -> str | None:
        """A text that was kept beside the records."""
        found = self.rows("SELECT data FROM kept WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    def rows(self, query: str, values: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
        """Of a table that is not the journal's own."""
        with self._reading():
            return self._db.execute(query, values).fetchall()

    def open_reloads(self) -> tuple[tuple[Record, ...], ...]:
        """The records of each reload without a verdict, oldest first."""
        rows = self._rows("verdict IS NULL ORDER BY seq", ())
        return tuple(self.records(row.reload_id) for row in rows)

    def requested(self, seq: int, limit: int) -> tuple[Asked, ...]:
        """The reloads and starts that were asked for after record ``seq``, oldest first."""
        query = (
            "SELECT seq, reload_id, requested_ns, verdict IS NOT NULL FROM reload"
            " WHERE seq > ? ORDER BY seq LIMIT ?"
        )
        with self._reading():
            rows = self._db.execute(query, (seq, limit)).fetchall()
        return tuple(Asked(at, id_, wall_ns, bool(ended)) for at, id_, wall_ns, ended in rows)

    def readings(self, service: str, limit: int) -> tuple[Reading, ...]:
        """What the reloads and starts of a service found its inputs to be, newest first."""
        with self._reading():
            rows = self._db.execute(_READINGS, (service, limit)).fetchall()
        return tuple(
            Reading(hash_, version, id_, Trigger(by), Verdict(verdict) if verdict else None, at)
            for hash_, version, id_, by, verdict, at in rows
        )

    def read_hashes(self, limit: int) -> tuple[str, ...]:
        """The hashes of the newest readings of inputs, newest first."""
        query = (
            "SELECT json_extract(data, '$.hash') FROM record WHERE kind = 'SnapshotTaken'"
            " ORDER BY seq DESC LIMIT ?"
        )
        with self._reading():
            return tuple(row[0] for row in self._db.execute(query, (limit,)))

    def last_seq(self) -> int:
        """0 when nothing was ever written."""
        with self._reading():
            (seq,) = self._db.execute("SELECT max(seq) FROM record").fetchone()
        return int(seq or 0)

    def memories(self) -> tuple[Memory, ...]:
        """What earlier agents knew of each service, by name."""
        with self._reading():
            rows = self._db.execute("SELECT service, data FROM memory ORDER BY service").fetchall()
        return tuple(self._understood(rows))

    def _understood(self, rows: Iterable[tuple[str, str]]) -> Iterator[Memory]:
        for service, data in rows:
            try:
                yield decode_memory(data)
            except CodecError as why:
                self._pass_over(f"what is remembered of {service}", why)

    def _rows(self, where: str, values: tuple[str | int, ...]) -> tuple[ReloadRow, ...]:
        with self._reading():
            rows = self._db.execute(f"{_ROWS} {where}", values).fetchall()
        return tuple(
            ReloadRow(
                id_, trace, service, Trigger(by), handle, verdict and Verdict(verdict), *times
            )
            for id_, trace, service, by, handle, verdict, *times in rows
        )

    def _records(self, where: str, values: tuple[str | int, ...]) -> tuple[Record, ...]:
        with self._reading():
            rows = self._db.execute(f"{_RECORDS} {where}", values).fetchall()
        return tuple(self._decoded(rows))

    def _decoded(self, rows: Iterable[tuple[int, int, float, str, str, str]]) -> Iterator[Record]:
        for seq, wall_ns, mono, boot, kind, data in rows:
            try:
                yield Record(seq, wall_ns, mono, boot, decode_fact(kind, data))
            except CodecError as why:
                self._pass_over(f"record {seq}", why)

    def _pass_over(self, what: str, why: CodecError) -> None:
        self._passed_over.add(what)
        n = len(self._passed_over)
        more = f" ({n} so far)" if n > 1 else ""
        self.notice = f"cannot understand {what} in {self._path}, passed over{more}: {why}"

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeError) as why:
            raise AdapterError(f"cannot read the journal {self._path}: {why}") from why
