# ruff: noqa: PTH116 (a pathlib object for each look at /proc is waste)
"""A pipe that a service writes its output to: made so that it outlives the agent, opened again by the next one.

Its write side is opened read-write, so the service is its own reader: with no agent alive it neither gets EPIPE nor
SIGPIPE but blocks when the pipe is full, and the bytes wait for the next agent. The agent holds a write end too: the
death of the service is then no event of the pipe (EPOLLHUP cannot be masked), so the output thread does not wake in the
moment in which the loop has a service to start again. Decides sizes and ownership; when it is emptied is decided in
``splice``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import stat
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentd.system.logfile import LogFile

LARGE_PIPE = 1 << 20
"""What a busy pipe grows to, where the kernel allows more than its 64 KiB."""
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032
_libc = ctypes.CDLL(None, use_errno=True)


def make_pipe(uid: int) -> tuple[int, int, int]:
    """(read end, write end, the descriptor for the child). ``uid`` may open it again as /dev/stdout."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        both = os.open(f"/proc/self/fd/{write}", os.O_RDWR | os.O_CLOEXEC)
        if uid != os.geteuid():
            os.fchown(both, uid, -1)
    except OSError:
        os.close(read)
        os.close(write)
        raise
    return read, write, both


def find_pipe(pid: int, inode: int) -> tuple[int, int] | None:
    """New ends, read and write, of the pipe with this inode, if the process still has it as stdout or stderr."""
    for number in (1, 2):
        name = f"/proc/{pid}/fd/{number}"
        try:
            # Looked at before it is opened: opening a terminal or a named pipe is not free of consequences.
            if not _is_pipe(os.stat(name), inode):
                continue
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # gone, or not ours to look at
        if _is_pipe(os.fstat(fd), inode):
            with contextlib.suppress(OSError):  # no descriptor is left
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
                return fd, os.open(f"/proc/self/fd/{fd}", flags)
        os.close(fd)
    return None


def _is_pipe(info: os.stat_result, inode: int) -> bool:
    return stat.S_ISFIFO(info.st_mode) and info.st_ino == inode


class Pipe:
    """The read end of one instance's output. Once handed to the thread, only the thread changes it."""

    __slots__ = (
        "armed",
        "capacity",
        "closing",
        "ended",
        "fd",
        "inode",
        "keeper",
        "log",
        "may_grow",
        "waited",
    )

    def __init__(self, fd: int, keeper: int, log: LogFile, *, may_grow: bool) -> None:
        self.fd = fd
        self.keeper = keeper
        """A write end of our own, until the owner closes the pipe; -1 then."""
        self.log = log
        self.inode = os.fstat(fd).st_ino
        self.capacity = 0
        """Known once the thread has it."""
        self.may_grow = may_grow
        self.armed = False
        """epoll wakes the thread for it."""
        self.closing = False
        """The owner closed it; it ends when nobody holds the other side any more."""
        self.ended = False
        """Nobody holds the other side and nothing is left."""
        self.waited = False
        """The time for it came: the end of a line has been waited for long enough."""

    def measure(self) -> None:
        """Ask how much it holds."""
        self.capacity = fcntl.fcntl(self.fd, _F_GETPIPE_SZ)

    def holds_something(self) -> bool:
        """Whether bytes wait in it; for any thread.

        By poll, which takes no lock: FIONREAD would wait for a splice to a stuck disk. The kernel takes bytes out of the
        pipe only after they are in the file, so what is not here can be read there.
        """
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return any(events & select.POLLIN for _, events in poll.poll(0))

    def others_ended(self) -> bool:
        """Give up our own write end; whether nobody else has one. Ask this before what is left: who writes and ends in between counts."""
        if self.keeper >= 0:
            os.close(self.keeper)
            self.keeper = -1
        poll = select.poll()
        poll.register(self.fd, 0)
        return bool(poll.poll(0))

    def pending(self) -> int:
        """Bytes in the pipe."""
        return int.from_bytes(fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)), sys.byteorder)

    def grow(self) -> None:
        """A busy writer fills a small pipe before we come back: fewer, larger splices from now on."""
        self.may_grow = False  # once: if the kernel says no it will say so again
        try:
            self.capacity = max(self.capacity, fcntl.fcntl(self.fd, _F_SETPIPE_SZ, LARGE_PIPE))
        except OSError:
            return  # pipe-max-size is lower

    def release(self) -> None:
        """Close the read end; what is in the pipe stays there as long as somebody holds the other side."""
        os.close(self.fd)
        if self.keeper >= 0:
            os.close(self.keeper)
        self.fd = self.keeper = -1


class Scratch:
    """A pipe of our own that ``tee`` copies into, to look at bytes without taking them."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def peek(self, pipe: Pipe, count: int) -> bytes:
        """At most ``count`` bytes; empty at the end of the pipe. Raises BlockingIOError when there are none now."""
        if fcntl.fcntl(self._write, _F_GETPIPE_SZ) < pipe.capacity:
            try:
                fcntl.fcntl(self._write, _F_SETPIPE_SZ, pipe.capacity)
            except OSError:
                count = min(count, 1 << 16)  # then we see less far
        seen = _libc.tee(pipe.fd, self._write, ctypes.c_size_t(count), os.SPLICE_F_NONBLOCK)
        if seen < 0:
            raise OSError(ctypes.get_errno(), "cannot look into a pipe")
        parts: list[bytes] = []
        while seen > 0:
            parts.append(os.read(self._read, seen))
            seen -= len(parts[-1])
        return b"".join(parts)

    def close(self) -> None:
        """Give both ends back."""
        os.close(self._read)
        os.close(self._write)
