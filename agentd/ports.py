"""The seams between the runtime and the machine: narrow Protocols, values in and out.

Each has a real adapter in ``agentd.system`` or ``agentd.store`` and a fake in ``tests/sim``; one ``check_<port>`` in
``tests/contract`` passes on both. Moments (``at``, ``mono``) are seconds of CLOCK_MONOTONIC as floats. An adapter
raises ``AdapterError`` (or the subclass named) and nothing else; expected endings are return values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from agentd.core.facts import Record
from agentd.core.manifest import Manifest, Missing
from agentd.core.memory import Memory
from agentd.core.process import Exit, Identity
from agentd.core.spec import Probe, ProcessSpec, Spec
from agentd.core.steps import Worker


class AdapterError(Exception):
    """The machine could not do it. ``what`` is a sentence for an operator; ``errno`` is kept when there was one."""

    def __init__(self, what: str, errno: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.errno = errno


class SpawnError(AdapterError):
    """The service's process could not be started; ``step`` is what failed: exec, chdir, setuid, and so on."""

    def __init__(self, what: str, errno: int, step: str) -> None:
        super().__init__(what, errno)
        self.step = step


@dataclass(frozen=True, slots=True)
class Key:
    """One instance: a service and a generation of it."""

    service: str
    generation: int


@dataclass(frozen=True, slots=True)
class SpawnOrder:
    """Everything one spawn needs, with no reference to the rest of the agent."""

    key: Key
    process: ProcessSpec
    cookie: str
    """Put into the environment as AGENTD_INSTANCE: how a later agent tells this process from a stranger."""
    env: tuple[tuple[str, str], ...]
    """The whole environment in order; the adapter adds AGENTD_INSTANCE."""
    output: int
    """Descriptor that becomes stdout and stderr."""


Permit = Callable[[Identity], Awaitable[None]]
"""Awaited between the birth of the process and its exec: when it returns the process may run, when it raises it ends unexecuted."""


class ProcessListener(Protocol):
    """What the processes adapter reports, on the event loop's thread, each at most once per instance."""

    def exited(self, key: Key, end: Exit, *, empty: bool, at: float) -> None:
        """The main process ended and was reaped; ``empty``: nothing else of its group is alive."""

    def emptied(self, key: Key, at: float) -> None:
        """Only after ``exited(empty=False)``: the last process of the group is gone."""


class Processes(Protocol):
    """Processes that are ours."""

    async def spawn(self, order: SpawnOrder, permit: Permit) -> Identity:
        """Start it in its own session (and cgroup leaf where delegated); returns once exec succeeded. Raises SpawnError."""

    def adopt(self, key: Key, identity: Identity) -> bool:
        """Take over a process an earlier agent started; False when it is gone or a stranger has its pid."""

    def signal(self, key: Key, signal: str, *, group: bool) -> float:
        """Send to the main process or the whole group; the moment just before sending. Raises AdapterError (ESRCH: already gone)."""

    async def close(self) -> None:
        """Let go of everything; the processes live on."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance costs: CPU seconds since its start, resident bytes."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Disposition:
    """What a signal would do to a process: ``safe`` or the reason why it must not be sent."""

    safe: bool
    why: str


class ProcessTable(Protocol):
    """What the kernel tells of any process, read only."""

    def workers(self, pid: int) -> tuple[Worker, ...]:
        """The children of a process, youngest last; empty when it is gone."""

    def ticks(self) -> int:
        """Now, in clock ticks since boot: the unit of ``Worker.started``."""

    async def disposition(self, pid: int, signal: str) -> Disposition:
        """Whether the process will handle the signal; looks twice before it says no."""

    def usage(self, pid: int) -> Usage | None:
        """None when the process is gone."""


@dataclass(frozen=True, slots=True)
class CommandOrder:
    """A command beside the service: a check, an exec probe."""

    argv: tuple[str, ...]
    process: ProcessSpec
    """Whose user, group, cwd, umask and limits it takes (``command`` is not used)."""
    env: tuple[tuple[str, str], ...]
    timeout: float


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. ``exit_code`` is 128+n for a signal; None when it could not be started or was ended at its deadline."""

    exit_code: int | None
    timed_out: bool
    error: str | None
    """Why it could not be started."""
    output: tuple[str, ...]
    """The last lines of stdout and stderr together, at most 64 KiB."""


class Commands(Protocol):
    """Runs short commands to their end."""

    async def run(self, order: CommandOrder) -> CommandResult:
        """Cancelling ends its whole process group."""


