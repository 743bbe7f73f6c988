"""``status``: the whole document, the exit codes, and what one answer may cost."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.api import costs, disk, survey, views
from agentd.api.costs import Cost, Costs
from agentd.api.disk import Disk
from agentd.core.instance import Ending, Instance, Phase
from agentd.core.manifest import Entry, Manifest, Missing
from agentd.core.memory import Attempt, Want
from agentd.core.process import Identity
from agentd.core.service import Service
from agentd.core.spec import Included, WatchSpec
from agentd.ports import AdapterError
from agentd.wire import Verdict
from tests.api.stage import (
    BAD,
    ID,
    NEW,
    OLD,
    Files,
    Table,
    down,
    host,
    looped,
    ready,
    serving,
    soon,
    spec,
    troubled,
)

UP = {
    "name": "web", "want": "up", "phase": "ready", "why": "", "held": False, "hold": None,
    "instances": [
        {"id": "", "instance": 0, "generation": 3, "pid": 100, "phase": "ready", "serves": True, "uptime_s": 10.0, "cpu_percent": 10.0,
         "rss_bytes": 4096, "restarts": 0}
    ],
    "ready_instances": 1, "declared_instances": 1, "restarts": 0,
    "config": {"desired": NEW.hash, "on_disk": NEW.hash, "last_attempted": None, "live": NEW.hash, "in_sync": True,
               "version": NEW.version, "missing": None, "unlisted": None},
    "next_start": None, "definition": None, "quarantine": None, "running": None, "waiting": None, "on_trial": None, "soak": None,
    "alive": None, "last_reload": None,
}  # fmt: skip
TROUBLED = {
    "name": "app", "want": "up", "phase": "backoff", "why": "exit code 3", "held": True,
    "hold": {"reason": "freeze", "user": "alice"}, "instances": [], "ready_instances": 0, "declared_instances": 1,
    "restarts": 2,
    "config": {"desired": BAD.hash, "on_disk": BAD.hash, "last_attempted": BAD.hash, "live": None, "in_sync": None,
               "version": None, "missing": None, "unlisted": None},
    "next_start": {"verdict": "rejected", "version": BAD.version, "hash": BAD.hash,
                   "text": f"next restart loads REJECTED {BAD.version}"}, "definition": None,
    "quarantine": {"hash": BAD.hash, "version": BAD.version, "reason": "line 3"}, "running": None, "waiting": None,
    "on_trial": None,
    "soak": None,
    "alive": None,
    "last_reload": {"reload_id": ID, "verdict": "rejected", "at": "2026-11-22T10:00:00.000000Z", "trigger": "watch",
                    "message": "line 3"},
}  # fmt: skip


def without_ids(document: Any) -> Any:
    for instance in document["instances"]:
        assert len(instance["id"]) == 36
        instance["id"] = ""
    return document


@looped
async def test_the_whole_document(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), troubled("app")) as stage:
        stage.runtime.machine.files.on_disk["app"] = BAD
        stage.runtime.machine.table.now = 2000
        reply = await stage.get("/v1/status")
    document = reply.json
    agent = document.pop("agent")
    assert agent.keys() == {"version", "pid", "uptime_s", "socket", "telemetry", "notices"}
    assert agent["notices"] == []
    assert (agent["version"], agent["socket"]) == ("1.0", str(stage.path))
    assert document.keys() == {"services"}
    assert [without_ids(s) for s in document["services"]] == [UP, TROUBLED]
    assert (reply.status, reply.exit) == (200, 3)
    assert reply.headers["content-type"] == "application/json"


@looped
async def test_what_the_agent_met_when_it_began(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.api.notice(["the journal is damaged", "pid 7 is left over"])
        reply = await stage.get("/v1/status")
    assert reply.json["agent"]["notices"] == ["the journal is damaged", "pid 7 is left over"]


@looped
async def test_one_service_by_both_its_names(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), troubled("app")) as stage:
        of_many = await stage.get("/v1/status?service=web&service=web")
        alone = await stage.get("/v1/services/web")
    assert [without_ids(s) for s in of_many.json["services"]] == [UP]
    assert without_ids(alone.json) == UP
    assert (of_many.exit, alone.exit) == (0, 0)


@looped
async def test_unknown_services_and_queries(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        for path in ("/v1/status?service=web&service=nope", "/v1/services/nope"):
            reply = await stage.get(path)
            assert (reply.status, reply.exit) == (404, 4)
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json == {
                "type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no service nope", "exit": 4,
            }  # fmt: skip
        reply = await stage.get("/v1/status?sevice=web")
        assert (reply.status, reply.exit) == (400, 2)


@pytest.mark.parametrize(
    ("service", "code"),
    [
        (ready("web"), 0),
        (down("web"), 0),
        (ready("web", instance=Instance(Phase.STARTING, 1)), 3),
        (down("web", want=Want.UP, instance=Instance(Phase.DOWN, 1, ending=Ending.BY_ITSELF)), 3),
        (down("web", want=Want.UP, instance=Instance(Phase.FAILED, 1)), 3),
    ],
)
@looped
async def test_the_exit_code_says_whether_all_is_up(
    service: Any, code: int, tmp_path: Path
) -> None:
    async with serving(tmp_path, service) as stage:
        assert (await stage.get("/v1/status")).exit == code


@looped
async def test_whoever_names_a_service_asks_whether_it_runs(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), down("off")) as stage:
        assert (await stage.get("/v1/status")).exit == 0
        assert (await stage.get("/v1/status?service=web&service=off")).exit == 3
        assert (await stage.get("/v1/services/off")).exit == 3


@looped
async def test_an_instance_that_is_being_born_has_no_numbers(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", instance=Instance(Phase.STARTING, 1))) as stage:
        (instance,) = (await stage.get("/v1/services/web")).json["instances"]
    assert (instance["pid"], instance["uptime_s"], instance["cpu_percent"]) == (None, None, None)


@looped
async def test_what_changed_is_seen_at_the_next_request(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        await stage.get("/v1/status")
        stage.runtime.machine.files.on_disk["web"] = OLD
        config = (await stage.get("/v1/services/web")).json["config"]
        assert (config["on_disk"], config["in_sync"]) == (OLD.hash, False)
        stage.runtime.put(replace(stage.runtime.host.services["web"], live=OLD))
        config = (await stage.get("/v1/services/web")).json["config"]
        assert (config["live"], config["in_sync"]) == (OLD.hash, True)
        stage.runtime.machine.files.on_disk["web"] = Missing("missing_input", "it is gone")
        config = (await stage.get("/v1/services/web")).json["config"]
        assert (config["on_disk"], config["in_sync"], config["missing"]) == (
            None,
            False,
            "it is gone",
        )


def test_a_landmine_is_one_only_when_the_bytes_are_bad() -> None:
    def following(**more: Any) -> Any:
        return views.service(replace(troubled("app"), **more), BAD, (), lambda *_: "")["next_start"]

    assert following()["verdict"] == "rejected"
    assert following(quarantine=None) is None, "rejected for another reason than the bytes"
    assert following(last_good=BAD) is None
    refused = Attempt(BAD.hash, BAD.version, Verdict.REFUSED)
    assert (
        following(quarantine=None, attempted=refused)["text"]
        == f"next restart loads REFUSED {BAD.version}"
    )


def identity(pid: int) -> Identity:
    return Identity(pid, 1000, "boot", "c")


def test_cpu_is_over_the_life_and_then_since_the_last_look() -> None:
    table = Table()
    costs_, one = Costs(table), [("web", identity(7))]
    assert costs_.of(one)["web"] == Cost(10.0, 10.0, 4096)
    table.now, table.cpu_s = 2050, 1.5
    assert costs_.of(one)["web"] == Cost(10.5, 10.0, 4096), (
        "half a second is too short to divide by"
    )
    table.now, table.cpu_s = 2200, 2.0
    assert costs_.of(one)["web"] == Cost(12.0, 50.0, 4096)
    assert costs_.of([("web", identity(8))])["web"] == Cost(12.0, 16.7, 4096), "another process"


def test_only_so_many_processes_are_looked_at_for_one_request() -> None:
    table = Table()
    costs_ = Costs(table)
    many = [(f"s{n}", identity(n + 1)) for n in range(500)]
    for _ in range(5):
        assert len(costs_.of(many)) == 500
        table.now += 1
    assert len(table.looked) == 5 * costs.FRESH
    assert len(set(table.looked)) == 500


class Hanging(Files):
    """Readings that do not come back, and so are counted."""

    async def snapshot(self, spec: Any, *, keep: bool, anew: bool = False) -> Any:
        self.read.append(spec.name)
        await asyncio.Event().wait()


@looped
async def test_one_request_waits_for_so_many_readings_and_so_long() -> None:
    services = [ready(f"s{n}") for n in range(150)]
    files = Hanging()
    runtime = SimpleNamespace(on_disk={}, machine=SimpleNamespace(files=files))
    reader = Disk(runtime)  # type: ignore[arg-type]
    reader.wait_s = 0.5
    async with asyncio.TaskGroup() as tasks:
        reader.open(tasks)
        begun = asyncio.get_running_loop().time()
        await reader.refresh(services, named=False)
        assert 0.5 <= asyncio.get_running_loop().time() - begun < 2
        assert disk.READINGS <= len(files.read) <= disk.READINGS + 2, "the rest one after the other"
        await reader.refresh(services, named=False)
        assert set(files.read) > {f"s{n}" for n in range(100)}, "those that had no turn are next"
        assert len(files.read) == len(set(files.read))
        reader.close()


@looped
async def test_the_rest_is_read_when_the_request_has_been_answered() -> None:
    services = [ready(f"s{n}") for n in range(150)]
    files = Files()
    runtime = SimpleNamespace(on_disk={}, machine=SimpleNamespace(files=files))
    reader = Disk(runtime)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        reader.open(tasks)
        await reader.refresh(services, named=False)
        await soon(lambda: len(files.read) == 150)
    assert {reader.newest(s.spec.name) for s in services} == {NEW}


def on_disk(path: Path, word: str, age_s: float = 10) -> Manifest:
    path.write_text(word)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return Manifest(word, word, (Entry(str(path), word, len(word)),))


@pytest.mark.parametrize(
    "change", ["nothing", "bytes", "another", "gone", "a neighbour of the directory"]
)
@looped
async def test_stamps_tell_whether_to_read_again(change: str, tmp_path: Path) -> None:
    directory = tmp_path / "conf.d"
    directory.mkdir()
    s = ready("web", spec=spec("web", inputs=(f"{directory}/*.conf",)))
    files = Files()
    files.on_disk["web"] = on_disk(directory / "a.conf", "one")
    runtime = SimpleNamespace(on_disk={}, machine=SimpleNamespace(files=files))
    reader = Disk(runtime)  # type: ignore[arg-type]
    # The change time cannot be set, so the grain is: everything that is there is old enough.
    grain, survey._GRAIN_NS = survey._GRAIN_NS, 0
    try:
        async with asyncio.TaskGroup() as tasks:
            reader.open(tasks)
            for readings in (1, 2, 2):
                await reader.refresh([s], named=False)
                assert len(files.read) == readings, (
                    "the first finds the places, the second relies on them"
                )
            match change:
                case "bytes":
                    on_disk(directory / "a.conf", "two")
                case "another":
                    on_disk(directory / "b.conf", "one")
                case "gone":
                    (directory / "a.conf").unlink()
                case "a neighbour of the directory":
                    on_disk(tmp_path / "b.conf", "one")
            await reader.refresh([s], named=False)
    finally:
        survey._GRAIN_NS = grain
    assert len(files.read) == (3 if change in ("bytes", "another", "gone") else 2)


def test_beside_a_file_that_is_included_another_may_be(tmp_path: Path) -> None:
    path = tmp_path / "parts/a.conf"
    path.parent.mkdir()
    manifest = on_disk(path, "one", 0)
    of = Included(("x",), "(.)")
    for one, around in ((spec("web"), False), (spec("web", inputs=(), included=of), True)):
        places, _ = survey.stand(Files(), one, manifest)
        assert (str(path.parent) in places) is around


@looped
async def test_what_cannot_be_listed_is_told() -> None:
    doubtful = replace(NEW, unlisted="nginx says no")
    files = Files()
    files.on_disk["web"] = doubtful
    runtime = SimpleNamespace(on_disk={}, machine=SimpleNamespace(files=files))
    reader = Disk(runtime)  # type: ignore[arg-type]
    alone = ready("web", spec=spec("web", inputs=(), included=Included(("x",), "(.)")))
    async with asyncio.TaskGroup() as tasks:
        reader.open(tasks)
        await reader.refresh([alone], named=True)
    told = views.service(alone, reader.newest("web"), (costs.Cost(),), lambda _, __: "")
    assert told["config"]["unlisted"] == "nginx says no"


def test_a_fresh_stamp_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    manifest = on_disk(path, "one", 0)
    _, stamp = survey.stand(Files(), spec("web", inputs=(str(path),)), manifest)
    assert stamp is None


@looped
async def test_a_reading_that_hangs_is_not_waited_for_twice(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), ready("nfs")) as stage:
        files = stage.runtime.machine.files
        files.on_disk |= {"nfs": None}
        stage.api._context.disk.wait_s = 0.01
        for _ in range(3):
            web, nfs = (await stage.get("/v1/status")).json["services"]
        assert (web["config"]["on_disk"], nfs["config"]["on_disk"]) == (NEW.hash, None)
        assert files.read.count("nfs") == 1
        assert files.read.count("web") == 1, "its stamps tell that nothing has changed"


@looped
async def test_a_watched_service_is_read_only_when_nobody_else_does() -> None:
    watched = ready("web", spec=spec("web", watch=WatchSpec()))
    files = Files()
    runtime = SimpleNamespace(on_disk={"web": OLD}, machine=SimpleNamespace(files=files))
    reader = Disk(runtime)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        reader.open(tasks)
        await reader.refresh([watched], named=True)
        assert (files.read, reader.newest("web")) == ([], OLD)
        await reader.refresh([replace(watched, hold=troubled("x").hold)], named=True)
        assert (files.read, reader.newest("web")) == (["web"], NEW)
        runtime.on_disk["web"] = BAD
        assert reader.newest("web") == BAD, "the runtime has read since"
        await reader.refresh([ready("web", spec=spec("web", inputs=()))], named=True)
        assert files.read == ["web"], "nothing to read"


@looped
async def test_what_cannot_be_read_is_missing() -> None:
    class Broken(Files):
        async def snapshot(self, spec: Any, *, keep: bool, anew: bool = False) -> Any:
            raise AdapterError("cannot read the host key")

    runtime = SimpleNamespace(on_disk={}, machine=SimpleNamespace(files=Broken()))
    reader = Disk(runtime)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        reader.open(tasks)
        await reader.refresh([ready("web")], named=True)
    assert reader.newest("web") == Missing("unreadable_input", "cannot read the host key")


@looped
async def test_before_the_first_turn_there_is_a_word_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as stage:
        del stage.runtime.host
        reply = await stage.get("/v1/status")
    assert (reply.status, reply.exit) == (503, 156)


@looped
async def test_services_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), ready("old")) as stage:
        await stage.get("/v1/status")
        stage.runtime.host = host(ready("web"))
        assert [s["name"] for s in (await stage.get("/v1/status")).json["services"]] == ["web"]
        assert list(stage.api._context.texts._drawn) == ["web"]
        await soon(lambda: True)


def test_several_instances_are_told_each_by_its_number() -> None:
    def one(slot: int, phase: Phase, **more: Any) -> Instance:
        process = Identity(100 + slot, 1, "boot", "cookie") if phase is Phase.READY else None
        return Instance(phase, slot + 1, process, slot=slot, **more)

    there = (one(2, Phase.READY), one(1, Phase.BACKOFF, why="exit code 3"))
    s = Service(spec("web", instances=3), instance=one(0, Phase.READY), others=there)
    assert [i.slot for i in views.generations(s)] == [0, 1, 2]
    document = views.service(s, None, (Cost(),) * 3, lambda name, n: f"{name}/{n}")
    each = [(i["instance"], i["pid"], i["phase"], i["serves"]) for i in document["instances"]]
    assert each == [(0, 100, "ready", True), (1, None, "backoff", True), (2, 102, "ready", True)]
    assert (document["phase"], document["why"]) == ("backoff", "instance 1 is backoff: exit code 3")
    assert (document["ready_instances"], document["declared_instances"]) == (2, 3)
    assert not views.is_up(s, wanted=True)
