"""inotify(7), as thin as it goes: one descriptor, watches by directory, events as values.

It does not decide what is worth watching nor what an event means. By ctypes, because the libraries do not fit:
``watchfiles`` keeps a thread that wakes every 50 ms and drops the notice of an overflow, and the pure Python bindings
are these three calls with a queue of their own, which would have to be told what a lost event means.
"""

from __future__ import annotations

import ctypes
import os
import struct
from enum import IntFlag
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = struct.Struct("iIII")
_BUFFER = 64 * 1024


class Mask(IntFlag):
    """The bits of linux/inotify.h that are used."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    EXCL_UNLINK = 0x0400_0000
    MASK_ADD = 0x2000_0000
    ISDIR = 0x4000_0000


_CONTENT = int(Mask.MODIFY)
_LOST = int(Mask.Q_OVERFLOW)
_ISDIR = int(Mask.ISDIR)
_NAMED = int(Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO)
_GONE = int(Mask.IGNORED)


class Event(NamedTuple):
    """One event. ``name`` is empty when it is about the watched place itself."""

    wd: int
    mask: int
    name: str

    @property
    def lost(self) -> bool:
        """The queue overflowed: anything may have happened anywhere."""
        return bool(self.mask & _LOST)

    @property
    def is_dir(self) -> bool:
        """It is about a directory."""
        return bool(self.mask & _ISDIR)

    @property
    def gone(self) -> bool:
        """The last event of this watch."""
        return bool(self.mask & _GONE)

    @property
    def named(self) -> bool:
        """A name came or went."""
        return bool(self.mask & _NAMED)

    @property
    def content(self) -> bool:
        """Bytes were written and more may follow; nothing that decides what is to be watched changed."""
        return self.mask & ~_ISDIR == _CONTENT


def parse(data: bytes) -> Iterator[Event]:
    """The events in what one read(2) returned."""
    at = 0
    while at < len(data):
        wd, mask, _cookie, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield Event(wd, mask, os.fsdecode(data[at : at + length].rstrip(b"\0")))
        at += length


class Inotify:
    """One inotify instance; ``add`` may be called from any thread."""

    def __init__(self) -> None:
        """Raises OSError: EMFILE when fs.inotify.max_user_instances is reached."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._add = libc.inotify_add_watch
        self._add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self._remove = libc.inotify_rm_watch
        self._remove.argtypes = (ctypes.c_int, ctypes.c_int)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def add(self, path: str, mask: Mask) -> int:
        """Watch a place for more; the same inode gives the same number. Raises OSError (ENOENT, EACCES, ENOSPC)."""
        wd = int(self._add(self.fd, os.fsencode(path), mask | Mask.MASK_ADD))
        if wd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        return wd

    def remove(self, wd: int) -> None:
        """Stop watching; nothing happens when the kernel already has."""
        self._remove(self.fd, wd)

    def read(self) -> tuple[Event, ...]:
        """What is queued now, one buffer's worth."""
        try:
            return tuple(parse(os.read(self.fd, _BUFFER)))
        except BlockingIOError:
            return ()

    def close(self) -> None:
        """Give all watches back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
