"""What must hold after every event, whatever happened: checked against the world's truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.core import facts
from agentd.core.instance import ALIVE, GOING, Ending, Phase
from agentd.core.plan import change
from agentd.core.reload_value import ACTED, Act, Stage
from agentd.wire import Verdict
from tests.core.make import retired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentd.core.effects import Note
    from agentd.core.facts import Record
    from agentd.core.host import Host, Step
    from agentd.core.instance import Instance
    from agentd.core.service import Service
    from tests.sim.world import World

BY_INSTANCE = frozenset({Stage.LAUNCHING, Stage.REPLACING})
"""The stages whose end is the instance's to tell; it has a timer."""
LEAVES_LIVE = frozenset({Verdict.REJECTED, Verdict.REFUSED, Verdict.UNCHANGED, Verdict.HELD})


class Open:
    """The reloads without a verdict and their open phase and step, as the notes tell it."""

    def __init__(self) -> None:
        self.phase: dict[str, str] = {}
        self.step: dict[str, str] = {}
        self.at: dict[str, float] = {}
        self.over: set[str] = set()
        self.back: set[str] = set()
        """Those that turned back: once each."""

    @classmethod
    def of(cls, stored: Mapping[str, Sequence[Record]]) -> Open:
        """What the next agent finds open."""
        new = cls()
        for records in stored.values():
            for record in records:
                new._tell(record.mono, record.fact)
        return new

    def knows(self, reload_id: str) -> bool:
        return reload_id in self.phase or reload_id in self.over

    def tell(self, note: Note, world: World) -> None:
        self._tell(note.at, note.fact)
        if isinstance(note.fact, facts.Judged):
            _applied_is_true(world, note.fact)

    def _tell(self, at: float, fact: facts.Fact) -> None:
        id_ = getattr(fact, "reload_id", None)
        if id_ is None or isinstance(fact, facts.AFTERWARDS):  # told after the verdict
            return
        if isinstance(fact, facts.Requested):
            assert not self.knows(id_), f"{id_} was requested twice"
            self.phase[id_], self.at[id_] = "", at
            return
        assert id_ in self.phase, f"{fact} without a request"
        assert at >= self.at[id_] or isinstance(fact, facts.StepEnded), f"{fact} is out of order"
        self.at[id_] = max(at, self.at[id_])
        match fact:
            case facts.PhaseBegan(phase="rollback"):
                assert not self.phase[id_], f"{fact} inside {self.phase[id_]}"
                assert id_ not in self.back, "a roll-back of a roll-back"
                self.back.add(id_)
            case facts.PhaseEnded(phase="rollback"):
                assert not self.phase[id_], f"{fact} around {self.phase[id_]!r}"
                assert id_ in self.back
            case facts.PhaseBegan(phase=phase):
                assert not self.phase[id_], f"{fact} inside {self.phase[id_]}"
                self.phase[id_] = phase
            case facts.PhaseEnded(phase=phase):
                assert self.phase[id_] == phase, f"{fact} inside {self.phase[id_]!r}"
                self.step.pop(id_, None)  # a step that nobody ended ends with its phase
                self.phase[id_] = ""
            case facts.StepBegan(step=step):
                assert id_ not in self.step
                self.step[id_] = step
            case facts.StepEnded(step=step):
                assert self.step.pop(id_, None) == step, f"{fact} never began"
            case facts.Judged():
                del self.phase[id_], self.at[id_]
                self.step.pop(id_, None)
                self.over.add(id_)
            case _:
                pass


