"""Putting a kept configuration back: what is written, what is refused, and what another user can make of it."""

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

OTHER = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make links of another user")


class Etc:
    """Inputs in a directory of their own."""

    def __init__(self, root: Path) -> None:
        self.dir = root / "etc"
        self.dir.mkdir()
        self.files = OsFiles(root / "state/snapshots", root / "state/host.key")
        self.spec = Spec("web", ProcessSpec(("web",)), inputs=(f"{self.dir}/conf.d/*.conf",))

    def write(self, name: str, text: str) -> Path:
        path = self.dir / "conf.d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def keep(self) -> str:
        found = asyncio.run(self.files.snapshot(self.spec, keep=True))
        assert isinstance(found, Manifest)
        return found.hash

    def restore(self, digest: str) -> int:
        return asyncio.run(asyncio.wait_for(self.files.restore(self.spec, digest), 10)).files


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path)


def test_files_come_back_with_their_mode_and_those_that_were_not_there_go(etc: Etc) -> None:
    one, two = etc.write("a.conf", "a"), etc.write("b.conf", "b")
    one.chmod(0o640)
    kept = etc.keep()
    one.write_text("worse")
    one.chmod(0o600)
    two.unlink()
    three = etc.write("c.conf", "c")
    assert etc.restore(kept) == 3
    assert (one.read_text(), two.read_text(), three.exists()) == ("a", "b", False)
    assert stat.S_IMODE(one.stat().st_mode) == 0o640
    assert sorted(p.name for p in one.parent.iterdir()) == ["a.conf", "b.conf"]
    assert etc.restore(kept) == 0


def test_a_directory_that_is_gone_is_made(etc: Etc) -> None:
    one = etc.write("a.conf", "a")
    kept = etc.keep()
    one.unlink()
    one.parent.rmdir()
    assert etc.restore(kept) == 1
    assert one.read_text() == "a"


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(etc: Etc) -> None:
    one = etc.write("a.conf", "a")
    kept = etc.keep()
    one.unlink()
    os.mkfifo(one)
    with pytest.raises(AdapterError, match=r"cannot put back .*a\.conf: it is not a plain file"):
        etc.restore(kept)


def test_a_link_in_place_of_a_file_is_refused_unless_its_bytes_are_right(etc: Etc) -> None:
    one = etc.write("a.conf", "a")
    two = etc.write("b.conf", "b")
    kept = etc.keep()
    elsewhere = etc.dir / "elsewhere"
    elsewhere.write_text("a")
    one.unlink()
    one.symlink_to(elsewhere)
    two.write_text("worse")
    assert etc.restore(kept) == 1
    elsewhere.write_text("worse")
    with pytest.raises(AdapterError, match="symbolic link"):
        etc.restore(kept)
    assert elsewhere.read_text() == "worse"


def test_a_directory_that_the_operator_links_to_is_followed(etc: Etc) -> None:
    one = etc.write("a.conf", "a")
    kept = etc.keep()
    one.parent.rename(etc.dir / "moved")
    (etc.dir / "conf.d").symlink_to("../etc/moved")
    one.write_text("worse")
    assert etc.restore(kept) == 1
    assert (etc.dir / "moved/a.conf").read_text() == "a"


@as_root
def test_a_directory_that_another_user_put_a_link_in_place_of_is_refused(etc: Etc) -> None:
    """He owns the directory above, and would have root write and remove files where he may not."""
    one = etc.write("a.conf", "a")
    kept = etc.keep()
    theirs = etc.dir / "theirs"
    theirs.mkdir()
    (theirs / "other.conf").write_text("not an input")
    one.parent.rename(etc.dir / "away")
    link = etc.dir / "conf.d"
    link.symlink_to(theirs)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(AdapterError, match=r"conf\.d is a symbolic link of another user"):
        etc.restore(kept)
    assert [p.name for p in theirs.iterdir()] == ["other.conf"]


def test_links_in_a_circle_end(etc: Etc) -> None:
    one = etc.write("a.conf", "a")
    kept = etc.keep()
    one.parent.rename(etc.dir / "away")
    one.parent.symlink_to("conf.d")
    with pytest.raises(AdapterError, match=r"cannot put back .*a\.conf: Too many levels"):
        etc.restore(kept)
