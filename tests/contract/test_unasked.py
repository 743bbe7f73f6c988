"""What a roll-back that nobody asked for may write: bytes that are still the bad ones, of files that have no other owner."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.core.manifest import Manifest
from agentd.core.spec import OnFailure, ProcessSpec, ReloadSpec, Spec
from agentd.ports import AdapterError, MovedError, PutBack
from agentd.system import care
from agentd.system.care import Overwriting
from agentd.system.files import OsFiles
from agentd.system.rejected import MOST

OTHER = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")


class Etc:
    """One input, good once and bad now."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "etc" / "web.conf"
        self.path.parent.mkdir()
        self.files = OsFiles(root / "state/snapshots", root / "state/host.key")
        told = ReloadSpec(on_failure=OnFailure.RESTORE)
        inputs = (str(self.path), f"{root}/etc/more/*")
        self.spec = Spec("web", ProcessSpec(("web",)), inputs=inputs, reload=told)
        self.path.write_text("good")
        self.good = self.keep()
        self.path.write_text("bad")
        self.bad = self.keep()

    @property
    def forced(self) -> Spec:
        return replace(self.spec, reload=ReloadSpec(on_failure=OnFailure.FORCE))

    def keep(self) -> str:
        found = asyncio.run(self.files.snapshot(self.spec, keep=True))
        assert isinstance(found, Manifest)
        return found.hash

    def restore(self, spec: Spec | None = None, over: str = "") -> PutBack:
        return asyncio.run(self.files.restore(spec or self.spec, self.good, over or self.bad))

    def refused(self, why: str) -> None:
        """It is left as it is; and ``force`` writes it."""
        before = self.path.read_text()
        with pytest.raises(AdapterError, match=why):
            self.restore()
        assert self.path.read_text() == before
        assert not (self.root / "state/rejected").exists()
        assert self.restore(self.forced).files == 1
        assert self.path.read_text() == "good"


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path)


def test_what_is_overwritten_is_kept_privately_and_it_is_said_where(etc: Etc) -> None:
    more = etc.root / "etc/more"
    more.mkdir()
    (more / "surplus").write_text("new")
    etc.bad = etc.keep()
    done = etc.restore()
    place = Path(done.kept)
    assert done.files == 2
    assert place.parent == etc.root / "state/rejected/web"
    kept = place / str(etc.path).lstrip("/")
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("bad", 0o600)
    assert (place / str(more / "surplus").lstrip("/")).read_text() == "new"
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (place, place.parent, place.parent.parent)}
    assert modes == {0o700}
    assert (etc.path.read_text(), (more / "surplus").exists()) == ("good", False)
    assert etc.restore() == PutBack(0, ""), "twice is once"


def test_the_newest_few_are_kept(etc: Etc) -> None:
    places = []
    for n in range(MOST + 2):
        etc.path.write_text(f"bad {n}")
        places.append(etc.restore(over=etc.keep()).kept)
    there = {str(p) for p in (etc.root / "state/rejected/web").iterdir()}
    assert there == set(places[-MOST:])


def test_bytes_that_are_not_those_that_were_found_bad_are_somebodys_work(etc: Etc) -> None:
    etc.path.write_text("mended")
    with pytest.raises(MovedError, match="changed since they were found bad"):
        etc.restore()
    assert etc.path.read_text() == "mended"
    etc.path.unlink()
    with pytest.raises(MovedError):
        etc.restore()


def test_the_last_look_is_just_before_the_writing(etc: Etc) -> None:
    """An editor saves between the reading and the renaming."""
    now = asyncio.run(etc.files.snapshot(etc.spec, keep=True))
    assert isinstance(now, Manifest)
    place = etc.root / "state/rejected"
    unasked = Overwriting(etc.files.snapshots, place, "web", now, through=False)
    unasked.still([str(etc.path)])
    etc.path.write_text("mended")
    with pytest.raises(MovedError, match=r"web\.conf changed while it was to be put back"):
        unasked.still([str(etc.path)])
    other = etc.path.parent / "other"
    other.write_text("just made")
    with pytest.raises(MovedError, match="other"):
        unasked.still([str(other)])


def test_a_link_is_left_alone_and_force_writes_what_it_leads_to(etc: Etc) -> None:
    behind = etc.root / "release"
    etc.path.rename(behind)
    etc.path.symlink_to(behind)
    etc.refused("is, or lies behind, a symbolic link to")
    assert etc.path.is_symlink()
    assert behind.read_text() == "good"


def test_what_lies_behind_a_link_is_left_alone(etc: Etc) -> None:
    (etc.root / "etc").rename(etc.root / "release")
    (etc.root / "etc").symlink_to("release")
    etc.refused("is, or lies behind, a symbolic link to")


def test_what_nobody_may_write_is_left_alone(etc: Etc) -> None:
    etc.path.chmod(0o444)
    etc.bad = etc.keep()
    etc.refused("it is read-only")


def git(etc: Etc, *words: str) -> None:
    options = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(etc.root / "etc"), *options, *words], check=True)


def test_what_is_tracked_in_git_is_left_alone(etc: Etc) -> None:
    git(etc, "init", "-q")
    git(etc, "add", "web.conf")
    etc.refused(r"web\.conf: it is tracked in git")


def test_what_only_lies_in_a_work_tree_is_written(etc: Etc) -> None:
    git(etc, "init", "-q")
    assert etc.restore().files == 1
    assert etc.path.read_text() == "good"


def test_where_git_does_not_answer_it_is_left_alone(etc: Etc) -> None:
    (etc.root / "etc/.git").mkdir()
    etc.refused("git does not say whether it is tracked")


@as_root
def test_a_work_tree_of_somebody_else_is_left_alone(etc: Etc) -> None:
    git(etc, "init", "-q")
    os.chown(etc.root / "etc/.git", OTHER, OTHER)
    etc.refused("in a git work tree of another user")


def test_what_cannot_be_kept_is_not_overwritten(etc: Etc) -> None:
    (etc.root / "state/rejected").write_text("in the way")
    with pytest.raises(AdapterError, match="cannot keep the edit that would be overwritten"):
        etc.restore()
    assert etc.path.read_text() == "bad"


def test_a_file_that_is_to_come_back_is_not_refused_for_being_away(etc: Etc) -> None:
    care.refuse([str(etc.path.parent / "away")])
