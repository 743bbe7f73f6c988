"""Putting a kept configuration back over the inputs: every file is written beside its place first, then all are renamed.

It decides what cannot be put back and says so before anything is touched: bytes that are not kept (secret inputs, pruned
snapshots), symbolic links (what they lead to belongs to somebody else), also on the way to a file when another user made
them, what is no plain file. Owner and mode are those of the snapshot. Files that the kept configuration does not have are
removed; the caller has kept their bytes. What else must hold when nobody has asked for it is the caller's (``Unasked``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol

from agentd.ports import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agentd.system.snapshots import Kept, Snapshots

_MOST_LINKS = 40
"""As the kernel follows."""


class Unasked(Protocol):
    """What stands between a roll-back that nobody asked for and the files. Each may raise AdapterError."""

    @property
    def through(self) -> bool:
        """Whether the target of a symbolic link may be written."""

    def refuse(self, paths: Sequence[str]) -> None:
        """What must not be touched."""

    def keep(self, paths: Sequence[str]) -> None:
        """These are going to be overwritten or removed."""

    def still(self, paths: Sequence[str]) -> None:
        """They are about to be: the last look."""


def restore(
    snapshots: Snapshots, digest: str, present: Iterable[str], unasked: Unasked | None = None
) -> int:
    """How many files were written or removed. ``present``: the inputs as they are now. Raises AdapterError: nothing was changed."""
    kept = snapshots.kept(digest)
    if kept is None:
        short = digest.removeprefix("sha256:")[:12]
        raise AdapterError(f"configuration {short} is not kept, so it cannot be put back")
    wanted = {one.entry.path for one in kept}
    surplus = sorted(path for path in present if path not in wanted)
    changed = [one for one in kept if not _is_there(one)]
    touched = [*(one.entry.path for one in changed), *surplus]
    if unasked is not None:
        unasked.refuse(touched)
    through = unasked is not None and unasked.through
    places = {path: _target(path) if through else path for path in touched}
    for path in places.values():
        _refuse_what_is_special(path)
    secret = next((one.entry.path for one in changed if not one.stored), None)
    if secret is not None:
        raise AdapterError(
            f"{secret} is secret: its bytes are never kept, so it cannot be put back"
        )
    if unasked is not None:
        unasked.keep(touched)
    _replace(snapshots, [(places[one.entry.path], one) for one in changed], surplus, unasked)
    return len(touched)


def _target(path: str) -> str:
    """Where a symbolic link leads that root or the agent's own user has made."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode) and found.st_uid in (0, os.geteuid()):
            return os.path.realpath(path)
    return path


def _replace(
    snapshots: Snapshots,
    changed: Sequence[tuple[str, Kept]],
    surplus: Sequence[str],
    unasked: Unasked | None,
) -> None:
    written: list[tuple[int, str, str]] = []
    path = ""
    with contextlib.ExitStack() as undo:
        try:
            for path, one in changed:
                where, name = _place(path, undo)
                beside = f"{name}.agentd-{os.getpid()}"
                undo.callback(_forget, where, beside)
                _write(where, beside, snapshots.read(one.entry), one)
                written.append((where, beside, name))
            unwanted = [_place(path, undo) for path in surplus]
            if unasked is not None:
                unasked.still([*(one.entry.path for _, one in changed), *surplus])
            for where, beside, name in written:
                path = name
                os.rename(beside, name, src_dir_fd=where, dst_dir_fd=where)
            for where, name in unwanted:
                path = name
                os.unlink(name, dir_fd=where)
        except OSError as error:
            what = f"cannot put back {path}: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error


def _is_there(one: Kept) -> bool:
    """Whether the file has these bytes already. One that has become a pipe is not waited for."""
    import hashlib  # noqa: PLC0415 - rarely needed

    try:
        fd = os.open(one.entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            return regular and hashlib.file_digest(file, "sha256").hexdigest() == one.entry.hash
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


def _place(path: str, undo: contextlib.ExitStack) -> tuple[int, str]:
    """The directory of a file, open and made where it is missing, and the name in it.

    Whoever owns a directory on the way could put a link into it after the snapshot: it leads where he wants us to write.
    Raises AdapterError.
    """
    *left, name = path.split("/")
    left.reverse()
    at, links = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), 0
    try:
        while left:
            part = left.pop()
            if part in ("", "."):
                continue
            if target := _link(part, at, path, links):
                links += 1
                left += reversed(target.split("/"))
                part = "/" if target.startswith("/") else "."
            at, before = _enter(part, at), at
            os.close(before)
    except BaseException:
        os.close(at)
        raise
    undo.callback(os.close, at)
    return at, name


def _link(part: str, at: int, path: str, before: int) -> str:
    """Where a symbolic link leads, ``before`` others on the way; empty: it is none."""
    try:
        found = os.stat(part, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return ""
    if not stat.S_ISLNK(found.st_mode):
        return ""
    if found.st_uid not in (0, os.geteuid()):
        what = f"{part} is a symbolic link of another user on the way to it"
        raise AdapterError(f"cannot put back {path}: {what}")
    if before == _MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return os.readlink(part, dir_fd=at)


def _enter(part: str, at: int) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(part, flags, dir_fd=at)
    os.mkdir(part, dir_fd=at)
    return os.open(part, flags, dir_fd=at)


def _forget(where: int, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=where)


def _write(where: int, beside: str, data: bytes, one: Kept) -> None:
    _forget(where, beside)  # left by an agent that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(beside, flags, 0o600, dir_fd=where)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        if (one.uid, one.gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, one.uid, one.gid)
        os.fchmod(fd, one.mode & 0o7777)
        os.fsync(fd)
