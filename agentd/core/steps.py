"""What a handle expands to, and what evidence promises: the two vocabularies that plug into a reload.

A step is data; performing it is the shell's work. Evidence is a value with a pure judgement. Which servers use which is
``agentd/recipes``; which handle makes which steps is ``agentd/handles``; the kinds of evidence are ``agentd/evidence``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol


class Grade(StrEnum):
    """How strong an evidence is (`reload.confirmation_grade`)."""

    PROVEN = "proven"
    OBSERVED = "observed"
    DECLARED = "declared"


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Send a signal to the main process, if it will be handled."""

    signal: str
    assume_handled: bool = False


Step = SendSignal


@dataclass(frozen=True, slots=True)
class Worker:
    """A child of the main process, as the kernel shows it."""

    pid: int
    started: int
    """Field 22 of /proc/PID/stat, clock ticks since boot."""
    title: str
    """The command line, arguments joined by spaces: programs such as nginx write their state into it."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was true just before anything was sent."""

    ticks: int
    """Now, in the unit of ``Worker.started``."""
    workers: tuple[Worker, ...] = ()
    log_offset: int = 0
    """Bytes of output captured so far, over all rotations."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of the service at one moment after the step was performed."""

    alive: bool
    since_sent: float
    """Seconds since the last step was performed."""
    workers: tuple[Worker, ...] = ()
    matched: str | None = None
    """The first captured line after the baseline that matches the evidence's pattern."""


class Judgement(StrEnum):
    """What an evidence makes of a sight."""

    CONFIRMED = "confirmed"
    NOT_YET = "not_yet"
    CONTRADICTED = "contradicted"


class Evidence(Protocol):
    """One way to know that a reload took effect. Pure: it looks at values, never at the machine."""

    name: ClassVar[str]
    grade: ClassVar[Grade]
    workers: ClassVar[bool]
    """Whether it needs the workers in the baseline and each sight."""

    @property
    def pattern(self) -> str | None:
        """The regular expression to look for in the captured output, if it needs one."""

    def judge(self, before: Baseline, now: Sight) -> Judgement:
        """What this sight says, given what was there before."""
