"""Putting a kept configuration back over the inputs: every file is written beside its place first, then all are renamed.

It decides what cannot be put back and says so before anything is touched: bytes that are not kept (secret inputs, pruned
snapshots), symbolic links (what they lead to belongs to somebody else), what is no plain file. Owner and mode are those of
the snapshot. Files that the kept configuration does not have are removed; the caller has kept their bytes.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from agentd.ports import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentd.system.snapshots import Kept, Snapshots


def restore(snapshots: Snapshots, digest: str, present: Iterable[str]) -> int:
    """How many files were written or removed. ``present``: the inputs as they are now. Raises AdapterError: nothing was changed."""
    kept = snapshots.kept(digest)
    if kept is None:
        short = digest.removeprefix("sha256:")[:12]
        raise AdapterError(f"configuration {short} is not kept, so it cannot be put back")
    wanted = {one.entry.path: one for one in kept}
    changed = [one for one in kept if not _is_there(one)]
    surplus = sorted(path for path in present if path not in wanted)
    for path in (*(one.entry.path for one in changed), *surplus):
        _refuse_what_is_special(path)
    secret = next((one.entry.path for one in changed if not one.stored), None)
    if secret is not None:
        raise AdapterError(
            f"{secret} is secret: its bytes are never kept, so it cannot be put back"
        )
    written: list[tuple[str, str]] = []
    try:
        for one in changed:
            beside = f"{one.entry.path}.agentd-{os.getpid()}"
            written.append((beside, one.entry.path))
            _write(beside, snapshots.read(one.entry), one)
        for beside, path in written:
            os.rename(beside, path)  # noqa: PTH104 - plain paths
        for path in surplus:
            os.unlink(path)  # noqa: PTH108
    except OSError as error:
        what = f"cannot put back {error.filename}: {error.strerror}"
        raise AdapterError(what, error.errno or 0) from error
    finally:
        for beside, _ in written:
            with contextlib.suppress(OSError):
                os.unlink(beside)  # noqa: PTH108
    return len(changed) + len(surplus)


def _is_there(one: Kept) -> bool:
    """Whether the file has these bytes already."""
    import hashlib  # noqa: PLC0415 - rarely needed

    try:
        with open(one.entry.path, "rb") as file:  # noqa: PTH123
            return hashlib.file_digest(file, "sha256").hexdigest() == one.entry.hash
    except OSError:
        return False


def _refuse_what_is_special(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AdapterError(f"cannot put back {path}: {error.strerror}", error.errno or 0) from error
    if stat.S_ISLNK(found.st_mode):
        what = "it is a symbolic link, and what it leads to belongs to whoever made it"
        raise AdapterError(f"cannot put back {path}: {what}")
    if not stat.S_ISREG(found.st_mode):
        raise AdapterError(f"cannot put back {path}: it is not a plain file")


def _write(beside: str, data: bytes, one: Kept) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)  # noqa: PTH108 - left by an agent that was killed
    os.makedirs(os.path.dirname(beside), exist_ok=True)  # noqa: PTH103, PTH120
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(beside, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        if (one.uid, one.gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, one.uid, one.gid)
        os.fchmod(fd, one.mode & 0o7777)
        os.fsync(fd)
