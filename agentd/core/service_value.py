"""One service as a value, and one step of it while it is being worked out.

Decides nothing: what is remembered of a service and what its reload may see of it are read from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentd.core.effects import Accepted, Answer, Done, Effect, Note, Turned
from agentd.core.events import Defined, ReloadAsked
from agentd.core.facts import Cause, Fact, Outcome
from agentd.core.ids import Mint
from agentd.core.instance import ALIVE, Ending, Instance, Phase
from agentd.core.manifest import Manifest
from agentd.core.memory import (
    Attempt,
    Declined,
    Hold,
    Last,
    Memory,
    Other,
    Pending,
    Place,
    Quarantine,
    Soak,
    Want,
)
from agentd.core.process import Identity
from agentd.core.reload_value import Reload, View
from agentd.core.spec import Spec
from agentd.core.steps import Worker

Remembered = tuple[
    Want,
    Hold | None,
    int,
    int,
    str,
    bool,
    Identity | None,
    Manifest | None,
    Manifest | None,
    Attempt | None,
    Quarantine | None,
    Last | None,
    int,
    tuple[Other, ...],
    Pending | None,
    tuple[Place, ...],
    Soak | None,
    Declined | None,
    int,
    float | None,
]

_PROGRESS = {
    phase: at
    for at, phase in enumerate(
        (
            Phase.READY,
            Phase.DOWN,
            Phase.BACKOFF,
            Phase.FAILED,
            Phase.STARTING,
            Phase.STOPPING,
            Phase.KILLING,
        )
    )
}
"""Of several instances the phase that is told of all: what is under way first, then what is worst; ready only when all are."""


@dataclass(frozen=True)
class Soaking:
    """A soak and where it stands; the counts are of this agent's own probes."""

    told: Soak
    timer: int | None = None
    awaiting: int | None = None
    generation: int = 0
    """Whose answer is awaited."""
    passes: int = 0
    failures: int = 0
    in_a_row: int = 0
    """Failures since the last pass."""
    complaint: str = ""


@dataclass(frozen=True)
class Asking:
    """One generation that is asked whether it still serves; the count is of this agent's own probes."""

    generation: int
    timer: int | None = None
    awaiting: int | None = None
    failures: int = 0
    """In a row."""
    complaint: str = ""
    """What the last of them said."""


