"""Scripted children: what a service's processes do, and what they really run. The world's truth, never the agent's."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from agentd.core.steps import Baseline, Grade, Judgement, Sight

if TYPE_CHECKING:
    from agentd.core.process import Identity

DOUBT = "?"
"""Ends the hash of a reading of which it is not known which files it includes."""
DOUBT = "?"
"""Ends the hash of a reading of which it is not known which files it includes."""
FOREVER = 1e9


class Shown(StrEnum):
    """How a main process that takes over shows that it is the one."""

    SAID = "MAINPID"
    FILE = "pid file"
    LATE = "pid file, after the end of the former"
    NOT = "not at all"


@dataclass(frozen=True, slots=True)
class Moves:
    """Another process takes over as the main one. Seconds."""

    after: float
    """Since birth."""
    shown: Shown = Shown.SAID
    overlap: float = 0.05
    """How long the former one lives on."""
    dies: float | None = None
    """When the new one ends by itself."""


@dataclass(frozen=True, slots=True)
class Script:
    """A child is a sentence. Seconds; None: it never does."""

    ready: float | None = 0.05
    exits: float | None = None
    code: int = 0
    term: float | None = 0.02
    """How long it takes to obey the stop signal."""
    takes: float | None = 0.0
    """How long after the reload signal it has read its inputs."""
    dies_of_bad: bool = False
    """Of a bad file on a reload; on a start every child does."""
    leaves: float | None = None
    """How long a member of its group outlives it, unless it is killed."""
    member_obeys: bool = True
    busy: int = 0
    """How many counts find it with a connection, once it is former."""
    reads_when_asked: bool = False
    """Asked what it runs, it names what is on disk."""
    keeps: tuple[str, ...] = ()
    """Settings that it takes only when it is started again."""
    halves: bool = False
    """By its own word it takes only some of what it reads, the first time."""
    early: bool = False
    """Says READY before the agent is told that exec succeeded."""
    moves: tuple[Moves, ...] = ()
    silent: float | None = None
    """How long it says that it lives, where somebody listens."""
    hangs: float | None = None
    """How long it serves; then it lives on, and answers nobody who asks."""
    triggers: bool = False
    """Then it says so itself, instead of nothing more."""


@dataclass(slots=True)
class Child:
    """One process and at most one other member of its group."""

    service: str
    generation: int
    identity: Identity
    script: Script
    main: bool = True
    member: bool = False
    heir: Identity | None = None
    """Who that member is, when it may be the main process: the one that takes over, or the former one beside it."""
    was: Identity | None = None
    """The main process before this one."""
    file: Identity | None = None
    """Whom its pid file names."""
    runs: dict[int, str | None] = field(default_factory=dict)
    """The hash of the bytes that each of its processes has read, the main one apart."""
    ready: bool = False
    told: bool = False
    """Whether the agent was told that the main process ended."""
    taken: str | None = None
    """The hash of the bytes it runs."""
    takes: int = 0
    halved_at: float = 0.0
    """When it said that it took only some of it."""
    counted: int = 0
    meddled: bool = False
    """Somebody else made it read its inputs, and the agent cannot have noticed yet."""
    asked: int = 0
    """Reload signals so far; a later one begins the reading again."""
    slot: int = 0
    """Which of several instances it is."""
    takeovers: int = 0
    """What it was told of those before it: it takes over from the one that was told one less."""
    born: float = 0.0

    def silent(self, now: float) -> bool:
        """Whether it says no more that it lives."""
        return self.script.silent is not None and now - self.born >= self.script.silent

    def hung(self, now: float) -> bool:
        """Whether it answers no more."""
        return self.script.hangs is not None and now - self.born >= self.script.hangs

    @property
    def serves(self) -> bool:
        """Its main process lives, or one that takes over from it does."""
        return self.main or (self.member and self.heir is not None)

    @property
    def there(self) -> bool:
        return self.main or self.member


@dataclass(frozen=True, slots=True)
class Taken:
    """Evidence that never lies: the child counts how often it took its inputs (``Worker.started`` carries the count)."""

    grade: Grade = Grade.OBSERVED  # type: ignore[misc]  # a ClassVar in the Protocol; here one class serves both grades
    name: ClassVar[str] = "taken"
    workers: ClassVar[bool] = True
    question: ClassVar[None] = None
    opens: ClassVar[bool] = False

    @property
    def pattern(self) -> str | None:
        return None

    def judge(self, before: Baseline, now: Sight) -> Judgement:
        if now.matched is not None:
            return Judgement.CONTRADICTED
        if not before.workers or not now.workers or now.workers[0].pid != before.workers[0].pid:
            return Judgement.NOT_YET
        if now.workers[0].started > before.workers[0].started:
            return Judgement.CONFIRMED
        return Judgement.CONTRADICTED if now.workers[0].title == "refused" else Judgement.NOT_YET


@dataclass(frozen=True, slots=True)
class Lived:
    """The operator's word that delivery is enough; true of children that read at once."""

    name: ClassVar[str] = "delivered"
    grade: ClassVar[Grade] = Grade.DECLARED
    workers: ClassVar[bool] = False
    question: ClassVar[None] = None
    opens: ClassVar[bool] = False

    @property
    def pattern(self) -> str | None:
        return None

    def judge(self, before: Baseline, now: Sight) -> Judgement:
        return Judgement.CONFIRMED if now.since_sent >= 0.2 else Judgement.NOT_YET
