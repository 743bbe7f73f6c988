"""Reading captured output back: the last lines, or the lines from an offset on, across rotated files.

Pure but for ``pread``: the caller has opened the files (``open_segments``, under the lock of the writer) and closes
them, so a rotation in the middle of a read moves names, not bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from agentd.system.logfile import rotated

TAIL_LIMIT = 1 << 20
"""What ``tail`` reads at most: the agent's memory is bounded, whatever number of lines is asked for."""
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """An open file of captured output and the offset of its first byte."""

    fd: int
    start: int
    size: int


def open_segments(path: str, base: int) -> list[Segment]:
    """The files, newest first, opened for reading; the caller holds the lock and closes them."""
    found: list[Segment] = []
    start = base
    names = [path, *(name for name, _ in rotated(path))] if base else [path]
    for name in names:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        size = os.fstat(fd).st_size
        start = start if name == path else start - size
        found.append(Segment(fd, start, size))
    return found


def tail(files: list[Segment], lines: int) -> tuple[str, ...]:
    """The last lines, oldest first, of at most ``TAIL_LIMIT`` bytes; an unfinished last line counts as one."""
    blocks: list[bytes] = []
    ends = got = 0
    for file in files:
        end = file.size
        while end > 0 and ends <= lines and got < TAIL_LIMIT:
            begin = max(end - _BLOCK, 0)
            block = os.pread(file.fd, end - begin, begin)
            blocks.append(block)
            ends += block.count(b"\n")
            got += len(block)
            end = begin
    return _texts(b"".join(reversed(blocks)))[-lines:] if lines > 0 else ()


def since(files: list[Segment], offset: int, limit: int) -> tuple[tuple[str, ...], int]:
    """Whole lines from ``offset`` on and where they end. What was rotated away for good is skipped.

    A line longer than ``limit`` comes in pieces: better cut than never.
    """
    data, at = b"", offset
    for file in reversed(files):
        if at < file.start and not data:
            at = offset = file.start
        if file.start <= at < file.start + file.size and len(data) < limit:
            data += os.pread(file.fd, limit - len(data), at - file.start)
            at = offset + len(data)
    end = data.rfind(b"\n") + 1 or (limit if len(data) >= limit else 0)
    return _texts(data[:end]), offset + end


def ends_line(files: list[Segment], offset: int) -> bool:
    """Whether a line ends at or beyond ``offset``; reads until the first line end only."""
    for file in reversed(files):
        at = max(offset - file.start, 0)
        while at < file.size:
            block = os.pread(file.fd, _BLOCK, at)
            if b"\n" in block:
                return True
            if not block:
                break
            at += len(block)
    return False


def _texts(data: bytes) -> tuple[str, ...]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return tuple(line.decode("utf-8", "replace") for line in lines)
