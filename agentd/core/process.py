"""The identity of a process and how one ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a process from every other one that has, had or will have its pid."""

    pid: int
    started: int
    """Field 22 of /proc/PID/stat, clock ticks since boot."""
    boot: str
    """/proc/sys/kernel/random/boot_id."""
    cookie: str
    """AGENTD_INSTANCE in its environment."""
    output: int = 0
    """Inode of the pipe that takes its output; 0 when there is none."""
    session: int = 0
    """The session it is in; 0: its own, as that of every process that an agent starts."""

    def same(self, other: Identity) -> bool:
        """Whether both are of one process, whoever looked."""
        return (self.pid, self.started, self.boot) == (other.pid, other.started, other.boot)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: an exit code, or the signal that ended it, or neither when nobody can know."""

    code: int | None = None
    signal: str | None = None
    killed: int = 0
    """So many processes of its group the kernel had ended shortly before because memory ran out; 0: none, or nobody counts them."""

    @property
    def oom(self) -> bool:
        """Whether it was one of those: the kernel sends KILL, and has counted it."""
        return self.signal == "KILL" and self.killed > 0

    @property
    def clean(self) -> bool:
        """Exit code 0. An unknown end is not clean: restarting once too often harms less than not at all."""
        return self.code == 0

    def __str__(self) -> str:
        if self.oom:
            return "SIGKILL by the kernel, out of memory"
        end = "unknown exit status" if self.code is None else f"exit code {self.code}"
        if self.signal is not None:
            end = f"SIG{self.signal}"
        if not self.killed:
            return end
        what = "a process" if self.killed == 1 else f"{self.killed} processes"
        return f"{end}; the kernel had ended {what} of it, out of memory"
