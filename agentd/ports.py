"""The seams between the runtime and the machine: narrow Protocols, values in and out.

Each has a real adapter in ``agentd.system`` or ``agentd.store`` and a fake in ``tests/sim``; one ``check_<port>`` in
``tests/contract`` passes on both. Moments (``at``, ``mono``) are seconds of CLOCK_MONOTONIC as floats. An adapter
raises ``AdapterError`` (or the subclass named) and nothing else; expected endings are return values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from socket import socket
from typing import NamedTuple, Protocol

from agentd.core.facts import Record
from agentd.core.manifest import Entry, Manifest, Missing
from agentd.core.memory import Memory
from agentd.core.process import Exit, Identity
from agentd.core.question import Question, Said
from agentd.core.spec import Probe, ProcessSpec, SocketSpec, Spec
from agentd.core.steps import Worker
from agentd.wire import Trigger, Verdict


class AdapterError(Exception):
    """The machine could not do it. ``what`` is a sentence for an operator; ``errno`` is kept when there was one."""

    def __init__(self, what: str, errno: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.errno = errno


class MovedError(AdapterError):
    """The inputs are not what they were when they were found bad: they were left alone."""


class LetGoError(AdapterError):
    """The address is one of another service of ours, which has been told to let it go: it is free in a moment."""


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
    sockets: tuple[tuple[str, int], ...] = ()
    """Name and descriptor of each held socket: they become 3, 4, ... as sd_listen_fds(3) has it. The spawn duplicates them."""


Permit = Callable[[Identity], Awaitable[None]]
"""Awaited between the birth of the process and its exec: when it returns the process may run, when it raises it ends unexecuted."""


class ProcessListener(Protocol):
    """What the processes adapter reports, on the event loop's thread."""

    def exited(self, key: Key, end: Exit, *, empty: bool, at: float, pid: int) -> None:
        """The main process ended and was reaped; ``empty``: nothing else of its group is alive.

        ``pid``: which process it was. Told once of each process that was the main one when it ended.
        """

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


class Mains(Protocol):
    """The main process of an instance, where that may become another one."""

    def identify(self, key: Key, pid: int) -> Identity:
        """A living process of the instance's group. Raises AdapterError, with a clause: it is gone, or somebody else's."""

    def follow(self, key: Key, identity: Identity) -> None:
        """It is the main one from now on: ``signal`` reaches it, its end is what ``exited`` tells. At once, if it is gone."""


class PidFiles(Protocol):
    """The files in which services write who their main process is."""

    async def read(self, path: str, uid: int) -> int:
        """The pid in a file that only root and this user can write. Raises AdapterError, with a clause."""


class Members(Protocol):
    """Who belongs to an instance."""

    def members(self, key: Key) -> tuple[int, ...]:
        """The living processes of its group, the main one too; empty when there is none."""


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
    find: tuple[str, ...] = ()
    """Regular expressions with one group each, looked for in every line of the output."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. ``exit_code`` is 128+n for a signal; None when it could not be started or was ended at its deadline."""

    exit_code: int | None
    timed_out: bool
    error: str | None
    """Why it could not be started."""
    output: tuple[str, ...]
    """The last lines of stdout and stderr together, at most 64 KiB."""
    found: tuple[tuple[str, ...], ...] = ()
    """Of each that was looked for, in order and with undecodable bytes as ``os.fsdecode`` has them; how often is bounded."""


class Commands(Protocol):
    """Runs short commands to their end."""

    async def run(self, order: CommandOrder) -> CommandResult:
        """Cancelling ends its whole process group."""


@dataclass(frozen=True, slots=True)
class CallOrder:
    """One HTTP call of a reload."""

    method: str
    url: str
    """``http://host:port/path``, ``https://…`` or ``http+unix://%2Fpath%2Fof.sock/path``."""
    headers: tuple[tuple[str, str], ...]
    body_file: str | None
    """Sent as the body: at most 64 MiB, read as one consistent snapshot before anything is connected to."""
    match: str | None
    """A URL that is got first: its ETag is sent as If-Match, so that nobody else's change is overwritten."""
    expect: tuple[int, ...]
    """The status codes that are success; empty: 200 to 299."""
    timeout: float


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ended. It succeeded when ``error`` is None, and then only."""

    status: int | None
    """Of the final answer; None: there was none."""
    error: str | None
    """One clause: why it could not be made, or what was wrong with the answer."""
    timed_out: bool
    sent: bool
    """Whether the request may have reached the server: when not, nothing was touched."""
    output: tuple[str, ...]
    """The last lines of the answer's body, at most 64 KiB, undecodable bytes replaced."""


