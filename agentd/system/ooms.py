"""Whose memory ran out: which processes of a group the kernel ended for it, as ``memory.events`` counts them.

It decides which of those ends bear on the end of the main process: the recent ones. A worker that was ended yesterday says nothing about
a KILL of today. Where the group has no memory controller there is no such file, nothing is known, and nothing is guessed.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

RECENT = 10.0
"""Seconds before the end: a large process takes a while to give its memory back, and a parent to follow its child."""


class Ooms:
    """Counts for one group, from now on. The kernel tells of each change; nothing is asked meanwhile."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        group: Path,
        file: str = "memory.events",
        counter: str = "oom_kill",
    ) -> None:
        """``group``: its directory. Of its own groups the kernel counts in it, too."""
        self._loop = loop
        self._counter = counter.encode()
        self._rises: list[tuple[float, int]] = []
        self._file = self._poll = None
        with contextlib.suppress(OSError):
            self._file = os.open(group / file, os.O_RDONLY | os.O_CLOEXEC)
        self._known = self._read()
        if self._file is None:
            return
        # It raises POLLPRI on change, and is always readable as well, hence an epoll of its own around it.
        self._poll = select.epoll()
        try:
            self._poll.register(self._file, select.EPOLLPRI)
        except OSError:  # an ordinary file: then it is only read at the end
            self._poll.close()
            self._poll = None
        else:
            loop.add_reader(self._poll.fileno(), self._look)

    def recent(self) -> int:
        """How many were ended lately. The kernel counts before it ends: what is told of its end is counted already."""
        self._look()
        since = self._loop.time() - RECENT
        return sum(count for at, count in self._rises if at >= since)

    def close(self) -> None:
        """Nobody asks any more."""
        if self._poll is not None:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
        if self._file is not None:
            os.close(self._file)
        self._file = self._poll = None

    def _look(self) -> None:
        now = self._read()
        if now > self._known:
            self._rises = [*self._rises[-9:], (self._loop.time(), now - self._known)]
        self._known = now

    def _read(self) -> int:
        if self._file is None:
            return 0
        with contextlib.suppress(OSError):  # ENODEV: the group is gone
            for line in os.pread(self._file, 4096, 0).splitlines():
                name, _, count = line.partition(b" ")
                if name == self._counter:
                    return int(count)
        return 0
