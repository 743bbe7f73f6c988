"""What the core asks the shell to do, in the imperative.

An effect with a token gets exactly one completion event that carries the same token, unless it is cancelled first.
``durable`` effects are performed only after everything noted so far is committed: journal before perform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentd.core.events import Origin, Token
from agentd.core.facts import Fact
from agentd.core.process import Identity
from agentd.core.question import Question
from agentd.core.spec import Check, Probe, Spec
from agentd.core.steps import Asking


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the main process of a generation → Spawned or EffectFailed.

    Not durable: between birth and exec the shell writes the process down, behind everything noted so far.
    """

    durable: ClassVar[bool] = False
    token: Token
    spec: Spec
    generation: int
    cookie: str
    beside: bool = False
    """Another generation serves: this one's listeners get nothing before ``Switch``."""
    origin: Origin | None = None
    slot: int = 0
    """Which of the service's instances it is. While others of them serve, it gets nothing before ``Switch`` either."""
    takeovers: int = 0
    """Where it takes over by itself: how many generations in a row have then done so; 0: nobody is there to take over from."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Send a signal to end an instance. No answer: its end is the answer, and being gone already is fine."""

    durable: ClassVar[bool] = False
    service: str
    generation: int
    signal: str
    group: bool


@dataclass(frozen=True, slots=True)
class SeekMain:
    """Look which process of the group is the main one: by its pid file, else the one before while it lives → MainSought."""

    durable: ClassVar[bool] = False
    token: Token
    spec: Spec
    generation: int
    before: Identity | None = None


@dataclass(frozen=True, slots=True)
class Follow:
    """This process is the main one from now on: its end counts, and signals go to it. No answer: one that is gone has ended."""

    durable: ClassVar[bool] = False
    service: str
    generation: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class Forget:
    """The group of this generation is empty: release its sockets and pipes."""

    durable: ClassVar[bool] = False
    service: str
    generation: int


@dataclass(frozen=True, slots=True)
class SendReloadSignal:
    """Send the reload signal if it will be handled → Signalled or EffectFailed(signal_unsafe, no_such_process)."""

    durable: ClassVar[bool] = True
    token: Token
    spec: Spec
    generation: int
    pid: int
    signal: str
    assume_handled: bool
    origin: Origin
    workers: bool = False
    """Whether the baseline that comes with the answer needs them."""


@dataclass(frozen=True, slots=True)
class Perform:
    """Run the command or make the call of a step → Performed or EffectFailed."""

    durable: ClassVar[bool] = True
    token: Token
    spec: Spec
    step: Asking
    generation: int
    origin: Origin
    place: str
    """The step's place in the trace: what it does belongs below that span."""
    timeout: float


@dataclass(frozen=True, slots=True)
class Switch:
    """From now on new connections of its instance go to this generation → Switched or EffectFailed.

    The next agent undoes what was not told.
    """

    durable: ClassVar[bool] = False
    token: Token
    generation: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """This generation and its instance get no new connections any more: the other instances do. No answer."""

    durable: ClassVar[bool] = False
    service: str
    generation: int


@dataclass(frozen=True, slots=True)
class WriteDown:
    """Nothing but this: everything noted so far is on the disk → WrittenDown or EffectFailed."""

    durable: ClassVar[bool] = True
    token: Token


@dataclass(frozen=True, slots=True)
class CloseSockets:
    """Nobody is going to serve: close what listens, so that clients are refused instead of kept waiting."""

    durable: ClassVar[bool] = False
    service: str


@dataclass(frozen=True, slots=True)
class KeepSockets:
    """This definition is in force: what was opened for another one is closed when the last generation that has it is gone."""

    durable: ClassVar[bool] = False
    spec: Spec


@dataclass(frozen=True, slots=True)
class Count:
    """Count the connections of a former generation → Counted or EffectFailed."""

    durable: ClassVar[bool] = False
    token: Token
    spec: Spec
    generation: int


@dataclass(frozen=True, slots=True)
class Arm:
    """Call back with Elapsed after ``delay`` seconds; replaces the timer this machine of this service has."""

    durable: ClassVar[bool] = False
    token: Token
    delay: float


