"""The traces as lines: which, in which order, each the same as asked for by itself, and for readers that take their time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from agentd.api.exchange import Limits
from agentd.core import facts as f
from agentd.wire import Verdict
from tests.api.stage import (
    ALICE,
    CAUSE,
    ID,
    TRACE,
    WALL,
    Stage,
    judged,
    looped,
    ready,
    request,
    serving,
    soon,
)


def tell(stage: Stage, *ids: str, end: bool = True) -> None:
    for reload_id in ids:
        stage.runtime.note(f.Requested("web", reload_id, TRACE, "signal", CAUSE, None, None))
        if end:
            stage.runtime.note(judged("web", reload_id, Verdict.APPLIED))


def unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


async def export(stage: Stage, query: str = "") -> list[bytes]:
    reply = await stage.get(f"/v1/export{query}", ALICE)
    assert (reply.status, reply.exit) == (200, 0)
    assert reply.headers["content-type"] == "application/jsonl"
    return unchunked(reply.body).splitlines(keepends=True)


@looped
async def test_each_line_is_what_the_reload_says_of_itself(tmp_path: Path) -> None:
    ids = [f"{ID[:-3]}{n:03}" for n in range(250)]
    async with serving(tmp_path, ready("web")) as stage:
        assert await export(stage) == []
        tell(stage, *ids, end=False)  # all are asked for before the first ends
        stage.runtime.note(*(judged("web", reload_id, Verdict.APPLIED) for reload_id in ids))
        tell(stage, f"{ID[:-3]}999", end=False)
        await soon(lambda: len(stage.runtime.store.records) == 501)
        lines = await export(stage)
        assert len(lines) == len(ids), "one that runs has no trace yet"
        for reload_id in (ids[0], ids[99], ids[100], ids[-1]):
            one = await stage.get(f"/v1/reloads/{reload_id}/otlp", ALICE)
            assert lines[ids.index(reload_id)] == one.body
        assert set(json.loads(lines[7])) == {"resourceSpans"}


@looped
async def test_since(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        tell(stage, ID)
        await soon(lambda: len(stage.runtime.store.records) == 2)
        assert len(await export(stage, "?since=2026-11-22T10:00:00Z")) == 1
        assert len(await export(stage, "?since=2026-11-22T11:00:00%2B01:00")) == 1
        assert len(await export(stage, "?since=2026-11-22T10:00:00")) == 1, (
            "UTC when it does not say"
        )
        assert await export(stage, "?since=2026-11-22T10:00:01Z") == []
        assert await export(stage, "?since=0") == []
        assert len(await export(stage, f"?since={WALL // 10**9}")) == 1
        for wrong in ("since=yesterday", "since=", "since=-1", "since=1.2.3", "until=1"):
            reply = await stage.get(f"/v1/export?{wrong}", ALICE)
            assert (reply.status, reply.exit) == (400, 2), wrong


@looped
async def test_a_reader_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), limits=Limits(write_s=0.05)) as stage:
        tell(stage, *(f"{ID[:-4]}{n:04}" for n in range(2000)))
        await soon(lambda: len(stage.runtime.store.records) == 4000)
        reader, writer = await stage.connect()
        writer.write(request("GET", "/v1/export"))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        began = asyncio.get_running_loop().time()
        await soon(
            lambda: asyncio.get_running_loop().time() > began + 0.3
        )  # six times what others are given
        writer.transport.resume_reading()
        assert len(unchunked(await reader.read()).splitlines()) == 2000
        writer.close()


@looped
async def test_a_reader_that_goes_ends_it(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        tell(stage, *(f"{ID[:-4]}{n:04}" for n in range(2000)))
        await soon(lambda: len(stage.runtime.store.records) == 4000)
        reader, writer = await stage.connect()
        writer.write(request("GET", "/v1/export"))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await soon(lambda: not stage.api._clients)
