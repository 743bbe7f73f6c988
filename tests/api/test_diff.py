"""diff and versions: which two, what is shown of them, and what is said when something is not kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentd.api.difference import DIFFERS, SHOWN
from agentd.api.masking import MASK
from agentd.core import facts as f
from agentd.core.manifest import Manifest, Missing
from agentd.core.memory import Attempt
from agentd.wire import Verdict
from tests.api.stage import (
    ALICE,
    CAUSE,
    ID,
    INSPECTOR,
    TRACE,
    Reply,
    Stage,
    judged,
    looped,
    ready,
    serving,
    spec,
)

CONF = "/etc/web.conf"
OTHER = "01JDZZZZZZZZZZZZZZZZZZZZZZ"


def tell(
    stage: Stage, reload_id: str, read: Manifest, verdict: Verdict, service: str = "web"
) -> None:
    """A reload that read these bytes."""
    stage.runtime.note(
        f.Requested(service, reload_id, TRACE, "signal", CAUSE, None, None),
        f.SnapshotTaken(service, reload_id, read.hash, read.version, 1, ()),
        judged(service, reload_id, verdict, hash_after=read.hash, version_after=read.version),
    )


def two(stage: Stage, old: bytes = b"a\nb\n", new: bytes = b"a\nc\n") -> tuple[Manifest, Manifest]:
    """What runs, and what is on disk."""
    before, after = stage.archive.keep("v1", {CONF: old}), stage.archive.keep("v2", {CONF: new})
    stage.runtime.put(ready("web", live=before, last_good=before))
    stage.runtime.machine.files.on_disk["web"] = after
    return before, after


async def diff(stage: Stage, query: str = "", name: str = "web") -> Reply:
    return await stage.get(f"/v1/services/{name}/diff{query}", INSPECTOR)


@looped
async def test_what_runs_against_what_is_on_disk(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        before, after = two(stage)
        reply = await diff(stage)
        assert (reply.status, reply.exit) == (200, 0)
        assert reply.json == {
            "service": "web",
            "from": {"name": "live", "hash": before.hash, "version": "v1"},
            "to": {"name": "on_disk", "hash": after.hash, "version": "v2"},
            "differs": True,
            "files": [
                {
                    "path": CONF,
                    "change": "modified",
                    "kind": "text",
                    "size_before": 4,
                    "size_after": 4,
                    "lines": ["@@ -1,2 +1,2 @@", " a", "-b", "+c"],
                    "more": 0,
                    "masked": False,
                }
            ],
        }
        assert stage.runtime.machine.files.kept == 1
        same = (await diff(stage, "?to=last_good")).json
        assert (same["differs"], same["files"]) == (False, [])
        stage.runtime.put(ready("web", live=None, last_good=before))
        unknown = (await diff(stage)).json
        assert unknown["from"] == {"name": "last_good", "hash": before.hash, "version": "v1"}
        assert unknown["files"] == reply.json["files"]


@looped
async def test_every_way_to_name_one(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), ready("db")) as stage:
        before, after = two(stage)
        tried = stage.archive.keep("v3", {CONF: b"x\n"})
        s = stage.runtime.host.services["web"]
        stage.runtime.put(replace(s, attempted=Attempt(tried.hash, "v3", Verdict.REJECTED)))
        tell(stage, ID, after, Verdict.APPLIED)
        tell(stage, OTHER, tried, Verdict.REJECTED)
        for word, hash_ in {
            "live": before.hash,
            "last_good": before.hash,
            "desired": after.hash,
            "on_disk": after.hash,
            "last_attempted": tried.hash,
            "v1": before.hash,
            "v2": after.hash,
            tried.hash: tried.hash,
            tried.hash[7:]: tried.hash,
            tried.hash[7:13]: tried.hash,
            tried.hash[:13]: tried.hash,
            ID: after.hash,
            OTHER[:6]: tried.hash,
        }.items():
            assert (await diff(stage, f"?from={word}&to=live")).json["from"]["hash"] == hash_, word
        tell(stage, "01JDYYYYYYYYYYYYYYYYYYYYYY", after, Verdict.APPLIED, "db")
        for word, status, said in (
            ("nope", 404, "web has no configuration or reload nope; give a version, 6 digits of a hash, a reload, or one of: live, "),
            (tried.hash[7:12], 404, f"web has no configuration or reload {tried.hash[7:12]}; "),
            ("01JDYY", 404, "01JDYY is no reload of web"),
            (TRACE, 409, f"{TRACE} may mean 2 configurations; give more of the hash"),
        ):  # fmt: skip
            reply = await diff(stage, f"?from={word}")
            assert (reply.status, reply.json["detail"][: len(said)]) == (status, said)
            assert reply.exit == (5 if status == 404 else 2)
        assert set((await diff(stage, f"?from={TRACE}")).json["candidates"]) == {after.hash, tried.hash}  # fmt: skip
        assert (await diff(stage, "?form=live")).status == 400


@looped
async def test_secrets_are_never_shown(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        key, old = "/etc/key.pem", "/etc/old.key"
        text = b"user: bob\npassword: CANARY%d\n"
        before = stage.archive.keep("v1", {CONF: text % 1, key: b"CANARY1", old: b"CANARY1"}, secret=(key,))  # fmt: skip
        after = stage.archive.keep("v2", {CONF: text % 2, key: b"CANARY2", old: b"CANARY2"}, secret=(key,))  # fmt: skip
        declared = replace(
            spec("web"), secret=("/etc/*.key",)
        )  # only now: the bytes of old.key were kept
        stage.runtime.put(ready("web", spec=declared, live=before))
        stage.runtime.machine.files.on_disk["web"] = after
        reply = await diff(stage)
        assert b"CANARY" not in reply.body
        found = {entry["path"]: entry for entry in reply.json["files"]}
        assert found[CONF]["lines"] == [
            "@@ -1,2 +1,2 @@",
            " user: bob",
            f"-password: {MASK}",
            f"+password: {DIFFERS}",
        ]
        assert found[CONF]["masked"]
        for path in (key, old):
            assert (found[path]["kind"], found[path]["lines"]) == ("secret", [])
        assert (await stage.get("/v1/services/web/diff", ALICE)).status == 403


@looped
async def test_added_removed_binary_and_large(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        large = b"x" * (SHOWN + 1)
        before = stage.archive.keep("v1", {"/a": b"a\n", "/c": b"\0", "/d": b"d"})
        after = stage.archive.keep("v2", {"/b": b"b\n", "/c": b"\1\0", "/d": large})
        del stage.archive.bytes[
            after.entries[2].hash
        ]  # of a large one not even the bytes are asked for
        stage.runtime.put(ready("web", live=before))
        stage.runtime.machine.files.on_disk["web"] = after
        files = (await diff(stage)).json["files"]
        assert [(e["path"], e["change"], e["kind"], e["lines"]) for e in files] == [
            ("/a", "removed", "text", ["@@ -1 +0,0 @@", "-a"]),
            ("/b", "added", "text", ["@@ -0,0 +1 @@", "+b"]),
            ("/c", "modified", "binary", []),
            ("/d", "modified", "large", []),
        ]
        assert [(e["size_before"], e["size_after"]) for e in files][::3] == [
            (2, None),
            (1, SHOWN + 1),
        ]


@looped
async def test_many_files_together_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        wide = b"".join(b"%d %s\n" % (n, b"x" * 200) for n in range(1000))
        after = stage.archive.keep("v2", {f"/{n:02}": wide + b"%d" % n for n in range(30)})
        stage.runtime.put(ready("web", live=stage.archive.keep("v1", {})))
        stage.runtime.machine.files.on_disk["web"] = after
        reply = await diff(stage)
        assert len(reply.body) < 4 << 20
        kinds = [entry["kind"] for entry in reply.json["files"]]
        assert (len(kinds), kinds[0], kinds[-1]) == (30, "text", "large")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"live": None, "last_good": None}, "there is no live: nobody knows which configuration web runs"),
        ({"spec": spec("web", snapshot=False)},
         "web keeps no configurations (snapshot = false): there is nothing to compare"),
    ],
)  # fmt: skip
@looped
async def test_what_is_not_there(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    async with serving(tmp_path, ready("web", **more)) as stage:
        reply = await diff(stage)
        assert (reply.status, reply.exit, reply.json["detail"]) == (404, 5, said)


@looped
async def test_what_is_not_kept_is_said_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web", last_good=None)) as stage:
        before, after = two(stage)
        for query, said in (
            (
                "?from=last_attempted",
                "there is no last_attempted: no reload of web has tried one yet",
            ),
        ):
            reply = await diff(stage, query)
            assert (reply.status, reply.exit, reply.json["detail"]) == (404, 5, said)
        del stage.archive.bytes[before.entries[0].hash]
        reply = await diff(stage)
        assert (reply.exit, reply.json["detail"]) == (
            5,
            f"live (v1) is not kept whole: cannot read the snapshot of {CONF}: it is pruned",
        )
        del stage.archive.manifests[before.hash]
        reply = await diff(stage, f"?from={before.hash[7:15]}")
        why = "it was read with snapshot = false, or it is pruned"
        said = f"{before.hash[7:15]} (v1) is not kept: {why}; its hash is {before.hash}"
        assert (reply.exit, reply.json["detail"]) == (5, said)
        stage.runtime.machine.files.on_disk["web"] = Missing(
            "missing_input", "cannot read it: gone"
        )
        reply = await diff(stage, f"?from={after.hash}")
        assert reply.exit == 5
        reply = await diff(stage, "?from=v1")
        assert (reply.exit, reply.json["detail"]) == (
            5,
            "there is no on_disk: cannot read it: gone",
        )
        assert (await diff(stage, name="nope")).exit == 5


@looped
async def test_versions(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        before, after = two(stage)
        pruned = Manifest("sha256:" + "9" * 64, "v0")
        for number, (read, verdict) in enumerate(
            (
                (pruned, Verdict.APPLIED),
                (before, Verdict.APPLIED),
                (after, Verdict.REJECTED),
                (before, Verdict.UNCHANGED),
            )
        ):
            tell(stage, f"{ID[:-1]}{number}", read, verdict)
        reply = await stage.get("/v1/services/web/versions", ALICE)
        assert (reply.status, reply.exit) == (200, 0)
        one, other = reply.json["versions"]
        assert one == {
            "hash": before.hash,
            "version": "v1",
            "at": "2026-11-22T10:00:00.000000Z",
            "reload_id": f"{ID[:-1]}1",
            "trigger": "cli",
            "verdict": "applied",
            "live": True,
            "last_good": True,
            "on_disk": False,
        }
        assert (other["hash"], other["verdict"], other["live"]) == (after.hash, "rejected", False)
        assert other["on_disk"]
        (newest,) = (await stage.get("/v1/services/web/versions?limit=1")).json["versions"]
        assert newest == one
        assert (await stage.get("/v1/services/nope/versions")).exit == 5
        assert (await stage.get("/v1/services/web/versions?limit=0")).status == 400
