"""What the kernel tells of any process in /proc, read only: stat, children, command lines, cost.

A process that vanishes while it is read is an answer (None, nothing), never an error. Whether a signal is safe is read in
``signals``; what the numbers mean for a service is decided in the core.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from agentd.core.process import Identity
from agentd.core.steps import Worker
from agentd.ports import Disposition, Usage
from agentd.system import signals

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that matter here (proc_pid_stat(5))."""

    state: bytes
    ppid: int
    pgrp: int
    session: int
    cpu: int
    """User and system time in clock ticks."""
    started: int
    """Clock ticks since boot: with the pid, what tells a process from its pid's next holder."""
    rss: int
    """Pages."""

    @property
    def alive(self) -> bool:
        """A zombie is not: it only waits to be reaped."""
        return self.state not in (b"Z", b"X")


def read(path: str, limit: int = 1 << 16) -> bytes:
    """The start of a file of /proc, empty when it is gone or not for us to see."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, limit)
    except OSError:  # ESRCH: it went between open and read; EACCES
        return b""
    finally:
        os.close(fd)


def stat(pid: int) -> Stat | None:
    """None when there is no such process. Split after the last ``)``: a command's name may hold any byte."""
    data = read(f"/proc/{pid}/stat", 1024)
    if not data:
        return None
    f = data[data.rindex(b")") + 2 :].split(None, 23)
    cpu = int(f[11]) + int(f[12])
    return Stat(f[0], int(f[1]), int(f[2]), int(f[3]), cpu, int(f[19]), int(f[21]))


def pids() -> list[int]:
    """Every process of this pid namespace."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - hot


def children(pid: int) -> list[int]:
    """The children of all threads of a process, zombies too.

    From ``task/*/children``, which may miss one while a sibling exits (proc_tid_children(5)); where the kernel was built
    without CONFIG_PROC_CHILDREN, from the parents of all processes.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - hot
    except OSError:
        return []
    found: list[int] = []
    for tid in threads:
        try:
            with open(f"/proc/{pid}/task/{tid}/children", "rb") as file:  # noqa: PTH123 - hot
                found += map(int, file.read().split())
        except FileNotFoundError:
            if not os.path.exists("/proc/thread-self/children"):  # noqa: PTH110 - hot
                return [p for p in pids() if (s := stat(p)) is not None and s.ppid == pid]
        except ProcessLookupError:
            continue
    return found


def descendants(roots: list[int]) -> list[int]:
    """These processes and everything below them."""
    found: list[int] = []
    seen: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in seen:
            seen.add(pid)
            found.append(pid)
            todo += children(pid)
    return found


def environ(pid: int, name: bytes) -> bytes | None:
    """A variable of the environment a process was started with; None when unset, unreadable or overwritten."""
    start = name + b"="
    for entry in read(f"/proc/{pid}/environ", 1 << 21).split(b"\0"):
        if entry.startswith(start):
            return entry[len(start) :]
    return None


def environment(pid: int) -> dict[bytes, bytes]:
    """The environment a process was started with; empty when unreadable or overwritten. Of two of a name the first counts."""
    found: dict[bytes, bytes] = {}
    for entry in read(f"/proc/{pid}/environ", 1 << 21).split(b"\0"):
        name, is_one, value = entry.partition(b"=")
        if is_one:
            found.setdefault(name, value)
    return found


def real_uid(pid: int) -> int | None:
    """The user that it was started as, whatever a set-user-ID program made of it; None: it is gone."""
    for line in read(f"/proc/{pid}/status", 4096).splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[1])
    return None


def is_there(identity: Identity) -> bool:
    """Whether this very process lives."""
    s = stat(identity.pid)
    return s is not None and s.alive and s.started == identity.started


class OsProcessTable:
    """``ProcessTable`` on /proc."""

    def workers(self, pid: int) -> tuple[Worker, ...]:
        """The living children of a process, youngest last; empty when it is gone."""
        found = []
        for child in children(pid):
            s = stat(child)
            if s is not None and s.alive and s.ppid == pid:
                title = read(f"/proc/{child}/cmdline", 4096).replace(b"\0", b" ").strip()
                found.append(Worker(child, s.started, title.decode(errors="replace")))
        return tuple(sorted(found, key=lambda w: (w.started, w.pid)))

    def ticks(self) -> int:
        """Now, in clock ticks since boot."""
        return int(time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICK // 1_000_000_000)

    async def disposition(self, pid: int, signal: str) -> Disposition:
        """Whether the process will handle the signal; looks twice before it says no."""
        return await signals.disposition(pid, signal)

    def usage(self, pid: int) -> Usage | None:
        """CPU seconds and resident bytes of this one process; None when it is gone or a zombie."""
        data = read(f"/proc/{pid}/stat", 1024)  # asked for often: no more is parsed than is needed
        if not data:
            return None
        f = data[data.rindex(b")") + 2 :].split(None, 22)
        if f[0] in (b"Z", b"X"):
            return None
        return Usage((int(f[11]) + int(f[12])) / _TICK, int(f[21]) * _PAGE)
