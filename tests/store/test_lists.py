"""The lists that export and diff are drawn from: in order, whole, and of the service that is asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentd.core.facts import SnapshotTaken
from agentd.ports import Asked, Reading
from agentd.store.sqlite import SqliteStore
from agentd.wire import Trigger, Verdict

from .values import record, reload_of

if TYPE_CHECKING:
    from pathlib import Path


def taken(seq: int, id_: str, digit: str, service: str = "web") -> SnapshotTaken:
    return SnapshotTaken(service, id_, f"sha256:{digit * 64}", digit * 12, 1, ())


def test_what_was_asked_for_in_its_order(path: Path) -> None:
    async def go() -> None:
        store = SqliteStore(path)
        for seq in (10, 20, 30):
            await store.write(reload_of(seq, trigger=Trigger.START, ends=seq != 20), ())
        asked = store.journal.requested
        assert asked(0, 10) == (
            Asked(10, "01JD0010", 10_000, ended=True),
            Asked(20, "01JD0020", 20_000, ended=False),
            Asked(30, "01JD0030", 30_000, ended=True),
        )
        assert [one.seq for one in asked(0, 2)] == [10, 20]
        assert [one.seq for one in asked(20, 2)] == [30]
        assert asked(30, 2) == ()
        await store.close()

    asyncio.run(go())


def test_what_a_service_was_found_to_be(path: Path) -> None:
    async def go() -> None:
        store = SqliteStore(path)
        for seq, service, digit in ((10, "web", "a"), (20, "db", "b"), (30, "web", "c")):
            first, *rest = reload_of(seq, service, ends=seq != 30)
            read = record(seq + 5, taken(seq, f"01JD{seq:04}", digit, service), 7)
            await store.write((first, read, *rest), ())
        one, two = store.journal.readings("web", 10)
        assert one == Reading("sha256:" + "c" * 64, "c" * 12, "01JD0030", Trigger.CLI, None, 7)
        assert (two.reload_id, two.verdict) == ("01JD0010", Verdict.APPLIED)
        assert store.journal.readings("web", 1) == (one,)
        assert store.journal.readings("nope", 1) == ()
        await store.close()

    asyncio.run(go())
