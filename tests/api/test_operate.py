"""start, stop, restart, hold, release, check: when they answer, and with which exit code."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentd.core import facts as f
from agentd.core.effects import Accepted, Done, Turned
from agentd.core.events import HoldAsked, ReleaseAsked, RestartAsked, StartAsked, StopAsked
from agentd.core.instance import Instance, Phase
from agentd.core.manifest import Missing
from agentd.core.memory import Want
from agentd.core.spec import ReloadSpec
from agentd.ports import CommandResult
from agentd.wire import Verdict
from tests.api.stage import ID, NEW, OLD, TRACE, Stage, down, looped, ready, serving, soon, spec


def moves(stage: Stage, s: Any) -> None:
    """The core moved a service's instance, and said so."""
    before = stage.runtime.host.services[s.spec.name].instance
    stage.runtime.put(s)
    now = s.instance
    stage.runtime.note(f.PhaseEntered(s.spec.name, now.generation, now.phase, before.phase, ""))


@pytest.mark.parametrize(("verb", "event"), [("start", StartAsked), ("restart", RestartAsked)])
@looped
async def test_a_start_is_answered_with_its_verdict(verb: str, event: type, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(Verdict.APPLIED)
        reply = await stage.post(f"/v1/services/web/{verb}", {})
        assert (reply.status, reply.exit) == (200, 0)
        document = reply.json
        reload = document.pop("reload")
        assert document == {
            "service": "web", "want": "up", "phase": "ready", "generation": 3, "pid": 100, "message": "",
        }  # fmt: skip
        assert (reload["verdict"], reload["trace_id"]) == ("applied", TRACE)
        assert isinstance(stage.runtime.asked[0], event)
        stage.runtime.answer = stage.runtime.accepts(Verdict.FAILED, message="exit code 3")
        reply = await stage.post(f"/v1/services/web/{verb}", {})
        assert (reply.status, reply.exit, reply.json["message"]) == (200, 158, "exit code 3")
        stage.runtime.answer = stage.runtime.accepts(None)
        reply = await stage.post(f"/v1/services/web/{verb}", {"wait": False})
        assert (reply.status, reply.exit, reply.json["reload"]["verdict"]) == (202, 0, None)
        reply = await stage.post(f"/v1/services/web/{verb}", {"timeout_s": 0.01})
        assert (reply.status, reply.exit, reply.json["reload"]["verdict"]) == (202, 160, None)


@looped
async def test_what_is_up_already(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reply = await stage.post("/v1/services/web/start")
        assert (reply.status, reply.exit, reply.json["message"]) == (200, 0, "it is ready")


@looped
async def test_what_is_starting_already_is_waited_for(tmp_path: Path) -> None:
    async def answer(event: Any) -> Done:
        asyncio.get_running_loop().call_soon(moves, stage, ready("web"))
        return Done()

    async with serving(tmp_path, ready("web", instance=Instance(Phase.STARTING, 1))) as stage:
        reply = await stage.post("/v1/services/web/start", {"wait": False})
        assert (reply.status, reply.exit) == (202, 160)
        stage.runtime.answer = answer
        reply = await stage.post("/v1/services/web/start")
        assert (reply.status, reply.exit, reply.json["phase"]) == (200, 0, "ready")


@looped
async def test_a_start_that_somebody_stops(tmp_path: Path) -> None:
    async with serving(tmp_path, down("web")) as stage:
        reply = await stage.post("/v1/services/web/start")
        assert (reply.exit, reply.json["message"]) == (7, "it was stopped meanwhile")
        stage.runtime.put(down("web", want=Want.UP, instance=Instance(Phase.FAILED, 1, why="no")))
        reply = await stage.post("/v1/services/web/start")
        assert (reply.exit, reply.json["message"]) == (7, "no")


@looped
async def test_a_start_whose_turn_does_not_come(tmp_path: Path) -> None:
    async def answer(event: Any) -> Any:
        await asyncio.Event().wait()

    async with serving(tmp_path, down("web")) as stage:
        stage.runtime.answer = answer
        reply = await stage.post("/v1/services/web/start", {"timeout_s": 0.01})
        assert (reply.status, reply.exit, reply.json["reload"]) == (202, 160, None)
        assert "requires" in reply.json["message"]


STOPPING = replace(ready("web"), want=Want.DOWN, instance=Instance(Phase.STOPPING, 3))


@looped
async def test_a_stop_is_answered_when_nothing_is_left(tmp_path: Path) -> None:
    async def answer(event: Any) -> Done:
        stage.runtime.put(STOPPING)
        return Done()

    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = answer
        asking = asyncio.create_task(stage.post("/v1/services/web/stop"))
        await stage.runtime.news.wait()
        await soon(lambda: stage.runtime.host.services["web"] is STOPPING)
        moves(stage, replace(STOPPING, instance=Instance(Phase.KILLING, 3)))
        await soon(lambda: len(stage.runtime.store.records) == 1)
        assert not asking.done()
        moves(stage, down("web"))
        reply = await asking
        assert isinstance(stage.runtime.asked[0], StopAsked)
        assert (reply.status, reply.exit) == (200, 0)
        assert reply.json == {
            "service": "web", "want": "down", "phase": "down", "generation": 2, "pid": None, "message": "", "reload": None,
        }  # fmt: skip


@looped
async def test_a_stop_that_takes_longer_or_is_undone(tmp_path: Path) -> None:
    async with serving(tmp_path, STOPPING) as stage:
        reply = await stage.post("/v1/services/web/stop", {"timeout_s": 0.01})
        assert (reply.status, reply.exit, reply.json["message"]) == (
            202,
            160,
            "it is still stopping",
        )
        reply = await stage.post("/v1/services/web/stop", {"wait": False})
        assert (reply.status, reply.exit) == (202, 0)
        stage.runtime.put(ready("web"))
        reply = await stage.post("/v1/services/web/stop")
        assert (reply.status, reply.exit, reply.json["want"]) == (200, 7, "up")


@looped
async def test_an_agent_that_ends_takes_no_orders(tmp_path: Path) -> None:
    async def answer(event: Any) -> Turned:
        return Turned(7, "agentd is stopping its services")

    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = answer
        for verb in ("start", "stop", "restart", "hold", "release", "reload"):
            reply = await stage.post(f"/v1/services/web/{verb}")
            assert (reply.status, reply.exit) == (409, 7), verb


@looped
async def test_hold_and_release(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reply = await stage.post("/v1/services/web/hold", {"reason": "freeze", "for_s": 60})
        assert (reply.exit, reply.json) == (0, {"service": "web", "held": True, "reason": "freeze"})
        reply = await stage.post("/v1/services/web/release", {})
        assert (reply.exit, reply.json) == (0, {"service": "web", "held": False, "reload_id": None})
        stage.runtime.answer = lambda _: asyncio.sleep(0, Accepted(ID, TRACE, joined=False))
        reply = await stage.post("/v1/services/web/release", {})
        assert reply.json["reload_id"] == ID
    held, released, _ = stage.runtime.asked
    assert isinstance(held, HoldAsked)
    assert (held.cause.reason, held.seconds) == ("freeze", 60.0)
    assert isinstance(released, ReleaseAsked)


CHECKED = {
    "service": "web", "verdict": "passed", "exit_code": 0, "output": ["fine"], "hash": NEW.hash, "version": NEW.version,
    "changed": [{"path": "/etc/web.conf", "change": "modified"}], "error": None,
}  # fmt: skip


def result(
    code: int | None, *output: str, timed_out: bool = False, error: str | None = None
) -> CommandResult:
    return CommandResult(code, timed_out, error, output)


@pytest.mark.parametrize(
    ("said", "changed", "code"),
    [
        (result(0, "fine"), {}, 0),
        (result(1, "line 3"), {"verdict": "rejected", "exit_code": 1, "output": ["line 3"]}, 150),
        (
            result(None, timed_out=True),
            {
                "verdict": "rejected",
                "exit_code": None,
                "output": [],
                "error": "the check took longer than 3s",
            },
            150,
        ),
        (
            result(None, error="no such file"),
            {"verdict": "rejected", "exit_code": None, "output": [], "error": "no such file"},
            150,
        ),
    ],
)
@looped
async def test_a_check_on_its_own(said: Any, changed: Any, code: int, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", live=OLD)) as stage:
        stage.runtime.checked = said
        reply = await stage.post("/v1/services/web/check")
    assert (reply.exit, reply.json) == (code, CHECKED | changed)
    assert stage.runtime.asked == [], "nothing is touched"


@looped
async def test_a_check_of_what_is_not_there_or_does_not_stand_still(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", live=OLD)) as stage:
        disk = stage.runtime.machine.files.on_disk
        disk["web"] = Missing("missing_input", "it is gone")
        reply = await stage.post("/v1/services/web/check")
        assert (reply.exit, reply.json["verdict"], reply.json["error"]) == (
            150,
            "rejected",
            "it is gone",
        )
        disk["web"] = [NEW, OLD]
        reply = await stage.post("/v1/services/web/check")
        assert (reply.exit, reply.json["verdict"]) == (150, "rejected")
        assert "changed while" in reply.json["error"]
        disk["web"] = replace(NEW, unlisted="nginx says no")
        reply = await stage.post("/v1/services/web/check")
        assert (reply.exit, reply.json["error"]) == (150, "nginx says no")
        stage.runtime.put(ready("web", spec=spec("web", reload=ReloadSpec())))
        disk["web"] = NEW
        reply = await stage.post("/v1/services/web/check")
        assert (reply.exit, reply.json["verdict"], reply.json["exit_code"]) == (0, "none", None)
