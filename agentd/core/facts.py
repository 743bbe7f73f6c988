"""What happened, as values: the ordered history that status, logs, metrics, traces and ``history`` are folds of.

Facts are decided by the core; the shell numbers and stamps them (``Record``). All are durable. Nothing here holds bytes
of configuration or values from it: paths, hashes, counts and the output of checks only.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentd.core.manifest import Change
from agentd.core.process import Exit
from agentd.core.steps import Baseline, Grade
from agentd.wire import Trigger, Verdict


@dataclass(frozen=True, slots=True)
class Cause:
    """Who or what asked, and in which trace."""

    trigger: Trigger
    user: str = ""
    uid: int | None = None
    pid: int | None = None
    reason: str = ""
    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    """Span attributes known of the caller: cicd.pipeline.*, vcs.*."""
    waits: bool = True
    """Whether the caller stays until the end: then its span is the parent, else it is linked."""


@dataclass(frozen=True, slots=True)
class AgentStarted:
    """An agent took over the host's state."""

    version: str
    pid: int
    adopted: int


@dataclass(frozen=True, slots=True)
class AgentStopped:
    """An agent ended on purpose; ``left``: its services go on running."""

    left: bool


@dataclass(frozen=True, slots=True)
class SetAside:
    """What earlier agents had written down cannot be used: it is kept under another name, and nothing of it is known."""

    path: str
    kept: str
    why: str
    """A clause: "is damaged (file is not a database)"."""

    @property
    def text(self) -> str:
        """The sentence for the operator."""
        kept = f"it is kept as {self.kept}, and a new one was begun"
        return f"the journal {self.path} {self.why}; {kept}"


@dataclass(frozen=True, slots=True)
class PhaseEntered:
    """An instance moved. ``why`` is one clause for a person: "exit code 3", "not ready within 30s"."""

    service: str
    generation: int
    phase: str
    was: str
    why: str
    pid: int | None = None
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """A process an earlier agent started is ours again; or it was gone (``found`` false)."""

    service: str
    generation: int
    pid: int
    found: bool


@dataclass(frozen=True, slots=True)
class MainMoved:
    """Another process is the main one of an instance, which goes on. ``why``: what shows it, as a clause."""

    service: str
    generation: int
    pid: int
    was: int
    """The pid of the main process before."""
    why: str


@dataclass(frozen=True, slots=True)
class WantSet:
    """What a person asked for, remembered over the agent's own restart."""

    service: str
    want: str
    user: str


@dataclass(frozen=True, slots=True)
class HoldSet:
    """No reload until released; or released (``held`` false)."""

    service: str
    held: bool
    reason: str
    user: str


@dataclass(frozen=True, slots=True)
class Requested:
    """A reload exists from here on. Its root span begins at this record's time."""

    service: str
    reload_id: str
    trace_id: str
    handle: str
    cause: Cause
    hash_before: str | None
    version_before: str | None
    link: str = ""
    """A reload this one follows from: what a hold turned away, what was superseded by a moved input."""
    must_act: bool = True
    """Whether it acts even when nothing changed."""
    require_proof: bool = False
    """Whether evidence that is only observed or declared ends it ``unverified``."""
    restore: str = ""
    """Hash of the configuration that is put back first."""
    confirm_within: float | None = None
    attributes_before: tuple[tuple[str, str], ...] = ()
    """What the configuration before said of itself."""
    definition: tuple[str, ...] = ()
    """The keys of the service's own definition that it changes, when it does."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A later request that gets the same verdict; a span link each. The reload must now act, or prove, as told here."""

    service: str
    reload_id: str
    cause: Cause
    must_act: bool = True
    require_proof: bool = False
    confirm_within: float | None = None
    definition: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """A phase of a reload: settle, snapshot, check, apply, confirm, verify, commit. Each is a span."""

    service: str
    reload_id: str
    phase: str


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """``error_type`` empty: it went well."""

    service: str
    reload_id: str
    phase: str
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """What the inputs were before the check."""

    service: str
    reload_id: str
    hash: str
    version: str
    files: int
    changed: tuple[Change, ...]
    attributes: tuple[tuple[str, str], ...] = ()
    """What they say of themselves, as the operator declared."""
    unlisted: str = ""
    """Why it is not known which files they include; empty: it is."""


@dataclass(frozen=True, slots=True)
class CheckEnded:
    """What the checker said. ``exit_code`` None: it could not run, or was ended at its deadline."""

    service: str
    reload_id: str
    executable: str
    exit_code: int | None
    timed_out: bool
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BaselineTaken:
    """What was there before the act; kept so that a later agent can still ask the evidence."""

    service: str
    reload_id: str
    baseline: Baseline
    at: float


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A step of the recipe is about to be performed (``signal HUP``, ``process.start``): a span, durable before the act."""

    service: str
    reload_id: str
    step: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class StepEnded:
    """The step was performed, or could not be (``error_type``). ``at`` is the shell's own moment of acting."""

    service: str
    reload_id: str
    step: str
    at: float
    error_type: str = ""
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Flipped:
    """New connections went to this generation from ``at`` on: the flip. ``moved`` False: they share what listens."""

    service: str
    reload_id: str
    generation: int
    at: float
    moved: bool


