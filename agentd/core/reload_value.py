"""One reload as a value, and the few moves that every row of its machine is made of.

The machine itself is ``reload``; its rows are ``reload_prepare`` (request to check) and ``reload_act`` (act to verdict).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agentd.core import facts
from agentd.core.effects import (
    Arm,
    Cancel,
    Disarm,
    Effect,
    Note,
    Unwatch,
)
from agentd.core.events import (
    Notified,
    Origin,
    ReloadEvent,
    Token,
)
from agentd.core.facts import Cause, Fact, Outcome
from agentd.core.manifest import Manifest, Missing
from agentd.core.memory import Attempt, Quarantine
from agentd.core.spec import Spec
from agentd.core.steps import Baseline, Grade, Worker
from agentd.core.value import replace
from agentd.wire import Verdict


class Stage(StrEnum):
    """Where a reload stands. The phase that a person sees is ``PHASE[stage]``."""

    QUEUED = "queued"
    SETTLING = "settling"
    RESTORING = "restoring"
    READING = "reading"
    CHECKING = "checking"
    BASELINE = "baseline"
    SENDING = "sending"
    PERFORMING = "performing"
    NOTING = "noting"
    ENDING = "ending"
    LAUNCHING = "launching"
    CLEARING = "clearing"
    REPLACING = "replacing"
    SWITCHING = "switching"
    CONFIRMING = "confirming"
    VERIFYING = "verifying"
    REPORTING = "reporting"
    ROLLING = "rolling"
    COMPARING = "comparing"


PHASE: dict[Stage, str] = {
    Stage.QUEUED: "requested",
    Stage.SETTLING: "settle",
    Stage.RESTORING: "restore",
    Stage.READING: "snapshot",
    Stage.CHECKING: "check",
    Stage.BASELINE: "apply",
    Stage.SENDING: "apply",
    Stage.PERFORMING: "apply",
    Stage.NOTING: "apply",
    Stage.ENDING: "apply",
    Stage.LAUNCHING: "apply",
    Stage.CLEARING: "apply",
    Stage.REPLACING: "apply",
    Stage.SWITCHING: "apply",
    Stage.CONFIRMING: "confirm",
    Stage.VERIFYING: "verify",
    Stage.REPORTING: "confirm",
    Stage.ROLLING: "apply",
    Stage.COMPARING: "commit",
}
UNTOUCHED = frozenset({Stage.READING, Stage.CHECKING, Stage.BASELINE})
"""The stages in which one that runs can still be cancelled."""
ACTED = frozenset(
    {
        Stage.SENDING,
        Stage.PERFORMING,
        Stage.ENDING,
        Stage.LAUNCHING,
        Stage.REPLACING,
        Stage.SWITCHING,
        Stage.CONFIRMING,
        Stage.VERIFYING,
        Stage.REPORTING,
        Stage.ROLLING,
        Stage.COMPARING,
    }
)
"""The stages in which the service may have been touched."""


UNLISTED = "inputs_unlisted"
"""It is not known which files the inputs include."""


class Act(StrEnum):
    """What makes the service take the configuration."""

    RECIPE = "recipe"
    LAUNCH = "launch"
    RESTART = "restart"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Ending:
    """How the reload ended, before the service adds what it makes of it."""

    verdict: Verdict
    error_type: str = ""
    message: str = ""
    confirmation: str = "none"
    grade: Grade | None = None
    output: tuple[str, ...] = ()
    live: Manifest | None = None
    """What is known to run now, when ``moved``."""
    moved: bool = False
    """Whether ``live`` is news."""
    quarantine: bool = False
    bad: bool = False
    """The bytes are to blame: where that is declared, the last good ones are put back."""
    again: bool = False
    """The inputs changed under it: another one must follow."""
    back: str = ""
    """Hash of what was put back in vain."""
    undo: str = ""
    """Hash of what another reload puts back: of several instances some have taken what was bad."""
    not_taken: tuple[str, ...] = ()
    """What the service did not take, by name."""
    silent: str = ""
    """A trigger found nothing to do, and why: counted, not traced."""
    instances: tuple[Outcome, ...] = ()
    """What became of each of several instances."""


@dataclass(slots=True)
class View:
    """What the reload sees of its service: local to one step, and not frozen since that alone is half of its price."""

    spec: Spec
    generation: int
    pid: int | None
    live: Manifest | None
    last_good: Manifest | None
    attempted: Attempt | None
    quarantine: Quarantine | None
    assumed: bool = False
    """Whether the instance counts as ready without having said so."""
    serves: bool = True
    """Whether the instance is there for its clients: not when it has died but for its group."""
    alive: int = 1
    """How many generations of this instance are alive."""
    next_generation: int = 0
    """The one that is started to take the other's place; 0: there is none."""
    slot: int = 0
    """Which instance it is."""
    others: tuple[Outcome, ...] = ()
    """The other instances, as if nothing was done to them."""
    next_pid: int | None = None
    gone: bool = False
    """Whether nothing of the instance is left, nor being born."""


