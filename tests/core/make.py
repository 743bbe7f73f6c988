"""A host driven by hand: what a test says happens, and everything that was asked for and told is kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts, host
from agentd.core.boot import Left, boot
from agentd.core.facts import Cause, Record
from agentd.core.ids import Mint
from agentd.core.instance import GOING, Instance
from agentd.core.manifest import Entry, Manifest, Missing
from agentd.core.process import Exit, Identity
from agentd.core.spec import Check, ProcessSpec, ReadyNotify, ReloadSpec, Spec, WatchSpec
from agentd.core.steps import Baseline, Evidence, Grade, Judgement, SendSignal, Sight
from agentd.wire import Trigger, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentd.core.service import Service

T = TypeVar("T")
PERSON = Cause(Trigger.CLI, "alice")
WATCH = Cause(Trigger.WATCH)
CLEAN, BAD, TERM = Exit(code=0), Exit(code=3), Exit(signal="TERM")


@dataclass(frozen=True)
class Says:
    """Evidence that says what its sight's ``matched`` says."""

    grade: Grade = Grade.OBSERVED  # type: ignore[misc]
    name: ClassVar[str] = "says"
    workers: ClassVar[bool] = True
    pattern: ClassVar[None] = None
    question: ClassVar[None] = None
    opens: ClassVar[bool] = False

    def judge(self, before: Baseline, now: Sight) -> Judgement:
        return Judgement(now.matched or "not_yet")


def spec(name: str = "web", *confirm: Evidence, **changes: Any) -> Spec:
    made = Spec(
        name,
        ProcessSpec((name,)),
        inputs=(f"/etc/{name}.conf",),
        ready=ReadyNotify(),
        watch=WatchSpec(0.2, 1.0),
        reload=ReloadSpec(
            steps=(SendSignal("HUP"),), check=Check(("check",), 9.0), confirm=confirm, timeout=5.0
        ),
    )
    return replace(made, **changes)


def unchecked(s: Spec) -> Spec:
    return replace(s, reload=replace(s.reload, check=None))


def manifest(n: int = 1) -> Manifest:
    return Manifest(f"sha256:{n}", str(n), (Entry("/etc/web.conf", str(n), 1),))


def identity(pid: int = 7) -> Identity:
    return Identity(pid, 1, "boot", "cookie")