@dataclass(frozen=True)
class Service:
    """One service: declared, wanted, observed."""

    spec: Spec
    want: Want = Want.UP
    instance: Instance = field(default_factory=Instance)
    """The one that serves; of several, the one whose turn it is."""
    others: tuple[Instance, ...] = ()
    """The other ones that serve, of a service with several: by their slots."""
    next: Instance | None = None
    """The one that is started to take its place."""
    former: tuple[Instance, ...] = ()
    """Those that drain or stop beside it."""
    issued: int = 0
    """The newest generation there was, when it is not the instance's own."""
    running: Reload | None = None
    waiting: Reload | None = None
    hold: Hold | None = None
    restarts: int = 0
    live: Manifest | None = None
    last_good: Manifest | None = None
    attempted: Attempt | None = None
    quarantine: Quarantine | None = None
    last: Last | None = None
    next_start: tuple[Cause, int | None] | None = None
    """Who asked for the start that comes next, and which caller wants to know its id."""
    pending: Pending | None = None
    """A change that waits to be confirmed."""
    pending_serial: int = 0
    soak: Soaking | None = None
    """What was applied and is looked after."""
    asking: tuple[Asking, ...] = ()
    """Who is asked whether it still serves."""
    late: Reload | None = None
    """One that timed out, whose evidence may still come."""
    workers: Mapping[int, tuple[Worker, ...]] = field(default_factory=dict)
    """The children of each generation that serves as somebody last saw them; none: nobody has since it was last known which they are."""
    defined: Defined | None = None
    """Another definition, whose turn it is as soon as no reload runs."""
    declined: Declined | None = None
    """The definition that was declared last, when no generation of it was taken; the former one is in force then.

    Unless this agent began with it: of the former one it knows nothing.
    """
    hold_serial: int = 0
    serial: int = 0
    """The last number that a reload of this service has put into a token: each is used once, whoever's it was."""

    @property
    def wanted(self) -> bool:
        """Whether it is to be up: a person wants it, and it is still declared."""
        return self.want is Want.UP and not self.spec.removed

    @property
    def newest(self) -> int:
        """The newest generation there was."""
        newest = max(self.issued, self.instance.generation)
        return max(newest, *(i.generation for i in self.others)) if self.others else newest

    @property
    def slots(self) -> tuple[Instance, ...]:
        """Every instance, by its number, whether it has a process or not."""
        if not self.others:
            return (self.instance,)
        return tuple(sorted((self.instance, *self.others), key=lambda i: i.slot))

    @property
    def phase(self) -> Phase:
        """Where it stands: of several instances, what the one says that is furthest from ready."""
        if not self.others:
            return self.instance.phase
        return max((i.phase for i in (self.instance, *self.others)), key=_PROGRESS.__getitem__)

    @property
    def serves(self) -> bool:
        """At least one of its instances is ready."""
        return self.instance.phase is Phase.READY or any(
            i.phase is Phase.READY for i in self.others
        )

    @property
    def alive(self) -> tuple[Instance, ...]:
        """Every generation with a process, the one that serves first."""
        there = (self.instance, *self.others, self.next, *self.former)
        return tuple(i for i in there if i is not None and i.phase in ALIVE)

    @property
    def takeovers(self) -> int:
        """How many generations in a row will have taken over by themselves when another one is started now.

        One that starts anew while a former one still ends counts on: the two must not be in each other's way.
        """
        if not (self.spec.takes_over and self.view.spec.takes_over):
            return 0
        if self.instance.phase is Phase.READY:
            return self.instance.takeovers + 1
        return max((i.takeovers + 1 for i in self.former), default=0)

    @property
    def memory(self) -> Memory:
        """What must outlive the agent; the shell adds the boot."""
        return Memory(self.spec.name, "", *self.remembered)

    @property
    def remembered(self) -> Remembered:
        """The fields of its memory in their order: two of these are compared after every event, and few differ."""
        i = self.slots[0] if self.others else self.instance
        return (
            self.want,
            self.hold,
            i.generation,
            self.restarts,
            str(i.phase),
            i.phase is Phase.DOWN and i.ending is Ending.BY_ITSELF,
            i.process,
            self.live,
            self.last_good,
            self.attempted,
            self.quarantine,
            self.last,
            self.issued,
            self._others() if self.next or self.former else (),
            self.pending,
            self._places() if self.others else (),
            self.soak.told if self.soak else None,
            self.declined,
            i.takeovers,
            i.watchdog,
        )

    def _places(self) -> tuple[Place, ...]:
        return tuple(
            Place(
                i.slot,
                i.generation,
                i.phase.value,
                i.phase is Phase.DOWN and i.ending is Ending.BY_ITSELF,
                i.process,
                i.watchdog,
            )
            for i in self.slots[1:]
        )

    def _others(self) -> tuple[Other, ...]:
        there = (self.next, *self.former)
        return tuple(
            Other(i.generation, i.phase.value, i.process, i.reload_id, i.slot, i.takeovers)
            for i in there
            if i is not None and i.process is not None
        )

    @property
    def view(self) -> View:
        """What its reload sees."""
        return self.view_of(self.running)

    def view_of(self, r: Reload | None) -> View:
        """The same for one that waits: a definition that it brings is seen by nobody else."""
        i = self.instance
        return View(
            self.spec if r is None or r.spec is None else r.spec,
            i.generation,
            i.process.pid if i.process else None,
            self.live,
            self.last_good,
            self.attempted,
            self.quarantine,
            i.assumed,
            i.phase is Phase.READY,
            sum(1 for one in self.alive if one.slot == i.slot) if self.others else len(self.alive),
            self.next.generation if self.next else 0,
            i.slot,
            tuple(outcome(one) for one in self.slots if one is not i) if self.others else (),
            self.next.process.pid if self.next and self.next.process else None,
            i.phase not in ALIVE,
        )


def outcome(i: Instance) -> Outcome:
    """One that nothing was done to."""
    became = "untouched" if i.phase is Phase.READY else "down"
    return Outcome(i.slot, i.generation, i.process.pid if i.process else None, became)


@dataclass(slots=True)
class Turn:
    """One step of one service while it is being worked out: local to ``step``, never kept."""

    s: Service
    now: float
    mint: Mint
    may_start: bool
    """What the service depends on is there, and the agent is not ending."""
    effects: list[Effect] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    follow: ReloadAsked | None = None
    """What the end of a reload asks for at once: its inputs had moved."""
    revive: bool = False
    """A reload found instances down, and what it applied is worth another try of theirs."""

    def note(self, *what: Fact) -> None:
        """Tell facts about this moment."""
        self.notes += [Note(self.now, fact) for fact in what]

    def answer(self, reply: int | None, answer: Accepted | Done | Turned) -> None:
        """Tell the caller, if one waits."""
        if reply is not None:
            self.effects.append(Answer(reply, answer))


def remembered(spec: Spec, m: Memory | None) -> Service:
    """A service as it was known last; its processes are not looked at."""
    m = m or Memory(spec.name)
    known = {place.slot: place.generation for place in m.places}
    return Service(
        spec,
        want=m.want,
        instance=Instance(generation=m.generation, takeovers=m.takeovers),
        others=tuple(blank(slot, known.get(slot, 0)) for slot in range(1, spec.instances)),
        issued=max((m.issued, *known.values())),
        hold=m.hold,
        restarts=m.restarts,
        live=m.live,
        last_good=m.last_good,
        attempted=m.attempted,
        quarantine=m.quarantine,
        last=m.last,
        pending=m.pending,
        soak=Soaking(m.soak) if m.soak else None,
        # Of another one than is declared by now there is nothing to tell.
        declined=m.declined if m.declined and m.declined.digest == spec.digest else None,
    )


def blank(slot: int, generation: int = 0) -> Instance:
    """An instance behind the first, before there is anything of it."""
    return Instance(slot=slot, generation=generation, machine=f"slot.{slot}")
