"""Logs and events: the tail, what follows, and readers that do not keep up."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from agentd.api.exchange import Limits
from agentd.core import facts as f
from agentd.core.steps import Baseline
from tests.api.stage import CAUSE, ID, TRACE, Stage, looped, ready, request, serving, soon


@looped
async def test_the_last_lines(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reply = await stage.get("/v1/services/web/logs?lines=2")
        assert (reply.exit, reply.json) == (0, {"service": "web", "lines": ["line 3", "line 4"]})
        assert len((await stage.get("/v1/services/web/logs")).json["lines"]) == 5
        assert (await stage.get("/v1/services/nope/logs")).exit == 5


async def following(stage: Stage, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await stage.connect()
    writer.write(request("GET", path))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"application/jsonl" in head
    return reader, writer


async def documents(reader: asyncio.StreamReader, count: int) -> list[Any]:
    """Lines out of chunks, however they were cut."""
    data = b""
    while data.count(b"\n") < count:
        size = int(await reader.readuntil(b"\r\n"), 16)
        data += (await reader.readexactly(size + 2))[:-2]
    return [json.loads(line) for line in data.splitlines()]


@looped
async def test_lines_that_follow(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reader, writer = await following(stage, "/v1/services/web/logs?lines=2&follow=1")
        assert await documents(reader, 2) == [{"line": "line 3"}, {"line": "line 4"}]
        stage.logs.add("new")
        assert await documents(reader, 1) == [{"line": "new"}]
        writer.close()
        await soon(lambda: not stage.api._clients)


@looped
async def test_events_from_now_on_and_since(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.note(f.AgentStarted("1.0", 1, 0))
        reader, writer = await following(stage, "/v1/events")
        await soon(lambda: bool(stage.runtime.journal._listeners))
        stage.runtime.note(
            f.Requested("web", ID, TRACE, "signal", CAUSE, None, None),
            f.CheckEnded("web", ID, "nginx", 1, timed_out=False, output=("secret",)),
            f.BaselineTaken("web", ID, Baseline(1), 1.0),
        )
        asked, checked, baseline = await documents(reader, 3)
        cause = {"trigger": "cli", "user": "alice", "uid": 1000, "pid": 5, "reason": "new certificate",
                 "traceparent": "", "attributes": [], "waits": True}  # fmt: skip
        assert asked == {
            "seq": 2, "time": "2026-11-22T10:00:00.000000Z", "kind": "requested", "service": "web", "reload_id": ID,
            "fields": {"trace_id": TRACE, "handle": "signal", "cause": cause, "hash_before": None,
                       "version_before": None, "link": "", "must_act": True, "require_proof": False,
                       "restore": "", "confirm_within": None, "attributes_before": [], "definition": []},
        }  # fmt: skip
        assert checked["fields"] == {"executable": "nginx", "exit_code": 1, "timed_out": False}
        assert (baseline["kind"], baseline["fields"]) == ("baseline_taken", {})
        writer.close()
        reader, writer = await following(stage, "/v1/events?after=1")
        assert [e["seq"] for e in await documents(reader, 3)] == [2, 3, 4]
        stage.runtime.note(f.AgentStopped(left=True))
        assert [e["seq"] for e in await documents(reader, 1)] == [5]
        writer.close()
        await soon(lambda: not stage.api._clients and not stage.runtime.journal._listeners)


@looped
async def test_a_reader_that_does_not_read_is_cut(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), limits=Limits(write_s=0.05)) as stage:
        _, writer = await following(stage, "/v1/services/web/logs?follow=1")
        (client,) = stage.api._clients
        writer.transport.pause_reading()
        stage.logs.add("x" * (1 << 20))
        await asyncio.wait([client.task])
        assert not stage.api._clients
        writer.close()


@looped
async def test_too_many_events_end_the_stream(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reader, writer = await following(stage, "/v1/events")
        await soon(lambda: bool(stage.runtime.journal._listeners))
        stage.runtime.note(*[f.AgentStopped(left=True)] * 1002)
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()


@looped
async def test_head_of_a_stream_ends(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reply = await stage.ask("HEAD", "/v1/events")
        assert (reply.status, reply.body) == (200, b"")