@dataclass(frozen=True, slots=True)
class Disarm:
    """The machine needs no timer now."""

    durable: ClassVar[bool] = False
    service: str
    machine: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The answer to this effect is not wanted any more; end what it runs."""

    durable: ClassVar[bool] = False
    token: Token


@dataclass(frozen=True, slots=True)
class Restore:
    """Write a kept configuration back over the inputs → Restored or EffectFailed; what is overwritten is kept first.

    A failure ``inputs_moved`` says that the inputs are neither ``over`` nor what is to be put back.
    """

    durable: ClassVar[bool] = True
    token: Token
    spec: Spec
    hash: str
    over: str = ""
    """Hash of what may be overwritten, and nothing else: nobody has asked for it. Empty: a person has, whatever is there."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Read and hash the inputs → SnapshotDone."""

    durable: ClassVar[bool] = False
    token: Token
    spec: Spec
    anew: bool = False
    """Which files they include is asked again, although nothing that was seen says that it changed."""


@dataclass(frozen=True, slots=True)
class RunCheck:
    """Run the check as the service's user → CheckDone."""

    durable: ClassVar[bool] = False
    token: Token
    spec: Spec
    check: Check
    reload_id: str
    trace_id: str
    hash: str
    """Of what was read: what a staged copy is made of."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What the service is asked, for each evidence its question or None, and which generation must have answered."""

    spec: Spec
    generation: int
    questions: tuple[Question | None, ...]


@dataclass(frozen=True, slots=True)
class TakeBaseline:
    """Note what is there before the act → BaselineDone."""

    durable: ClassVar[bool] = False
    token: Token
    pid: int
    workers: bool
    inquiry: Inquiry | None = None
    watch: tuple[str, ...] = ()
    """Files of which it matters from now on who opens them, until ``Unwatch``."""


@dataclass(frozen=True, slots=True)
class AskReport:
    """Ask the service what it did not take → Reported."""

    durable: ClassVar[bool] = False
    token: Token
    spec: Spec
    generation: int
    pid: int
    question: Question


@dataclass(frozen=True, slots=True)
class Unwatch:
    """It does not matter any more who opens this service's files."""

    durable: ClassVar[bool] = False
    service: str


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the service for each pattern (None: no log is read) → Sighted."""

    durable: ClassVar[bool] = False
    token: Token
    pid: int
    workers: bool
    patterns: tuple[str | None, ...]
    log_offset: int
    sent_at: float
    inquiry: Inquiry | None = None
    opens: bool = False
    """Whether it matters who opened the files."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Run a probe of readiness or of health once → Probed."""

    durable: ClassVar[bool] = False
    token: Token
    spec: Spec
    probe: Probe
    pid: int
    generation: int = 0
    beside: bool = False
    """Somebody else may answer in its stead: only an answer of this generation's own processes counts."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request became a reload, or joined one."""

    reload_id: str
    trace_id: str
    joined: bool


@dataclass(frozen=True, slots=True)
class Done:
    """There is nothing to wait for, or only the instance's phase."""


@dataclass(frozen=True, slots=True)
class Turned:
    """The request is turned away: no reload, no id."""

    exit_code: int
    message: str


Reply = Accepted | Done | Turned


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell a caller what became of the request."""

    durable: ClassVar[bool] = False
    reply: int
    answer: Reply


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing is left to do: the agent may end."""

    durable: ClassVar[bool] = False


Effect = (
    Spawn
    | Kill
    | SeekMain
    | Follow
    | Forget
    | SendReloadSignal
    | Perform
    | Switch
    | Withdraw
    | WriteDown
    | CloseSockets
    | KeepSockets
    | Count
    | Restore
    | Arm
    | Disarm
    | Cancel
    | TakeSnapshot
    | RunCheck
    | TakeBaseline
    | AskReport
    | Unwatch
    | Look
    | Ask
    | Answer
    | Leave
)


@dataclass(frozen=True, slots=True)
class Note:
    """A fact and the moment it is about (CLOCK_MONOTONIC seconds; a watch notes its first event when it turns out to matter)."""

    at: float
    fact: Fact