class Probes(Protocol):
    """Asks a service whether it is ready."""

    async def probe(self, probe: Probe, pid: int, process: ProcessSpec) -> str | None:
        """None: it passed. Otherwise why not, one line."""


class Output(Protocol):
    """The captured output of instances: pipes that outlive the agent, spliced to files by one thread."""

    def open(self, key: Key, spec: Spec) -> int:
        """The descriptor the child gets as stdout and stderr; the caller closes it after the spawn."""

    def adopt(self, key: Key, spec: Spec, pid: int, inode: int) -> bool:
        """Take the pipe over from a living process; False when it is not there any more."""

    def close(self, key: Key) -> None:
        """The group is empty: take what is left in the pipe, then close it."""

    def inode(self, key: Key) -> int:
        """The pipe's inode, for the state file; 0 when there is none."""


class Logs(Protocol):
    """Reading what was captured."""

    def offset(self, service: str) -> int:
        """Bytes captured so far over all rotations, counting what still waits in the pipe."""

    def tail(self, service: str, lines: int) -> tuple[str, ...]:
        """The last lines, oldest first, undecodable bytes replaced."""

    def since(self, service: str, offset: int, limit: int) -> tuple[tuple[str, ...], int]:
        """Whole lines captured from ``offset`` on, at most ``limit`` bytes, and where they end."""

    async def grown(self, service: str, offset: int) -> None:
        """Returns when more than ``offset`` bytes are captured."""


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted sd_notify datagram, parsed: the last value of each key."""

    fields: tuple[tuple[str, str], ...]
    pid: int
    at: float

    def get(self, name: str) -> str | None:
        """The value of a key, or None."""
        return dict(self.fields).get(name)


class Notify(Protocol):
    """A notify socket for each instance, at a path that the next agent binds again."""

    def bind(self, key: Key, uid: int, gid: int) -> str:
        """The path for NOTIFY_SOCKET; messages go to the listener given at construction."""

    def allow(self, key: Key, pid: int) -> None:
        """Whose messages count: this process and its group."""

    def drain(self, key: Key) -> None:
        """Hand on what has arrived: before an exit is told, so that last words come first."""

    def unbind(self, key: Key) -> None:
        """The instance is gone: close and unlink."""


class Files(Protocol):
    """The inputs on disk."""

    async def snapshot(self, spec: Spec, *, keep: bool) -> Manifest | Missing:
        """One consistent reading of the inputs, hashed; stored content-addressed when ``keep`` and the spec allows."""

    def watched(self, spec: Spec) -> tuple[str, ...]:
        """The directories and files whose change may change the inputs."""

    async def version(self, spec: Spec, manifest: Manifest) -> str:
        """The short human name of these bytes: a key of a file, a git commit when clean, else 12 hex digits."""


class Store(Protocol):
    """The durable journal and the agent's own state. Writes are batched by one writer thread."""

    def write(self, records: Sequence[Record], memories: Sequence[Memory]) -> Awaitable[None]:
        """Append and replace, in one transaction; done when committed. Raises AdapterError (disk full, read-only, deadline)."""

    def memories(self) -> tuple[Memory, ...]:
        """What earlier agents knew; read once at start."""

    def open_reloads(self) -> tuple[tuple[Record, ...], ...]:
        """The records of each reload without a verdict, oldest first."""

    async def close(self) -> None:
        """Write what waits, bounded by a few seconds."""


@dataclass(frozen=True, slots=True)
class Due:
    """One verdict that is to be sent."""

    seq: int
    """The number of its record: what is due is sent in this order."""
    reload_id: str
    resource: str
    """The agent that told it (``telemetry.resource``); empty when that is not known any more."""
    records: tuple[Record, ...]
    linked: str | None
    """The trace of the reload that this one follows from."""


class Standing(NamedTuple):
    """How much of a signal waits to be sent, how much was set aside, and since when (Unix ns) the oldest waits."""

    waiting: int
    aside: int
    oldest_ns: int | None


class Outbox(Protocol):
    """What is due to be sent, for the thread that sends. Raises AdapterError when it cannot be read."""

    def due(self, signal: str, after: int, limit: int) -> tuple[Due, ...]:
        """The oldest that are numbered above ``after``."""

    def delivered(self, signal: str, upto: int) -> None:
        """A receiver has everything up to this number; durable soon, and after a crash it may be sent again."""

    def set_aside(self, signal: str, seq: int, why: str) -> None:
        """No receiver will take it: it is not tried again."""

    def standing(self, signal: str) -> Standing:
        """How much waits."""
