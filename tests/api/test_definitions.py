"""The agent's own definitions and its end over the API: what a change would do, doing it, every mistake, shutdown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentd.config.problems import Problem
from agentd.core import facts as f
from agentd.core.events import ShutdownAsked
from agentd.core.plan import Action, Change
from agentd.core.service import Service
from agentd.wire import Trigger
from tests.api.stage import OPERATOR, down, looped, ready, serving, spec

CHANGES = (
    Change("web", Action.RESTART, ("command", "stop_timeout"), ("command",)),
    Change("job", Action.START),
    Change("db", Action.STOP),
)
TOLD = [
    {
        "service": "web",
        "action": "restart",
        "keys": ["command", "stop_timeout"],
        "forced_by": ["command"],
    },
    {"service": "job", "action": "start", "keys": [], "forced_by": []},
    {"service": "db", "action": "stop", "keys": [], "forced_by": []},
]
MISTAKES = (
    Problem("agentd.toml", 3, "service.web.handel", "unknown key; did you mean handle?"),
    Problem("more.toml", 0, "", "cannot be read: permission denied"),
)
BOTH = [("GET", "/v1/plan"), ("POST", "/v1/apply")]


@pytest.mark.parametrize(("method", "path"), BOTH)
@looped
async def test_what_changes(method: str, path: str, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        definitions = stage.definitions
        definitions.changes, definitions.later = CHANGES, ("telemetry",)
        definitions.warnings = ("db: nobody reads it",)
        reply = await stage.ask(method, path)
        assert (reply.status, reply.exit) == (200, 0)
        assert reply.json == {
            "applied": method == "POST",
            "changes": TOLD,
            "later": ["agent.telemetry"],
            "warnings": ["db: nobody reads it"],
        }
        assert len(definitions.applied) == (method == "POST")


@pytest.mark.parametrize(("method", "path"), BOTH)
@looped
async def test_every_mistake_is_told_once(method: str, path: str, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.definitions.mistakes = MISTAKES
        reply = await stage.ask(method, path)
        assert (reply.status, reply.exit) == (422, 6)
        told = reply.json
        assert told["detail"] == "cannot load the definitions: 2 mistakes, nothing was changed"
        assert told["candidates"] == [
            "agentd.toml:3: service.web.handel: unknown key; did you mean handle?",
            "more.toml: cannot be read: permission denied",
        ]
        assert not stage.definitions.applied


@looped
async def test_who_applied_and_why_is_handed_on(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        headers = {"User_Agent": "reloadctl/1.0"}
        await stage.post("/v1/apply", {"reason": "new limits"}, **headers)
        assert stage.definitions.applied == [f.Cause(Trigger.CLI, "root", 0, 77, "new limits")]
        for path, body in (("/v1/apply", {"dry_run": True}), ("/v1/shutdown", {"now": True})):
            assert (await stage.post(path, body)).exit == 2
        assert (await stage.get("/v1/plan?service=web")).exit == 2
        assert len(stage.definitions.applied) == 1
        assert not stage.runtime.posted


@looped
async def test_shutdown_names_what_is_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), down("db")) as stage:
        denied = await stage.post("/v1/shutdown", {}, OPERATOR)
        assert (denied.status, denied.exit, stage.runtime.posted) == (403, 77, [])
        reply = await stage.post("/v1/shutdown", {})
        assert (reply.status, reply.exit, reply.json) == (202, 0, {"stopping": ["web"]})
        assert stage.runtime.posted == [ShutdownAsked(leave=False)]


def removed(s: Service) -> Service:
    return replace(s, spec=replace(spec(s.spec.name), removed=True))


@looped
async def test_what_is_declared_no_more_is_shown_while_it_lives(tmp_path: Path) -> None:
    gone, going = removed(down("gone")), removed(ready("going"))
    async with serving(tmp_path, ready("web"), gone, going) as stage:
        stage.runtime.answer = stage.runtime.accepts()
        names = [one["name"] for one in (await stage.get("/v1/status")).json["services"]]
        assert names == ["web", "going"]
        for path in ("/v1/status?service=gone", "/v1/services/gone"):
            assert (await stage.get(path)).exit == 4, path
        assert (await stage.post("/v1/services/gone/start", {})).exit == 5
        reply = await stage.post("/v1/reload", {"all": True})
        assert [one["service"] for one in reply.json["reloads"]] == ["web"]
        counted = (await stage.get("/metrics")).body.decode()
        assert 'service="going"' in counted
        assert 'service="gone"' not in counted