@dataclass(frozen=True)
class Reload:
    """One reload, running or waiting for its turn."""

    id: str
    trace_id: str
    cause: Cause
    begun: float
    act: Act = Act.RECIPE
    must_act: bool = True
    """A person's reload acts even when nothing changed."""
    require_proof: bool = False
    link: str = ""
    restore: str = ""
    """Hash of what is put back first."""
    confirm_within: float | None = None
    spec: Spec | None = None
    """Another definition, which it tries; None: the one in force."""
    definition: tuple[str, ...] = ()
    """The keys in which what it tries, or an earlier agent did, differs from the one before."""
    lag: float = 0.0
    """Seconds, drawn by chance, that a watch waits longer than until the inputs are quiet."""
    handle: str = "signal"
    machine: str = "waiting"
    stage: Stage = Stage.QUEUED
    kept: tuple[Note, ...] = ()
    """Facts kept back until it is known that this reload matters."""
    silent: bool = False
    """Whether facts are kept back."""
    started_with: tuple[str, Grade | None] | None = None
    """The confirmation of the start this reload waited for: if that took these bytes, it was the act."""
    manifest: Manifest | None = None
    missing: Missing | None = None
    missing_since: float | None = None
    baseline: Baseline | None = None
    step: int = 0
    sent_at: float = 0.0
    condemned: bool = False
    """The checker of a start said no; it was started all the same."""
    certain: bool = True
    """False: an earlier agent died between deciding to act and noting that it had."""
    workers: tuple[Worker, ...] = ()
    """Those that the last look saw."""
    watched: bool = False
    """Whether it is looked at who opens the inputs."""
    replied: bool = False
    """Whether the last step's command or call said yes."""
    not_taken: tuple[str, ...] = ()
    """What the service says it did not take."""
    answered: str = ""
    """What it last said when it was asked what it runs, as a clause."""
    said: tuple[Notified, ...] = ()
    """What the service said since the act began, the newest last."""
    switched: bool = False
    """New connections were sent to the next generation."""
    moved: bool = False
    """And that could be done: what listens is not shared."""
    passes: int = 0
    failures: int = 0
    """Of the probes of health so far."""
    in_a_row: int = 0
    """Such failures since the last pass."""
    complaint: str = ""
    """What the last of them said."""
    poison: Manifest | None = None
    """What was tried and is being put back, or was: it is not tried again unasked."""
    fault: Ending | None = None
    """How it would have ended: set, it is rolling back from there."""
    remark: str = ""
    """One clause more for the verdict."""
    looks: int = 0
    turn: bool = False
    """Of several instances one has its turn."""
    todo: tuple[int, ...] = ()
    """The slots of those whose turn is to come."""
    taken: tuple[Outcome, ...] = ()
    """Those that took it."""
    died: tuple[Outcome, ...] = ()
    """Those that took it and died since."""
    deadline: float = 0.0
    serial: int = 0
    timer: int | None = None
    awaiting: int | None = None
    confirmed: tuple[str, Grade] | None = None
    """The evidence that agreed and the grade that it earned."""
    ending: Ending | None = None
    half: Ending | None = None
    """By its own word the service took only some of it: how that ends, once it was asked what is missing and whether it is well."""
    slot: int = 0
    """Of several instances the one whose turn it is."""

    @property
    def within(self) -> str:
        """The place of the turn in the trace, with a slash behind it."""
        return f"instance.{self.slot}/" if self.turn else ""

    @property
    def origin(self) -> Origin:
        """What is started or asked for it is told."""
        found = (self.manifest.hash, self.manifest.version) if self.manifest else ("", "")
        return Origin(self.id, self.trace_id, *found, self.within, self.slot)


