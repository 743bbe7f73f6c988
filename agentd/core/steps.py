"""What a handle expands to, and what evidence promises: the two vocabularies that plug into a reload.

A step is data; performing it is the shell's work. Evidence is a value with a pure judgement. Which servers use which is
``agentd/recipes``; which handle makes which steps is ``agentd/handles``; the kinds of evidence are ``agentd/evidence``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from agentd.core.question import Question, Said
from agentd.core.value import replace


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

    @property
    def label(self) -> str:
        """What the step is called in the history."""
        return f"signal SIG{self.signal}"


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Run a command as the service's user; exit code 0 is its yes."""

    argv: tuple[str, ...]

    @property
    def label(self) -> str:
        """The program's name, without its arguments: these may hold secrets."""
        return f"exec {self.argv[0].rpartition('/')[2]}"

    def accepts(self, status: int) -> bool:
        """Exit code 0."""
        return status == 0

    def error_type(self, status: int) -> str:
        """For a code that is no yes."""
        return f"exit_{status}"


@dataclass(frozen=True, slots=True)
class CallHttp:
    """One HTTP request, no redirect followed. ``url`` is ``http://``, ``https://`` or ``http+unix://%2Fpath.sock/path``."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    """Absolute path of the file that is sent."""
    match: str | None = None
    """A URL that is read first: its ETag goes along as If-Match (RFC 9110 §13.1.1)."""
    expect: tuple[int, ...] = ()
    """Status codes that are a yes; empty: 200 to 299."""

    @property
    def label(self) -> str:
        """The method alone: a URL may hold secrets."""
        return f"http {self.method}"

    def accepts(self, status: int) -> bool:
        """As declared, else any of the success class (RFC 9110 §15.3)."""
        return status in self.expect if self.expect else 200 <= status < 300  # noqa: PLR2004

    def error_type(self, status: int) -> str:
        """For a status that is no yes: the semantic conventions take the number itself."""
        return str(status)


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop it, then start it: a gap, in which held sockets keep clients waiting."""

    label: ClassVar[str] = "process.stop"


@dataclass(frozen=True, slots=True)
class Replace:
    """Start the next generation, wait until it is ready, move new connections to it, drain and stop the old one."""

    label: ClassVar[str] = "process.start"


Asking = RunCommand | CallHttp
"""Steps that ask somebody who answers."""
Step = SendSignal | RunCommand | CallHttp | Restart | Replace


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
    answers: tuple[Said | None, ...] = ()
    """What the service answered to each evidence's question; None: that one asks nothing."""
    written: str | None = None
    """How the file stood that it writes anew when it has taken its configuration; None: no such file is known."""

    def grown(self, now: Sight) -> Baseline:
        """A server may start workers by itself at any moment: those seen before it says that it took its configuration are former ones."""
        if now.taken(self):
            return self
        return replace(self, workers=tuple(dict.fromkeys((*self.workers, *now.workers))))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the reload is to make the service run."""

    hash: str
    version: str
    changed: bool
    """Whether it is another configuration than the one known to be live."""
    reads: tuple[str, ...] = ()
    """The inputs that it must read for that."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the service itself said of this reload by sd_notify(3), since the moment before the signal."""

    reloading: bool = False
    """RELOADING=1 with a MONOTONIC_USEC of that moment or later."""
    done: bool = False
    """READY=1 after that."""
    refused: str = ""
    """Its own word that it did not take it: ERRNO, X_AGENTD_RELOAD_RESULT, or a hash that is another one."""
    named: bool = False
    """It named the configuration that it runs (X_AGENTD_CONFIG_HASH), and it is the one that it was to take."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of the service at one moment after the step was performed."""

    alive: bool
    since_sent: float
    """Seconds since the last step was performed."""
    workers: tuple[Worker, ...] = ()
    matched: str | None = None
    """The first captured line after the baseline that matches the evidence's pattern."""
    heard: Heard = Heard()
    """What it said of itself; the core adds it to what the shell saw."""
    replied: bool = False
    """Whether the call or command of the last step said yes; the core's too."""
    said: Said | None = None
    """What it answered to the evidence's question."""
    before: Said | None = None
    """And what it had answered before the act; the core's too."""
    wanted: Wanted | None = None
    """The core's too."""
    opened: frozenset[str] | None = None
    """The inputs that its processes have opened since the signal; None: nobody can tell."""
    blind: str = ""
    """Why not, as a clause."""
    written: str | None = None
    """How the file stands that it writes when it has taken its configuration."""

    def taken(self, before: Baseline) -> bool:
        """Whether it wrote that file since; True where no such file is known."""
        return before.written is None or self.written not in (None, "", before.written)


class Judgement(StrEnum):
    """What an evidence makes of a sight."""

    CONFIRMED = "confirmed"
    NOT_YET = "not_yet"
    CONTRADICTED = "contradicted"
    AGREED = "agreed"
    """It agrees, and is no proof this time, whatever its grade: it counts as observed."""
    UNABLE = "unable"
    """It does not contradict, and more looks would show nothing that was not so before the act."""

    @property
    def yes(self) -> bool:
        """Whether it says that the reload took effect, with a proof or without."""
        return self in (Judgement.CONFIRMED, Judgement.AGREED)


class Evidence(Protocol):
    """One way to know that a reload took effect. Pure: it looks at values, never at the machine."""

    name: ClassVar[str]
    grade: ClassVar[Grade]
    workers: ClassVar[bool]
    """Whether it needs the workers in the baseline and each sight."""
    opens: ClassVar[bool]
    """Whether it needs to know who opens the inputs from the baseline on."""

    @property
    def pattern(self) -> str | None:
        """The regular expression to look for in the captured output, if it needs one."""

    @property
    def question(self) -> Question | None:
        """What to ask the service before the act and at each look, if anything."""

    def judge(self, before: Baseline, now: Sight) -> Judgement:
        """What this sight says, given what was there before."""