@dataclass
class Agent:
    """One host and its history; ``now`` moves only when a test says so."""

    specs: tuple[Spec, ...]
    left: Left = field(default_factory=lambda: Left({}, ()))
    now: float = 0.0
    wall_ms: int = 0
    effects: list[Any] = field(default_factory=list)
    facts: list[Any] = field(default_factory=list)
    steps: list[host.Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._take(boot(self.specs, self.left, Mint(b"seed", self.wall_ms, self.now), self.now))

    def _take(self, step: host.Step) -> host.Step:
        assert not step.refused, step.refused
        self.host = step.host
        self.effects += step.effects
        self.facts += [note.fact for note in step.notes]
        self.steps.append(step)
        return step

    def feed(self, event: ev.Event, after: float = 0.0) -> tuple[fx.Effect, ...]:
        self.now += after
        return self._take(host.step(self.host, event, self.now)).effects

    def last(self, kind: type[T]) -> T:
        return next(e for e in reversed(self.effects) if isinstance(e, kind))

    def told(self, kind: type[T]) -> list[T]:
        return [f for f in self.facts if isinstance(f, kind)]

    def service(self, name: str = "web") -> Service:
        return self.host.services[name]

    def phase(self, name: str = "web") -> str:
        return self.service(name).instance.phase.value

    @property
    def verdicts(self) -> list[Verdict]:
        return [f.verdict for f in self.told(facts.Judged)]

    @property
    def judged(self) -> facts.Judged:
        return self.told(facts.Judged)[-1]

    # What the machine answers.

    def read(self, found: Manifest | Missing | int = 1, after: float = 0.0) -> None:
        found = manifest(found) if isinstance(found, int) else found
        self.feed(ev.SnapshotDone(self.last(fx.TakeSnapshot).token, found), after)

    def check(self, exit_code: int | None = 0, **more: Any) -> None:
        self.feed(ev.CheckDone(self.last(fx.RunCheck).token, exit_code, **more))

    def spawned(self, pid: int = 7) -> None:
        self.feed(ev.Spawned(self.last(fx.Spawn).token, identity(pid)))

    def ready(self, name: str = "web") -> None:
        generation = self.service(name).instance.generation
        self.feed(ev.Notified(name, generation, ready=True))

    def exited(self, end: Exit = BAD, name: str = "web", *, empty: bool = True) -> None:
        generation = self.service(name).instance.generation
        self.feed(ev.Exited(name, generation, end, empty, ("last words",)))

    def emptied(self, name: str = "web") -> None:
        self.feed(ev.Emptied(name, self.service(name).instance.generation))

    def elapse(self, machine: str = "instance", name: str = "web") -> None:
        arms = [e for e in self.effects if isinstance(e, fx.Arm)]
        mine = (name, machine)
        arm = next(e for e in reversed(arms) if (e.token.service, e.token.machine) == mine)
        self.feed(ev.Elapsed(arm.token), arm.delay)

    def baseline(self) -> None:
        self.feed(ev.BaselineDone(self.last(fx.TakeBaseline).token, Baseline(0)))

    def signalled(self) -> None:
        self.feed(ev.Signalled(self.last(fx.SendReloadSignal).token, self.now))

    def sight(self, *said: str | None, alive: bool = True, since: float = 0.0) -> None:
        look = self.last(fx.Look)
        sights = tuple(Sight(alive, since, (), word) for word in said or (None,))
        self.feed(ev.Sighted(look.token, sights))

    def failed(self, kind: type[Any], error_type: str = "broken") -> None:
        self.feed(ev.EffectFailed(self.last(kind).token, error_type, "cannot do it"))

    # Whole stretches.

    def up(self, n: int = 1, pid: int = 7) -> Agent:
        """From the first snapshot to an applied start with bytes ``n``."""
        self.read(n)
        if self.service().running and self.service().running.stage.value == "checking":  # type: ignore[union-attr]
            self.check()
        self.spawned(pid)
        self.ready()
        self.read(n)
        assert self.judged.verdict is Verdict.APPLIED
        return self

    def reload(self, **more: Any) -> None:
        self.feed(ev.ReloadAsked("web", PERSON, **more))

    def hint(self, **more: Any) -> None:
        self.feed(ev.ReloadAsked("web", WATCH, if_changed=True, **more))

    def act(self, n: int = 2) -> None:
        """From its snapshot of bytes ``n`` to the first look."""
        self.read(n)
        if self.service().spec.reload.check:
            self.check()
        self.baseline()
        self.signalled()


def agent(*specs: Spec, **left: Any) -> Agent:
    return Agent(specs or (spec("web", Says()),), Left(**{"memories": {}, "found": (), **left}))


def survivor(
    a: Agent,
    *,
    found: bool = True,
    beside: bool = True,
    there: set[tuple[str, int]] | None = None,
    specs: tuple[Spec, ...] | None = None,
    boot: str = "boot",
    **changes: Any,
) -> Agent:
    """The agent that comes after ``a`` was killed; everything told was committed. ``there``: instead of all ``beside``."""
    stories: dict[str, list[Record]] = {}
    for step in a.steps:
        for note in step.notes:
            id_ = getattr(note.fact, "reload_id", None)
            if isinstance(note.fact, facts.Judged):
                stories.pop(note.fact.reload_id)
            elif id_ is not None and not isinstance(note.fact, facts.AFTERWARDS):
                stories.setdefault(id_, []).append(Record(1, 0, note.at, "boot", note.fact))
    memories = {
        s.spec.name: replace(s.memory, boot="boot", **changes) for s in a.host.services.values()
    }
    others = {(name, other.generation) for name, m in memories.items() for other in m.others}
    others = others if there is None else there
    return agent(
        *(specs or a.specs),
        memories=memories,
        found=set(memories) if found else set(),
        found_beside=others if beside else set(),
        open_reloads=tuple(map(tuple, stories.values())),
        boot=boot,
    )


def retired(i: Instance) -> bool:
    """It serves as nobody any more, and no reload is why: fewer instances are declared."""
    return i.phase in GOING and not i.reload_id


def names(what: Iterable[object]) -> list[str]:
    return [type(x).__name__ for x in what]
