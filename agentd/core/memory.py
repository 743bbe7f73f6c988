"""What outlives the agent of one service: written with every change, read once by the next agent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentd.core.manifest import Manifest
from agentd.core.process import Identity
from agentd.core.value import replace
from agentd.wire import Trigger, Verdict


class Want(StrEnum):
    """What the operator asked for."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Hold:
    """No reload until released."""

    reason: str = ""
    user: str = ""
    pending: str = ""
    """Id of the last reload it turned away: release starts one, linked to it."""
    trigger: Trigger | None = None
    """What had asked for it."""
    until_wall_ns: int = 0
    """Unix time in ns at which it ends by itself, for an agent that knows no moment of this one's; 0: never."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A configuration that a reload tried."""

    hash: str
    version: str
    verdict: Verdict
    back: str = ""
    """Hash of what was put back after it in vain: nothing but a person tries that again."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Bytes that were rejected under this definition."""

    hash: str
    version: str
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class Declined:
    """A definition of which no generation was taken."""

    digest: str
    reload_id: str
    verdict: Verdict
    reason: str
    keys: tuple[str, ...] = ()
    """In which it differs from the one before."""


@dataclass(frozen=True, slots=True)
class Last:
    """The last reload as ``status`` shows it."""

    reload_id: str
    verdict: Verdict
    trigger: Trigger
    wall_ns: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that is put back unless somebody confirms it in time."""

    reload_id: str
    hash: str
    """What is put back."""
    until_wall_ns: int


@dataclass(frozen=True, slots=True)
class Soak:
    """A change that its reload has vouched for, and that is looked after for a long while yet."""

    reload_id: str
    trace_id: str
    """Of its own trace, which is linked to the reload's."""
    hash: str
    version: str
    until_wall_ns: int
    """Unix time in ns: from then on the next answer that is good ends it."""
    back: Manifest | None = None
    """What was good before: the last good one again if this one turns out bad."""


@dataclass(frozen=True, slots=True)
class Other:
    """A generation beside the one that serves: started to take its place (starting, ready), or on its way out."""

    generation: int
    phase: str
    process: Identity
    reload_id: str = ""
    """The reload that it drains for."""
    slot: int = 0
    """Of which instance it is a generation."""
    takeovers: int = 0
    """How many generations in a row have taken over by themselves, up to it."""


@dataclass(frozen=True, slots=True)
class Place:
    """What serves as one of several instances, behind the first."""

    slot: int
    generation: int
    phase: str = "down"
    finished: bool = False
    process: Identity | None = None
    watchdog: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """The durable part of a service's status."""

    service: str
    boot: str = ""
    """Which boot of the host this was written in: after another one, nothing is given up yet."""
    want: Want = Want.UP
    hold: Hold | None = None
    generation: int = 0
    """Of the instance that serves; 0 before the first."""
    restarts: int = 0
    phase: str = "down"
    finished: bool = False
    """It ended by itself and is not to be started again unasked."""
    process: Identity | None = None
    live: Manifest | None = None
    last_good: Manifest | None = None
    attempted: Attempt | None = None
    quarantine: Quarantine | None = None
    last: Last | None = None
    issued: int = 0
    """The newest generation there was; 0: that of the instance."""
    others: tuple[Other, ...] = ()
    pending: Pending | None = None
    places: tuple[Place, ...] = ()
    """Of the instances behind the first, which is told by the fields above."""
    soak: Soak | None = None
    declined: Declined | None = None
    takeovers: int = 0
    """How many generations in a row have taken over by themselves, up to the instance."""
    watchdog: float | None = None
    """Seconds in which this process must be heard while it is ready, as it was told at its start or has said since."""

    @property
    def there(self) -> Memory:
        """Who is there and what was asked for, and nothing of what it runs: this is kept a second time, beside the journal."""
        return Memory(
            self.service,
            self.boot,
            self.want,
            self.hold,
            self.generation,
            self.restarts,
            self.phase,
            self.finished,
            self.process,
            issued=self.issued,
            others=self.others,
            places=self.places,
            takeovers=self.takeovers,
            watchdog=self.watchdog,
        )

    def under(self, heir: Other) -> Memory:
        """With this one in the place of the instance. How often it must be heard is not known: the former one's word is not its own."""
        return replace(
            self,
            generation=heir.generation,
            phase=heir.phase,
            process=heir.process,
            takeovers=heir.takeovers,
            watchdog=None,
            others=tuple(other for other in self.others if other is not heir),
        )

    @property
    def newest(self) -> int:
        """The newest generation that it tells of."""
        places: tuple[Other | Place, ...] = (*self.others, *self.places)
        beside = (one.generation for one in places)
        return max((self.issued, self.generation, *beside))

    @property
    def processes(self) -> dict[int, Identity]:
        """Every process that it tells of, by generation."""
        there: tuple[Memory | Other | Place, ...] = (self, *self.others, *self.places)
        known = ((one.generation, one.process) for one in there)
        return {generation: process for generation, process in known if process is not None}
