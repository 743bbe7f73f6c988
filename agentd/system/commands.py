"""Short commands beside the services: checks, exec probes. Started like a service, with its user and limits.

It decides when a command is over: when its main process ended, or at the deadline, when its whole process group is
killed (a check holds nothing that a TERM could save). What a command leaves running in the background is not waited for,
and its output afterwards is not kept. What the exit code means is the caller's business, and so is what was found in the output.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from typing import TYPE_CHECKING

from agentd.ports import CommandOrder, CommandResult, SpawnError
from agentd.system.launcher import Child, Launcher, Plan
from agentd.system.signals import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.core.process import Exit

KEEP = 64 * 1024
FINDS = 20_000
"""More is not looked for: whoever asked has long enough."""
_LONGEST = 64 * 1024
"""Of a line in which something is looked for; what is longer holds nothing."""
_READ = 64 * 1024
_DRAIN = 1 << 20
"""At most this much is read after the end: a process left behind may write for ever. More than a pipe holds by default."""


class _Tail:
    """The end of what comes out of a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self.cut = False
        os.set_blocking(fd, False)

    def read(self) -> int:
        """Take what one read gives; how much, 0 at the end, -1 when there is nothing now."""
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return -1
        self._chunks.append(data)
        self._size += len(data)
        while self._size - len(self._chunks[0]) >= KEEP:
            self._size -= len(self._chunks.popleft())
            self.cut = True
        return len(data)

    def drain(self) -> None:
        """What was written before the main process ended is in the pipe already; nothing later is waited for."""
        left = _DRAIN
        while left > 0 and (count := self.read()) > 0:
            left -= count

    def found(self) -> tuple[tuple[str, ...], ...]:
        """Nothing is looked for."""
        return ()

    def lines(self) -> tuple[str, ...]:
        """The last ones, at most KEEP bytes; a first one that lost its beginning is left out."""
        data = b"".join(self._chunks)
        cut = self.cut or len(data) > KEEP
        data = data[-KEEP:]
        if cut and b"\n" in data[:-1]:
            data = data[data.index(b"\n") + 1 :]
        return tuple(data.decode(errors="replace").splitlines())


class _Finder(_Tail):
    """The same, and what is found in its lines on the way, however much of them there is."""

    def __init__(self, fd: int, patterns: Sequence[str]) -> None:
        super().__init__(fd)
        self._found: list[tuple[re.Pattern[str], list[str]]] = [
            (re.compile(pattern), []) for pattern in patterns
        ]
        self._rest = b""

    def read(self) -> int:
        count = super().read()
        if count > 0:
            *lines, self._rest = (self._rest + self._chunks[-1]).split(b"\n")
            self._look(lines)
            self._rest = self._rest[: _LONGEST + 1]
        return count

    def found(self) -> tuple[tuple[str, ...], ...]:
        self._look([self._rest])
        self._rest = b""
        return tuple(tuple(found) for _, found in self._found)

    def _look(self, lines: list[bytes]) -> None:
        for line in lines:
            if len(line) > _LONGEST:
                continue
            text = os.fsdecode(line)
            for pattern, found in self._found:
                seen = pattern.search(text) if len(found) < FINDS else None
                if seen is not None and seen[1]:
                    found.append(seen[1])


class OsCommands:
    """``Commands`` on Linux. Commands run beside each other without limit; that is the caller's to bound."""

    def __init__(self, loop: asyncio.AbstractEventLoop, launcher: Launcher) -> None:
        """``launcher``: the one of ``OsProcesses``; who closes that, ends what still runs here first."""
        self._loop = loop
        self._launcher = launcher

    async def run(self, order: CommandOrder) -> CommandResult:
        """See ``Commands.run``."""
        try:
            read, write = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            return CommandResult(
                None,
                timed_out=False,
                error=f"cannot run {order.argv[0]}: {error.strerror}",
                output=(),
            )
        tail = _Finder(read, order.find) if order.find else _Tail(read)
        plan = Plan(order.argv[0], order.argv, order.process, order.env, write)
        try:
            async with asyncio.timeout(order.timeout):
                try:
                    child = await self._launcher.launch(plan, _at_once)
                finally:
                    os.close(write)
                exit_ = await self._end_of(child, tail, read)
        except SpawnError as error:
            return CommandResult(None, timed_out=False, error=error.what, output=())
        except TimeoutError:
            tail.drain()
            return CommandResult(None, timed_out=True, error=None, output=tail.lines())
        finally:
            os.close(read)
        code = exit_.code if exit_.signal is None else 128 + _number(exit_.signal)
        return CommandResult(
            code, timed_out=False, error=None, output=tail.lines(), found=tail.found()
        )

    async def _end_of(self, child: Child, tail: _Tail, fd: int) -> Exit:
        """Read along until the main process is reaped. Cancelled (and so at the deadline): its group is killed first."""
        ended: asyncio.Future[Exit] = self._loop.create_future()

        def reaped(exit_: Exit, _at: float) -> None:
            if not ended.done():
                ended.set_result(exit_)

        def readable() -> None:
            if tail.read() == 0:
                self._loop.remove_reader(fd)  # closed by all; the process may go on

        self._launcher.reaper.watch(child.pid, child.pidfd, reaped)
        self._loop.add_reader(fd, readable)
        try:
            exit_ = await ended
        finally:
            self._loop.remove_reader(fd)
            if ended.cancelled():
                self._launcher.kill_group(child)
        tail.drain()
        return exit_


async def _at_once(_child: Child) -> None:
    """A command needs no record before it runs: it ends with the agent or soon after, and holds nothing."""


def _number(name: str) -> int:
    return int(name[2:]) if name.startswith("RT") and name[2:].isdecimal() else number(name)