def _applied_is_true(w: World, fact: facts.Judged) -> None:
    """``applied`` never lies: the newest process really took these bytes."""
    if fact.verdict is Verdict.APPLIED:
        child = w.child(fact.service, fact.generation)
        assert child.taken == fact.hash_after, f"{fact} but it runs {child.taken}"
        for one in fact.instances:
            assert one.became in ("taken", "down"), f"{fact}"
            taken = one.became == "taken" and w.child(fact.service, one.generation)
            assert not taken or taken.taken == fact.hash_after, f"{fact} but {taken}"
        assert fact.grade is not None
    if fact.verdict is Verdict.ROLLED_BACK:
        assert w.host is not None
        s, child = w.host.services[fact.service], w.child(fact.service, fact.generation)
        assert fact.reload_id in w.open.back
        assert s.last_good is not None
        assert child.taken == s.last_good.hash, f"{fact} but it runs {child.taken}"
        assert child.taken not in w.sick or s.spec.reload.verify is None
        assert s.live == s.last_good
        assert s.quarantine is not None
        overdue = s.running is not None and s.running.restore  # a trial ended in the same moment
        assert overdue or s.quarantine.hash == fact.hash_after


def check(w: World, before: Host | None, done: Step) -> None:
    """After every event, for the services that it changed."""
    for name, s in done.host.services.items():
        if before is not None and s is before.services.get(name):
            continue
        _process(w, s)
        _heard(w, s, None if before is None else before.services.get(name))
        _timers(w, s)
        _live(w, s)
        if s.running and s.running.act is Act.RECIPE:
            assert s.instance.phase is Phase.READY, f"{s.running.stage} while {s.instance.phase}"
        _generations(w, done.host, s)
        _soak(w, s)
        _asked(w, s, None if before is None else before.services.get(name))
        _clients(w, s)
        assert not (s.running and s.running.ending), "an ended reload still runs"
        assert not (s.waiting and s.waiting.ending), "an ended reload still waits"
    if before is not None:
        judged = [n.fact for n in done.notes if isinstance(n.fact, facts.Judged)]
        if len(judged) == 1 and judged[0].verdict in LEAVES_LIVE:
            was = before.services[judged[0].service].live
            s = done.host.services[judged[0].service]
            several = s.others or before.services[judged[0].service].others
            assert was == s.live or not s.serves or several, f"{judged} moved {was}"


def _process(w: World, s: Service) -> None:
    """A process exactly in the phases that say so, in every generation."""
    name = s.spec.name
    for i in (s.instance, *s.others, s.next, *s.former):
        if i is None:
            continue
        if i.phase in ALIVE:
            assert i.process is not None or i.awaiting is not None, f"{i.phase} with no process"
            if i.process is not None:
                assert w.child(name, i.generation).identity == i.process
        else:
            assert i.process is None
            assert i.awaiting is None, f"{i.phase} waits for an answer"
            assert w.main(name, i.generation) is None, f"{i.phase} with a process"
    known = {i.generation for i in s.alive}
    for child in w.children[name]:
        assert not child.main or child.generation in known, f"nobody knows {child}"


def _generations(w: World, host: Host, s: Service) -> None:
    """One serves, at most one is to take its place, the others are on their way out; connections go where they should."""
    name, replacing = s.spec.name, s.running is not None and s.running.act is Act.REPLACE
    assert (s.next is None) or replacing, "a next generation that nobody waits for"
    assert s.next is None or s.next.phase in (Phase.STARTING, Phase.READY)
    assert all(i.phase in GOING for i in s.former), f"{s.former}"
    for slot in {i.slot for i in s.alive}:
        mine = [i for i in s.alive if i.slot == slot and not retired(i)]
        assert len(mine) <= max(s.spec.max_generations, 2), f"{len(mine)} generations of {slot}"
    if s.defined is None and not s.spec.removed:
        assert [i.slot for i in s.slots] == list(range(s.spec.instances))
    generations = [i.generation for i in s.alive]
    assert len(set(generations)) == len(generations)
    switched = replacing and s.running is not None and s.running.switched
    for i in s.slots:
        if s.spec.takes_over or i.takeovers:
            continue  # no agent says who gets them
        if not any(c.there and c.generation == i.generation for c in w.children[name]):
            continue  # it has just gone, nobody has heard of that yet, and it could not be switched to
        if i.phase is Phase.READY and not (switched and i is s.instance) and not host.ending:
            got = w.serving[name][i.slot]
            assert got == i.generation, f"{got} gets the connections of {i.slot}"


