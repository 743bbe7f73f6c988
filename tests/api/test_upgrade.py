"""The agent's code replaced over the API: when it gives way, and when it does not."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from agentd.upgrade import Rehearsal
from tests.api.stage import ID, OPERATOR, Stage, down, looped, ready, serving
from tests.api.test_wait import running

PATH = "/v1/upgrade"
VERSION = "1.0"
"""Of the agent on the stage."""


@looped
async def test_it_gives_way_and_says_to_what_and_what_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), down("db")) as stage:
        assert (await stage.post(PATH, {}, OPERATOR)).status == 403
        reply = await stage.post(PATH, {})
        assert (reply.status, reply.exit) == (202, 0)
        assert reply.json == {
            "from": VERSION,
            "to": "9.9",
            "pid": os.getpid(),
            "kept": ["web"],
        }
        assert stage.upgrading.begun
        again = await stage.post(PATH, {})
        assert (again.status, again.exit) == (409, 7)


@looped
async def test_code_that_cannot_take_over_is_not_let(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.upgrading.says = Rehearsal("", "it ends with exit code 1", ("Traceback", "Error: x"))
        reply = await stage.post(PATH, {})
        assert (reply.status, reply.exit) == (422, 150)
        why = f"cannot upgrade, agentd {VERSION} goes on: it ends with exit code 1"
        assert reply.json["detail"] == why
        assert reply.json["candidates"] == ["Traceback", "Error: x"]
        assert not stage.upgrading.begun


@looped
async def test_an_agent_that_ends_gives_way_to_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.host = replace(stage.runtime.host, ending=True)
        assert (await stage.post(PATH, {})).exit == 7
        assert not stage.upgrading.begun


@looped
async def test_what_is_under_way_is_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", running=running())) as stage:
        reply = await stage.post(PATH, {"timeout_s": 0.05})
        assert (reply.status, reply.exit) == (409, 160)
        assert f"reloadctl wait {ID}" in reply.json["detail"]
        assert not stage.upgrading.begun
        asking = asyncio.ensure_future(stage.post(PATH, {}))
        await _asked(stage)
        stage.runtime.put(ready("web"))
        assert (await asking).status == 202
        assert stage.upgrading.begun


async def _asked(stage: Stage) -> None:
    """The request has been read, and waits."""
    while not stage.upgrading.rehearsed > 1:
        await asyncio.sleep(0)
