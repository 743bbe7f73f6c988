"""What can happen: the one vocabulary of the core's inputs.

Completions carry the token of the effect they answer; a token that is no longer awaited is dropped, because the
answer to a cancelled effect may already be in the mailbox. The same holds for timers.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentd.core.facts import Cause
from agentd.core.manifest import Manifest, Missing
from agentd.core.memory import Memory
from agentd.core.plan import Change
from agentd.core.process import Exit, Identity
from agentd.core.spec import SocketSpec, Spec
from agentd.core.steps import Baseline, Sight, Worker


@dataclass(frozen=True, slots=True)
class Token:
    """Which machine of which service waits for an answer, and for which one."""

    service: str
    machine: str
    """instance (of a generation that is started beside another: instance.N), reload, waiting, late, soak, alive.N, hold or confirm."""
    serial: int


# What people and triggers ask.


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """Take the configuration as it is now. A watch asks once for every change it sees."""

    service: str
    cause: Cause
    reply: int | None = None
    """Number of the caller that wants an ``Answer``."""
    if_changed: bool = False
    force: bool = False
    require_proof: bool = False
    link: str = ""
    restore: str = ""
    """Hash of a kept configuration that is put back first: a roll-back."""
    must_act: bool = False
    """Even when nothing changed, whoever asks."""
    confirm_within: float | None = None
    """Seconds in which somebody must confirm it once it is applied, or what was before is put back."""
    spec: Spec | None = None
    """Another definition, which is in force when a generation of it has been taken."""
    definition: tuple[str, ...] = ()
    """The keys in which that differs."""


@dataclass(frozen=True, slots=True)
class ConfirmAsked:
    """Keep what this reload changed."""

    service: str
    reload_id: str
    cause: Cause
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Give up this reload, while it has touched nothing."""

    service: str
    reload_id: str
    cause: Cause
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class StartAsked:
    """Be up, now and after the agent's own restart; forgets failures."""

    service: str
    cause: Cause
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Be down, now and after the agent's own restart."""

    service: str
    cause: Cause
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Stop, then start: a gap."""

    service: str
    cause: Cause
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class HoldAsked:
    """No reload until released, or until ``seconds`` have passed."""

    service: str
    cause: Cause
    seconds: float | None = None
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class ReleaseAsked:
    """End the hold; what it turned away is asked for once more."""

    service: str
    cause: Cause
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class ShutdownAsked:
    """The agent ends: all services stop in reverse order, or (``leave``) go on without it."""

    leave: bool


@dataclass(frozen=True, slots=True)
class DefinitionsLoaded:
    """The operator's files were read again, whole and without a mistake: these are the services from now on."""

    specs: tuple[Spec, ...]
    cause: Cause
    memories: tuple[Memory, ...] = ()
    """What is remembered of services that are new to this agent: they may have been here before."""
    replies: tuple[tuple[str, int], ...] = ()
    """For services by their names: the number of the caller who wants to know what is done about each."""


# What the shell answers.


@dataclass(frozen=True, slots=True)
class Spawned:
    """Exec succeeded."""

    token: Token
    identity: Identity


@dataclass(frozen=True, slots=True)
class WrittenDown:
    """What is about to be done is on the disk."""

    token: Token


@dataclass(frozen=True, slots=True)
class Restored:
    """The files are again what they were; ``files`` were written or removed."""

    token: Token
    files: int
    kept: str = ""
    """Where the bytes that were overwritten can be found."""


@dataclass(frozen=True, slots=True)
class SnapshotDone:
    """The inputs as one consistent reading, or why there is none."""

    token: Token
    found: Manifest | Missing


@dataclass(frozen=True, slots=True)
class CheckDone:
    """The checker ended, or could not run (``error``), or took too long."""

    token: Token
    exit_code: int | None
    timed_out: bool = False
    error: str | None = None
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BaselineDone:
    """What was there before the act."""

    token: Token
    baseline: Baseline


@dataclass(frozen=True, slots=True)
class Signalled:
    """The signal was sent; ``at`` is the moment just before, and ``baseline`` what was there at it."""

    token: Token
    at: float
    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True)