def _heard(w: World, s: Service, before: Service | None) -> None:
    """Nobody is ended for a silence that was none, and nobody is silent for long unnoticed."""
    former = {i.generation: i for i in before.alive} if before else {}
    for i in s.alive:
        was = former.get(i.generation)
        if i.ending is Ending.SILENT and was is not None and was.phase is Phase.READY:
            assert i.phase is Phase.STOPPING
            assert w.child(s.spec.name, i.generation).silent(w.now), f"{i} was not silent"
        if i.phase is Phase.READY and i.silent is not None and not i.lost:
            assert i.timer is not None, f"{i} is not watched"
            assert w.now <= i.silent + 1e-6, f"{i} has been silent since {i.heard}"


def _asked(w: World, s: Service, before: Service | None) -> None:
    """Whoever is ready is asked while no reload runs, nobody else is, and nobody is ended who answers."""
    quiet = s.spec.alive is not None and s.running is None
    ready = {i.generation for i in s.slots if quiet and i.phase is Phase.READY and not i.lost}
    assert {a.generation for a in s.asking} == ready, f"{s.asking} are asked, and {ready} serve"
    for a in s.asking:
        assert (a.timer is None) != (a.awaiting is None), f"{a} waits for nothing, or for two"
    former = {i.generation: i for i in before.slots} if before else {}
    for i in s.slots:
        was = former.get(i.generation)
        if i.ending is Ending.UNWELL and was is not None and was.phase is Phase.READY:
            assert w.faults or w.child(s.spec.name, i.generation).hung(w.now), f"{i} was well"


def _timers(w: World, s: Service) -> None:
    """Each machine has exactly the timer that it thinks it has."""
    name = s.spec.name
    there = (s.instance, *s.others, s.next, *s.former)
    machines = [(i.machine, i.timer) for i in there if i is not None]
    machines.append(("reload", s.running.timer if s.running else None))
    machines.append(("late", s.late.timer if s.late else None))
    machines.append(("soak", s.soak.timer if s.soak else None))
    machines += [(f"alive.{a.generation}", a.timer) for a in s.asking]
    machines.append(("waiting", s.waiting.timer if s.waiting else None))
    for machine, timer in machines:
        armed = w.armed.get((name, machine))
        assert (armed.serial if armed else None) == timer, f"{machine} {armed} {timer}"
    mine = {machine for machine, _ in machines} | {"hold", "confirm"}
    stray = [machine for owner, machine in w.armed if owner == name and machine not in mine]
    assert not stray, f"{stray} is armed for nobody"
    ends = s.hold is not None and s.hold.until_wall_ns > 0
    assert ((name, "hold") in w.armed) == ends, f"{s.hold} {w.armed.get((name, 'hold'))}"
    if (name, "confirm") in w.armed:
        assert s.pending is not None
    elif s.pending is not None:
        late = w.host.mint.wall_ns(w.now) + 1_000_000 - s.pending.until_wall_ns
        assert late >= 0, f"{s.pending} ends never"
        up = s.serves and s.running is None
        assert not up or late <= 1_000_000, f"{s.pending} is late, and nothing is in the way"
    for i in (s.instance, *s.others, *s.former):
        if i.phase in (Phase.BACKOFF, Phase.STOPPING):
            assert i.timer is not None
        if i.phase is Phase.DRAINING:
            assert (i.timer is None) != (i.awaiting is None), f"{i} waits for nothing, or for two"
    if s.running is not None:
        waits = s.running.timer is not None or s.running.awaiting is not None
        assert waits or s.running.stage in BY_INSTANCE, f"{s.running.stage} waits for nothing"


def _soak(w: World, s: Service) -> None:
    """It is about bytes that run or are about to, is asked about exactly once at a time, and has something else to fall back to."""
    if s.soak is None:
        return
    waits = [s.soak.timer, s.soak.awaiting].count(None)
    assert waits == 1 or (waits == 2 and (s.running or not s.serves)), (
        f"{s.soak} waits for nothing, or for two"
    )
    assert s.soak.told.back is None or s.soak.told.back.hash != s.soak.told.hash
    if s.running is None:
        assert s.live is None or s.live.hash == s.soak.told.hash, f"{s.soak} while {s.live} runs"
        assert s.soak.in_a_row < 2, "bad, and nothing is done"


