"""The tables, and how the database file is opened: begun, taken over, or set aside when it cannot be used.

A file that is damaged, that cannot be read, or that a newer agent wrote is renamed, never overwritten and never a reason not to start:
the services matter more than their history. A disk that is full, read-only or busy says nothing about the file: then there is no
agent. What is written and read is the business of ``sqlite`` and ``journal``.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agentd.core.facts import SetAside
from agentd.ports import AdapterError
from agentd.store.codec import VERSION

if TYPE_CHECKING:
    from pathlib import Path

_TABLES = """
CREATE TABLE record(
  seq INTEGER PRIMARY KEY, reload_id TEXT, service TEXT, wall_ns INTEGER NOT NULL, mono REAL NOT NULL,
  boot TEXT NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX record_reload ON record(reload_id, seq) WHERE reload_id IS NOT NULL;
CREATE INDEX record_other ON record(wall_ns) WHERE reload_id IS NULL;
CREATE INDEX record_read ON record(seq) WHERE kind = 'SnapshotTaken';
CREATE TABLE reload(
  seq INTEGER PRIMARY KEY, reload_id TEXT NOT NULL UNIQUE, trace_id TEXT NOT NULL, service TEXT NOT NULL,
  trigger TEXT NOT NULL, handle TEXT NOT NULL, verdict TEXT, requested_ns INTEGER NOT NULL, ended_ns INTEGER);
CREATE INDEX reload_service ON reload(service, seq);
CREATE INDEX reload_trace ON reload(trace_id);
CREATE INDEX reload_open ON reload(seq) WHERE verdict IS NULL;
CREATE TABLE memory(service TEXT PRIMARY KEY, data TEXT NOT NULL);
"""
"""As version 1 had them; what came later is a migration, for new databases too."""
_MIGRATIONS = {
    1: """
CREATE TABLE run(id INTEGER PRIMARY KEY, resource TEXT NOT NULL UNIQUE);
CREATE TABLE outbox(
  signal TEXT NOT NULL, seq INTEGER NOT NULL, reload_id TEXT NOT NULL, run INTEGER NOT NULL, wall_ns INTEGER NOT NULL,
  aside TEXT, PRIMARY KEY(signal, seq)) WITHOUT ROWID;
CREATE INDEX outbox_reload ON outbox(reload_id);
CREATE TABLE kept(name TEXT PRIMARY KEY, data TEXT NOT NULL);
""",
}
"""What makes the next version of each. They only add: a database of an older agent is taken over as it is, in one transaction."""


_AT_START = (
    "SELECT max(seq) FROM record",
    "SELECT service, data FROM memory",
    "SELECT * FROM reload WHERE verdict IS NULL",
    "SELECT * FROM record WHERE reload_id IN (SELECT reload_id FROM reload WHERE verdict IS NULL)",
    "SELECT name, data FROM kept",
)


class _UnusableError(Exception):
    """The file is there and is not ours to write: ``kind`` names the copy, ``why`` says it to the operator."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind
        self.why = why


_UNREADABLE = frozenset(
    {"", "SQLITE_ERROR", "SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS"}
)
"""Operational errors that tell of the file. The others tell of the disk, or of who else has it open; the empty one is of no UTF-8."""


def open_database(path: Path, busy_s: float) -> tuple[sqlite3.Connection, SetAside | None]:
    """The writer's connection, and what had to be set aside for it.

    Raises:
        AdapterError: the file can neither be used nor set aside (permissions, a full disk, no such directory).
    """
    try:
        try:
            return _opened(path, busy_s), None
        except _UnusableError as unusable:
            kept = _set_aside(path, unusable.kind)
            return _opened(path, busy_s), SetAside(str(path), str(kept), unusable.why)
    except (OSError, sqlite3.Error, _UnusableError) as why:
        raise AdapterError(f"cannot open the journal {path}: {why}") from why


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; readers and the writer never wait for each other in WAL mode."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA cache_size=-256")
    return db


def _opened(path: Path, busy_s: float) -> sqlite3.Connection:
    _see_that_it_is_a_file(path)
    db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db)
    except sqlite3.OperationalError as why:
        db.close()
        if getattr(why, "sqlite_errorname", "") in _UNREADABLE:
            raise _UnusableError("unreadable", f"cannot be read ({why})") from why
        raise
    except (
        sqlite3.DatabaseError
    ) as why:  # SQLITE_CORRUPT and SQLITE_NOTADB have no class of their own
        db.close()
        raise _UnusableError("corrupt", f"is damaged ({why})") from why
    except _UnusableError:
        db.close()
        raise
    return db


def _see_that_it_is_a_file(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO could wait for ever
            raise _UnusableError("unreadable", "is no regular file")
    try:
        # SQLite gives the -wal and -shm files the mode of the database: private from the first byte on.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except PermissionError as why:
        raise _UnusableError("unreadable", f"cannot be opened ({why.strerror})") from why


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA cache_size=-512")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > VERSION:
        raise _UnusableError("newer", f"was written by a newer agentd (version {version})")
    if version == 0 and tables:
        raise _UnusableError("corrupt", "is another program's database")
    if version == 0:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # only before the first table
        db.execute("PRAGMA journal_mode=WAL")
        version = _begin(db, _TABLES, 1)
    while version < VERSION:
        version = _begin(db, _MIGRATIONS[version], version + 1)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    # 16 MB of log: a burst is folded in by the idle writer, not inside somebody's commit.
    db.execute("PRAGMA wal_autocheckpoint=4000")
    # What a start reads anyway: damage is met here, where it can be set aside, not at the first reload.
    for query in _AT_START:
        for _ in db.execute(query):
            pass


def _begin(db: sqlite3.Connection, tables: str, version: int) -> int:
    db.executescript(f"BEGIN IMMEDIATE;{tables}PRAGMA user_version={version};COMMIT;")
    return version


def _set_aside(path: Path, kind: str) -> Path:
    """Beside where it was, with the moment in its name."""
    called = f"{path.name}.{kind}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    kept, n = path.with_name(called), 1
    while os.path.lexists(kept):
        n += 1
        kept = path.with_name(f"{called}-{n}")
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + suffix))
    return path.rename(kept)