class Performed:
    """A command or a call of the recipe came to its end. ``at``: the moment it began."""

    token: Token
    at: float
    status: int | None
    """Exit code, or HTTP status; None: there is none."""
    timed_out: bool = False
    error: str | None = None
    """Why there is no status."""
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Switched:
    """New connections go to this generation from ``at`` on; ``moved`` False: they share what listens."""

    token: Token
    at: float
    moved: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """What a former generation still has: connections that it holds, and such as wait for it to accept them."""

    token: Token
    open: int
    queued: int


@dataclass(frozen=True, slots=True)
class Sighted:
    """One look at the service, a sight for each evidence asked about."""

    token: Token
    sights: tuple[Sight, ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """What the service says it did not take, by name; None: it gave no answer that counts, and ``why``."""

    token: Token
    names: tuple[str, ...] | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    """The probe of readiness or of health passed (``why`` None) or not."""

    token: Token
    why: str | None


@dataclass(frozen=True, slots=True)
class MainSought:
    """Which process of the group is the main one, as its pid file has it; None: none is shown to be."""

    token: Token
    identity: Identity | None
    why: str
    """What shows it, or why nothing does, as a clause."""


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """The effect could not be performed; nothing of it happened."""

    token: Token
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Elapsed:
    """A timer fired."""

    token: Token


# What the instance's processes do.


@dataclass(frozen=True, slots=True)
class Exited:
    """The main process ended; ``empty``: nothing of its group is left. ``output``: its last lines."""

    service: str
    generation: int
    exit: Exit
    empty: bool
    output: tuple[str, ...] = ()
    pid: int = 0
    """Which process it was: another may have become the main one since. 0: whichever it is."""
    left: tuple[int, ...] = ()
    """Processes of the group that are alive still."""


@dataclass(frozen=True, slots=True)
class Emptied:
    """The last process of the group is gone."""

    service: str
    generation: int


@dataclass(frozen=True, slots=True)
class Notified:
    """An sd_notify message that bears on a phase or on a reload (sd_notify(3))."""

    service: str
    generation: int
    ready: bool = False
    extend: float = 0.0
    """EXTEND_TIMEOUT_USEC, in seconds."""
    reloading: float | None = None
    """RELOADING=1: its MONOTONIC_USEC, in seconds; without one it is no answer to anybody."""
    refused: str = ""
    """ERRNO or X_AGENTD_RELOAD_RESULT=failed, with STATUS, or a STATUS that says it alone, as a clause; empty: it complains of nothing."""
    hash: str = ""
    """X_AGENTD_CONFIG_HASH: what it runs, or the first digits of it."""


@dataclass(frozen=True, slots=True)
class Pinged:
    """It says that it lives (WATCHDOG=1), or how long it may be silent (sd_notify(3))."""

    service: str
    generation: int
    trigger: bool = False
    """WATCHDOG=trigger: it is to be dealt with as if it had been silent for too long."""
    interval: float | None = None
    """WATCHDOG_USEC, in seconds: from now on; 0: for ever. None: as before."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The service says which of its processes is the main one from now on (MAINPID=)."""

    service: str
    generation: int
    identity: Identity
    """A living process of its group; the shell has looked."""


@dataclass(frozen=True, slots=True)
class WorkersSeen:
    """Somebody looked at the children of the main process while no reload ran."""

    service: str
    generation: int
    workers: tuple[Worker, ...]


# What the service tells its own machines.


@dataclass(frozen=True, slots=True)
class Defined:
    """Another definition of it, whose turn it is as soon as no reload of it runs."""

    change: Change
    spec: Spec
    cause: Cause
    reply: int | None = None
    """Number of the caller that wants to know which reload or start it causes."""
    claimed: tuple[SocketSpec, ...] = ()
    """What all services are to listen on from now on."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a process is started, and what it is to run."""

    reload_id: str
    trace_id: str
    hash: str = ""
    version: str = ""
    within: str = ""
    """Place of the turn of its instance in the trace, with a slash behind it; empty: there is one instance."""
    slot: int = 0
    """The number of the instance."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Spawn a new generation."""

    cookie: str
    generation: int
    beside: bool = False
    """Another generation is alive: it becomes this one's former when this one is taken, and goes on when it is not."""
    origin: Origin | None = None
    takeovers: int = 0
    """How many generations in a row have taken over, one from the other, when this one has."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End it, by the stop signal first."""


@dataclass(frozen=True, slots=True)
class Unwell:
    """It does not serve any more, although it lives: end it as one that failed. ``why`` as a clause."""

    why: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Another generation has its place: finish what is in flight, then end."""

    reload_id: str
    moved: bool
    """False: it still accepts connections, so waiting for their end would never end."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget the failures; leave backoff and failed."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """A process that an earlier agent started is alive and in ``phase``."""

    identity: Identity
    generation: int
    phase: str
    machine: str = "instance"
    reload_id: str = ""
    slot: int = 0
    watchdog: float | None = None
    """Seconds in which it must be heard once it is ready, as it was told or has said; None: it need not be."""


@dataclass(frozen=True, slots=True)
class Orphaned:
    """A process that an earlier agent started is gone; how it ended is not known."""

    generation: int


@dataclass(frozen=True, slots=True)
class Begin:
    """The reload's turn has come."""


@dataclass(frozen=True, slots=True)
class Touched:
    """The inputs changed again while they settle."""


@dataclass(frozen=True, slots=True)
class InstanceReady:
    """The launched instance is ready."""


@dataclass(frozen=True, slots=True)
class InstanceEnded:
    """The instance this reload depends on ended."""

    error_type: str
    message: str
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceDown:
    """Nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Bypassed:
    """Another process is the main one now, and had started before the act: what was done was done to the former one."""

    pid: int


@dataclass(frozen=True, slots=True)
class OtherEnded:
    """Another instance than the one whose turn it is does not serve any more."""

    instance: int
    error_type: str


@dataclass(frozen=True, slots=True)
class Rolled:
    """It is the turn of the next instance that serves; or there is none left (``more`` false)."""

    more: bool


@dataclass(frozen=True, slots=True)
class NextReady:
    """The generation that was started beside the other one is ready."""

    pid: int


@dataclass(frozen=True, slots=True)
class NextEnded:
    """It ended, or was too slow."""

    error_type: str
    message: str
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomMade:
    """A former generation has ended."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A person wants the service down, or the agent ends."""

    message: str


Ask = (
    ReloadAsked
    | StartAsked
    | StopAsked
    | RestartAsked
    | HoldAsked
    | ReleaseAsked
    | ConfirmAsked
    | CancelAsked
)
Completion = (
    Spawned
    | WrittenDown
    | Restored
    | SnapshotDone
    | CheckDone
    | BaselineDone
    | Signalled
    | Performed
    | Switched
    | Counted
    | Sighted
    | Reported
    | Probed
    | MainSought
    | EffectFailed
    | Elapsed
)
ProcessEvent = Exited | Emptied | Notified | Pinged | Claimed
Event = Ask | ShutdownAsked | DefinitionsLoaded | Completion | ProcessEvent | WorkersSeen

InstanceEvent = (
    Launch
    | Stop
    | Reset
    | Adopt
    | Orphaned
    | Spawned
    | EffectFailed
    | Probed
    | Counted
    | MainSought
    | Drain
    | Unwell
    | Elapsed
    | ProcessEvent
)
ReloadEvent = (
    Begin
    | Probed
    | Touched
    | Abort
    | InstanceReady
    | InstanceEnded
    | InstanceDown
    | Bypassed
    | OtherEnded
    | Rolled
    | NextReady
    | NextEnded
    | RoomMade
    | Notified
    | WrittenDown
    | Restored
    | SnapshotDone
    | CheckDone
    | BaselineDone
    | Signalled
    | Performed
    | Switched
    | Sighted
    | Reported
    | EffectFailed
    | Elapsed
)
