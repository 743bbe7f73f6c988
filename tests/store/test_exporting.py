"""The export of one agent put together: nothing of it where there is no endpoint, and what is forgotten unsent is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from agentd.config.definitions import Retain
from agentd.core.facts import Record
from agentd.exporting import Exporting
from agentd.retention import Retention
from agentd.store.sqlite import SqliteStore
from agentd.system.files import OsFiles

from .values import reload_of

NOBODY = "http://me:secret@127.0.0.1:1"


def now(records: tuple[Record, ...]) -> tuple[Record, ...]:
    return tuple(Record(r.seq, time.time_ns(), r.mono, r.boot, r.fact) for r in records)


def test_what_is_forgotten_before_anybody_had_it_is_said_and_counted(tmp_path: Path) -> None:
    async def test() -> None:
        exporting = Exporting(NOBODY, {"OTEL_METRICS_EXPORTER": "none"}, "boot")
        store = SqliteStore(tmp_path / "journal.db", outbox=exporting.due)
        files = OsFiles(tmp_path / "snapshots", tmp_path / "host.key")
        said: list[str] = []
        exporting.open(store, lambda: (), said.append)
        retention = Retention(store, files.snapshots, said.append, Retain(count=10), exporting)
        for n in range(15):
            await store.write(now(reload_of(1 + 10 * n)), ())
        forgetting = asyncio.ensure_future(retention.run())
        async with asyncio.timeout(10):
            while not any("forgotten" in line for line in said):
                await asyncio.sleep(0.01)
        (line,) = [line for line in said if "forgotten" in line]
        assert line.startswith("5 reloads were forgotten, and nobody had received the ")
        assert "traces of 5" in line
        assert "logs of 5" in line
        status = exporting.status()
        assert status is not None
        assert (status["pending"], status["dropped"]) == (20, 10)
        assert status["endpoint"] == "http://127.0.0.1:1/v1/traces"
        assert 0 <= status["oldest_s"] < 60
        assert sum(exporting.meter.tally.ended.values()) == 15  # counted before they were forgotten
        assert {s.dropped for s in exporting.sending()} == {5}
        for number, record in enumerate(reload_of(1000)):  # every tenth of what is kept
            retention.hear(record)
            assert retention._due.is_set() is (number == 2)
        forgetting.cancel()
        exporting.close()
        files.close()
        await store.close()
        assert not (tmp_path / "journal.db-wal").exists()  # folded in: nobody had it open any more

    asyncio.run(test())


def test_the_counts_of_a_killed_agent_are_those_of_the_next(tmp_path: Path) -> None:
    async def one(first: int) -> tuple[int, int]:
        exporting = Exporting(None, {}, "boot")
        store = SqliteStore(tmp_path / "journal.db", outbox=exporting.due)
        exporting.open(store, lambda: (), print)
        await exporting.keep_counts()
        await store.write(now(reload_of(first)), ())
        await exporting.meter.keep_up()
        tally = exporting.meter.tally
        await store.close()
        return sum(tally.ended.values()), tally.began_ns

    first, again = asyncio.run(one(1)), asyncio.run(one(11))
    assert (first[0], again[0]) == (1, 2)
    assert first[1] == again[1]


def test_without_an_endpoint_there_is_no_thread_and_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    program = """
import agentd.slim, asyncio, sys, threading
import agentd.assemble
from agentd.exporting import Exporting
from agentd.store.sqlite import SqliteStore
from pathlib import Path

async def go():
    exporting = Exporting(None, {}, "boot")
    assert exporting.due is None and exporting.problems == ()
    store = SqliteStore(Path(sys.argv[1]) / "journal.db", outbox=exporting.due)
    exporting.open(store, lambda: (), print)
    await exporting.keep_counts()
    assert exporting.status() is None and exporting.sending() == ()
    assert {t.name for t in threading.enumerate()} == {"MainThread", "journal"}
    exporting.close()
    await store.close()

asyncio.run(go())
late = ("opentelemetry", "google", "http.client", "email", "gzip", "ssl", "agentd.telemetry.sender", "random")
print([name for name in late if sys.modules.get(name)])
"""
    argv = [sys.executable, "-c", program, tmp_path]
    root = Path(__file__).parents[2]
    got = subprocess.run(argv, capture_output=True, text=True, cwd=root, timeout=60, check=False)
    assert (got.stdout, got.stderr) == ("[]\n", "")


def test_addresses_that_cannot_be_used_are_told_and_keep_nobody_from_starting() -> None:
    exporting = Exporting(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "boot")
    assert exporting.due is None
    assert len(exporting.problems) == 3
