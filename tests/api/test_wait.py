"""Waiting for reloads that others asked for: those that ended, that run, that are not written yet, and whose end is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from agentd.core import facts as f
from agentd.core.reload_value import Reload
from agentd.wire import Verdict
from tests.api.stage import (
    ALICE,
    CAUSE,
    ID,
    NEW,
    OLD,
    TRACE,
    Reply,
    Stage,
    judged,
    looped,
    ready,
    serving,
    soon,
)

OTHER = "01JDZZZZZZZZZZZZZZZZZZZZZZ"


def asked(reload_id: str = ID, service: str = "web") -> f.Requested:
    return f.Requested(service, reload_id, TRACE, "signal", CAUSE, OLD.hash, OLD.version)


def running(reload_id: str = ID) -> Reload:
    return Reload(reload_id, TRACE, CAUSE, 0.0)


async def waiting(stage: Stage, path: str) -> asyncio.Task[Reply]:
    """The request is there and listens."""
    task = asyncio.ensure_future(stage.get(path, ALICE))
    await soon(lambda: bool(stage.runtime.journal._listeners))
    return task


@looped
async def test_one_that_has_ended_is_told_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.note(asked(), judged("web", ID, Verdict.REFUSED, message="it said no"))
        reply = await stage.get(f"/v1/reloads/{ID}/wait", ALICE)
        assert (reply.status, reply.exit) == (200, 151)
        (told,) = (await stage.get("/v1/reloads", ALICE)).json["reloads"]
        assert reply.json == told
        assert reply.json["message"] == "it said no"


@looped
async def test_one_that_runs_is_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", running=running())) as stage:
        stage.runtime.note(asked())
        task = await waiting(stage, f"/v1/reloads/{ID}/wait")
        stage.runtime.note(judged("web", OTHER, Verdict.FAILED))
        stage.runtime.note(judged("web", ID, Verdict.APPLIED))
        reply = await task
        assert (reply.status, reply.exit) == (200, 0)
        assert (reply.json["verdict"], reply.json["version_after"]) == ("applied", NEW.version)
        await soon(lambda: not stage.runtime.journal._listeners)


@looped
async def test_one_that_waits_its_turn_and_is_not_written_yet(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", waiting=running())) as stage:
        task = await waiting(stage, f"/v1/reloads/{ID.lower()}/wait")
        stage.runtime.note(asked(), judged("web", ID, Verdict.HELD))
        reply = await task
        assert (reply.status, reply.exit, reply.json["verdict"]) == (200, 155, "held")
        silent = replace(running(OTHER), silent=True)
        stage.runtime.put(ready("web", running=silent))
        assert (await stage.get(f"/v1/reloads/{OTHER}/wait")).exit == 5


@looped
async def test_who_waits_only_so_long_leaves_it_running(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", running=running())) as stage:
        stage.runtime.note(asked())
        reply = await stage.get(f"/v1/reloads/{ID}/wait?timeout_s=0.05")
        assert (reply.status, reply.exit, reply.json["verdict"]) == (202, 160, None)
        for wrong in ("timeout_s=0", "timeout_s=-1", "timeout_s=x", "timeout_s=1.2.3", "until=1"):
            assert (await stage.get(f"/v1/reloads/{ID}/wait?{wrong}")).status == 400, wrong


@looped
async def test_a_trace_of_several_ends_with_the_last_and_the_worst_counts(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), ready("db", running=running(OTHER))) as stage:
        stage.runtime.note(asked(), judged("web", ID, Verdict.REJECTED), asked(OTHER, "db"))
        reply = await stage.get(f"/v1/reloads/{TRACE}/wait?timeout_s=0.05")
        assert (reply.status, reply.exit) == (202, 150)
        task = await waiting(stage, f"/v1/reloads/{TRACE}/wait")
        stage.runtime.note(judged("db", OTHER, Verdict.APPLIED))
        reply = await task
        assert (reply.status, reply.exit) == (200, 150)
        assert [r["verdict"] for r in reply.json["reloads"]] == ["rejected", "applied"]


@looped
async def test_an_end_that_nobody_could_write_is_said(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.api._context.commit_s = 0.05
        stage.runtime.note(asked())
        reply = await stage.get(f"/v1/reloads/{ID}/wait")
        assert (reply.status, reply.exit) == (503, 156)
        assert reply.json["detail"] == (
            f"how reload {ID} ended could not be written; see how the service stands: reloadctl status web"
        )
        stage.runtime.note(judged("web", ID, Verdict.APPLIED))
        assert (await stage.get(f"/v1/reloads/{ID}/wait")).exit == 0


@looped
async def test_what_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reply = await stage.get("/v1/reloads/nope/wait")
        assert (reply.status, reply.exit) == (404, 5)
        stage.runtime.note(asked())
        stage.runtime.note(replace(asked("01JDYYYYYYYYYYYYYYYYYYYYYY"), trace_id="a" * 32))
        assert (await stage.get("/v1/reloads/01JD/wait")).exit == 2
