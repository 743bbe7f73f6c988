"""How processes end: exit notice and status by pidfd, for children and for others, and the reaping of orphans.

It decides one thing: whose status it is. A pid that somebody *claimed* is reaped by its watcher alone; anything else
that falls to the agent as a subreaper is an orphan of some service and is reaped unseen. Children that other code starts
with ``subprocess`` stay untouched as long as they remain in the agent's own session, which services never do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from agentd.core.process import Exit
from agentd.ports import AdapterError
from agentd.system import proctable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_PR_SET_CHILD_SUBREAPER = 36
_PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 8
_ASK_AGAIN = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.7)
"""Pauses before asking again for the status of a non-child: its parent may be slow to reap it (seen: 1.8 s)."""
_AGAIN_S = 0.1
"""When orphans are looked for once more after a child ended."""


class _Watch(NamedTuple):
    pid: int
    ended: Callable[[Exit, float], None]


class Reaper:
    """Watches processes to their end on the event loop's thread, and is the parent of orphans."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Become a subreaper and block SIGCHLD, for the whole process: one of these, made before any thread starts.

        SIGCHLD comes through a signalfd. Python's own wakeup would write a byte for each of a thousand children that
        end together, and when its buffer is full the byte of a SIGTERM is lost; the kernel keeps one SIGCHLD pending.
        Raises AdapterError.
        """
        import ctypes  # noqa: PLC0415 - for these calls

        self._loop = loop
        self._watches: dict[int, _Watch] = {}
        self._claimed: set[int] = set()
        self._again: asyncio.TimerHandle | None = None
        self._session = os.getsid(0)
        self._retries: dict[int, asyncio.TimerHandle] = {}
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        mask = struct.pack("L", 1 << signal.SIGCHLD - 1).ljust(128, b"\0")
        self._signals = libc.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._signals < 0:
            errno = ctypes.get_errno()
            raise AdapterError(f"cannot watch for orphans: signalfd: {os.strerror(errno)}", errno)
        loop.add_reader(self._signals, self._child_ended)

    def watch(self, pid: int, pidfd: int, ended: Callable[[Exit, float], None]) -> None:
        """Call ``ended(exit, at)`` once, after the process was reaped. The pidfd is ours from now on."""
        self._claimed.add(pid)
        self._watches[pidfd] = _Watch(pid, ended)
        self._loop.add_reader(pidfd, self._readable, pidfd)

    def watches(self, pidfd: int) -> bool:
        """Whether the process was not reaped yet."""
        return pidfd in self._watches

    def claim(self, pid: int) -> None:
        """Leave this child to whoever starts to watch it later."""
        self._claimed.add(pid)

    def disclaim(self, pid: int) -> None:
        """It was reaped by its owner; orphans behind it may be seen now."""
        self._claimed.discard(pid)
        self.sweep()

    def strays(self) -> list[int]:
        """Living children of ours that nobody claimed: what services left behind, or what is just being born."""
        found = []
        for pid in proctable.children(os.getpid()):
            if pid not in self._claimed:
                s = proctable.stat(pid)
                if s is not None and s.alive and s.session != self._session:
                    found.append(pid)
        return found

    def sweep(self) -> None:
        """Reap orphans; a claimed zombie is left to its watcher, which sweeps again (``waitid`` shows only the first)."""
        while (pid := self._zombie(os.P_ALL, 0)) and pid not in self._claimed:
            if not self._reap_orphan(pid):
                # Somebody's own child in our session stands before the orphans, and may stand there for long.
                for child in proctable.children(os.getpid()):
                    if child not in self._claimed and self._zombie(os.P_PID, child):
                        self._reap_orphan(child)
                return

    def close(self) -> None:
        """Stop watching; nothing is ended by it."""
        self._loop.remove_reader(self._signals)
        os.close(self._signals)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for handle in (*self._retries.values(), *filter(None, (self._again,))):
            handle.cancel()
        self._retries.clear()
        for pidfd in list(self._watches):
            self._let_go(pidfd)

    def _child_ended(self) -> None:
        with contextlib.suppress(
            BlockingIOError
        ):  # who waits for a child may take the signal first
            os.read(self._signals, 1024)
        self.sweep()
        # The kernel's list of children may miss one while its sibling exits, and no other signal comes for it.
        if self._again is None:
            self._again = self._loop.call_later(_AGAIN_S, self._sweep_again)

    def _sweep_again(self) -> None:
        self._again = None
        self.sweep()

    def _zombie(self, kind: int, pid: int) -> int:
        """A child that waits to be reaped, still unreaped afterwards; 0 when there is none."""
        try:
            got = os.waitid(kind, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return 0
        return got.si_pid if got is not None else 0

    def _reap_orphan(self, pid: int) -> bool:
        s = proctable.stat(pid)
        if s is None or s.session == self._session:
            return False
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return False
        return True

    def _readable(self, pidfd: int) -> None:
        at = time.monotonic()
        self._loop.remove_reader(pidfd)  # it stays readable for ever
        try:
            status = _reap(pidfd)
        except ChildProcessError:
            self._ask(pidfd, at, 0)  # not our child
            return
        if status is None:  # cannot be: readable means that the whole thread group ended
            self._loop.add_reader(pidfd, self._readable, pidfd)
        else:
            self._report(pidfd, status, at)

    def _ask(self, pidfd: int, at: float, attempt: int) -> None:
        """The status of a process that another reaps can be asked for from then on (Linux 6.15), which is POLLHUP.

        When that other one ends without doing so it falls to us, and nobody else reaps what is claimed.
        """
        self._retries.pop(pidfd, None)
        reaped = _reaped(pidfd)  # before asking: a reap in between must not look like "unknown"
        try:
            status = _reap(pidfd)
        except ChildProcessError:
            status = exit_info(pidfd)
        if status is not None:
            self._report(pidfd, status, at)
        elif attempt < len(_ASK_AGAIN) and not reaped:
            pause = _ASK_AGAIN[attempt]
            self._retries[pidfd] = self._loop.call_later(pause, self._ask, pidfd, at, attempt + 1)
        else:
            self._report(pidfd, Exit(), at)

    def _report(self, pidfd: int, exit: Exit, at: float) -> None:  # noqa: A002 - the port's word
        watch = self._watches[pidfd]
        self._let_go(pidfd)
        self.sweep()
        watch.ended(exit, at)

    def _let_go(self, pidfd: int) -> None:
        watch = self._watches.pop(pidfd)
        self._claimed.discard(watch.pid)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)


def _reap(pidfd: int) -> Exit | None:
    """How a child ended, reaped with that; None: it lives. Raises ChildProcessError: it is no child of ours."""
    got = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if got is None:
        return None
    if got.si_code == os.CLD_EXITED:
        return Exit(code=got.si_status)
    return Exit(signal=signal_name(got.si_status))


def signal_name(number: int) -> str:
    """Without SIG; real-time signals by number."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"RT{number}"


def exit_info(pidfd: int) -> Exit | None:
    """How a process that is no child of ours ended; None: not reaped yet, ask again; unknown: the kernel cannot say."""
    info = bytearray(64)
    struct.pack_into("Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:  # ENOTTY, EINVAL before Linux 6.13; ESRCH of a reaped process before 6.15
        return Exit()
    if not struct.unpack_from("Q", info)[0] & _PIDFD_INFO_EXIT:
        return None
    code = os.waitstatus_to_exitcode(struct.unpack_from("i", info, 60)[0])
    return Exit(code=code) if code >= 0 else Exit(signal=signal_name(-code))


def _reaped(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))