def _live(w: World, s: Service) -> None:
    """``live`` is None or the bytes the child really took; in between an act and its verdict nobody can know."""
    r = s.running
    if s.live is None or (r and r.act is Act.RECIPE and r.stage in ACTED) or (r and r.taken):
        return
    if r and r.fault and r.fault.verdict is Verdict.FAILED:
        return
    for i in s.slots:
        starts = s.others and r and r.act is not Act.RECIPE and i is s.instance
        if i.phase is Phase.READY and not starts:
            child = w.child(s.spec.name, i.generation)
            if child.meddled:
                continue
            assert child.taken == s.live.hash, f"live is {s.live.hash} but it runs {child.taken}"


def paused(w: World, name: str, slot: int) -> None:
    """No second start without a pause, unless somebody asked."""
    at = w.paused.pop((name, slot), None)
    running = w.host.services[name].running if w.host else None
    if running and running.fault:  # the last good bytes are started once, and at once
        return
    if name in w.redefined and w.host and w.host.services[name].others:
        return
    if at is not None and running and running.handle == "start" and not running.cause.user:
        first = next(spec for spec in w.specs if spec.name == name).backoff.first
        assert w.now - at >= first - 1e-6, f"{name} was started again after {w.now - at}s"


def rest(w: World) -> None:
    """Nothing more comes: everything is where it was wanted."""
    assert w.host is not None
    for s in w.host.services.values():
        name, blocked = s.spec.name, not_allowed(w.host, s)
        for i in s.slots:
            down = i.phase is Phase.DOWN
            finished = down and i.ending is not None and i.ending.value == "by itself"
            if not s.wanted:
                assert down, f"{name} is wanted down and {i.phase}"
            else:
                there = i.phase in (Phase.READY, Phase.FAILED) or finished or (down and blocked)
                assert there, f"{name} is wanted up and {i.phase} ({i.why})"
        assert s.running is None, f"{name}: {s.running}"
        assert s.next is None
        assert not s.former, f"{name}: {s.former}"
        if not blocked:
            assert s.waiting is None, f"{name}: {s.waiting}"
            assert s.next_start is None
        asked = [r for r, whose in w.callers.items() if whose == name]
        assert blocked or not asked, f"{name}: nobody answered {asked}"
        assert s.late is None, f"{name}: {s.late}"
        declared = next(spec for spec in w.specs if spec.name == name)
        differs = change(s.spec, declared)
        assert blocked or differs is None, f"{name} is not what is declared: {differs}"
        assert blocked or s.declined is None, f"{name}: {s.declined}"
        assert blocked or s.soak is None, f"{name}: {s.soak}"
        armed = [machine for whose, machine in w.armed if whose == name and machine != "hold"]
        listens = {i.machine for i in s.slots if i.silent is not None}
        listens |= {f"alive.{a.generation}" for a in s.asking}
        assert not set(armed) - {"confirm"} - listens, f"{name}: {armed}"
    assert not w.watched, f"{w.watched} is watched for nobody"
    still = [t for t in w.outstanding if not t.machine.startswith(("hold", "alive."))]
    assert not still, f"unanswered {still}"
    for id_ in w.open.phase:
        waits = [s for s in w.host.services.values() if s.waiting and s.waiting.id == id_]
        assert waits, f"{id_} never reached a verdict"


def _clients(w: World, s: Service) -> None:
    """They wait where somebody comes, and are refused where nobody does."""
    comes = s.alive or (s.wanted and any(map(_comes_back, s.slots)))
    assert comes or s.spec.name not in w.listening, f"{s.spec.name}: clients wait for nobody"


def _comes_back(i: Instance) -> bool:
    finished = i.phase is Phase.DOWN and i.ending is Ending.BY_ITSELF
    return i.phase is not Phase.FAILED and not finished


def not_allowed(host: Host, s: Service) -> bool:
    """Whether what it needs is not there."""
    needs = [host.services.get(name) for name in s.spec.requires]
    return any(n is None or not n.serves for n in needs)
