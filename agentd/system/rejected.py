"""The edits that were overwritten by a roll-back nobody asked for: plain copies beside the agent's state, so that no work is lost.

Decides where they are and how many stay: the newest few of each service. Only root and the agent's own user can read them.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from agentd.ports import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agentd.core.manifest import Entry
    from agentd.system.snapshots import Snapshots

MOST = 10
"""Edits that are kept of one service."""


def keep(
    root: Path, service: str, digest: str, entries: Iterable[Entry], snapshots: Snapshots
) -> str:
    """Copy these inputs to a place of their own, and say where that is. Raises AdapterError."""
    place = root / service / digest.removeprefix("sha256:")[:12]
    try:
        for entry in entries:
            to = place / entry.path.lstrip("/")
            _private(to.parent, root.parent)
            fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(snapshots.read(entry))
        _private(place, root.parent)
        os.utime(place)
        _forget(root / service)
    except OSError as error:
        what = f"cannot keep the edit that would be overwritten in {place}: {error.strerror}"
        raise AdapterError(what, error.errno or errno.EIO) from error
    return str(place)


def _private(directory: Path, above: Path) -> None:
    """Create it and what is missing of its way, for nobody else."""
    if directory != above and not directory.is_dir():
        _private(directory.parent, above)
        directory.mkdir(mode=0o700)


def _forget(there: Path) -> None:
    oldest = sorted(there.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-MOST]
    for path in oldest:
        shutil.rmtree(path, ignore_errors=True)
