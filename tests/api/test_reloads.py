"""Reloads over the API: what is asked of the core, when the caller is answered, and with which verdict."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentd.core import facts as f
from agentd.core.effects import Accepted, Turned
from agentd.core.events import ReloadAsked
from agentd.core.memory import Hold
from agentd.wire import Trigger, Verdict
from tests.api.stage import (
    ID,
    NEW,
    OLD,
    OPERATOR,
    TRACE,
    down,
    judged,
    looped,
    ready,
    request,
    serving,
    soon,
    spec,
    troubled,
)  # fmt: skip

PATH = "/v1/services/web/reload"
FIRST = f"{ID[:20]}000001"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@looped
async def test_a_reload_whole(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(message="")
        reply = await stage.post(PATH, {"reason": "new certificate"})
    assert (reply.status, reply.exit) == (200, 0)
    document = reply.json
    (instance,) = document.pop("instances")
    assert (instance["generation"], instance["pid"], len(instance["id"])) == (3, 100, 36)
    assert document == {
        "reload_id": FIRST, "trace_id": TRACE, "service": "web", "trigger": "api", "handle": "signal",
        "verdict": "applied", "status": "success", "confirmation": "workers", "confirmation_grade": "observed",
        "error": None, "message": "", "reason": "new certificate", "user": "root",
        "hash_before": OLD.hash, "hash_after": NEW.hash, "version_before": OLD.version, "version_after": NEW.version,
        "changed": [], "attributes": [], "requested_at": "2026-11-22T10:00:00.000000Z", "duration_ms": 0.0,
        "downtime_ms": None, "outage_ms": None, "phase": None, "phases": [], "output": [], "definition": [],
        "not_taken": [], "on_trial": None, "soak": None,
        "joined": False,
    }  # fmt: skip


@looped
async def test_every_word_of_the_request_reaches_the_core(tmp_path: Path) -> None:
    body = {"reason": "a\x1b[2J\nb", "if_changed": True, "force": True, "require_proof": True,
            "attributes": {"cicd.pipeline.name": "deploy", "vcs.ref.head.revision": "f" * 300, "user.name": "eve"}}  # fmt: skip
    headers = {
        "User_Agent": "reloadctl/1.0",
        "traceparent": PARENT,
        "tracestate": "a=1",
        "baggage": "k=v",
    }
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts()
        await stage.post(PATH, body, **headers)
        await stage.post(PATH, None, OPERATOR, traceparent="00-garbage", tracestate="a=1")
    cut = "f" * 255 + "…"
    attributes = (("cicd.pipeline.name", "deploy"), ("vcs.ref.head.revision", cut))
    cause = f.Cause(Trigger.CLI, "root", 0, 77, "a [2J b", PARENT, "a=1", "k=v", attributes)
    assert stage.runtime.asked == [
        ReloadAsked("web", cause, None, if_changed=True, force=True, require_proof=True),
        ReloadAsked("web", f.Cause(Trigger.API, "54322", 54322, 79)),
    ]


@pytest.mark.parametrize("verdict", list(Verdict))
@looped
async def test_a_verdict_that_comes_before_the_id_is_heard(
    verdict: Verdict, tmp_path: Path
) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(verdict)
        reply = await stage.post(PATH, {})
    assert (reply.status, reply.exit, reply.json["verdict"]) == (
        200,
        verdict.exit_code,
        verdict.value,
    )


@looped
async def test_not_waiting_and_not_waiting_any_longer(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        reply = await stage.post(PATH, {"wait": False})
        assert (reply.status, reply.exit) == (202, 0)
        assert reply.json == {
            "reload_id": FIRST, "trace_id": TRACE, "service": "web", "verdict": None, "joined": False,
        }  # fmt: skip
        reply = await stage.post(PATH, {"timeout_s": 0.01})
        assert (reply.status, reply.exit, reply.json["verdict"]) == (202, 160, None)
        assert reply.json["requested_at"] == "2026-11-22T10:00:00.000000Z"


@looped
async def test_turned_away(tmp_path: Path) -> None:
    async def answer(event: Any) -> Turned:
        return Turned(7, "cannot reload: web is down")

    async with serving(tmp_path, down("web")) as stage:
        stage.runtime.answer = answer
        reply = await stage.post(PATH, {})
        assert (reply.status, reply.exit, reply.json["detail"]) == (
            409,
            7,
            "cannot reload: web is down",
        )
        reply = await stage.post("/v1/services/no%2Fpe/reload", {})
        assert (reply.status, reply.exit, reply.json["detail"]) == (
            404,
            5,
            "there is no service no/pe",
        )


@looped
async def test_a_caller_that_goes_away_ends_only_the_waiting(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        _, writer = await stage.connect()
        writer.write(request("POST", PATH, {}))
        await stage.runtime.news.wait()
        listeners = stage.runtime.journal._listeners
        await soon(lambda: bool(listeners) and bool(stage.runtime.store.records))
        writer.close()
        await soon(lambda: not listeners and not stage.api._clients)
        stage.runtime.note(judged("web", FIRST, Verdict.APPLIED))
        assert (await stage.get(f"/v1/reloads/{FIRST}")).json["verdict"] == "applied"


@looped
async def test_who_sends_and_leaves_is_obeyed(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        _, writer = await stage.connect()
        writer.write(request("POST", PATH, {}))
        writer.close()
        await stage.runtime.news.wait()
        await soon(lambda: not stage.api._clients)
        assert len(stage.runtime.asked) == 1


@looped
async def test_who_has_no_more_to_say_is_still_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        reader, writer = await stage.connect()
        writer.write(request("POST", PATH, {}))
        writer.write_eof()
        await soon(lambda: bool(stage.runtime.store.records))
        stage.runtime.note(judged("web", FIRST, Verdict.APPLIED))
        assert b'"applied"' in await reader.read()
        writer.close()


@looped
async def test_a_caller_that_joined_gets_the_verdict_of_what_it_joined(tmp_path: Path) -> None:
    async def answer(event: Any) -> Accepted:
        stage.runtime.note(f.Joined("web", ID, event.cause))
        asyncio.get_running_loop().call_soon(
            stage.runtime.note,
            judged("web", "other", Verdict.FAILED),
            judged("web", ID, Verdict.APPLIED),
        )
        return Accepted(ID, TRACE, joined=True)

    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.note(
            f.Requested("web", ID, TRACE, "signal", f.Cause(Trigger.WATCH), None, None)
        )
        stage.runtime.answer = answer
        reply = await stage.post(PATH, {})
    assert (reply.exit, reply.json["reload_id"], reply.json["trigger"]) == (0, ID, "watch")
    assert reply.json["joined"] is True


@pytest.mark.parametrize("what", ["store", "reader"])
@looped
async def test_without_a_journal_the_verdict_is_told_from_what_was_heard(
    what: str, tmp_path: Path
) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        (stage.runtime.store if what == "store" else stage.reader).broken = True
        stage.runtime.answer = stage.runtime.accepts(
            Verdict.REJECTED, error_type="journal_unavailable", message="disk full"
        )
        if what == "store":
            silent = asyncio.get_running_loop()
            silent.set_exception_handler(
                lambda *_: None
            )  # nobody takes the failure of this write here
        reply = await stage.post(PATH, {})
    document = reply.json
    assert (reply.exit, document["verdict"], document["message"]) == (150, "rejected", "disk full")
    assert (document["error"], document["version_before"]) == ("journal_unavailable", OLD.version)


@looped
async def test_the_verdict_alone_is_an_answer_too(tmp_path: Path) -> None:
    async def answer(event: Any) -> Accepted:
        asyncio.get_running_loop().call_soon(
            stage.runtime.note,
            judged("web", ID, Verdict.FAILED, message="died", output=("segfault",)),
        )
        return Accepted(ID, TRACE, joined=True)

    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = answer
        reply = await stage.post(PATH, {})
        stage.runtime.answer = stage.runtime.accepts()
        whole = await stage.post(PATH, {})
    document = reply.json
    assert (reply.exit, document["verdict"], document["message"]) == (158, "failed", "died")
    assert (document["output"], document["joined"], document["requested_at"]) == (
        ["segfault"],
        True,
        None,
    )
    assert document.keys() == whole.json.keys()


# Several.

NEEDY = ("a", "b", "c")


def needy() -> list[Any]:
    """c needs b needs a; written in the other order."""
    more = {"c": ("b",), "b": ("a",), "a": ()}
    return [ready(n, spec=spec(n, requires=more[n])) for n in reversed(NEEDY)]


@looped
async def test_all_in_the_order_of_what_they_need(tmp_path: Path) -> None:
    others = [down("off"), troubled("held"), ready("free", hold=Hold())]
    async with serving(tmp_path, *needy(), *others) as stage:
        stage.runtime.answer = stage.runtime.accepts()
        reply = await stage.post("/v1/reload", {"all": True})
        assert [r["service"] for r in reply.json["reloads"]] == list(NEEDY)
        assert [e.service for e in stage.runtime.asked] == list(NEEDY)
        assert (reply.status, reply.exit) == (200, 0)
        reply = await stage.post("/v1/reload", {"services": ["c", "a"], "reason": "x"})
        assert [(r["service"], r["reason"]) for r in reply.json["reloads"]] == [
            ("a", "x"),
            ("c", "x"),
        ]


@pytest.mark.parametrize(
    ("keep_going", "asked", "left"), [(False, ["a", "b"], ["c"]), (True, ["a", "b", "c"], [])]
)
@looped
async def test_the_first_that_failed_stops_the_rest(
    *, keep_going: bool, asked: list[str], left: list[str], tmp_path: Path
) -> None:
    async def answer(event: Any) -> Any:
        verdict = {"a": Verdict.REFUSED, "b": Verdict.FAILED, "c": Verdict.APPLIED}[event.service]
        return await stage.runtime.accepts(verdict)(event)

    async with serving(tmp_path, *needy()) as stage:
        stage.runtime.answer = answer
        reply = await stage.post("/v1/reload", {"all": True, "keep_going": keep_going})
    assert [r["service"] for r in reply.json["reloads"]] == asked
    assert (reply.json["not_tried"], reply.exit) == (left, 158)


@looped
async def test_one_that_is_not_running_does_not_hide_the_others(tmp_path: Path) -> None:
    async def answer(event: Any) -> Any:
        if event.service == "b":
            return Turned(7, "cannot reload: b is down")
        return await stage.runtime.accepts()(event)

    async with serving(tmp_path, *needy()) as stage:
        stage.runtime.answer = answer
        reply = await stage.post("/v1/reload", {"services": ["a", "b", "c"]})
    assert [r["service"] for r in reply.json["reloads"]] == ["a", "c"]
    assert reply.json["turned_away"] == [
        {"service": "b", "exit": 7, "detail": "cannot reload: b is down"}
    ]
    assert reply.exit == 7


@looped
async def test_so_many_at_a_time(tmp_path: Path) -> None:
    busy, most, go = 0, 0, asyncio.Event()

    async def answer(event: Any) -> Any:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        if busy == 2:
            go.set()
        await go.wait()
        busy -= 1
        return await stage.runtime.accepts()(event)

    async with serving(tmp_path, *needy()) as stage:
        stage.runtime.answer = answer
        await stage.post("/v1/reload", {"all": True, "max_parallel": 2})
    assert most == 2


@looped
async def test_when_the_time_is_up_the_rest_is_not_tried(tmp_path: Path) -> None:
    async with serving(tmp_path, *needy()) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        reply = await stage.post("/v1/reload", {"all": True, "timeout_s": 0.01})
        assert [(r["service"], r["verdict"]) for r in reply.json["reloads"]] == [("a", None)]
        assert (reply.json["not_tried"], reply.status, reply.exit) == (["b", "c"], 202, 160)
        reply = await stage.post("/v1/reload", {"all": True, "wait": False})
        assert (len(reply.json["reloads"]), reply.status, reply.exit) == (3, 202, 0)


@looped
async def test_nothing_is_asked_when_one_name_is_wrong(tmp_path: Path) -> None:
    async with serving(tmp_path, *needy()) as stage:
        reply = await stage.post("/v1/reload", {"services": ["a", "nope"]})
        assert (reply.status, reply.exit) == (404, 5)
        for body in ({}, {"all": True, "services": ["a"]}):
            assert (await stage.post("/v1/reload", body)).status == 400
        assert stage.runtime.asked == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"forse": True}, "forse is unknown; known: reason, attributes, if_changed, force"),
        ({"force": 1, "timeout_s": "5s"}, "force must be true or false; timeout_s must be a positive number of seconds"),
        ({"timeout_s": -1}, "timeout_s must be"),
        ({"timeout_s": 1e300}, "timeout_s must be"),
        ({"reason": ["x"]}, "reason must be a string"),
        ({"attributes": {"cicd.x": 3}}, "attributes must be an object of strings"),
        ([], "it is not a JSON object"),
    ],
)  # fmt: skip
@looped
async def test_a_body_that_cannot_be_meant(body: Any, said: str, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reply = await stage.post(PATH, body)
    assert (reply.status, reply.exit) == (400, 2)
    assert said in reply.json["detail"]
    assert stage.runtime.asked == []


@looped
async def test_a_running_one_that_the_journal_has_not_yet(tmp_path: Path) -> None:
    async def answer(event: Any) -> Accepted:
        return Accepted(ID, TRACE, joined=False)

    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = answer
        reply = await stage.post(PATH, {"timeout_s": 0.01, "reason": "r"})
    assert (reply.status, reply.exit, reply.json["reload_id"], reply.json["reason"]) == (
        202,
        160,
        ID,
        "r",
    )
