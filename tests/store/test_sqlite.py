"""The store on a real disk: what is awaited is there, what cannot be written is said, nothing stands still."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sqlite3
import stat
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agentd.core.facts import Fact, Judged, Record, Skipped
from agentd.core.memory import Memory
from agentd.ports import AdapterError
from agentd.store.codec import VERSION
from agentd.store.prune import Limits
from agentd.store.sqlite import SqliteStore
from agentd.wire import Trigger, Verdict

from .values import FACTS, MEMORY, record, reload_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SKIPPED = Skipped("web", Trigger.WATCH, "unchanged")


@asynccontextmanager
async def opened(path: Path, deadline_s: float = 5.0) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, deadline_s=deadline_s)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """A disk that does not answer: somebody else holds the write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_what_was_awaited_is_there_for_the_next_agent(path: Path) -> None:
    records = tuple(record(i + 1, fact) for i, fact in enumerate(FACTS))

    async def first() -> None:
        async with opened(path) as store:
            assert store.notice == ""
            await store.write(records, (MEMORY, Memory("db")))
            assert store.journal.after(0) == records

    async def second() -> None:
        async with opened(path) as store:
            assert store.memories() == (Memory("db"), MEMORY)
            assert store.journal.last_seq() == len(records)
            assert store.notice == ""

    asyncio.run(first())
    asyncio.run(second())


