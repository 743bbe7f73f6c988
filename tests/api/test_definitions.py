"""The agent's own definitions and its end over the API: what a change would do, doing it, every mistake, shutdown."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentd.config.problems import Problem
from agentd.core import facts as f
from agentd.core.effects import Accepted, Done, Turned
from agentd.core.events import ShutdownAsked
from agentd.core.instance import Instance, Phase
from agentd.core.memory import Declined, Want
from agentd.core.plan import Action, Change
from agentd.core.reload_back import STAYS_IN_FORCE
from agentd.core.service import Service
from agentd.wire import ExitCode, Trigger, Verdict
from tests.api.stage import (
    ID,
    OLD,
    OPERATOR,
    TRACE,
    Stage,
    down,
    judged,
    looped,
    ready,
    serving,
    spec,
)

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
        } | ({"reloads": [], "turned_away": []} if method == "POST" else {})
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


# What became of each service.


def answered(stage: Stage, name: str, reply: Any = None) -> None:
    """What the core says of one service that was to be touched; None: it has not said anything yet."""
    future = stage.definitions.asked[name] = asyncio.get_running_loop().create_future()
    if reply is not None:
        future.set_result(reply)


def begun(
    stage: Stage, name: str, id_: str, verdict: Verdict | None, trigger: Trigger = Trigger.CLI
) -> None:
    """It is a reload, which is judged as soon as somebody listens."""
    answered(stage, name, Accepted(id_, TRACE, joined=False))
    keys = ("command",)
    cause = f.Cause(trigger)
    asked = f.Requested(name, id_, TRACE, "replace", cause, OLD.hash, OLD.version, definition=keys)
    told = [asked, *([judged(name, id_, verdict, trigger=trigger)] if verdict else [])]
    stage.definitions.then.append(partial(stage.runtime.note, *told))


@looped
async def test_the_verdict_of_each_is_told_and_the_worst_counts(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), ready("api"), ready("job")) as stage:
        begun(stage, "web", "A" * 26, Verdict.REFUSED)
        begun(stage, "api", "B" * 26, Verdict.APPLIED)
        begun(stage, "job", "C" * 26, Verdict.APPLIED, Trigger.START)
        reply = await stage.post("/v1/apply", {})
        assert (reply.status, reply.exit) == (200, Verdict.REFUSED.exit_code)
        told = [(one["service"], one["verdict"]) for one in reply.json["reloads"]]
        assert told == [("web", "refused"), ("api", "applied"), ("job", "applied")]
        assert reply.json["reloads"][0]["definition"] == ["command"]
        assert reply.json["turned_away"] == []


@looped
async def test_one_that_is_not_wanted_has_no_verdict(tmp_path: Path) -> None:
    async with serving(tmp_path, down("web")) as stage:
        answered(stage, "web", Done())
        reply = await stage.post("/v1/apply", {})
        assert (reply.status, reply.exit, reply.json["reloads"]) == (200, 0, [])


@looped
async def test_an_agent_that_ends_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        answered(stage, "web", Turned(ExitCode.NOT_RUNNING, "agentd is stopping its services"))
        reply = await stage.post("/v1/apply", {})
        assert reply.exit == 7
        assert reply.json["turned_away"] == [
            {"service": "web", "exit": 7, "detail": "agentd is stopping its services"}
        ]


@looped
async def test_nobody_has_to_wait(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        begun(stage, "web", "A" * 26, None)
        reply = await stage.post("/v1/apply", {"wait": False})
        assert (reply.status, reply.exit) == (202, 0)
        assert reply.json["reloads"] == [
            {
                "reload_id": "A" * 26,
                "trace_id": TRACE,
                "service": "web",
                "verdict": None,
                "joined": False,
            }
        ]


@pytest.mark.parametrize("known", [True, False])
@looped
async def test_what_goes_on_when_the_time_is_up(*, known: bool, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        if known:
            begun(stage, "web", "A" * 26, None)
        else:
            answered(stage, "web")
        reply = await stage.post("/v1/apply", {"timeout_s": 0.05})
        assert (reply.status, reply.exit) == (202, 160)
        assert [one["verdict"] for one in reply.json["reloads"]] == ([None] if known else [])
        assert [one["exit"] for one in reply.json["turned_away"]] == ([] if known else [160])


@looped
async def test_one_that_waits_for_another_that_nobody_starts_is_told_at_once(
    tmp_path: Path,
) -> None:
    waits = down("web", want=Want.UP, spec=spec("web", requires=("db",)))
    async with serving(tmp_path, waits, down("db")) as stage:
        answered(stage, "web")
        reply = await stage.post("/v1/apply", {})
        assert reply.exit == 7
        assert "web waits for db, which is down" in reply.json["turned_away"][0]["detail"]


@pytest.mark.parametrize(("phase", "code"), [(Phase.READY, 0), (Phase.BACKOFF, 7)])
@looped
async def test_the_start_of_one_of_several_is_not_the_end(
    phase: Phase, code: int, tmp_path: Path
) -> None:
    other = Instance(phase, 4, slot=1, why="exit code 3")
    async with serving(tmp_path, ready("web", others=(other,))) as stage:
        begun(stage, "web", "A" * 26, Verdict.APPLIED, Trigger.START)
        reply = await stage.post("/v1/apply", {})
        assert reply.exit == code
        assert ("exit code 3" in str(reply.json["turned_away"])) == (code != 0)


@looped
async def test_other_instances_that_still_start_when_the_time_is_up(tmp_path: Path) -> None:
    other = Instance(Phase.STARTING, 4, slot=1)
    async with serving(tmp_path, ready("web", others=(other,))) as stage:
        begun(stage, "web", "A" * 26, Verdict.APPLIED, Trigger.START)
        reply = await stage.post("/v1/apply", {"timeout_s": 0.05})
        assert (reply.status, reply.exit) == (202, 160)


@looped
async def test_one_that_is_declared_no_more_by_then(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("other")) as stage:
        begun(stage, "web", "A" * 26, Verdict.APPLIED, Trigger.START)
        stage.definitions.then.append(partial(stage.runtime.put, removed(down("web"))))
        assert (await stage.post("/v1/apply", {})).exit == 0


# What was not taken.


@pytest.mark.parametrize("in_force", [True, False])
@looped
async def test_status_tells_of_a_definition_that_was_not_taken(
    *, in_force: bool, tmp_path: Path
) -> None:
    why = "it never came up; its definition has changed: command"
    declined = Declined("new", ID, Verdict.REFUSED, f"{why}{STAYS_IN_FORCE}", ("command",))
    digest = "new" if in_force else "old"
    s = ready("web", spec=spec("web", digest=digest), declined=declined)
    async with serving(tmp_path, s) as stage:
        told = (await stage.get("/v1/services/web")).json["definition"]
        text = f"the definition that was applied was REFUSED: {why}{STAYS_IN_FORCE}"
        if in_force:
            text = f"next restart runs a definition that was REFUSED: {why}"
        assert told == {
            "reload_id": ID,
            "verdict": "refused",
            "keys": ["command"],
            "in_force": in_force,
            "text": text,
        }
