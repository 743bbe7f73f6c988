"""One instance as a value: its phase, its process and what is remembered of its starts. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agentd.core.effects import Effect
from agentd.core.events import InstanceEvent
from agentd.core.manifest import Manifest
from agentd.core.process import Exit, Identity
from agentd.core.spec import Spec


class Phase(StrEnum):
    """Where an instance stands."""

    DOWN = "down"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    KILLING = "killing"
    BACKOFF = "backoff"
    FAILED = "failed"


ALIVE = frozenset({Phase.STARTING, Phase.READY, Phase.DRAINING, Phase.STOPPING, Phase.KILLING})
"""The phases in which there is a process, or one is being born."""
GOING = frozenset({Phase.DRAINING, Phase.STOPPING, Phase.KILLING})
"""Those of them that end in nothing."""


class Ending(StrEnum):
    """Why an instance ends, or ended."""

    ASKED = "asked"
    BY_ITSELF = "by itself"
    TOO_SLOW = "too slow"
    SILENT = "silent"
    UNWELL = "unwell"


@dataclass(frozen=True)
class Instance:
    """One process group of a service."""

    phase: Phase = Phase.DOWN
    generation: int = 0
    process: Identity | None = None
    """Its main process. While it starts or is ready and has an ``exit``, that one is gone and another is looked for."""
    before: Identity | None = None
    """The main process that this one took over from, when it was alive at that moment."""
    adopted: bool = False
    ending: Ending | None = None
    """Set from the moment it must end; kept when it is down: one that ended by itself is not started again unasked."""
    exit: Exit | None = None
    why: str = ""
    """One clause for a person: how it came into this phase."""
    output: tuple[str, ...] = ()
    """Its last lines when it ended."""
    failures: int = 0
    starts: tuple[float, ...] = ()
    deadline: float = 0.0
    """Until when it must be ready; of one that drains, until when it may."""
    reload_id: str = ""
    """The reload that it drains for."""
    since: float = 0.0
    """When it began to drain, or when its main process was gone."""
    counts: int = 0
    """How often it was counted while it drained."""
    idle: bool = False
    """Nothing was left at the last count: once more, and it is done."""
    load: int = 0
    """Connections at the first count."""
    left: int = 0
    """Connections at the last one."""
    queued: int = 0
    """Those of them that waited to be accepted."""
    watchdog: float | None = None
    """Seconds in which a service that is ready must be heard; None: it need not be."""
    heard: float = 0.0
    """When it last was, or began to be listened to."""
    settles: float | None = None
    """When it has stayed up long enough that its failures are forgotten."""
    said: bool = False
    """READY=1 came before the answer to its spawn: the two travel by different ways."""
    serial: int = 0
    timer: int | None = None
    awaiting: int | None = None
    machine: str = "instance"
    """What its tokens and its timer go by: those of two generations that are alive at a time differ."""
    beside: bool = False
    """It was started to take another one's place: when it ends nothing is started in its stead."""
    slot: int = 0
    """Its number among the instances of its service, from 0 on: that of its next generation too."""
    takeovers: int = 0
    """How many generations in a row have taken over, one from the other, up to this one."""
    runs: Manifest | None = None
    """What it is known to have taken; None: nobody can know. Of a service with several, who agree or not."""

    @property
    def lost(self) -> bool:
        """Its main process is gone, and another one may be it by now."""
        return self.exit is not None and self.phase in (Phase.STARTING, Phase.READY)

    @property
    def silent(self) -> float | None:
        """When it will have been silent for too long; None: never."""
        return None if self.watchdog is None else self.heard + self.watchdog

    @property
    def assumed(self) -> bool:
        """Ready only because it is alive: nobody has heard its READY=1."""
        return self.phase is Phase.READY and self.adopted


Result = tuple[Instance, tuple[Effect, ...]]
Row = Callable[[Instance, InstanceEvent, Spec, float], Result]
