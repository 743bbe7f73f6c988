"""Birth files: who is there of each service, kept beside the journal so that processes are found when that is lost.

One small file for each service in a directory of the agent's own below the runtime directory, replaced whole before a process executes
and whenever it changes who is there. Decides which files can be believed: such as nobody but this user can have written. Whether a
process is the one that a file names is found out by ``system.processes``; what counts when the journal says otherwise, by ``core.found``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from agentd.ports import AdapterError
from agentd.store.codec import CodecError, decode_memory, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agentd.core.memory import Memory

_MOST = 1 << 20
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class OsBirthFiles:
    """``BirthFiles`` below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.notice = ""
        """What cannot be believed, for the operator; empty: all that is there can."""
        self._lock: int | None = None
        self._shared = False
        try:
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            why = _others_write(directory.lstat(), stat.S_ISDIR)
            if not why:
                directory.chmod(0o700)
                self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why, self._shared = "another agentd does, and who is there is its own", True
            self.close()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
        self._unusable = f"cannot use {directory} for birth files: {why}" if why else ""
        if self._unusable:
            self.notice = self._unusable

    @property
    def shared(self) -> bool:
        """Another agent lives on this runtime directory: whatever shows that it belongs here may be that one's."""
        return self._shared

    def close(self) -> None:
        """Another agent may have it, also one in this process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, there: Memory) -> None:
        """See ``BirthFiles.write``. An old one that cannot be replaced is removed: it would name who is gone."""
        if self._unusable:
            raise AdapterError(self._unusable)
        path = self._directory / there.service
        new = path.with_name(f".{path.name}.new")  # no service is called so
        try:
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(encode(there).encode("ascii"))
            new.rename(path)
        except (OSError, CodecError) as error:
            with contextlib.suppress(OSError):
                path.unlink()
            why = getattr(error, "strerror", None) or error
            raise AdapterError(f"cannot write the birth file {path}: {why}") from error

    def read(self) -> tuple[Memory, ...]:
        """See ``BirthFiles.read``."""
        return () if self._unusable else tuple(self._all())

    def _all(self) -> Iterator[Memory]:
        for name in sorted(os.listdir(self._directory)):  # noqa: PTH208 - names are what is asked for
            if name.startswith("."):
                continue
            path = self._directory / name
            try:
                yield _told(path)
            except (OSError, CodecError, UnicodeError) as error:
                why = getattr(error, "strerror", None) or error
                self.notice = f"cannot believe the birth file {path}, passed over: {why}"


def _told(path: Path) -> Memory:
    """Raises OSError, CodecError, UnicodeError."""
    there = decode_memory(_believed(path))
    if there.service != path.name:
        raise CodecError(f"it tells of {there.service}")
    return there


def _believed(path: Path) -> str:
    """The text of a file that only this user can have written. Raises OSError, CodecError."""
    fd = os.open(path, os.O_RDONLY | _FLAGS)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if why := _others_write(found, stat.S_ISREG):
            raise CodecError(why)
        if found.st_nlink != 1:
            raise CodecError("it has another name elsewhere")
        return file.read(_MOST).decode("ascii")


def _others_write(found: os.stat_result, kind: Callable[[int], bool]) -> str:
    """Why somebody else may have written it; empty: nobody can have."""
    if not kind(found.st_mode):
        return "it is of another kind"
    if found.st_uid != os.geteuid():
        return f"it belongs to another user (uid {found.st_uid})"
    if found.st_mode & 0o022:
        return "others may write it"
    return ""
