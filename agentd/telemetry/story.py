"""One reload as its records tell it: what was asked, what was found, when each part began and ended.

The common ground of spans and reports, so that these cannot disagree. Moments are Unix nanoseconds: the wall clock is
read once, at the first record, and everything else of the same boot is a difference of the monotonic clock, so a step of
the wall clock does not bend a trace. What is shown of it is decided in ``spans`` and ``report``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentd.core.facts import (
    CheckEnded,
    Drained,
    Flipped,
    Joined,
    Judged,
    PhaseBegan,
    PhaseEnded,
    Requested,
    RollingBack,
    SnapshotTaken,
    SoakBegan,
    Soaked,
    StepBegan,
    StepEnded,
    TurnBegan,
    TurnEnded,
    Verified,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.core.facts import Record

ROLLBACK = "rollback"
"""The one phase that holds others; so do turns."""


@dataclass(slots=True)
class Part:
    """A phase or a step. ``path`` is its place in the tree, unique within the reload."""

    path: str
    name: str
    began_ns: int
    ended_ns: int | None = None
    error_type: str = ""
    pid: int | None = None
    check: CheckEnded | None = None
    check_ns: int = 0
    verified: Verified | None = None
    steps: list[Part] = field(default_factory=list)
    within: Part | None = None

    @property
    def is_back(self) -> bool:
        """Whether it is a part of the way back."""
        return self.within is not None and self.within.name == ROLLBACK

    def end(self, at_ns: int, error_type: str = "") -> None:
        """Only the first end counts; never before the beginning."""
        if self.ended_ns is None:
            self.ended_ns = max(at_ns, self.began_ns)
            self.error_type = error_type


@dataclass(slots=True)
class Turn:
    """What was done with one of several instances: its phases are within ``part``."""

    part: Part
    instance: int
    generation: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class Drain:
    """A former generation on its way out; it may end long after the verdict."""

    generation: int
    pid: int | None
    began_ns: int
    ended_ns: int
    open: int | None
    """None: nobody counted."""
    cut: int | None


@dataclass(slots=True)
class Soak:
    """How what was applied was looked after, after the verdict; ``over`` None: it still is."""

    told: SoakBegan
    began_ns: int
    ended_ns: int
    over: Soaked | None = None


@dataclass(slots=True)
class Story:
    """Everything the records of one reload say. ``end_ns``: of the verdict, else the last that is known."""

    asked: Requested
    began_ns: int
    end_ns: int
    joined: list[Joined] = field(default_factory=list)
    phases: list[Part] = field(default_factory=list)
    snapshot: SnapshotTaken | None = None
    check: CheckEnded | None = None
    judged: Judged | None = None
    flip_ns: int | None = None
    """When new connections went to the next generation."""
    drains: list[Drain] = field(default_factory=list)
    soak: Soak | None = None
    back: RollingBack | None = None
    """What was put back within it."""
    back_ns: int = 0
    """When that began."""
    turns: list[Turn] = field(default_factory=list)

    @property
    def downtime_ms(self) -> float | None:
        """From the stop of the old process until the new one was ready; None where there was no gap: others served."""
        if self.turns:
            return None
        steps = [step for phase in self.phases for step in phase.steps]
        stop = next((step for step in steps if step.name == "process.stop"), None)
        start = next((step for step in reversed(steps) if step.name == "process.start"), None)
        if stop is None or start is None or start.ended_ns is None or start.error_type:
            return None
        return (start.ended_ns - stop.began_ns) / 1e6

    def instance_of(self, phase: Part) -> int | None:
        """The instance in whose turn it was."""
        return next((t.instance for t in self.turns if t.part is phase.within), None)

    @property
    def outage_ms(self) -> float | None:
        """From the death of the service until it was ready with what was put back; None where it did not die, or is still down."""
        if self.back is None or not self.back.down:
            return None
        steps = [step for phase in self.phases if phase.is_back for step in phase.steps]
        start = next((step for step in reversed(steps) if step.name == "process.start"), None)
        if start is None or start.ended_ns is None or start.error_type:
            return None
        return (start.ended_ns - self.back_ns) / 1e6

    @property
    def running(self) -> Part | None:
        """The phase that has not ended."""
        if self.judged is not None:
            return None
        return next((p for p in reversed(self.phases) if p.ended_ns is None), None)

    @property
    def failed_phase(self) -> str:
        """Where it went wrong: the last phase with an error, else the one that was cut off; of a way back the whole counts as one."""
        failed = [p.name for p in self.phases if p.error_type and not p.is_back]
        cut = [p.name for p in self.phases if p.ended_ns is None and not p.is_back]
        return (failed or cut or [""])[-1]

    @property
    def hash_now(self) -> tuple[str | None, str | None]:
        """Hash and version known to be live after it: ``config.version`` moves at commit and no sooner."""
        j, asked = self.judged, self.asked
        before = (asked.hash_before, asked.version_before)
        if j is None or j.verdict.status is None or j.verdict in _UNTOUCHED:
            return before
        known = j.verdict in _MOVED or (
            j.not_taken and not j.instances
        )  # it runs, but for what is named
        return (j.hash_after, j.version_after) if known else (None, None)

    @property
    def attributes_now(self) -> tuple[tuple[str, str], ...]:
        """What the configuration that is live after it says of itself; it moves with ``config.version``."""
        hash_now, _ = self.hash_now
        taken = self.snapshot
        if taken is not None and hash_now == taken.hash:
            return taken.attributes
        return self.asked.attributes_before if hash_now == self.asked.hash_before else ()


_UNTOUCHED = frozenset({"rejected", "refused", "rolled_back"})
"""Verdicts after which the configuration of before is the one that runs."""
_MOVED = frozenset({"applied", "unchanged"})
"""Verdicts after which what was tried is what runs; after the others nobody knows."""


def story(records: Sequence[Record], now_ns: int | None = None) -> Story | None:
    """None when the records do not begin with a request. ``now_ns``: the end of what still runs; else the last record."""
    if not records or not isinstance(records[0].fact, Requested):
        return None
    first = records[0]
    told = Story(records[0].fact, first.wall_ns, first.wall_ns)
    latest = first.wall_ns
    for record in records[1:]:
        match record.fact:
            case Drained() as drained:
                told.drains.append(_drain(first, record, drained))
            case SoakBegan() as began:
                at_ns = _moment(first, record)
                told.soak = Soak(began, at_ns, at_ns if now_ns is None else max(at_ns, now_ns))
            case Soaked() as over if told.soak is not None:
                told.soak.over = over
                told.soak.ended_ns = max(told.soak.began_ns, _moment(first, record))
        if told.judged is not None:
            continue
        # A note may be about a moment before the one written ahead of it; a trace does not run backwards.
        latest = at_ns = max(latest, _moment(first, record))
        _tell(told, record, at_ns)
    told.end_ns = latest if told.judged or now_ns is None else max(latest, now_ns)
    return told


def _drain(first: Record, record: Record, fact: Drained) -> Drain:
    ended = _moment(first, record)
    began = ended - round((record.mono - fact.began) * 1e9)
    return Drain(fact.generation, fact.pid, min(began, ended), ended, fact.open, fact.cut)


def _moment(first: Record, record: Record) -> int:
    if record.boot != first.boot:
        return record.wall_ns
    return first.wall_ns + round((record.mono - first.mono) * 1e9)


def _tell(told: Story, record: Record, at_ns: int) -> None:  # noqa: C901, PLR0912 -- a case for each fact
    match record.fact:
        case Joined() as joined:
            told.joined.append(joined)
        case PhaseBegan(phase=phase):
            _begin(told, phase, at_ns)
        case PhaseEnded(phase=phase, error_type=error_type):
            part = _open(told.phases, phase)
            if part is not None:
                part.end(at_ns, error_type)
        case SnapshotTaken() as taken:
            if told.back is None:
                told.snapshot = taken
        case RollingBack() as back:
            told.back, told.back_ns = back, at_ns
        case Verified() as verified:
            part = _open(told.phases, "verify")
            if part is not None:
                part.verified = verified
        case CheckEnded() as check:
            told.check = check
            part = _open(told.phases, "check")
            if part is not None:
                part.check, part.check_ns = check, at_ns
        case StepBegan(step=step, pid=pid):
            phase_ = _innermost(told)
            if phase_ is not None:
                phase_.steps.append(Part(_path(phase_.steps, step, phase_), step, at_ns, pid=pid))
        case StepEnded(step=step, error_type=error_type, pid=pid):
            phase_ = _innermost(told)
            part = _open(phase_.steps, step) if phase_ is not None else None
            if part is not None:
                part.end(at_ns, error_type)
                part.pid = pid if pid is not None else part.pid
        case Flipped():
            told.flip_ns = at_ns
        case TurnBegan(instance=instance, generation=generation, pid=pid):
            path = _path([turn.part for turn in told.turns], f"instance.{instance}", None)
            part = Part(path, "instance", at_ns, pid=pid)
            told.turns.append(Turn(part, instance, generation, pid))
        case TurnEnded(generation=generation, pid=pid, error_type=error_type):
            if told.turns:
                turn = told.turns[-1]
                turn.part.end(at_ns, error_type)
                turn.generation, turn.pid = generation, pid
        case Judged() as judged:
            told.judged = judged
        case _:
            pass  # nothing a trace is drawn from


def _begin(told: Story, phase: str, at_ns: int) -> None:
    """Phases follow each other; only a rollback holds what it does again, and a turn what is done with its instance."""
    within = _open(told.phases, ROLLBACK) or _open([turn.part for turn in told.turns], "instance")
    for part in told.phases:
        if part is not within:
            part.end(at_ns)
    told.phases.append(Part(_path(told.phases, phase, within), phase, at_ns, within=within))


def _open(parts: list[Part], name: str) -> Part | None:
    return next((p for p in reversed(parts) if p.name == name and p.ended_ns is None), None)


def _innermost(told: Story) -> Part | None:
    return next((p for p in reversed(told.phases) if p.ended_ns is None), None)


def _path(beside: list[Part], name: str, within: Part | None) -> str:
    """The place of a part: below its parent's, "apply", the second time "apply#2"."""
    path = f"{within.path}/{name}" if within is not None else name
    n = sum(p.path == path or p.path.startswith(f"{path}#") for p in beside)
    return f"{path}#{n + 1}" if n else path