Result = tuple[Reload, tuple[Effect, ...], tuple[Note, ...]]
Row = Callable[[Reload, ReloadEvent, View, float], Result]


def requested(r: Reload, view: View, at: float) -> Note:
    """The fact that this reload exists."""
    old = before(r, view)
    return Note(
        at,
        facts.Requested(
            view.spec.name,
            r.id,
            r.trace_id,
            r.handle,
            r.cause,
            old.hash if old else None,
            old.version if old else None,
            r.link,
            r.must_act,
            r.require_proof,
            r.restore,
            r.confirm_within,
            old.attributes if old else (),
            r.definition,
        ),
    )


def before(r: Reload, view: View) -> Manifest | None:
    """What this reload changes from: what is live; for a start, what ran last."""
    return view.last_good if r.act is Act.LAUNCH and view.live is None else view.live


def note(r: Reload, at: float, *what: Fact) -> tuple[Reload, tuple[Note, ...]]:
    """Facts told now, or kept back while it is not known whether this reload matters."""
    notes = tuple([Note(at, fact) for fact in what])
    return (replace(r, kept=(*r.kept, *notes)), ()) if r.silent else (r, notes)


def speak(r: Reload, view: View) -> tuple[Reload, tuple[Note, ...]]:
    """It matters: tell what was kept back, from its first moment on."""
    if not r.silent:
        return r, ()
    notes = (requested(r, view, r.begun), *r.kept)
    return replace(r, silent=False), notes


def finish(r: Reload, view: View, now: float, notes: tuple[Note, ...], ending: Ending) -> Result:
    """It is over: nothing of it waits for anything any more."""
    name = view.spec.name
    unwatch = (Unwatch(name),) if r.watched else ()
    if r.awaiting is not None:  # then it has no timer
        cancel = Cancel(Token(name, r.machine, r.awaiting))
        return replace(r, ending=ending), (cancel, *unwatch), notes
    return replace(r, ending=ending), (Disarm(name, r.machine), *unwatch), notes


def began(r: Reload, view: View) -> Fact:
    """The phase of its stage begins."""
    return facts.PhaseBegan(view.spec.name, r.id, PHASE[r.stage])


def ended(r: Reload, view: View, error_type: str = "") -> Fact:
    """The phase of its stage ends."""
    return facts.PhaseEnded(view.spec.name, r.id, PHASE[r.stage], error_type)


def expect(r: Reload, view: View) -> tuple[Reload, Token]:
    """A token for the effect whose answer it waits for from now on."""
    r = replace(r, serial=r.serial + 1, awaiting=r.serial + 1, timer=None)
    return r, Token(view.spec.name, r.machine, r.serial)


def arm(r: Reload, view: View, delay: float) -> tuple[Reload, Arm]:
    """Its one timer, set anew; ``delay`` in seconds."""
    r = replace(r, serial=r.serial + 1, timer=r.serial + 1)
    return r, Arm(Token(view.spec.name, r.machine, r.serial), delay)
