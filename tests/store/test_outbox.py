"""What is due is known as durably as the verdict, comes out in order, and goes only when it was received or said."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from agentd.core import facts as f
from agentd.ports import Standing
from agentd.store.codec import VERSION
from agentd.store.outbox import SqliteOutbox
from agentd.store.prune import Limits
from agentd.store.schema import _TABLES
from agentd.store.sqlite import SqliteStore
from agentd.wire import Trigger, Verdict

from .values import CAUSE, record, reload_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

BOTH = ("one agent", ("traces", "logs"))


def with_outbox(
    path: Path,
    test: Callable[[SqliteStore, SqliteOutbox], Awaitable[None]],
    outbox: tuple[str, tuple[str, ...]] | None = BOTH,
) -> None:
    async def go() -> None:
        store = SqliteStore(path, outbox=outbox)
        reading = SqliteOutbox(path, store.change)
        try:
            await test(store, reading)
        finally:
            reading.close()
            await store.close()

    asyncio.run(go())


def test_verdicts_are_due_also_when_the_store_could_not_be_written_while_it_was_opened(
    path: Path,
) -> None:
    with_outbox(path, lambda store, _: store.write((), ()))

    async def test() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store = SqliteStore(path, deadline_s=0.01, outbox=BOTH)
        store._deadline = 5.0  # it was short for the other one's lock only
        reading = SqliteOutbox(path, store.change)
        assert store.notice == ""
        await store.write(reload_of(1), ())
        assert seqs(reading, "traces") == [3]
        reading.close()
        await store.close()

    asyncio.run(test())


def seqs(reading: SqliteOutbox, signal: str, after: int = 0, limit: int = 100) -> list[int]:
    return [due.seq for due in reading.due(signal, after, limit)]


def test_a_verdict_is_due_for_every_signal_in_the_order_of_verdicts(path: Path) -> None:
    async def test(store: SqliteStore, reading: SqliteOutbox) -> None:
        records = (*reload_of(1), *reload_of(11, ends=False), *reload_of(21), record(31, LATE))
        await store.write(records, ())
        assert seqs(reading, "traces") == seqs(reading, "logs") == [3, 23, 31]
        assert seqs(reading, "traces", 3, 1) == [23]
        (first, *_) = reading.due("traces", 0, 1)
        assert (first.reload_id, first.resource, first.linked) == ("01JD0001", "one agent", None)
        assert first.records == reload_of(1)

    with_outbox(path, test)


def test_a_drain_that_ends_after_the_verdict_makes_the_trace_due_once_more(path: Path) -> None:
    async def test(store: SqliteStore, reading: SqliteOutbox) -> None:
        drained = record(9, f.Drained("web", "01JD0001", 1, 5, 0.001, 3, 0))
        await store.write((*reload_of(1), drained), ())
        assert (seqs(reading, "traces"), seqs(reading, "logs")) == ([3, 9], [3])
        *_, last = reading.due("traces", 3, 1)
        assert last.records == (*reload_of(1), drained)

    with_outbox(path, test)


def test_a_reload_without_a_verdict_is_not_due_also_when_something_of_it_has_drained(
    path: Path,
) -> None:
    """Its trace would go out half, and once more as another one under the same ids."""
    drained = f.Drained("web", "01JD0011", 1, 5, 0.0, 0, 0)

    async def test(store: SqliteStore, reading: SqliteOutbox) -> None:
        await store.write((*reload_of(11, ends=False), record(14, drained)), ())
        assert seqs(reading, "traces") == []
        await store.write((record(15, LATE),), ())
        assert seqs(reading, "traces") == [15]
        await store.write((record(16, drained),), ())
        assert seqs(reading, "traces") == [15, 16]

    with_outbox(path, test)


LATE = f.Judged("web", "01JD0011", Verdict.FAILED, "signal", Trigger.CLI, 1, 5)


def test_what_was_not_run_is_a_trace_and_no_event(path: Path) -> None:
    async def test(store: SqliteStore, reading: SqliteOutbox) -> None:
        asked, *_ = reload_of(1)
        held = f.Judged("web", "01JD0001", Verdict.HELD, "signal", Trigger.CLI, 1, 5)
        await store.write((asked, record(2, held)), ())
        assert (seqs(reading, "traces"), seqs(reading, "logs")) == ([2], [])

    with_outbox(path, test)


def test_without_an_endpoint_nothing_is_due(path: Path) -> None:
    async def test(store: SqliteStore, reading: SqliteOutbox) -> None:
        await store.write(reload_of(1), ())
        assert seqs(reading, "traces") == []

    with_outbox(path, test, None)


def test_a_reload_knows_the_trace_of_the_one_it_follows_from(path: Path) -> None:
    async def test(store: SqliteStore, reading: SqliteOutbox) -> None:
        asked = f.Requested("web", "02", "ab" * 16, "signal", CAUSE, None, None, "01JD0001")
        ended = f.Judged("web", "02", Verdict.APPLIED, "signal", Trigger.CLI, 1, 5)
        await store.write((*reload_of(1), record(4, asked), record(5, ended)), ())
        assert [due.linked for due in reading.due("traces", 0, 9)] == [None, f"{1:032x}"]

    with_outbox(path, test)


def test_what_was_received_or_set_aside_does_not_come_again(path: Path) -> None:
    async def first(store: SqliteStore, reading: SqliteOutbox) -> None:
        for n in (1, 11, 21):
            await store.write(reload_of(n), ())
        assert reading.standing("traces") == Standing(3, 0, 1_002 * 1)
        reading.delivered("traces", 3)
        reading.set_aside("traces", 13, "400")
        await store.write((), ())  # the changes were queued before
        await store.prune(Limits(0, 100))
        assert seqs(reading, "traces") == [23]
        assert seqs(reading, "logs") == [3, 13, 23]
        assert reading.standing("traces") == Standing(1, 1, 21_002)
        reading.delivered("traces", 23)  # the last: what is set aside stays

    async def next_agent(store: SqliteStore, reading: SqliteOutbox) -> None:
        assert reading.standing("traces") == Standing(0, 1, None)
        (due, *_) = reading.due("logs", 0, 1)
        assert due.resource == "one agent"  # as it was told then
        await store.write(reload_of(31), ())
        assert [d.resource for d in reading.due("traces", 0, 9)] == ["another agent"]

    with_outbox(path, first)
    with_outbox(path, next_agent, ("another agent", ("traces",)))


def test_what_nobody_received_is_forgotten_oldest_first_and_counted(path: Path) -> None:
    async def test(store: SqliteStore, reading: SqliteOutbox) -> None:
        for n in range(30):
            await store.write(reload_of(1 + 10 * n), ())
        reading.delivered("logs", 23)
        reading.set_aside("traces", 3, "400")
        gone = await store.prune(Limits(0, 25))
        assert gone.reloads == 5
        assert gone.unsent == {"traces": 4, "logs": 2}
        assert seqs(reading, "traces")[0] == seqs(reading, "logs")[0] == 53

    with_outbox(path, test)


def test_a_database_of_version_1_is_taken_over_with_everything_in_it(path: Path) -> None:
    async def older(store: SqliteStore, _: SqliteOutbox) -> None:
        await store.write(reload_of(1), ())

    with_outbox(path, older, None)
    with closing(sqlite3.connect(path)) as db:
        # As the agent of before left it.
        db.executescript(
            "DROP TABLE run; DROP TABLE outbox; DROP TABLE kept; PRAGMA user_version=1"
        )
        assert tables(db) == created(_TABLES)

    async def newer(store: SqliteStore, reading: SqliteOutbox) -> None:
        assert store.notice == ""
        assert store.journal.records("01JD0001") == reload_of(1)
        await store.write(reload_of(11), ())
        assert seqs(reading, "traces") == [13]

    with_outbox(path, newer)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert [p.name for p in path.parent.iterdir() if "newer" in p.name or "corrupt" in p.name] == []


def tables(db: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def created(script: str) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(script)
        return tables(db)


def test_a_text_is_kept_beside_the_records(path: Path) -> None:
    async def test(store: SqliteStore, _: SqliteOutbox) -> None:
        assert store.journal.kept("metrics") is None
        store.keep("metrics", "one")
        store.keep("metrics", "two")
        await store.prune(Limits(0, 100))
        assert store.journal.kept("metrics") == "two"

    with_outbox(path, test)
