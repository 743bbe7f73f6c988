"""Captured output: a pipe for each instance, one file (and its predecessors) for each service.

Decides how the two ports meet the output thread: what is handed over, what is waited for, and how long. Where lines
end, when files rotate and how bytes travel is decided in ``splice`` and ``logfile``; reading happens here, on the
caller's thread, straight from the files.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
from typing import TYPE_CHECKING

from agentd.core.spec import LogSpec, Spec
from agentd.ports import AdapterError, Key, Logs, Output
from agentd.system import logread
from agentd.system.logfile import LogFile
from agentd.system.pipe import Pipe, find_pipe, make_pipe
from agentd.system.splice import Splicer

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from agentd.system.logread import Segment

PATIENCE = 0.25
"""Seconds the loop waits for the output thread at most: a stuck disk must not stall supervision."""
_HAND_OVER = 0.05
"""Seconds after which the thread is told of pipes that began or ended in silence: once for many of them."""


class SplicedOutput(Output, Logs):
    """Both ports over ``directory``: ``<service>.log`` (0600), ``.log.1`` … and ``.log.base``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        self._loop = loop
        self._directory = directory
        self._thread = Splicer(self._on_growth)
        self._ringing: asyncio.TimerHandle | None = None
        self._files: dict[str, LogFile] = {}
        self._pipes: dict[Key, Pipe] = {}
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._wanted: frozenset[str] = frozenset()
        """Paths whose growth somebody waits for; replaced whole, so the thread may read it at any time."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._former = {path.name.rpartition(".log")[0] for path in directory.iterdir()}
            """Services of which there is something to remember; each is looked at once."""
        except OSError as error:
            raise AdapterError(
                f"cannot keep output in {directory}: {error.strerror}", error.errno or 0
            ) from error

    # --- Output -------------------------------------------------------------------------------------------------

    def open(self, key: Key, spec: Spec) -> int:
        """A new pipe. Raises AdapterError when what is there cannot be appended to or no descriptor is left.

        Where nothing is there yet, the first byte makes the file: most of what a start costs here is making one.
        """
        log = self._log(key.service, spec)
        try:
            if os.path.lexists(log.path):
                log.open()
            read, keeper, child = make_pipe(_uid(spec))
            pipe = Pipe(read, keeper, log, may_grow=_privileged())
            try:
                self._add(key, pipe, adopted=False)
            except OSError:
                os.close(child)
                self.close(key)
                raise
        except OSError as error:
            what = f"cannot capture the output of {key.service} in {log.path}: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error
        return child

    def adopt(self, key: Key, spec: Spec, pid: int, inode: int) -> bool:
        """Take over an earlier agent's pipe. Older generations first: a half line in the file is theirs."""
        if (ends := find_pipe(pid, inode)) is None:
            return False
        log = self._log(key.service, spec)
        with contextlib.suppress(OSError):  # then what comes stays in the pipe until it can
            log.open()
        try:
            self._add(key, Pipe(*ends, log, may_grow=_privileged()), adopted=True)
        except OSError:
            self.close(key)
            return False
        return True

    def close(self, key: Key) -> None:
        """What is left is in the file when this returns, unless the disk is full or stuck: then it follows later."""
        if (pipe := self._pipes.pop(key, None)) is None:
            return
        log = pipe.log
        log.readers = tuple(other for other in log.readers if other is not pipe)
        command = functools.partial(self._thread.close, pipe)
        if pipe.holds_something() or log.ends_midline():
            self._thread.ask(command, PATIENCE)
        else:
            self._thread.post(command)
            self._ring_soon()

    def inode(self, key: Key) -> int:
        """The pipe's inode; 0 when there is none."""
        return self._pipes[key].inode if key in self._pipes else 0

    # --- Logs ---------------------------------------------------------------------------------------------------

    def offset(self, service: str) -> int:
        """What came before now is at smaller offsets, what comes after at this one or larger ones.

        When the thread is held up by its disk the answer may be too large by what moves meanwhile, never too small:
        a line of before must not pass for one of after.
        """
        log = self._log(service)
        pipes = log.readers
        exact: list[int] = []

        def count() -> None:
            self._thread.drain(log)
            exact.append(log.total + self._thread.pending(log))

        if pipes and self._thread.ask(count, PATIENCE):
            return exact[0]
        waiting = sum(
            pipe.pending() for pipe in pipes
        )  # before the total: counted twice, not missed
        return log.total + waiting

    def tail(self, service: str, lines: int) -> tuple[str, ...]:
        """The last lines, of at most the last MiB; what the service wrote before this call is among them."""
        log = self._log(service)
        if any(pipe.holds_something() for pipe in log.readers):
            self._thread.ask(lambda: self._thread.drain(log), PATIENCE)
        files = self._segments(log)
        try:
            return logread.tail(files, lines)
        finally:
            _close(files)

    def since(self, service: str, offset: int, limit: int) -> tuple[tuple[str, ...], int]:
        """Only what is in the files; a line without an end waits for it, one longer than ``limit`` comes in pieces."""
        files = self._segments(self._log(service))
        try:
            return logread.since(files, offset, limit)
        finally:
            _close(files)

    async def grown(self, service: str, offset: int) -> None:
        """Returns when a line that ends beyond ``offset`` is captured.

        Half a line does not count: ``since`` gives whole lines, and who follows with both must not spin between them.
        """
        log = self._log(service)
        while True:
            seen = log.total
            future: asyncio.Future[None] = self._loop.create_future()
            waiting = self._waiting.setdefault(log.path, [])
            waiting.append((seen, future))
            self._wanted |= {log.path}
            try:
                if seen > offset and self._line_ends(log, offset):
                    return
                if log.total == seen:  # else it grew before the thread could know that we wait
                    await future
            finally:
                waiting[:] = [entry for entry in waiting if entry[1] is not future]
                if not waiting:
                    self._waiting.pop(log.path, None)
                    self._wanted -= {log.path}

    # --- beside the ports ---------------------------------------------------------------------------------------

    @property
    def stalled(self) -> tuple[str, ...]:
        """The files that cannot be written just now; their services block once their pipes are full."""
        return tuple(sorted(self._thread.stalled))

    def stop(self) -> None:
        """The agent ends: take what is there now, let go of the pipes. The services write on into them."""
        if self._ringing is not None:
            self._ringing.cancel()
        self._thread.stop(PATIENCE)
        self._pipes.clear()

    def _add(self, key: Key, pipe: Pipe, *, adopted: bool) -> None:
        self._pipes[key] = pipe
        pipe.log.readers = (*pipe.log.readers, pipe)
        self._thread.post(functools.partial(self._thread.add, pipe, adopted=adopted))
        self._ring_soon()
        self._thread.listen(pipe)

    def _ring_soon(self) -> None:
        if self._ringing is None:
            self._ringing = self._loop.call_later(_HAND_OVER, self._ring)

    def _ring(self) -> None:
        self._ringing = None
        self._thread.ring()

    def _log(self, service: str, spec: Spec | None = None) -> LogFile:
        """The service's file; without a spec it is only read."""
        if (log := self._files.get(service)) is None:
            limits = spec.logs if spec else LogSpec()
            fresh = service not in self._former
            path = f"{self._directory}/{service}.log"
            log = self._files[service] = LogFile(path, limits.size, limits.keep, fresh=fresh)
            self._former.discard(service)
        elif spec:
            log.size, log.keep = spec.logs.size, spec.logs.keep
        return log

    def _segments(self, log: LogFile) -> list[Segment]:
        with log.lock:
            return logread.open_segments(log.path, log.base)

    def _line_ends(self, log: LogFile, offset: int) -> bool:
        files = self._segments(log)
        try:
            return logread.ends_line(files, offset)
        finally:
            _close(files)

    def _on_growth(self, log: LogFile) -> None:
        """On the output thread."""
        if log.path in self._wanted:
            self._loop.call_soon_threadsafe(self._wake, log)

    def _wake(self, log: LogFile) -> None:
        for seen, future in self._waiting.get(log.path, ()):
            if log.total > seen and not future.done():
                future.set_result(None)


def _close(files: list[Segment]) -> None:
    for file in files:
        os.close(file.fd)


def _privileged() -> bool:
    """An ordinary user's pipes share one small budget (pipe-user-pages-soft): growing one would shrink the next."""
    return os.geteuid() == 0


def _uid(spec: Spec) -> int:
    """Whose the pipe is, so that the service may open /dev/stdout; an unknown user is the spawner's to report."""
    user = spec.process.user
    if user is None or os.geteuid() != 0:
        return os.geteuid()
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return os.geteuid()
