"""Which of a service's processes opened which of its files: the kernel tells it by fanotify(7), with the pid of who did.

Decides whose opening counts: the main process and what descends from it at the moment the news arrives. An answer from before ``fresh`` is
forgotten. Needs CAP_SYS_ADMIN; without it the kernel would name no pid, and any backup would look like a reload. Not polled: events wake
the loop, and only between ``watch`` and ``drop``.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentd.ports import Opened, Opens
from agentd.system import proctable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CLOEXEC, _NONBLOCK = 1, 2
_MARK_ADD, _OPEN, _OVERFLOW = 1, 0x20, 0x4000
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")
_READ = 4096
_LIBC = ctypes.CDLL(None, use_errno=True)
_WORDS = {
    errno.EPERM: "who opens the files cannot be seen without CAP_SYS_ADMIN",
    errno.ENOSYS: "this kernel has no fanotify",
}

Inode = tuple[int, int]


@dataclass(slots=True)
class _Watch:
    """One service under watch."""

    fd: int
    pid: int
    paths: dict[Inode, list[str]]
    opened: set[str] = field(default_factory=set)
    lost: bool = False


class FanotifyOpens(Opens):
    """The port. Everything happens on the loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, begin: Callable[[], int] | None = None
    ) -> None:
        """``begin`` opens a group of fanotify."""
        self._loop = loop
        self._begin = begin or _init
        self._watches: dict[str, _Watch] = {}
        self._blind: dict[str, str] = {}
        """Why a service's files cannot be watched."""

    def watch(self, service: str, pid: int, paths: Sequence[str]) -> None:
        """See ``Opens.watch``."""
        self.drop(service)
        try:
            made = _Watch(self._begin(), pid, {})
        except OSError as error:
            self._blind[service] = _why(error)
            return
        try:
            for path in paths:
                _mark(made.fd, path)
                status = os.stat(path)  # noqa: PTH116
                made.paths.setdefault((status.st_dev, status.st_ino), []).append(path)
        except OSError as error:
            os.close(made.fd)
            self._blind[service] = _why(error)
            return
        self._watches[service] = made
        self._loop.add_reader(made.fd, self._news, made)

    def fresh(self, service: str) -> None:
        """See ``Opens.fresh``."""
        if (known := self._watches.get(service)) is not None:
            self._news(known)
            known.opened.clear()

    def opened(self, service: str) -> Opened:
        """See ``Opens.opened``."""
        known = self._watches.get(service)
        if known is None:
            never = "who opens the files was not watched since before the act"
            return Opened(None, self._blind.get(service, never))
        self._news(known)
        if known.lost:
            return Opened(None, "the kernel lost news of who opened the files")
        return Opened(frozenset(known.opened))

    def drop(self, service: str) -> None:
        """See ``Opens.drop``."""
        self._blind.pop(service, None)
        if (known := self._watches.pop(service, None)) is not None:
            self._loop.remove_reader(known.fd)
            os.close(known.fd)

    def close(self) -> None:
        """Watch nothing any more."""
        for service in tuple(self._watches):
            self.drop(service)

    def _news(self, known: _Watch) -> None:
        """Whatever has arrived, each opening with who did it; they are asked for at once, since a short-lived one is soon gone."""
        mine: set[int] | None = None
        while data := _read(known.fd):
            for mask, fd, pid in _events(data):
                if mask & _OVERFLOW:
                    known.lost = True
                if fd < 0:
                    continue
                status = os.fstat(fd)
                os.close(fd)
                if mine is None:
                    mine = {known.pid, *proctable.descendants([known.pid])}
                if pid in mine:
                    known.opened.update(known.paths.get((status.st_dev, status.st_ino), ()))


def _init() -> int:
    fd: int = _LIBC.fanotify_init(_CLOEXEC | _NONBLOCK, os.O_RDONLY | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "fanotify_init")
    return fd


def _mark(fd: int, path: str) -> None:
    """The file itself: it was replaced before it was read, and one that is replaced now is another reload's."""
    name, mask = os.fsencode(path), ctypes.c_uint64(_OPEN)
    if _LIBC.fanotify_mark(fd, _MARK_ADD, mask, _AT_FDCWD, name) < 0:
        raise OSError(ctypes.get_errno(), "fanotify_mark", path)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _READ)
    except OSError:
        return b""


def _events(data: bytes) -> list[tuple[int, int, int]]:
    """Mask, descriptor and pid of each."""
    found, at = [], 0
    while at + _EVENT.size <= len(data):
        length, _, _, _, mask, fd, pid = _EVENT.unpack_from(data, at)
        found.append((mask, fd, pid))
        at += max(length, _EVENT.size)
    return found


def _why(error: OSError) -> str:
    known = _WORDS.get(error.errno or 0)
    where = f"{error.filename}: " if error.filename else ""
    return (
        known
        or f"who opens the files cannot be seen: {where}{os.strerror(error.errno or 0).lower()}"
    )
