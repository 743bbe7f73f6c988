"""Going back over the API: roll-back, changes on trial that are confirmed, reloads that are given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentd.core import facts as f
from agentd.core.effects import Turned
from agentd.core.events import CancelAsked, ConfirmAsked, ReloadAsked
from agentd.core.instance import Instance, Phase
from agentd.core.memory import Pending
from agentd.core.process import Identity
from agentd.core.reload_value import Reload
from agentd.wire import Trigger, Verdict
from tests.api.stage import (
    ALICE,
    CAUSE,
    ID,
    NEW,
    OLD,
    TRACE,
    WALL,
    down,
    judged,
    looped,
    ready,
    serving,
    troubled,
)

PATH = "/v1/services/web/rollback"
ROOTS = f.Cause(Trigger.API, "root", 0, 77)
TRIAL = Pending(ID, OLD.hash, WALL + 5_000_000_000)
ON_TRIAL = {"reload_id": ID, "until": "2026-11-22T10:00:05.000000Z", "back_to": OLD.hash}


def asked(reload_id: str = ID, service: str = "web") -> f.Requested:
    return f.Requested(service, reload_id, TRACE, "signal", CAUSE, OLD.hash, OLD.version)


@looped
async def test_back_to_the_newest_good_one_that_is_not_on_disk(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        bad = stage.archive.keep("bad", {"/etc/web.conf": b"bad"})
        good = stage.archive.keep("good", {"/etc/web.conf": b"good"})
        now = stage.archive.keep("now", {"/etc/web.conf": b"now"})
        stage.runtime.put(ready("web", live=now, last_good=now))
        stage.runtime.machine.files.on_disk["web"] = now
        for n, (one, verdict) in enumerate(
            [(good, Verdict.APPLIED), (bad, Verdict.REFUSED), (now, Verdict.APPLIED)]
        ):
            id_ = f"{ID[:-1]}{n}"
            stage.runtime.note(asked(id_))
            stage.runtime.note(f.SnapshotTaken("web", id_, one.hash, one.version, 1, ()))
            stage.runtime.note(judged("web", id_, verdict, hash_after=one.hash))
        stage.runtime.answer = stage.runtime.accepts()
        reply = await stage.post(PATH, {"reason": "too slow", "force": True})
        assert (reply.status, reply.exit, reply.json["verdict"]) == (200, 0, "applied")
        cause = replace(ROOTS, trigger=Trigger.ROLLBACK, reason="too slow")
        (event,) = stage.runtime.asked
        assert event == ReloadAsked("web", cause, force=True, restore=good.hash)
        for word in ("good", good.hash, f"{ID[:-1]}0"):
            await stage.post(PATH, {"to": word, "wait": False})
            assert stage.runtime.asked[-1].restore == good.hash, word


@looped
async def test_what_cannot_be_rolled_back(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), down("db")) as stage:
        reply = await stage.post(PATH, {})
        assert (reply.status, reply.exit) == (404, 5)
        assert "no former configuration of web is kept" in reply.json["detail"]
        reply = await stage.post(PATH, {"to": "nope"})
        assert (reply.status, reply.exit) == (404, 5)
        assert "web has no configuration or reload nope" in reply.json["detail"]
        assert (await stage.post("/v1/services/nope/rollback", {})).exit == 5
        reply = await stage.post(PATH, {"back": "live"})
        assert (reply.status, reply.exit) == (400, 2)
        assert not stage.runtime.asked

        async def answer(event: Any) -> Turned:
            return Turned(7, "cannot reload: db is down")

        stage.runtime.answer = answer
        stage.runtime.put(down("db", last_good=OLD))
        reply = await stage.post("/v1/services/db/rollback", {"to": "last_good"})
        assert (reply.status, reply.exit) == (409, 7)


@pytest.mark.parametrize("verdict", list(Verdict))
@looped
async def test_a_roll_back_ends_as_a_reload_does(verdict: Verdict, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(verdict)
        reply = await stage.post(PATH, {"to": "live"})
    assert (reply.status, reply.exit) == (200, verdict.exit_code)


@looped
async def test_how_long_a_change_is_on_trial_reaches_the_core_and_the_caller(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, ready("web", pending=replace(TRIAL, reload_id="?"))) as stage:
        stage.runtime.answer = stage.runtime.accepts()
        reply = await stage.post("/v1/services/web/reload", {"confirm_within_s": 5})
        assert stage.runtime.asked[-1].confirm_within == 5.0
        assert reply.json["on_trial"] is None, "another one's trial is not told as this one's"
        stage.runtime.note(asked(), judged("web", ID, Verdict.APPLIED))
        stage.runtime.put(ready("web", pending=TRIAL))
        for path in (f"/v1/reloads/{ID}", f"/v1/reloads/{ID}/wait", "/v1/services/web"):
            assert (await stage.get(path, ALICE)).json["on_trial"] == ON_TRIAL, path
        stage.runtime.put(ready("web"))
        assert (await stage.get(f"/v1/reloads/{ID}")).json["on_trial"] is None
        for wrong in (0, -1, "5s", True):
            reply = await stage.post("/v1/services/web/reload", {"confirm_within_s": wrong})
            assert (reply.status, reply.exit) == (400, 2), wrong


@looped
async def test_confirming(tmp_path: Path) -> None:
    path = f"/v1/reloads/{ID}/confirm"
    async with serving(tmp_path, ready("web", pending=TRIAL), troubled("app")) as stage:
        reply = await stage.post(path, {})
        assert (reply.status, reply.exit) == (200, 0)
        assert reply.json == {"reload_id": ID, "service": "web", "confirmed": True}
        await stage.post(path.lower(), {})
        assert stage.runtime.asked == [ConfirmAsked("web", ID, ROOTS)] * 2
        denied = await stage.post(path, {}, ALICE)
        assert (denied.status, denied.exit) == (403, 77)
        assert len(stage.runtime.asked) == 2


@looped
async def test_cancelling(tmp_path: Path) -> None:
    other = f"{ID[:-1]}0"
    running, waiting = Reload(ID, TRACE, CAUSE, 0.0), Reload(other, TRACE, CAUSE, 0.0)
    async with serving(tmp_path, ready("web", running=running, waiting=waiting)) as stage:
        for id_ in (ID, other):
            reply = await stage.post(f"/v1/reloads/{id_}/cancel", {})
            assert (reply.status, reply.exit) == (200, 0)
            assert reply.json == {"reload_id": id_, "service": "web", "cancelled": True}
            assert stage.runtime.asked[-1] == CancelAsked("web", id_, ROOTS)
        stage.runtime.put(ready("web", running=replace(running, silent=True)))
        reply = await stage.post(f"/v1/reloads/{ID}/cancel", {})
        assert (reply.status, reply.exit) == (404, 5), "nobody was told of it"


@pytest.mark.parametrize("verb", ["confirm", "cancel"])
@pytest.mark.parametrize("code", [7, 160])
@looped
async def test_one_that_is_too_late_for_it(verb: str, code: int, tmp_path: Path) -> None:
    async def answer(event: Any) -> Turned:
        return Turned(code, f"reload {event.reload_id} has ended")

    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.note(asked(), judged("web", ID, Verdict.APPLIED))
        stage.runtime.answer = answer
        reply = await stage.post(f"/v1/reloads/{ID[:12]}/{verb}", {})
        assert (reply.status, reply.exit) == (409, code)
        assert reply.json["detail"] == f"reload {ID} has ended"


@pytest.mark.parametrize("verb", ["confirm", "cancel"])
@looped
async def test_one_that_cannot_be_told(verb: str, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), ready("db")) as stage:
        reply = await stage.post(f"/v1/reloads/{ID}/{verb}", {})
        assert (reply.status, reply.exit) == (404, 5)
        stage.runtime.note(asked(), asked(f"{ID[:-1]}0", "db"))
        reply = await stage.post(f"/v1/reloads/{TRACE}/{verb}", {})
        assert (reply.status, reply.exit) == (409, 2)
        assert sorted(reply.json["candidates"]) == sorted([ID, f"{ID[:-1]}0"])
        stage.reader.broken = True
        reply = await stage.post(f"/v1/reloads/{ID}/{verb}", {})
        assert (reply.status, reply.exit) == (503, 156)
        assert not stage.runtime.asked


@looped
async def test_the_generations_beside_the_one_that_serves_are_told(tmp_path: Path) -> None:
    def one(phase: Phase, generation: int) -> Instance:
        return Instance(phase, generation, Identity(generation, 1000, "boot", "cookie"))

    s = ready("web", former=(one(Phase.DRAINING, 2),), next=one(Phase.STARTING, 4), live=NEW)
    async with serving(tmp_path, s) as stage:
        (told,) = (await stage.get("/v1/status")).json["services"]
    stand = [(i["generation"], i["phase"]) for i in told["instances"]]
    assert stand == [(2, "draining"), (4, "starting"), (3, "ready")]
