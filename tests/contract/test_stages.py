"""Copies of what was read, for checks: exactly those bytes, for one user alone, and gone afterwards."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from agentd.core.manifest import Manifest
from agentd.core.spec import ProcessSpec, Spec
from agentd.ports import AdapterError
from agentd.system.files import OsFiles
from agentd.system.stages import StagedCopies

ME = os.geteuid(), os.getegid()


def web(tmp_path: Path) -> Spec:
    conf = tmp_path / "etc" / "web"
    conf.mkdir(parents=True)
    (conf / "web.conf").write_text("one")
    (conf / "more.conf").write_text("two")
    return Spec("web", ProcessSpec(("web",)), inputs=(str(conf),))


async def kept(files: OsFiles, spec: Spec) -> Manifest:
    found = await files.snapshot(spec, keep=True)
    assert isinstance(found, Manifest)
    return found


def test_a_copy_is_what_was_read_whatever_happens_to_the_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = OsFiles(tmp_path / "snapshots", tmp_path / "key")
        spec = web(tmp_path)
        found = await kept(files, spec)
        (tmp_path / "etc/web/web.conf").write_text("another")
        (tmp_path / "etc/web/new.conf").write_text("new")
        stages = StagedCopies(tmp_path / "staged", files.snapshots)
        copy = Path(await stages.make(spec, found.hash, *ME))
        there = Path(f"{copy}{tmp_path}/etc/web")
        assert {p.name: p.read_text() for p in there.iterdir()} == {
            "web.conf": "one",
            "more.conf": "two",
        }
        assert stat.S_IMODE(copy.stat().st_mode) == 0o700
        assert stat.S_IMODE((there / "web.conf").stat().st_mode) == 0o400
        await stages.discard(str(copy))
        assert not copy.exists()
        files.close()

    asyncio.run(scenario())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_it_belongs_to_the_user_of_the_service(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = OsFiles(tmp_path / "snapshots", tmp_path / "key")
        spec = web(tmp_path)
        stages = StagedCopies(tmp_path / "staged", files.snapshots)
        found = await kept(files, spec)
        copy = Path(await stages.make(spec, found.hash, 65534, 65534))
        everything = [copy, *copy.rglob("*")]
        assert {p.stat().st_uid for p in everything} == {65534}
        assert {stat.S_IMODE(p.stat().st_mode) for p in everything if p.is_dir()} == {0o700}
        assert stat.S_IMODE((tmp_path / "staged").stat().st_mode) == 0o711
        files.close()

    asyncio.run(scenario())


def test_what_is_not_kept_cannot_be_staged_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = OsFiles(tmp_path / "snapshots", tmp_path / "key")
        spec = web(tmp_path)
        stages = StagedCopies(tmp_path / "staged", files.snapshots)
        with pytest.raises(AdapterError, match="is not kept"):
            await stages.make(spec, "sha256:" + "0" * 64, *ME)
        found = await kept(files, spec)
        for stored in (tmp_path / "snapshots" / "objects").rglob("*"):
            if stored.is_file():
                stored.unlink()
        with pytest.raises(AdapterError, match="cannot read the snapshot"):
            await stages.make(spec, found.hash, *ME)
        assert list((tmp_path / "staged").iterdir()) == []
        files.close()

    asyncio.run(scenario())


def test_what_an_earlier_agent_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "staged" / "web-1"
    left.mkdir(parents=True)
    StagedCopies(tmp_path / "staged", OsFiles(tmp_path / "s", tmp_path / "k").snapshots)
    assert not left.exists()


def test_a_place_that_is_no_directory_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = OsFiles(tmp_path / "snapshots", tmp_path / "key")
        spec = web(tmp_path)
        found = await kept(files, spec)
        (tmp_path / "staged").write_text("in the way")
        stages = StagedCopies(tmp_path / "staged", files.snapshots)
        with pytest.raises(AdapterError, match="cannot stage a copy for the check"):
            await stages.make(spec, found.hash, *ME)
        files.close()

    asyncio.run(scenario())