class Calls(Protocol):
    """Makes HTTP calls, each to its end."""

    async def call(self, order: CallOrder) -> CallResult:
        """Never raises for anything the server does. Cancelling closes the connection."""


class Opened(NamedTuple):
    """Which files a service's processes have opened."""

    paths: frozenset[str] | None
    """None: nobody can tell."""
    why: str = ""
    """Why not, as a clause."""


class Opens(Protocol):
    """Who opens files, as the kernel tells it."""

    def watch(self, service: str, pid: int, paths: Sequence[str]) -> None:
        """From now on; ``pid`` is the service's main process. Whether it can be told is said by ``opened``."""

    def fresh(self, service: str) -> None:
        """What was opened so far does not count."""

    def opened(self, service: str) -> Opened:
        """What its processes have opened since."""

    def drop(self, service: str) -> None:
        """It does not matter any more; harmless when it did not."""


class Own(Protocol):
    """One generation, as a probe needs to know it: an answer counts only when it comes from there."""

    async def connect(self, host: str, port: int) -> socket | None:
        """A connection that this generation alone can accept; None: connect as anybody, and look who is there. Raises OSError."""

    def holds(self, inode: int) -> bool:
        """Whether one of its processes has this socket."""


class Probes(Protocol):
    """Asks a service whether it is ready, and what it runs."""

    async def probe(
        self, probe: Probe, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> str | None:
        """None: it passed. Otherwise why not, one line. With ``own`` an answer of any other process is none."""

    async def ask(
        self, question: Question, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> Said:
        """What it says of itself. With ``own`` an answer of any other process is none; a command's counts whoever it asks."""

    async def names(
        self, question: Question, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> tuple[str, ...] | Said:
        """The same, where the answer is a list; without one, why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a generation still has to do on the declared addresses, as the kernel counts it."""

    queued: int
    """Connections that wait to be accepted by it."""
    open: int
    """Connections that its processes have."""
    handshakes: int
    """Connections that will be queued for it in a moment."""


class Listeners(Protocol):
    """The declared sockets of services: opened once, kept over generations and agents, and lent."""

    def lend(
        self, key: Key, spec: Spec, *, beside: bool, slot: int = 0
    ) -> tuple[tuple[str, int], ...]:
        """Name and descriptor of each declared socket, in declared order; they stay the agent's. Raises AdapterError, LetGoError.

        ``beside``: another generation is alive and serves. Then TCP gets a listener of its own, which gets no connection until
        ``switch``. Otherwise, and where nobody is left to serve the current one, that is handed on with what waits in it.
        ``slot``: which of several instances the generation is of. Each of them has a current listener of its own, and new
        connections are spread over those; one that starts while others serve gets none before ``switch`` either.
        """

    def switch(self, key: Key) -> bool:
        """Every new connection of its instance goes to this generation from now on. False: it shares its listeners."""

    def release(self, key: Key) -> None:
        """The generation is gone. Its own listeners are closed unless they are current: there clients wait for the next one."""

    def withdraw(self, key: Key) -> None:
        """The instance of this generation is no more: the other instances get its new connections."""

    def drop(self, service: str) -> None:
        """The service is stopped for good: close everything, remove the paths of Unix sockets."""


class Openings(Protocol):
    """Which sockets are open beside those that a generation has: before one has them, and when another definition is in force."""

    def prepare(self, spec: Spec, one: SocketSpec) -> None:
        """Open one that the definition declares, unless the service has it: it waits for a generation. Raises AdapterError."""

    def declare(self, spec: Spec) -> None:
        """This definition is in force: what else was open is closed, now or with the last generation that has it."""

    async def freed(self) -> None:
        """Returns when an address has been closed."""


class HeldSockets(Protocol):
    """What can be learnt of the sockets that were lent, and taken back of those that an earlier agent lent."""

    def adopt(self, key: Key, spec: Spec, pid: int) -> bool:
        """Take them back from a living process; False: not all, and the next generation gets new ones."""

    def count(self, key: Key, pids: Collection[int]) -> Load:
        """What these processes still have to do for the generation."""

    def own(self, key: Key, pid: int) -> Own:
        """For probes of this generation, whose main process is ``pid``."""

    def leave(self, key: Key) -> None:
        """It is told to stop, and another is current: whoever still comes to its own listeners is left to try again."""


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
    member: bool = True
    """Its sender was seen to be of the instance; False: it was gone before anybody could look."""

    def get(self, name: str) -> str | None:
        """The value of a key, or None."""
        return dict(self.fields).get(name)


class Notify(Protocol):
    """A notify socket for each instance, at a path that the next agent binds again."""

    def bind(self, key: Key, uid: int, gid: int) -> str:
        """The path for NOTIFY_SOCKET; messages go to the listener given at construction."""

    def allow(self, key: Key, pid: int) -> None:
        """Whose messages count: this process and its group. Does nothing for an instance that is not bound."""

    def drain(self, key: Key) -> None:
        """Hand on what has arrived: before an exit is told, so that last words come first."""

    def unbind(self, key: Key) -> None:
        """The instance is gone: close and unlink."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """What became of inputs that were to be put back."""

    files: int
    """Written or removed; 0: they were that already."""
    kept: str = ""
    """The directory in which what they were is kept; empty: nowhere but in the snapshots."""


class BirthFiles(Protocol):
    """Who is there of each service, kept beside the journal: with both lost, a process shows itself or is not found."""

    def write(self, there: Memory) -> None:
        """Replace what is kept of this service. Raises AdapterError: then nothing is."""

    def read(self) -> tuple[Memory, ...]:
        """All that can be believed, by name; once, at start."""


class States(Protocol):
    """A small file for each service that tells a running process of the reload it is about to do."""

    def write(self, service: str, text: str, uid: int, gid: int) -> str:
        """Replace it at once, readable by its owner only; the path. Raises AdapterError."""


class Files(Protocol):
    """The inputs on disk."""

    async def snapshot(self, spec: Spec, *, keep: bool, anew: bool = False) -> Manifest | Missing:
        """One consistent reading of the inputs, hashed; stored content-addressed when ``keep`` and the spec allows.

        Files that they include are inputs, where the spec says how to list them. They are listed when something was seen to
        change since they were, or ``anew``.
        """

    def watched(self, spec: Spec) -> tuple[str, ...]:
        """The directories and files whose change may change the inputs."""

    def written(self, service: str) -> str | None:
        """How the file stands that it writes anew when it has taken its configuration (``Included.written``).

        Another text each time, empty while it is not there; None: no such file is known.
        """

    async def version(self, spec: Spec, manifest: Manifest) -> str:
        """The short human name of these bytes: a key of a file, a git commit when clean, else 12 hex digits."""

    async def restore(self, spec: Spec, digest: str, over: str = "") -> PutBack:
        """Write a kept configuration back over the inputs. Raises AdapterError: nothing was changed.

        ``over``: nobody has asked for it. Then only inputs of this hash are overwritten (else MovedError), only such as the
        definition allows, and what they were is kept where a person finds it.
        """


class Stages(Protocol):
    """Private copies of configurations that were kept, for checks."""

    async def make(self, spec: Spec, digest: str, uid: int, gid: int) -> str:
        """A directory of this user's alone, in which each input has its whole path. Raises AdapterError."""

    async def discard(self, directory: str) -> None:
        """The check is over."""


class KeptInput(Protocol):
    """One input of a configuration that was kept."""

    @property
    def entry(self) -> Entry: ...  # noqa: D102
    @property
    def stored(self) -> bool:
        """Whether its bytes are there; those of secret inputs never are."""


class Archive(Protocol):
    """The configurations that were kept. Every method may block on the disk."""

    def kept(self, digest: str) -> Sequence[KeptInput] | None:
        """The inputs of the configuration of this hash; None: it is not kept."""

    def holds(self, digest: str) -> bool:
        """Whether it is kept, without looking closely."""

    def read(self, entry: Entry) -> bytes:
        """The bytes of an input, proven by their hash. Raises AdapterError: never kept, pruned, damaged."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reload or a start found the inputs to be."""

    hash: str
    version: str
    reload_id: str
    trigger: Trigger
    verdict: Verdict | None
    wall_ns: int


class Asked(NamedTuple):
    """One reload in the order of requests: the number of the record that asked, and when that was."""

    seq: int
    reload_id: str
    wall_ns: int
    ended: bool


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
