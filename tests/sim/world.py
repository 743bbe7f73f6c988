"""A machine in a heap: children, files, a store and a clock around ``host.step``, with no event loop.

Everything happens at a virtual moment; a seed reproduces it all. The agent may die after any effect: what was not committed
is lost, the children live on, and ``boot`` takes over from what the store holds. What must always hold is ``invariants``.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.boot import Left, boot
from agentd.core.facts import Cause, Record
from agentd.core.found import find
from agentd.core.host import Host, Step, step
from agentd.core.ids import Mint
from agentd.core.instance import ALIVE
from agentd.core.manifest import Entry, Manifest, Missing
from agentd.core.memory import Memory, Other
from agentd.core.process import Exit, Identity
from agentd.core.service import Service
from agentd.core.spec import Spec
from agentd.core.value import replace
from agentd.wire import Trigger
from tests.sim import invariants, machine, moving
from tests.sim.children import DOUBT, Child, Script
from tests.sim.machine import DOES

PERSON = Cause(Trigger.CLI, "alice")
WATCH = Cause(Trigger.WATCH)


class World:
    """One host: its agent (or none), its children, its files, its store."""

    def __init__(self, specs: Sequence[Spec], seed: int = 0, faults: float = 0.0) -> None:
        self.specs = tuple(specs)
        self.rng = random.Random(seed)
        self.doubts = random.Random(f"doubts {seed}")
        """A stream of its own: what the other seeds tell stays what it was."""
        self.seed = seed
        self.faults = faults
        self.now = 0.0
        self.events = 0
        self.performed = 0
        self.die_at = 0
        self.loses = False
        """Whether the journal is lost with that agent."""
        self.life = 0
        self.boot_id = "boot-0"
        self.host: Host | None = None
        self.left = False
        self._heap: list[tuple[float, int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self.pid = 100
        self.scripts: dict[str, list[Script]] = {}
        self.children: dict[str, list[Child]] = {spec.name: [] for spec in specs}
        self.inputs: dict[str, int | None] = dict.fromkeys(self.children, 1)
        self.bad: set[int] = set()
        self.sick: set[str] = set()
        """Hashes of bytes that are taken and then do no good."""
        self.version = 1
        self.armed: dict[tuple[str, str], ev.Token] = {}
        self.issued: set[ev.Token] = set()
        self.cancelled: set[ev.Token] = set()
        self.outstanding: dict[ev.Token, fx.Effect] = {}
        self.callers: dict[int, str] = {}
        self.answers: dict[int, fx.Reply] = {}
        self.notes: list[fx.Note] = []
        self.keep_notes = False
        self.journal_down = False
        self.memories: dict[str, Memory] = {}
        self.births: dict[str, Memory] = {}
        """What the birth files tell: at once, whatever became of the journal."""
        self.losses = random.Random(f"losses {seed}")
        """The same: whether a journal is lost with its agent."""
        self.stored: dict[str, list[Record]] = {}
        self.judged: set[str] = set()
        self._staged: list[facts.Record] = []
        self._remembered: dict[str, Service] = {}
        self.born: dict[tuple[str, int], Identity] = {}
        self.slot: dict[tuple[str, int], int] = {}
        """Which instance each generation is of."""
        self.takeovers: dict[tuple[str, int], int] = {}
        """How many each generation was told have taken over."""
        self.kept: dict[str, int] = {}
        """The bytes behind each hash that was read."""
        self.watched: dict[str, int] = {}
        """The services of which it matters whether they read, and how often they had before."""
        self.serving: dict[str, dict[int, int]] = {}
        """Which generation the new connections of each instance go to."""
        self.keeps = seed % 2 == 0
        """Whether a service manager keeps the listeners that are current while no agent is there."""
        self.listening: set[str] = set()
        """The services at whose sockets clients wait, or are served."""
        self._durable: list[fx.Effect] = []
        self._committing = False
        self._seq = 0
        self.open = invariants.Open()
        self.redefined: set[str] = set()
        """Services that a person may have restarted by another definition: of several instances only one start names them."""
        self.paused: dict[tuple[str, int], float] = {}

    # Time.

    def after(self, delay: float, what: Callable[..., None], *args: Any) -> None:
        """It happens whether or not an agent lives."""
        self._push(delay, -1, what, args)

    def agent_after(self, delay: float, what: Callable[..., None], *args: Any) -> None:
        """It dies with the agent that it was meant for."""
        self._push(delay, self.life, what, args)

    def _push(
        self, delay: float, life: int, what: Callable[..., None], args: tuple[Any, ...]
    ) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay, self._order, life, what, args))

    def run(self, seconds: float, events: int = 1 << 60) -> None:
        """Until so much virtual time has passed, or so many events."""
        until = self.now + seconds
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until and self.events < events:
            at, _, life, what, args = pop(heap)
            self.now = at
            if life in (-1, self.life):
                what(*args)
        if self.events < events:
            self.now = until

    # The agent.

    def start(self) -> None:
        """An agent begins with what the store holds."""
        self.life += 1
        self.armed, self.issued, self.cancelled, self.outstanding = {}, set(), set(), {}
        self._staged, self._remembered, self._durable, self._committing = [], {}, [], False
        self.born, self.paused, self.callers, self.watched = {}, {}, {}, {}
        self.left = False
        self.open = invariants.Open.of(self.stored)
        declared = {spec.name: spec.instances for spec in self.specs}
        told = find(declared, self.memories.values(), self.births.values(), self.boot_id)
        for one in told.leftover:  # somebody reads that it is nobody's, and ends it
            for child in self.children[one.service]:
                if child.generation == one.generation:
                    machine.perish(child)
        memories = dict(told.memories)
        self._recall(memories)
        found = [name for name, m in memories.items() if self._alive(name, m.process)]
        found_beside = [
            (name, other.generation)
            for name, m in memories.items()
            for other in (*m.others, *m.places)
            if self._alive(name, other.process)
        ]
        wanted = {spec.name for spec in self.specs if spec.sockets}
        for name, children in self.children.items():  # a listener ends with its last holder
            if name not in wanted or not (self.keeps or any(c.main for c in children)):
                self.listening.discard(name)
            if self.keeps:
                continue
            shares = self.serving.setdefault(name, {})
            for slot in {c.slot for c in children if c.serves}:
                there = [c.generation for c in children if c.serves and c.slot == slot]
                if slot in shares and shares[slot] not in there:
                    shares[slot] = there[0]
        records = tuple(map(tuple, self.stored.values()))
        left = Left(memories, found, records, self.boot_id, found_beside, told.unknown)
        wall_ms = 1_000_000 + int(self.now * 1000)
        mint = Mint(b"%d/%d" % (self.seed, self.life), wall_ms, self.now)
        done = boot(self.specs, left, mint, self.now)
        self._take(None, done)

    def _recall(self, memories: Mapping[str, Memory]) -> None:
        """Whom the agent knows as a main process; one that is gone is told of when others may have taken over from it."""
        for name, m in memories.items():
            known = [m.process, *(one.process for one in (*m.others, *m.places))]
            for child in self.children.get(name, ()):
                child.told = child.told and not child.there
                moving.remembered(child, known)
                if child.serves and not child.main and child.identity in known:
                    generation, pid = child.generation, child.identity.pid
                    end = ev.Exited(name, generation, Exit(), empty=False, pid=pid)
                    self.agent_after(self.soon(), self.told, child, end)

    def _alive(self, name: str, process: Identity | None) -> bool:
        """Or gone, and others of its group may be the main process now."""
        return any(c.serves and c.identity == process for c in self.children[name])

    def die(self) -> None:
        """kill -9: whatever was not committed is lost, and nobody hears what the children say."""
        self.host = None
        self.life += 1
        self.armed = {}

    def lose(self) -> None:
        """The journal cannot be read any more, and is set aside."""
        self.memories, self.stored = {}, {}

    def feed(self, event: ev.Event) -> None:
        """One event of the agent's mailbox."""
        if self.host is None or self.left:
            return
        before = self.host
        done = step(before, event, self.now)
        self.events += 1
        assert not done.refused, f"{done.refused} on {event} at {self.now:.4f}"
        self._take(before, done)

    def define(self, specs: Sequence[Spec]) -> None:
        """The operator's files say this from now on."""
        there = {spec.name for spec in self.specs}
        self.specs = tuple(specs)
        for spec in specs:
            if spec.name not in there:  # somebody has asked for it
                self.unpause(spec.name)
            self.children.setdefault(spec.name, [])
            self.inputs.setdefault(spec.name, 1)
        self.redefined = set(self.children)
        memories = tuple(self.memories.values())
        self.feed(ev.DefinitionsLoaded(self.specs, PERSON, memories))

    def ask(self, event: ev.Ask) -> int:
        """Somebody asks and waits for the answer."""
        reply = len(self.answers) + len(self.callers) + 1 + self.life * 1_000_000
        self.callers[reply] = event.service
        self.unpause(event.service)
        self.feed(replace(event, reply=reply))
        return reply

    def unpause(self, service: str) -> None:
        """Somebody asked: whatever starts next need not have paused."""
        self.paused = {place: at for place, at in self.paused.items() if place[0] != service}

    def _take(self, before: Host | None, done: Step) -> None:
        self.host = done.host
        for note in done.notes:
            self._tell(note)
        for name in done.touched:
            self._remembered[name] = done.host.services[name]
            self._keep_birth(done.host.services[name])
        life = self.life
        for effect in done.effects:
            if effect.durable:
                self._durable.append(effect)
                token = getattr(effect, "token")  # noqa: B009 - the durable ones have one
                self.issue(token, effect)
            elif not self._perform(effect):
                return
        if (done.notes or done.touched) and not self._committing:
            self._committing = True
            self.agent_after(self.rng.random() * 0.005, self._commit)
        if life == self.life:
            invariants.check(self, before, done)

    def _tell(self, note: fx.Note) -> None:
        fact = note.fact
        self._seq += 1
        if self.keep_notes:
            self.notes.append(note)
        self.open.tell(note, self)
        if isinstance(fact, facts.PhaseEntered) and fact.phase == "backoff":
            slot = self._slot(fact.service, fact.generation)
            if slot is not None:  # it is one of those that are declared still
                self.paused[fact.service, slot] = self.now
        if isinstance(fact, facts.Judged) and "down" in {one.became for one in fact.instances}:
            self.unpause(fact.service)  # there are new bytes to try
        if hasattr(fact, "reload_id") and not isinstance(fact, facts.AFTERWARDS):
            self._staged.append(Record(self._seq, 0, note.at, self.boot_id, fact))

    def _slot(self, service: str, generation: int) -> int | None:
        slots = self.host.services[service].slots if self.host else ()
        return next((i.slot for i in slots if i.generation == generation), None)

    def _commit(self) -> None:
        """Everything so far is on disk; then what had to wait for that is done."""
        self._committing = False
        durable, self._durable = self._durable, []
        if self.journal_down:
            for effect in durable:
                self.fail(effect.token, "journal_unavailable")  # type: ignore[union-attr]
            self._committing = True
            self.agent_after(0.5, self._commit)
            return
        self.write_down()
        for effect in durable:
            if not self._perform(effect):
                return

    def write_down(self) -> None:
        """What was noted so far is on the disk."""
        for record in self._staged:
            id_ = record.fact.reload_id  # type: ignore[union-attr]
            if isinstance(record.fact, facts.Judged):
                self.stored.pop(id_)
                assert id_ not in self.judged, f"{id_} was judged twice"
                self.judged.add(id_)
            else:
                self.stored.setdefault(id_, []).append(record)
        for name, service in self._remembered.items():
            self.memories[name] = self._with_born(replace(service.memory, boot=self.boot_id))
        self._staged, self._remembered = [], {}

    def _keep_birth(self, service: Service) -> None:
        memory = self._with_born(replace(service.memory, boot=self.boot_id))
        self.births[service.spec.name] = memory.there

    def _with_born(self, memory: Memory) -> Memory:
        """A spawn's identity is on disk before its exec; a memory from before ``Spawned`` must not lose it again."""
        known = {o.generation for o in memory.others} | {memory.generation}
        known |= {p.generation for p in memory.places}
        for (name, generation), born in self.born.items():
            if name != memory.service:
                continue
            if generation == memory.generation:
                if memory.process is None and memory.phase in ALIVE:
                    memory = replace(memory, process=born)
            elif generation in {p.generation for p in memory.places}:
                places = (
                    replace(p, process=born)
                    if p.generation == generation and p.process is None and p.phase in ALIVE
                    else p
                    for p in memory.places
                )
                memory = replace(memory, places=tuple(places))
            elif generation not in known and generation == memory.issued:
                slot, told = self.slot[name, generation], self.takeovers[name, generation]
                other = Other(generation, "starting", born, slot=slot, takeovers=told)
                memory = replace(memory, others=(*memory.others, other))
        return memory

    # Effects.

    def _perform(self, effect: fx.Effect) -> bool:
        """False: the agent died of it (after it)."""
        token = getattr(effect, "token", None)
        if token is not None and not isinstance(effect, fx.Cancel) and not effect.durable:
            self.issue(token, effect)
        if not (effect.durable and token in self.cancelled):
            DOES[type(effect)](self, effect)
        self.performed += 1
        if self.performed == self.die_at:
            self.die()
            if self.loses:
                self.lose()
            self.after(0.1, self.start)
            return False
        return True

    def issue(self, token: ev.Token, effect: fx.Effect) -> None:
        assert token not in self.issued, f"{token} is used twice"
        self.issued.add(token)
        if not isinstance(effect, fx.Arm):
            self.outstanding[token] = effect

    def answer(self, token: ev.Token, delay: float, event: ev.Event) -> None:
        self.agent_after(delay, self._deliver, token, event)

    def _deliver(self, token: ev.Token, event: ev.Event) -> None:
        if (
            self.outstanding.pop(token, None) is None
            and token in self.cancelled
            and self.rng.random() < 0.3
        ):
            return  # cancelled in time; otherwise it was in the mailbox already
        self.feed(event)

    def answered(self, token: ev.Token, event: ev.Event) -> None:
        """The answer arrives now."""
        self._deliver(token, event)

    def record_birth(self, name: str, generation: int, identity: Identity) -> None:
        """It is on disk before its exec, and so is everything noted before: writes keep their order."""
        self.write_down()
        self.memories[name] = self._with_born(self.memories[name])
        self.births[name] = self.memories[name].there
        m = self.memories[name]
        known = {m.process} | {o.process for o in (*m.others, *m.places)}
        assert identity in known, f"generation {generation} of {name} is in no memory"

    def fail(self, token: ev.Token, error_type: str) -> None:
        self.answer(token, self.soon(), ev.EffectFailed(token, error_type, f"cannot: {error_type}"))

    def soon(self) -> float:
        return self.rng.random() * 0.003

    @property
    def ticks(self) -> int:
        """Now, in the unit of a process's start: finer than a kernel's, for a world in which much happens at a time."""
        return int(self.now * 1_000_000)

    def told(self, child: Child, event: ev.Exited) -> None:
        """The agent hears of an end."""
        machine.told(self, child, event)

    def fault(self, share: float) -> bool:
        return self.faults > 0 and self.rng.random() < share * self.faults

    # The machine.

    def main(self, service: str, generation: int | None = None) -> Child | None:
        """The living main process of this generation; without one, of the generation that serves."""
        if generation is None:
            generation = self.host.services[service].instance.generation if self.host else 0
        found = (c for c in self.children[service] if c.main and c.generation == generation)
        return next(found, None)

    def instance(self, service: str, slot: int) -> Child | None:
        """The living main process of what serves as this instance."""
        slots = self.host.services[service].slots if self.host else ()
        there = [i.generation for i in slots if i.slot == slot]
        return self.main(service, there[0]) if there else None

    def child(self, service: str, generation: int) -> Child:
        """The process of this generation, alive or not."""
        return next(c for c in reversed(self.children[service]) if c.generation == generation)

    def hash(self, service: str) -> str | None:
        """Of the inputs as they are now."""
        value = self.inputs[service]
        return None if value is None else f"sha256:{service}{value}"

    def reading(self, service: str) -> Manifest | Missing:
        """What a snapshot finds."""
        hash_ = self.hash(service)
        if hash_ is None or self.fault(0.01):
            return Missing("missing_input", f"{service}.conf is missing")
        self.kept[hash_] = self.inputs[service] or 0
        entries = (Entry(f"/etc/{service}.conf", hash_, 1),)
        if self.faults > 0 and self.doubts.random() < 0.03 * self.faults:
            return Manifest(f"{hash_}{DOUBT}", hash_[7:], entries, unlisted="nobody names them")
        return Manifest(hash_, hash_[7:], entries)

    def write(self, service: str, *, bad: bool = False, sick: bool = False) -> None:
        """New bytes, never seen before."""
        self.version += 1
        self.inputs[service] = self.version
        if bad:
            self.bad.add(self.version)
        if sick:
            self.sick.add(f"sha256:{service}{self.version}")

    def reboot(self) -> None:
        """The whole host: nothing survives but the disk."""
        self.die()
        self.boot_id = f"boot-{self.life}"
        self.children = {name: [] for name in self.children}
        self.listening = set()
