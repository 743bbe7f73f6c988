"""history and show, and who is shown what."""

from __future__ import annotations

from pathlib import Path

from agentd.core import facts as f
from agentd.core.manifest import Change
from agentd.wire import Trigger, Verdict
from tests.api.stage import (
    ALICE,
    CAUSE,
    ID,
    INSPECTOR,
    NEW,
    OLD,
    TRACE,
    Stage,
    judged,
    looped,
    ready,
    serving,
)

OTHER = "01JDZZZZZZZZZZZZZZZZZZZZZZ"


def tell(stage: Stage, reload_id: str = ID, trace_id: str = TRACE, *, end: bool = True) -> None:
    notes = [
        f.Requested("web", reload_id, trace_id, "signal", CAUSE, OLD.hash, OLD.version),
        f.PhaseBegan("web", reload_id, "snapshot"),
        f.SnapshotTaken(
            "web", reload_id, NEW.hash, NEW.version, 1, (Change("/etc/web.conf", "modified"),)
        ),
        f.PhaseEnded("web", reload_id, "snapshot"),
        f.PhaseBegan("web", reload_id, "check"),
    ]
    if end:
        notes.append(
            f.CheckEnded("web", reload_id, "nginx", 1, timed_out=False, output=("line 3",))
        )
        notes.append(f.PhaseEnded("web", reload_id, "check", "check_failed"))
        notes.append(
            judged(
                "web",
                reload_id,
                Verdict.REJECTED,
                trigger=Trigger.CLI,
                confirmation="none",
                grade=None,
                error_type="check_failed",
                message="the check said no",
                output=("line 3",),
            )
        )
    stage.runtime.note(*notes)


@looped
async def test_newest_first_and_what_is_asked_of_the_journal(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        tell(stage)
        tell(stage, OTHER, end=False)
        reply = await stage.get("/v1/reloads")
        assert (reply.status, reply.exit) == (200, 0)
        running, ended = reply.json["reloads"]
        assert (running["reload_id"], running["verdict"], running["phase"]) == (
            OTHER,
            None,
            "check",
        )
        assert (ended["verdict"], ended["phase"], ended["user"]) == ("rejected", None, "alice")
        assert [p["name"] for p in ended["phases"]] == ["snapshot", "check"]
        (newest,) = (await stage.get("/v1/reloads?limit=1")).json["reloads"]
        assert newest["reload_id"] == OTHER
        await stage.get("/v1/reloads?service=web&verdict=failed&starts=1")
        assert stage.reader.asked == [
            (None, None, 20, False), (None, None, 1, False), ("web", Verdict.FAILED, 20, True),
        ]  # fmt: skip
        for wrong in ("limit=0", "limit=x", "limit=1001", "verdict=fine", "starts=2", "sevice=web"):
            assert (await stage.get(f"/v1/reloads?{wrong}")).status == 400, wrong


@looped
async def test_output_is_for_those_who_may_inspect(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        tell(stage)
        for peer, output in ((ALICE, []), (INSPECTOR, ["line 3"])):
            (entry,) = (await stage.get("/v1/reloads", peer)).json["reloads"]
            assert entry["output"] == output
            shown = await stage.get(f"/v1/reloads/{ID}", peer)
            assert shown.json["output"] == output
            assert (b"line 3" in shown.body) == bool(output)


@looped
async def test_one_with_its_trace(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        tell(stage)
        document = (await stage.get(f"/v1/reloads/{ID}")).json
        trace = document.pop("trace")
        assert [document] == (await stage.get("/v1/reloads")).json["reloads"]
        assert trace["trace_id"] == TRACE
        names = [span["name"] for span in trace["spans"]]
        assert names == ["reload web", "reload.snapshot", "reload.check", "nginx"]
        request = (await stage.get(f"/v1/reloads/{ID}/otlp")).json
        (of_agent,) = request["resourceSpans"]
        assert [s["name"] for s in of_agent["scopeSpans"][0]["spans"]] == names
        assert of_agent["scopeSpans"][0]["scope"] == {"name": "reload", "version": "1.0"}


@looped
async def test_what_may_mean_several(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        tell(stage)
        tell(stage, OTHER)
        listed = (await stage.get(f"/v1/reloads/{TRACE}")).json
        assert [r["reload_id"] for r in listed["reloads"]] == [OTHER, ID]
        assert (
            len(
                (await stage.get(f"/v1/reloads/{TRACE}/otlp")).json["resourceSpans"][0][
                    "scopeSpans"
                ][0]["spans"]
            )
            == 8
        )
        tell(stage, "01JDYYYYYYYYYYYYYYYYYYYYYY", "a" * 32)
        reply = await stage.get("/v1/reloads/01JD")
        assert (reply.status, reply.exit) == (409, 2)
        assert reply.json["candidates"] == ["01JDYYYYYYYYYYYYYYYYYYYYYY", OTHER, ID]
        reply = await stage.get("/v1/reloads/nope%5E1")
        assert (reply.status, reply.exit, reply.json["detail"]) == (
            404,
            5,
            "there is no reload nope^1",
        )


@looped
async def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.reader.broken = True
        for path in ("/v1/reloads", f"/v1/reloads/{ID}"):
            reply = await stage.get(path)
            assert (reply.status, reply.exit) == (503, 156)
            assert reply.json["detail"] == "cannot read the journal: damaged"
