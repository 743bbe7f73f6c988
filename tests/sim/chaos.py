"""What a seed makes of the world: services, scripts, people, edits, faults and deaths, then quiet."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from agentd.core import events as ev
from agentd.core import spec as spec_
from agentd.core.facts import Cause
from agentd.core.question import Question
from agentd.core.spec import (
    Alive,
    Backoff,
    Check,
    HttpProbe,
    OnFailure,
    ProcessSpec,
    Ready,
    ReadyAfter,
    ReadyNotify,
    ReadyProbe,
    ReloadSpec,
    SocketKind,
    SocketSpec,
    Spec,
    StartLimit,
    TcpProbe,
    Verify,
    WatchSpec,
)
from agentd.core.steps import Evidence, Grade, Replace, Restart, RunCommand, SendSignal, Step
from agentd.evidence import Notify, Reply, Reread, Version
from agentd.wire import Trigger
from tests.sim import invariants, machine
from tests.sim.children import FOREVER, Lived, Moves, Script, Shown, Taken
from tests.sim.world import PERSON, WATCH, World

if TYPE_CHECKING:
    from collections.abc import Callable

READY: tuple[Ready, ...] = (
    ReadyNotify(),
    ReadyAfter(0.3),
    ReadyAfter(0),
    ReadyProbe(TcpProbe("h", 1), 0.1),
)
NAMES = Version(Question(HttpProbe("http://h/version")), "{version}")
REPORT = Question(HttpProbe("http://h/pending"))
CONFIRM: tuple[tuple[Evidence, ...], ...] = (
    (),
    (Lived(),),
    (Taken(),),
    (Taken(Grade.PROVEN),),
    (Lived(), Taken()),
    (Notify(),),
    (NAMES,),
    (NAMES, Taken()),
    (Reread(),),
)
STEPS: tuple[tuple[Step, ...], ...] = (
    (SendSignal("HUP"),),
    (SendSignal("HUP"),),
    (SendSignal("HUP"), SendSignal("HUP")),
    (RunCommand(("take",)),),
    (Restart(),),
    (Replace(),),
    (Replace(),),
)
LOST = 0.15
"""How often the journal is lost with its agent."""
HANDLE = {Replace: "replace", Restart: "restart", RunCommand: "exec", SendSignal: "signal"}
QUIET = 900.0
"""Virtual seconds after which nothing may be left to do."""


def spec(rng: random.Random, name: str, earlier: list[str]) -> Spec:
    """One service, drawn."""
    steps = rng.choice(STEPS)
    confirm = rng.choice(CONFIRM)
    if isinstance(steps[-1], RunCommand):
        confirm = rng.choice(((), (Reply(),)))
    made = Spec(
        name,
        ProcessSpec((name,)),
        inputs=(f"/etc/{name}.conf",) if rng.random() < 0.95 else (),
        ready=rng.choice(READY),
        start_timeout=2.0,
        stop_timeout=1.0,
        restart=rng.choice(list(spec_.Restart)),
        backoff=Backoff(0.1, 2.0, 2.0, 5.0),
        start_limit=StartLimit(rng.choice((3, 5, 1000)), 10.0),
        after=tuple(n for n in earlier if rng.random() < 0.3),
        requires=tuple(n for n in earlier if rng.random() < 0.3),
        watch=WatchSpec(0.2, 1.0, 60.0) if rng.random() < 0.8 else None,
        sockets=(SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80),)
        if rng.random() < 0.6
        else (),
        instances=rng.choice((1, 1, 1, 2, 3)),
        max_generations=rng.choice((2, 3, 3)),
        drain_timeout=rng.choice((0.3, 2.0)),
        pid_file=rng.choice((None, None, f"/run/{name}.pid")),
        reload=ReloadSpec(
            handle=HANDLE[type(steps[0])],
            steps=steps,
            check=Check((f"check-{name}", *rng.choice(((), ("{staged}/x",)))), 1.0)
            if Lived() in confirm or rng.random() < 0.7
            else None,
            confirm=confirm,
            report=rng.choice((None, None, REPORT)),
            timeout=2.0,
            missing_grace=0.5,
            verify=rng.choice((None, Verify(TcpProbe("h", 1), 0.5, 0.1, 2))),
            soak=rng.choice((None, None, Verify(TcpProbe("h", 1), 4.0, 0.7, 2))),
            on_failure=rng.choice((OnFailure.KEEP, OnFailure.RESTORE, OnFailure.FORCE)),
        ),
    )
    alone = not made.sockets and made.instances == 1 and made.drain_timeout > machine.HAND_OVER
    return replace(made, takes_over=alone and isinstance(steps[-1], Replace))


def script(rng: random.Random, s: Spec) -> Script:
    """One life of a child, drawn."""
    well = Script(
        ready=rng.random() * 0.3, early=rng.random() < 0.2, reads_when_asked=rng.random() < 0.2
    )
    reads = rng.choice((0.0, 0.0, 0.05, 0.5, 2.5, None))
    if any(e.name == "delivered" for e in s.reload.confirm):
        reads = 0.0  # whoever declares that delivery is enough must mean it
    if s.reload.confirm == (NAMES,):
        reads = rng.choice((0.0, 0.05, None))  # the same bytes once more look the same at once
    draw = rng.random()
    if draw < 0.12:
        well = replace(well, exits=rng.random() * 2, code=rng.choice((0, 1, 3)))
    elif draw < 0.18:
        well = replace(well, ready=None)
    elif draw < 0.22:
        well = replace(well, exits=0.0, code=1)
    return replace(
        well,
        takes=reads,
        dies_of_bad=rng.random() < 0.2,
        busy=rng.choice((0, 0, 1, 5, 100)),
        keeps=rng.choice(((), (), ("port",))),
        term=None if rng.random() < 0.1 else rng.random() * 0.1,
        leaves=rng.choice((None, None, None, 0.3, FOREVER)),
        member_obeys=rng.random() < 0.7,
        moves=rng.choice(((), (), (), (moves(rng),), (moves(rng), moves(rng)))),
    )


def watched(seed: int, specs: list[Spec]) -> list[Spec]:
    """Some of them must say that they live, or are asked; by chances of their own: other seeds tell what they always told."""
    rng = random.Random(f"watchdog {seed}")
    often = 0.5 if seed % 20 == 7 else 8.0  # a word each moment is most of what happens then
    watchdogs = [rng.choice((None, None, None, often)) for _ in specs]
    alive = Alive(TcpProbe("h", 1), 1.0 if seed % 20 == 8 else 8.0, rng.choice((1, 2)))
    return [
        replace(
            s,
            process=replace(s.process, watchdog=watchdog),
            alive=rng.choice((None, None, None, alive)),
        )
        for s, watchdog in zip(specs, watchdogs, strict=True)
    ]


def silent(seed: int, name: str, scripts: list[Script]) -> list[Script]:
    """Some of its lives hang, and a few of those notice."""
    rng = random.Random(f"silent {seed} {name}")
    return [
        replace(
            s,
            silent=rng.choice((None, None, 9 * rng.random())),
            hangs=rng.choice((None, None, 9 * rng.random())),
            triggers=rng.random() < 0.2,
        )
        for s in scripts
    ]


def moves(rng: random.Random) -> Moves:
    """Another main process, drawn: a daemon that goes into the background, or one that takes over later."""
    daemon = rng.random() < 0.3
    return Moves(
        rng.random() * (0.05 if daemon else 4.0),
        rng.choice(list(Shown)),
        0.0 if daemon else rng.random() * rng.choice((0.1, 3.0)),
        rng.choice((None, None, None, rng.random() * 2)),
    )


class Chaos:
    """Actors that act at random moments until the events are used up."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        specs: list[Spec] = []
        for name in ("db", "web", "app")[: rng.choice((1, 2, 3, 3))]:
            specs.append(spec(rng, name, [s.name for s in specs]))
        specs = watched(seed, specs)
        self.all = tuple(specs)
        self.world = World(specs, seed, faults=rng.choice((0.0, 0.5, 1.0)))
        for s in specs:
            lives = silent(seed, s.name, [script(rng, s) for _ in range(60)])
            self.world.scripts[s.name] = [*lives, Script(takes=0.0)]
        self.busy = rng.choice((0.05, 0.3, 1.0))
        self.deaths = rng.random() < 0.6
        self.loud = True

    def run(self, events: int) -> int:
        """So many events, then quiet, then everything must be at rest. Returns the number of events."""
        w = self.world
        w.start()
        for every, what in (
            (self.busy, self._somebody_asks),
            (self.busy * 4, self._edit),
            (self.busy * 6, self._hint),
            (self.busy * 6, self._look_round),
            (20.0, self._journal),
            (self.busy * 40, self._define),
            (5.0 + self.busy * 20, self._death),
        ):
            self._again(every, what)
        w.run(1e12, events)
        self._quiet()
        return w.events

    def _again(self, every: float, what: Callable[[], None]) -> None:
        self.world.after(self.rng.expovariate(1 / every), self._act, every, what)

    def _act(self, every: float, what: Callable[[], None]) -> None:
        if self.loud:
            what()
            self._again(every, what)

    def _somebody_asks(self) -> None:
        rng, w = self.rng, self.world
        if w.host is None or w.left:
            return
        name = rng.choice([*w.children, "nobody"] if rng.random() < 0.05 else list(w.children))
        draw = rng.random()
        cause = PERSON if rng.random() < 0.7 else Cause(rng.choice((Trigger.HANGUP, Trigger.TIMER)))
        event: ev.Ask
        if draw < 0.5:
            flags = [rng.random() < 0.15 for _ in range(3)]
            trial = rng.choice((None, None, None, 0.5))
            back = rng.choice(["", "", "", "", *w.kept][:8])
            flags_ = {"restore": back if back.startswith(f"sha256:{name}") else ""}
            event = ev.ReloadAsked(name, cause, None, *flags, confirm_within=trial, **flags_)
        elif draw < 0.62:
            event = ev.StartAsked(name, PERSON)
        elif draw < 0.74:
            event = ev.StopAsked(name, PERSON)
        elif draw < 0.84:
            event = ev.RestartAsked(name, PERSON)
        elif draw < 0.87:
            event = self._about(name)
        elif draw < 0.93:
            event = ev.HoldAsked(name, PERSON, rng.choice((None, rng.random() * 3)))
        else:
            event = ev.ReleaseAsked(name, PERSON)
        if draw < 0.002:
            w.feed(ev.ShutdownAsked(leave=rng.random() < 0.3))
        else:
            w.ask(event)

    def _about(self, name: str) -> ev.Ask:
        """Somebody confirms or cancels what there is, or something that is over."""
        w, kind = self.world, self.rng.choice((ev.ConfirmAsked, ev.CancelAsked))
        s = w.host.services.get(name) if w.host else None
        there = [] if s is None else [x for x in (s.running, s.waiting) if x is not None]
        ids = [*(r.id for r in there), *([s.pending.reload_id] if s and s.pending else []), "none"]
        return kind(name, self.rng.choice(ids), PERSON)

    def _define(self) -> None:
        """Somebody changes the definitions: a service less or more, another command, another way to reload."""
        rng, w = self.rng, self.world
        if w.host is None or w.left or w.host.ending:
            return
        specs = []
        for s in self.all:
            if rng.random() < 0.15:
                continue
            if rng.random() < 0.3:
                command = (s.name, rng.choice(("0", "1", "2", machine.BAD)))
                s = replace(s, process=ProcessSpec(command))  # noqa: PLW2901
            if rng.random() < 0.2:
                steps = rng.choice(STEPS)
                handle = HANDLE[type(steps[0])]
                confirm = (Reply(),) if handle == "exec" else ()
                changed = replace(s.reload, steps=steps, handle=handle, confirm=confirm)
                s = replace(s, reload=changed)  # noqa: PLW2901
            if rng.random() < 0.15:
                s = replace(s, instances=rng.choice((1, 2, 3)))  # noqa: PLW2901
                s = replace(s, takes_over=s.takes_over and s.instances == 1)  # noqa: PLW2901
            specs.append(s)
        names = {s.name for s in specs}
        w.define(
            [
                replace(
                    s,
                    after=tuple(n for n in s.after if n in names),
                    requires=tuple(n for n in s.requires if n in names),
                    digest=f"{s.process.command} {s.reload.handle} {s.instances}",
                )
                for s in specs
            ]
        )

    def _edit(self) -> None:
        rng, w = self.rng, self.world
        name = rng.choice(list(w.children))
        if rng.random() < 0.12:
            w.inputs[name] = None
            w.after(rng.random() * 1.5, self._put_back, name)
        else:
            w.write(name, bad=rng.random() < 0.25, sick=rng.random() < 0.2)
        if rng.random() < 0.8:
            w.after(rng.random() * 0.05, self._saw, name)

    def _put_back(self, name: str) -> None:
        if self.world.inputs[name] is None:
            self.world.write(name)
            self._saw(name)

    def _saw(self, name: str) -> None:
        w = self.world
        w.unpause(name)
        if name in w.children:
            w.feed(ev.ReloadAsked(name, WATCH, if_changed=True))

    def _hint(self) -> None:
        self._saw(self.rng.choice(list(self.world.children)))

    def _look_round(self) -> None:
        """Somebody asks how a service stands, and its workers are looked at."""
        w = self.world
        name = self.rng.choice(list(w.children))
        there = w.host is not None and name in w.host.services
        if there and (child := w.main(name)) is not None:
            workers = machine.seen_workers(w, name, child.identity.pid)
            w.feed(ev.WorkersSeen(name, child.generation, workers))

    def _journal(self) -> None:
        w = self.world
        if w.faults:
            w.journal_down = True
            w.after(self.rng.random() * 2, self._journal_up)

    def _journal_up(self) -> None:
        self.world.journal_down = False

    def _death(self) -> None:
        w = self.world
        if w.left or (self.deaths and w.host is not None):
            w.reboot() if self.rng.random() < 0.1 else w.die()
            if w.losses.random() < LOST:
                w.lose()
            w.after(self.rng.random() * 3, self._born_again)

    def _born_again(self) -> None:
        if self.world.host is None:
            self.world.start()

    def _quiet(self) -> None:
        """Good files, good children, and somebody lets go of every hold."""
        w, self.loud = self.world, False
        w.faults, w.journal_down = 0.0, False
        if w.host is not None and (w.left or w.host.ending):
            w.die()
        if w.host is None:
            w.start()
        w.define(self.all)
        for name in w.children:
            w.scripts[name] = [Script(takes=0.0)]
            w.write(name)
            w.ask(ev.ReleaseAsked(name, PERSON))
            w.feed(ev.ReloadAsked(name, WATCH, if_changed=True))
        w.run(QUIET)
        for name, value in w.inputs.items():  # a roll-back that waited may have put bad ones back
            if value in w.bad:
                w.write(name)
        w.define(self.all)  # what was not taken for bad bytes, or met no agent, is tried again
        w.run(QUIET)
        invariants.rest(w)


def run(seed: int, events: int) -> int:
    """One seed; what it says when it fails is enough to run it again."""
    try:
        return Chaos(seed).run(events)
    except Exception as error:
        raise AssertionError(f"seed {seed}, {events} events: {error!r}") from error