def test_a_memory_is_replaced(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            await asyncio.gather(
                *(store.write((), (Memory("web", generation=n),)) for n in range(1, 50))
            )
            assert store.memories() == (Memory("web", generation=49),)

    asyncio.run(go())


def test_what_waits_together_is_one_transaction(path: Path) -> None:
    async def go() -> None:
        statements: list[str] = []
        async with opened(path) as store:
            store._writer._db.set_trace_callback(statements.append)
            async with locked(path):
                writes = [asyncio.ensure_future(store.write((record(1, SKIPPED),), ()))]
                writes += [store.write((record(n, SKIPPED),), ()) for n in range(2, 500)]
            await asyncio.gather(*writes)
        # The first may have been taken alone, before the others came.
        assert statements.count("COMMIT") <= 2

    asyncio.run(go())


@pytest.mark.parametrize(
    ("kind", "how"), [("Judged", "FULL"), ("StepBegan", "NORMAL"), ("PhaseEntered", "NORMAL")]
)
def test_only_verdicts_are_flushed_to_the_disk(path: Path, kind: str, how: str) -> None:
    fact = next(fact for fact in FACTS if type(fact).__name__ == kind)
    assert flushing(path, fact) is (how == "FULL")


def test_a_start_is_not_flushed_to_the_disk(path: Path) -> None:
    """A power cut takes the process too."""
    verdict = next(fact for fact in FACTS if isinstance(fact, Judged))
    assert not flushing(path.with_name("2"), replace(verdict, trigger=Trigger.START))
    assert flushing(path.with_name("4"), replace(verdict, trigger=Trigger.WATCH))


def flushing(path: Path, fact: Fact) -> bool:
    """Whether this fact is flushed, and what follows it is not."""

    async def go() -> list[str]:
        statements: list[str] = []
        async with opened(path) as store:
            store._writer._db.set_trace_callback(statements.append)
            await store.write((record(1, fact),), ())
            await store.write((record(2, SKIPPED),), ())
        return statements

    said = [s for s in asyncio.run(go()) if s.startswith(("PRAGMA sync", "BEGIN"))]
    full, normal = "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"
    begin = "BEGIN IMMEDIATE"
    assert said in ([full, begin, normal, begin], [begin, begin])
    return said[0] == full


def test_a_disk_that_does_not_answer_fails_the_write_and_not_the_loop(path: Path) -> None:
    async def go() -> None:
        loop = asyncio.get_running_loop()
        async with opened(path, deadline_s=0.2) as store:
            async with locked(path):
                began = loop.time()
                with pytest.raises(AdapterError, match=r"not answered for 0.2 s") as failed:
                    await store.write((record(1, SKIPPED),), ())
                assert failed.value.errno == errno.ETIMEDOUT
                assert 0.15 < loop.time() - began < 2
                began = loop.time()
                with pytest.raises(AdapterError):  # nobody else waits for it
                    await store.write((record(2, SKIPPED),), ())
                assert loop.time() - began < 0.1
            # SQLite looks again at a lock of its own accord, less and less often.
            await eventually_written(store, 3)
            assert [r.seq for r in store.journal.after(0)] == [1, 2, 3]

    asyncio.run(go())


async def eventually_written(store: SqliteStore, seq: int) -> None:
    """The first awaits may still meet the fault that has just passed."""
    facts = (record(seq, SKIPPED),)
    try:
        await store.write(facts, ())
    except AdapterError:
        done = asyncio.Event()
        store._writer._finished = lambda writes: (store._finished(writes), done.set())  # type: ignore[assignment, func-returns-value]
        await done.wait()
        while store._waiting:
            done.clear()
            await done.wait()


def test_a_full_disk_is_said_and_later_the_history_is_whole(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            db = store._writer._db
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count={pages}")
            big = tuple(record(n, FACTS[2]) for n in range(1, 500))
            with pytest.raises(AdapterError, match="full") as failed:
                await store.write(big, (MEMORY,))
            assert failed.value.errno == errno.ENOSPC
            assert store.journal.last_seq() == 0
            db.execute("PRAGMA max_page_count=100000")
            await store.write((record(500, SKIPPED),), ())
            assert len(store.journal.after(0)) == 500
            assert store.memories() == (MEMORY,)

    asyncio.run(go())


def test_what_a_full_disk_did_not_take_is_written_though_nothing_else_is(path: Path) -> None:
    """A kill of the agent would take it: it does not wait for somebody to come by."""

    async def go() -> None:
        async with opened(path) as store:
            db = store._writer._db
            db.execute("PRAGMA query_only=1")
            with pytest.raises(AdapterError, match="readonly"):
                await store.write((record(1, SKIPPED),), (MEMORY,))
            db.execute("PRAGMA query_only=0")
            async with asyncio.timeout(10):
                while store.journal.last_seq() != 1:
                    await asyncio.sleep(0.01)
            assert store.memories() == (MEMORY,)

    asyncio.run(go())


def test_a_read_only_disk_is_said(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            store._writer._db.execute("PRAGMA query_only=1")
            with pytest.raises(AdapterError, match="readonly") as failed:
                await store.write((record(1, SKIPPED),), ())
            assert failed.value.errno == errno.EROFS

    asyncio.run(go())


def test_one_bad_row_fails_alone(path: Path) -> None:
    bad = Record(2, 1, float("inf"), "boot", Skipped("web", Trigger.WATCH, object()))  # type: ignore[arg-type]
    twice = record(1, SKIPPED)

    async def go() -> None:
        async with opened(path) as store:
            async with locked(path):
                writes = [
                    store.write((r,), ())
                    for r in (record(1, SKIPPED), bad, twice, record(3, SKIPPED))
                ]
            said = await asyncio.gather(*writes, return_exceptions=True)
            assert [type(one) for one in said] == [
                type(None),
                AdapterError,
                AdapterError,
                type(None),
            ]
            assert [r.seq for r in store.journal.after(0)] == [1, 3]

    asyncio.run(go())


def test_too_much_that_waits_is_turned_away_and_its_memory_kept(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            async with locked(path):
                first = store.write(tuple(record(n, SKIPPED) for n in range(1, 50_001)), ())
                with pytest.raises(AdapterError, match="too much waits"):
                    await store.write((record(50_001, SKIPPED),), (MEMORY,))
            await first
            await store.write((record(50_002, SKIPPED),), (Memory("db"),))
            assert store.memories() == (Memory("db"), MEMORY)

    asyncio.run(go())


def test_nothing_wakes_when_nothing_waits(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            await asyncio.gather(*(store.write((record(n, SKIPPED),), ()) for n in range(1, 9)))
            loop = asyncio.get_running_loop()
            assert [h for h in loop._scheduled if not h.cancelled()] == []  # type: ignore[attr-defined]
            assert not store._awaited

    asyncio.run(go())


def test_a_cancelled_wait_still_writes(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            waiting = asyncio.ensure_future(store.write((record(1, SKIPPED),), ()))
            waiting.cancel()
            await store.write((record(2, SKIPPED),), ())
            assert [r.seq for r in store.journal.after(0)] == [1, 2]

    asyncio.run(go())


def test_closing_writes_what_waits_and_refuses_the_rest(path: Path) -> None:
    async def go() -> None:
        store = SqliteStore(path)
        late = [store.write((record(n, SKIPPED),), ()) for n in range(1, 100)]
        pruned = asyncio.ensure_future(store.prune(Limits(0, 10)))
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*late, pruned)
        with pytest.raises(AdapterError, match="closed"):
            await store.write((record(100, SKIPPED),), ())
        store._writer._thread.join(5)
        assert not store._writer._thread.is_alive()
        async with opened(path) as again:
            assert again.journal.last_seq() == 99

    asyncio.run(go())


def test_the_files_are_private(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            await store.write((record(1, SKIPPED),), ())
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
            assert set(modes.values()) == {0o600}
            assert len(modes) == 3

    asyncio.run(go())


def reopened(path: Path) -> tuple[str, list[str], tuple[Memory, ...]]:
    async def go() -> tuple[str, list[str], tuple[Memory, ...]]:
        async with opened(path) as store:
            await store.write(reload_of(1), (MEMORY,))
            said = store.aside.text if store.aside else store.notice
            return said, sorted(p.name for p in path.parent.iterdir()), store.memories()

    return asyncio.run(go())


def aside(names: list[str], kind: str, *but: str) -> str:
    """The one that was set aside, with the moment in its name."""
    pattern = rf"journal\.db\.{kind}-\d{{8}}T\d{{6}}Z(-\d+)?"
    (found,) = (name for name in names if re.fullmatch(pattern, name) and name not in but)
    return found


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").touch()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _no_text(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE memory SET data = CAST(x'ff22' AS TEXT)")


def _no_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE memory")


@pytest.mark.parametrize("spoil", [_directory, _fifo, _no_text, _no_table])
def test_what_cannot_be_read_is_set_aside(path: Path, spoil: Callable[[Path], None]) -> None:
    reopened(path)
    spoil(path)
    notice, names, memories = reopened(path)
    assert aside(names, "unreadable") in notice
    assert memories == (MEMORY,)


def test_a_torn_record_of_a_reload_that_has_no_verdict_is_met_when_it_is_opened(path: Path) -> None:
    """Later it could not be set aside any more, and there would be no agent."""
    reopened(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE reload SET verdict = NULL")
        db.execute("UPDATE record SET data = CAST(x'ff22' AS TEXT)")
    notice, names, _ = reopened(path)
    assert aside(names, "unreadable") in notice


def test_a_journal_that_somebody_else_writes_is_not_set_aside(path: Path) -> None:
    reopened(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(AdapterError, match="locked"):
            SqliteStore(path, deadline_s=0.01)
    assert [p.name for p in path.parent.iterdir() if ".db." in p.name] == []


def test_which_journal_may_not_tell_of_all_processes(path: Path) -> None:
    async def go() -> list[bool]:
        told = []
        for damage in (None, b"no", None):
            if damage:
                path.write_bytes(damage * 1000)
            async with opened(path) as store:
                told.append(store.forgetful)
                if store.forgetful:
                    await store.write(reload_of(1), (MEMORY,))
        async with opened(path) as store:
            told.append(store.forgetful)
        return told

    assert asyncio.run(go()) == [True, True, False, False]


def test_a_damaged_database_is_set_aside(path: Path) -> None:
    kept = set()
    for n in (1, 2, 3):
        path.write_bytes(b"not a database" * 1000)
        notice, names, memories = reopened(path)
        kept.add(aside(names, "corrupt", *kept))
        assert len(kept) == n
        assert any(name in notice for name in kept)
        assert memories == (MEMORY,)


def test_a_torn_page_is_set_aside(path: Path) -> None:
    reopened(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    notice, names, memories = reopened(path)
    assert "damaged" in notice
    assert aside(names, "corrupt")
    assert memories == (MEMORY,)


def test_a_newer_database_is_set_aside_unharmed(path: Path) -> None:
    newer = sqlite3.connect(path)
    newer.executescript(f"CREATE TABLE dream(x); PRAGMA user_version={VERSION + 1};")
    newer.close()
    notice, names, _ = reopened(path)
    assert f"newer agentd (version {VERSION + 1})" in notice
    kept = sqlite3.connect(path.with_name(aside(names, "newer")))
    assert kept.execute("SELECT count(*) FROM dream").fetchone() == (0,)
    kept.close()


def test_another_programs_database_is_not_written_into(path: Path) -> None:
    other = sqlite3.connect(path)
    other.executescript("CREATE TABLE mine(x);")
    other.close()
    notice, names, _ = reopened(path)
    assert "another program" in notice
    assert aside(names, "corrupt")


def test_no_place_for_a_journal_is_an_adapter_error(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="cannot open the journal"):
        SqliteStore(tmp_path / "none" / "journal.db")


def test_what_cannot_be_understood_is_passed_over(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            await store.write((record(1, SKIPPED), record(2, SKIPPED)), (MEMORY, Memory("db")))
            db = sqlite3.connect(path)
            db.execute("UPDATE record SET kind = 'Abducted' WHERE seq = 1")
            db.execute("UPDATE memory SET data = '{' WHERE service = 'db'")
            db.commit()
            db.close()
            assert [r.seq for r in store.journal.after(0)] == [2]
            assert "record 1" in store.notice
            assert store.memories() == (MEMORY,)
            assert "remembered of db" in store.notice

    asyncio.run(go())


def pruned(path: Path, limits: Limits, reloads: int) -> tuple[int, list[str], list[int]]:
    async def go() -> tuple[int, list[str], list[int]]:
        async with opened(path) as store:
            for n in range(1, reloads + 1):
                seq = n * 10
                await store.write((record(seq - 1, SKIPPED, seq * 1000),), ())
                await store.write(reload_of(seq, ends=n != 2), ())
            gone = (await store.prune(limits)).reloads
            left = [row.reload_id for row in store.journal.reloads(limit=1000)]
            return gone, left, [r.seq for r in store.journal.after(0, 5000)]

    return asyncio.run(go())


def test_too_many_reloads_are_forgotten_but_never_an_open_one(path: Path) -> None:
    gone, left, seqs = pruned(path, Limits(before_ns=0, count=3), 10)
    assert gone == 6
    assert left == ["01JD0100", "01JD0090", "01JD0080", "01JD0020"]
    assert seqs[:3] == [20, 21, 79]


def test_old_reloads_are_forgotten_but_not_the_newest_twenty(path: Path) -> None:
    gone, left, seqs = pruned(path, Limits(before_ns=1 << 62, count=1000), 25)
    assert gone == 4  # the second is open
    assert len(left) == 21
    assert seqs[-1] == 252


def test_a_size_is_kept(path: Path) -> None:
    _, left, _ = pruned(path, Limits(before_ns=0, count=1000, size=1), 30)
    assert len(left) == 21
    assert left[0] == "01JD0300"


def test_reloads_and_references(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            for n, (service, trigger) in enumerate(
                [
                    ("web", Trigger.CLI),
                    ("db", Trigger.CLI),
                    ("web", Trigger.WATCH),
                    ("web", Trigger.START),
                ]
            ):
                await store.write(reload_of((n + 1) * 10, service, trigger=trigger), ())
            await store.write(reload_of(50, "web", ends=False), ())
            journal = store.journal
            ids = [row.reload_id for row in journal.reloads()]
            assert ids == ["01JD0050", "01JD0040", "01JD0030", "01JD0020", "01JD0010"]
            assert [r.reload_id for r in journal.reloads("web", limit=2, starts=False)] == ids[:3:2]
            assert [r.service for r in journal.reloads(verdict=Verdict.APPLIED)] == [
                "web",
                "web",
                "db",
                "web",
            ]
            assert journal.find("01JD0010") == ("01JD0010",)
            assert journal.find("01jd0010") == ("01JD0010",)
            assert journal.find(f"{20:032x}") == ("01JD0020",)
            assert journal.find("web") == ("01JD0050",)
            assert journal.find("web^1") == ("01JD0030",)
            assert journal.find("web^2") == ("01JD0010",)
            assert journal.find("web^3") == ()
            assert len(journal.find("01JD00")) == 5
            assert journal.find("01JD003") == ("01JD0030",)
            assert journal.find("0%") == journal.find("") == journal.find("nobody") == ()
            assert (
                journal.open_reloads()
                == (reload_of(50, "web", ends=False),)
                == store.open_reloads()
            )
            row = journal.row("01JD0030")
            assert row is not None
            assert (row.verdict, row.requested_ns, row.ended_ns) == (
                Verdict.APPLIED,
                30_000,
                30_002,
            )
            assert journal.records("01JD0030") == reload_of(30, trigger=Trigger.WATCH)

    asyncio.run(go())


def test_every_reload_of_one_trace_is_found(path: Path) -> None:
    async def go() -> None:
        async with opened(path) as store:
            for seq in (10, 20):
                first, *rest = reload_of(seq)
                asked = first.fact
                await store.write(
                    (
                        record(
                            seq,
                            type(asked)(
                                **{name: getattr(asked, name) for name in asked.__slots__}
                                | {"trace_id": "ab" * 16}
                            ),
                        ),
                        *rest,
                    ),
                    (),
                )
            assert store.journal.find("AB" * 16) == ("01JD0020", "01JD0010")
            assert store.journal.find("abab") == ("01JD0020", "01JD0010")

    asyncio.run(go())
