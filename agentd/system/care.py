"""What is not overwritten unasked: a roll-back by nobody's word keeps away from files that have another owner.

Decides which inputs those are: symbolic links and what lies behind them (a release, a mounted volume), files that nobody may write, and
files that are tracked in a git work tree, where the next checkout would bring the bad bytes back. ``on_failure = "force"`` says to write
all the same. Whatever it says, only bytes that are still those that were found bad are overwritten, and they are kept first.
"""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

from agentd.ports import AdapterError, MovedError
from agentd.system import rejected
from agentd.system.gitversion import asked, repository, work_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from agentd.core.manifest import Manifest
    from agentd.system.snapshots import Snapshots

_FORCE = 'on_failure = "force" would'


class Overwriting:
    """``Unasked``: of the inputs as they are now, some are overwritten."""

    def __init__(
        self, snapshots: Snapshots, place: Path, service: str, now: Manifest, *, through: bool
    ) -> None:
        """``place``: below it what was there is kept. ``through``: nothing is refused."""
        self._snapshots = snapshots
        self._place = place
        self._service = service
        self._now = now
        self._entries = {entry.path: entry for entry in now.entries}
        self.through = through
        self.kept = ""
        """Where it is kept; empty: nothing was overwritten."""

    def refuse(self, paths: Sequence[str]) -> None:
        """See ``Unasked.refuse``."""
        if not self.through:
            refuse(paths)

    def keep(self, paths: Sequence[str]) -> None:
        """See ``Unasked.keep``."""
        there = [self._entries[path] for path in paths if path in self._entries]
        if there:
            kept = rejected.keep(self._place, self._service, self._now.hash, there, self._snapshots)
            self.kept = kept

    def still(self, paths: Sequence[str]) -> None:
        """See ``Unasked.still``. A file that is written just now is somebody's work."""
        for path in paths:
            entry = self._entries.get(path)
            if _bytes(path) != (entry.hash if entry else ""):
                raise MovedError(f"{path} changed while it was to be put back, and was left alone")


def _bytes(path: str) -> str:
    """Their sha256; empty: there are none."""
    import hashlib  # noqa: PLC0415 - rarely needed

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def refuse(paths: Iterable[str]) -> None:
    """Raises AdapterError for the first of these files that is not to be touched."""
    every = sorted(paths)
    for path in every:
        real = os.path.realpath(path)
        if real != os.path.normpath(path):
            what = f"it is, or lies behind, a symbolic link to {real}"
            raise AdapterError(f"did not put back {path}: {what}; {_FORCE}")
        if why := _unwritable(path):
            raise AdapterError(f"did not put back {path}: {why}; {_FORCE}")
    trees: dict[str, list[str]] = {}
    for path in every:
        if tree := work_tree(os.path.dirname(path)):  # noqa: PTH120
            trees.setdefault(tree, []).append(path)
    for tree, inside in trees.items():
        _refuse_tracked(tree, inside)


def _unwritable(path: str) -> str:
    """Why nobody may write it; empty: somebody may."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""
    return "" if stat.S_IMODE(found.st_mode) & 0o222 else "it is read-only"


def _refuse_tracked(tree: str, paths: Sequence[str]) -> None:
    """One that git cannot be asked about is not touched either."""
    repo = repository(paths)
    if repo is None:
        what = f"it lies in a git work tree of another user, {tree}"
        raise AdapterError(f"did not put back {paths[0]}: {what}; {_FORCE}")
    try:
        tracked = asked(repo, "ls-files", "-z", "--", *paths)
    except (OSError, subprocess.SubprocessError) as error:
        what = f"it lies in the git work tree {tree}, and git does not say whether it is tracked"
        raise AdapterError(f"did not put back {paths[0]}: {what}; {_FORCE}") from error
    first = next((name for name in tracked if name), None)
    if first is not None:
        path = os.path.join(tree, first)  # noqa: PTH118
        raise AdapterError(
            f"did not put back {path}: it is tracked in git, and what is committed there would come again; {_FORCE}"
        )
