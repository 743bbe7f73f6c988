# ruff: noqa: PTH104, PTH108, PTH123 (the names are strings for the kernel; nothing here is path arithmetic)
"""The files that captured output lands in: ``web.log``, rotated to ``web.log.1`` … ``.keep``, counted over rotations.

Decides the order of a rotation, so that a kill between any two steps loses and repeats nothing, and how a position in
all the output ever captured (the *offset*) maps to a byte of a file. Does not decide where a chunk ends (``cut`` is
pure, the thread in ``splice`` calls it) and never writes a service's bytes itself: the kernel moves them.

Offsets survive the agent: ``web.log.base`` holds ``<inode> <base>``, the bytes rotated away before the file with that
inode. A rotation renames first and writes the base last, so after a kill in between the inode of ``.1`` is the one in
the base file, and base + size of ``.1`` is the truth. The base file is one fixed-length line written in place: it needs
no free block on a full disk, because no file is rotated for the first time before it is there. A log that was never
rotated has none.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentd.system.pipe import Pipe

OVERLONG = 1 << 20
"""How far a line without an end may push a file beyond its size before it is cut in two."""
_FLAGS = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Cut:
    """How many of the peeked bytes go to the current file, and whether the next file begins after them."""

    take: int
    rotate: bool


def cut(peeked: bytes, *, room: int, current: int, midline: bool) -> Cut:
    """Where the current file ends: at a line end.

    ``room`` is what it may still take (negative: it is too long), ``current`` what it holds, ``midline`` that it does
    not end at a line end. A file is longer than its size only by its last line; only a line that makes it ``OVERLONG``
    too long is torn.
    """
    if len(peeked) <= room:
        return Cut(len(peeked), rotate=False)
    if room > 0 and (end := peeked.rfind(b"\n", 0, room)) >= 0:
        return Cut(end + 1, rotate=True)
    if current and not midline:
        return Cut(0, rotate=True)  # the line that does not fit begins the next file
    if (end := peeked.find(b"\n", max(room, 0))) >= 0:
        return Cut(end + 1, rotate=True)
    return Cut(len(peeked), rotate=len(peeked) - room >= OVERLONG)


def open_log(path: str) -> int:
    """Open for appending by position (splice refuses O_APPEND). Raises OSError, also for what is no plain file."""
    fd = os.open(path, os.O_RDWR | _FLAGS, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(22, "not a plain file", path)
    return fd


def recover(path: str) -> int:
    """Bytes rotated away before the current file, also after a kill in the middle of a rotation."""
    try:
        with open(f"{path}.base", "rb") as file:
            inode, base = (int(word) for word in file.read(64).split())
    except (OSError, ValueError):
        return sum(info.st_size for _, info in rotated(path))
    if (current := _stat(path)) is not None and current.st_ino == inode:
        return base
    if (first := _stat(f"{path}.1")) is not None and first.st_ino == inode:
        return base + first.st_size
    return base


class LogFile:
    """One service's current file. Written by the output thread; ``total`` may be read by any thread.

    ``lock`` is held while names and base change and while a reader opens the files by name: metadata only, so neither
    side waits for data to reach a disk.
    """

    __slots__ = (
        "_spare",
        "base",
        "current",
        "fd",
        "keep",
        "lock",
        "owner",
        "path",
        "pipes",
        "readers",
        "size",
        "total",
    )

    def __init__(self, path: str, size: int, keep: int, *, fresh: bool = False) -> None:
        """``fresh``: nothing is there yet, which saves the looks."""
        self.path = path
        self.size = size
        self.keep = keep
        self.fd = -1
        self.base = 0 if fresh else recover(path)
        self.current = 0 if fresh else _size(path)
        self.total = self.base + self.current
        self.lock = threading.Lock()
        self.readers: tuple[Pipe, ...] = ()
        """The pipes that lead here, as the loop's thread knows them."""
        self.pipes: tuple[Pipe, ...] = ()
        """The same as the output thread knows them: it hears of each a little later."""
        self.owner: Pipe | None = None
        """The pipe that wrote last: a half line at the end is this one's to finish."""
        self._spare = 0
        """How much longer than ``size`` this file may become because the next one could not be made."""

    def open(self) -> None:
        """Open the current file if it is not, on either thread; raises OSError."""
        with self.lock:
            if self.fd >= 0:
                return
            fd = open_log(self.path)
            if self.base:
                self.base = recover(self.path)
            self.fd, self.current = fd, os.fstat(fd).st_size
            self.total = self.base + self.current
            if self.base:  # else there is nothing but this file
                self._write_base()
                self._prune()

    def close(self) -> None:
        """No pipe of the service is left: give the descriptor back."""
        with self.lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def ends_midline(self) -> bool:
        """``midline`` for any thread: what the file says, when there is one open."""
        with self.lock:
            size = os.fstat(self.fd).st_size if self.fd >= 0 else 0
            return size > 0 and os.pread(self.fd, 1, size - 1) != b"\n"

    @property
    def room(self) -> int:
        """Bytes until the next rotation; negative when the last line made the file longer."""
        return self.size + self._spare - self.current

    def grew(self, count: int) -> None:
        """The kernel appended ``count`` bytes."""
        self.current += count
        self.total += count

    def midline(self) -> bool:
        """Whether the current file ends within a line."""
        return self.current > 0 and os.pread(self.fd, 1, self.current - 1) != b"\n"

    def end_line(self) -> None:
        """End a line that its writer never will, so that the next writer's first line stands alone."""
        self.grew(os.pwrite(self.fd, b"\n", self.current))

    def rotate(self) -> None:
        """Begin the next file; when that cannot be done, go on with this one and try again later."""
        try:
            self._rotate()
            self._spare = 0
        except OSError:
            self._spare += OVERLONG

    def _rotate(self) -> None:
        """New before old: what fails has changed nothing that is read or written."""
        self._put_base()
        fresh = f"{self.path}.new"
        fd = os.open(fresh, os.O_RDWR | os.O_TRUNC | _FLAGS, 0o600)
        with self.lock:
            gap = next(
                (n for n in range(1, self.keep) if _stat(f"{self.path}.{n}") is None), self.keep
            )
            try:
                # A kill in this loop leaves a hole in the numbers; the next rotation moves only what is below it.
                for n in range(gap, 1, -1):
                    os.rename(f"{self.path}.{n - 1}", f"{self.path}.{n}")
                _rename_if_there(self.path, f"{self.path}.1")
                os.rename(fresh, self.path)
            except OSError:
                os.close(fd)
                raise
            os.close(self.fd)
            self.fd, self.base, self.current = fd, self.total, 0
            self._write_base()
            self._prune()

    def go_on_at_end(self) -> None:
        """Somebody truncated the file (``> web.log``): go on at its end instead of leaving a hole."""
        if (now := os.fstat(self.fd).st_size) < self.current:
            with self.lock:
                self.base, self.current = self.total - now, now
                self._write_base()

    def _write_base(self) -> None:
        try:
            self._put_base()
        except OSError:
            return  # stale: the inode in it is that of ``.1`` now, which is what ``recover`` looks for

    def _put_base(self) -> None:
        line = b"%020d %020d\n" % (os.fstat(self.fd).st_ino, self.base)
        fd = os.open(f"{self.path}.base", os.O_WRONLY | _FLAGS, 0o600)
        try:
            os.pwrite(fd, line, 0)
        finally:
            os.close(fd)

    def _prune(self) -> None:
        n = self.keep + 1
        while _unlink_if_there(f"{self.path}.{n}"):
            n += 1


def rotated(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """The earlier files: ``.1``, ``.2``, … newest first. One number may be missing: the agent was killed while it moved them up."""
    n = missing = 0
    while missing < 2:  # noqa: PLR2004 (one hole, then the end)
        n += 1
        if (info := _stat(f"{path}.{n}")) is None:
            missing += 1
        else:
            yield f"{path}.{n}", info


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _size(path: str) -> int:
    info = _stat(path)
    return info.st_size if info else 0


def _rename_if_there(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        return  # somebody else moved it away


def _unlink_if_there(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
