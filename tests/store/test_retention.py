"""What nobody remembers goes; what a service runs, or a remembered reload read, stays."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agentd.core.facts import Record, Requested, SnapshotTaken
from agentd.core.manifest import Manifest
from agentd.core.memory import Memory, Pending
from agentd.core.spec import ProcessSpec, Spec
from agentd.retention import Retention
from agentd.store.sqlite import SqliteStore
from agentd.system.files import OsFiles

from .values import CAUSE


async def read(files: OsFiles, path: Path, text: str) -> Manifest:
    path.write_text(text)
    found = await files.snapshot(Spec("web", ProcessSpec(("true",)), (str(path),)), keep=True)
    assert isinstance(found, Manifest)
    return found


def test_snapshots_that_nothing_names_are_forgotten(tmp_path: Path) -> None:
    async def test() -> None:
        files = OsFiles(tmp_path / "snapshots", tmp_path / "host.key")
        store = SqliteStore(tmp_path / "journal.db")
        live, told, back, forgotten = [
            await read(files, tmp_path / "web.conf", text)
            for text in ("live", "told", "on trial", "gone")
        ]
        for path in (tmp_path / "snapshots").rglob("*"):
            os.utime(path, (1, 1))  # what is young is never removed
        taken = SnapshotTaken("web", "01A", told.hash, told.version, 1, ())
        asked = Requested("web", "01A", "4b" * 16, "signal", CAUSE, None, None)
        now = 1 << 62
        records = [Record(1, now, 0.0, "boot", asked), Record(2, now, 0.0, "boot", taken)]
        pending = Pending("01A", back.hash, now)
        await store.write(records, [Memory("web", live=live, pending=pending)])
        said: list[str] = []
        retention = asyncio.ensure_future(Retention(store, files.snapshots, said.append).run())

        async with asyncio.timeout(10):
            while files.snapshots.load(forgotten.hash) is not None:
                await asyncio.sleep(0.01)
        assert files.snapshots.load(live.hash) == live
        assert files.snapshots.load(told.hash) == told
        assert files.snapshots.load(back.hash) == back, "it may have to be put back"
        assert said == []
        retention.cancel()
        files.close()
        await store.close()

    asyncio.run(test())