@dataclass(frozen=True, slots=True)
class Drained:
    """A former generation has finished, or was not waited for any longer: told after the verdict of the reload that replaced it."""

    service: str
    reload_id: str
    generation: int
    pid: int | None
    began: float
    open: int | None
    """Connections it had when it was first counted; those that waited to be accepted are among them. None: nobody counted."""
    cut: int | None
    """Such as it still had when it was told to stop."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Whether the service was well with what it took. ``why``: its last complaint; empty: it has none."""

    service: str
    reload_id: str
    generation: int
    passes: int
    failures: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class RollingBack:
    """What was tried is bad, and the last good configuration is put back from here on, within the same reload."""

    service: str
    reload_id: str
    hash: str
    """Of what is put back."""
    version: str
    verdict: Verdict
    """``refused``: the files alone, since what was before still serves. ``failed``: it is taken and verified again."""
    error_type: str
    message: str
    """Why, as a clause."""
    down: bool = False
    """The service is gone: its outage began at this moment."""
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """Of a service with several instances: what follows, up to its end, is about this one."""

    service: str
    reload_id: str
    instance: int
    generation: int
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """It is done with this instance, or gives it up (``error_type``). ``generation``: the one that has its place now."""

    service: str
    reload_id: str
    instance: int
    generation: int
    pid: int | None = None
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance: taken, not_taken, unverified, died, untouched, or down (it had no process to act on)."""

    instance: int
    generation: int
    pid: int | None
    became: str
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict: the root span ends here."""

    service: str
    reload_id: str
    verdict: Verdict
    handle: str
    trigger: Trigger
    generation: int
    pid: int | None
    confirmation: str = "none"
    grade: Grade | None = None
    error_type: str = ""
    message: str = ""
    hash_after: str | None = None
    version_after: str | None = None
    output: tuple[str, ...] = ()
    """The last lines of the check or the service, when it failed."""
    instances: tuple[Outcome, ...] = ()
    """Each of several; empty: there is one, or it is a start of one."""
    not_taken: tuple[str, ...] = ()
    """What the service did not take, or only takes after a restart, by name."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The inputs were put back to a kept configuration, before they were read."""

    service: str
    reload_id: str
    hash: str
    files: int
    kept: str = ""
    """Where the bytes that were overwritten can be found."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Somebody keeps what this reload changed; or a later change has taken its place (``user`` empty)."""

    service: str
    reload_id: str
    user: str


@dataclass(frozen=True, slots=True)
class DefinitionsTaken:
    """The agent's own definitions were read again. ``changed`` names service and action."""

    user: str
    trigger: Trigger
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LiveChanged:
    """The configuration known to be running moved; None: nobody can know."""

    service: str
    hash: str | None
    version: str | None
    why: str


@dataclass(frozen=True, slots=True)
class LateEvidence:
    """What a reload that had timed out was waiting for came after its verdict, which stays."""

    service: str
    reload_id: str
    confirmation: str
    grade: Grade
    hash: str
    version: str


@dataclass(frozen=True, slots=True)
class External:
    """It took a configuration that nobody here had asked for. ``why``: what shows it, as a clause."""

    service: str
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Triggers other than a person do not try these bytes again."""

    service: str
    hash: str
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A trigger found nothing to do: counted, not traced. ``why``: unchanged, quarantined."""

    service: str
    trigger: Trigger
    why: str


@dataclass(frozen=True, slots=True)
class SoakBegan:
    """What a reload applied is looked after from now on, in a trace of its own."""

    service: str
    reload_id: str
    trace_id: str
    hash: str
    version: str
    until_wall_ns: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """That is over. ``became``: passed, failed, or why nobody knows: overtaken, stopped, undeclared, unknown.

    ``passes`` and ``failures`` are of this agent's own probes; ``why`` is what the last failure said.
    """

    service: str
    reload_id: str
    became: str
    passes: int
    failures: int
    why: str = ""


AFTERWARDS = (Drained, Confirmed, LateEvidence, SoakBegan, Soaked)
"""They bear the id of a reload and are told when it has its verdict."""
LATE_SPANS = (Drained, Soaked)
"""Those of them that end a span: what was sent of the reload is due once more."""

Fact = (
    AgentStarted
    | AgentStopped
    | SetAside
    | PhaseEntered
    | Adopted
    | MainMoved
    | WantSet
    | HoldSet
    | Requested
    | Joined
    | PhaseBegan
    | PhaseEnded
    | SnapshotTaken
    | CheckEnded
    | BaselineTaken
    | StepBegan
    | StepEnded
    | Flipped
    | Drained
    | Verified
    | RollingBack
    | TurnBegan
    | TurnEnded
    | Judged
    | Restored
    | Confirmed
    | DefinitionsTaken
    | LiveChanged
    | External
    | LateEvidence
    | Quarantined
    | Skipped
    | SoakBegan
    | Soaked
)


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal."""

    seq: int
    wall_ns: int
    """Unix time in ns when the line was written."""
    mono: float
    """CLOCK_MONOTONIC in seconds of the moment the fact is about."""
    boot: str
    """Which boot ``mono`` belongs to."""
    fact: Fact
