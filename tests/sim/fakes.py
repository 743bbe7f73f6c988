"""A host of scripted children, files as strings and a store in memory: what the real runtime runs on in virtual time.

The world outlives its agents. An agent's adapters do nothing any more once it is dead, as those of a killed process.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from socket import socket

from agentd.core.facts import Fact, Judged, Record, Requested
from agentd.core.manifest import Entry, Manifest, Missing
from agentd.core.memory import Memory
from agentd.core.process import Exit, Identity
from agentd.core.question import Question, Said
from agentd.core.spec import Probe, ProcessSpec, SocketSpec, Spec
from agentd.core.steps import Worker
from agentd.ports import (
    AdapterError,
    CommandOrder,
    CommandResult,
    Disposition,
    Key,
    Load,
    Message,
    MovedError,
    Opened,
    Own,
    Permit,
    PutBack,
    SpawnError,
    SpawnOrder,
    Usage,
)

BOOT = "this boot"


@dataclass(frozen=True)
class Script:
    """A child as a sentence. ``on``: what a signal does: (delay, exit code), or None: ignored; HUP re-reads unless said."""

    ready_after: float | None = 0.0
    exits: tuple[float, int] | None = None
    on: Mapping[str, tuple[float, int] | None] = field(default_factory=dict)
    takes_hup: bool = True
    missing: bool = False
    leaves: bool = False
    """A child of it lives on when it ends, until it is killed."""


@dataclass
class Child:
    key: Key
    script: Script
    identity: Identity
    config: str
    """The hash of what it has read."""
    workers: Worker
    alive: bool = True
    group: bool = True
    reads: int = 0
    heirs: dict[int, Identity] = field(default_factory=dict)
    """Other processes of its group, of which each may become the main one."""
    handles: list[asyncio.TimerHandle] = field(default_factory=list)


class Queues:
    """The listeners of one service. ``waiting``: connections in the queue of each, by its descriptor."""

    def __init__(self) -> None:
        self.waiting: dict[int, int] = {100: 0}
        self.users: dict[int, set[int]] = {100: set()}
        self.places = {0: 100}
        """The current one of each instance."""
        self.share: set[int] = set()
        """The instances that get new connections."""
        self.slots: dict[int, int] = {}
        """Of which instance a generation is."""
        self.turns = 0
        self.open: dict[int, int] = {}
        """Connections that a generation has, as a scenario says."""

    def of(self, generation: int) -> int | None:
        return next((fd for fd, users in self.users.items() if generation in users), None)

    @property
    def served(self) -> list[int]:
        """Who gets new connections; with nobody there they wait."""
        there = [self.places[slot] for slot in sorted(self.share & set(self.places))]
        return [fd for fd in there if self.users[fd]] or there or [min(self.places.values())]

    def arrive(self) -> None:
        """One connection more; chance is a round."""
        self.turns += 1
        served = self.served
        self.waiting[served[self.turns % len(served)]] += 1

    def serving(self, slot: int) -> bool:
        return any(self.users[self.places[s]] for s in self.share - {slot} if s in self.places)


class World:
    """One host. ``effects`` counts what agents did to it; ``die_after`` ends the agent after that many."""

    def __init__(self, scripts: Mapping[str, Sequence[Script]]) -> None:
        self.scripts = {name: list(of) for name, of in scripts.items()}
        self.children: dict[Key, Child] = {}
        self.sent: list[tuple[float, str, str]] = []
        self.text: dict[str, str] = dict.fromkeys(scripts, "v1")
        self.bad: set[str] = {"bad"}
        self.records: list[Record] = []
        self.memories: dict[str, Memory] = {}
        self.births: dict[str, Memory] = {}
        self.births_work = True
        self.agent: Agent | None = None
        self.effects = 0
        self.die_after: int | None = None
        self.on_death: Callable[[], None] = lambda: None
        self.before_signal: Callable[[], None] = lambda: None
        self.pid = 100
        self.store_works = True
        self.held: dict[str, Queues] = {}
        self.pid_files: dict[str, int] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def serving(self, service: str) -> int:
        """Which generation new connections go to."""
        (only,) = self.shares(service)
        return only

    def shares(self, service: str) -> list[int]:
        """Which generations new connections go to."""
        held = self.held[service]
        return [max(held.users[fd]) for fd in held.served]

    def acted(self) -> None:
        """One more effect has happened; the agent may die of it."""
        self.effects += 1
        if self.effects == self.die_after:
            self.die_after = None
            assert self.agent is not None
            self.agent.dead = True
            self.on_death()

    def worker(self) -> Worker:
        """A worker that is born now."""
        self.pid += 1
        return Worker(self.pid, int(self.loop.time() * 100), "worker")

    def running(self, service: str) -> list[Child]:
        return [c for c in self.children.values() if c.key.service == service and c.alive]

    def facts(self, kind: type[Fact] | tuple[type[Fact], ...]) -> list[Fact]:
        return [r.fact for r in self.records if isinstance(r.fact, kind)]

    def born(self, order: SpawnOrder, identity: Identity) -> Child:
        scripts = self.scripts[order.key.service]
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        config = digest(self.text[order.key.service])
        child = Child(order.key, script, identity, config, self.worker())
        self.children[order.key] = child
        if script.exits:
            child.handles.append(
                self.loop.call_later(script.exits[0], self.ends, child, Exit(code=script.exits[1]))
            )
        if script.ready_after is not None:
            child.handles.append(self.loop.call_later(script.ready_after, self._says_ready, child))
        return child

    def _says_ready(self, child: Child) -> None:
        if child.alive and self.agent and not self.agent.dead:
            message = Message((("READY", "1"),), child.identity.pid, self.loop.time())
            self.agent.listener.notified(child.key, message)

    def ends(self, child: Child, end: Exit) -> None:
        if not child.alive:
            return
        child.alive = False
        child.group = child.script.leaves or bool(child.heirs)
        for handle in child.handles:
            handle.cancel()
        if self.agent and not self.agent.dead and child.key in self.agent.known:
            at = self.loop.time()
            pid, empty = child.identity.pid, not child.group
            self.agent.listener.exited(child.key, end, empty=empty, at=at, pid=pid)

    def heir(self, service: str) -> Identity:
        """Its main process has started another one like itself."""
        (child,) = self.running(service)
        self.pid += 1
        heir = replace(child.identity, pid=self.pid, started=self.pid * 10)
        child.heirs[heir.pid] = heir
        return heir

    def says(self, service: str, *fields: tuple[str, str]) -> None:
        """Its main process speaks."""
        (child,) = self.running(service)
        assert self.agent is not None
        message = Message(fields, child.identity.pid, self.loop.time())
        self.agent.listener.notified(child.key, message)

    def empties(self, child: Child) -> None:
        if child.group and not child.alive:
            child.group = False
            child.heirs.clear()
            if self.agent and not self.agent.dead and child.key in self.agent.known:
                self.agent.listener.emptied(child.key, self.loop.time())

    def takes(self, child: Child, signal: str, *, group: bool) -> None:
        """What a child does with a signal."""
        self.sent.append((self.loop.time(), child.key.service, signal))
        if signal == "KILL":
            self.loop.call_soon(self.ends, child, Exit(signal="KILL"))
            if group:
                self.loop.call_soon(self.empties, child)
            return
        reaction = child.script.on.get(signal, (0.0, 0) if signal != "HUP" else None)
        if signal == "HUP" and "HUP" not in child.script.on:
            if child.script.takes_hup:
                child.config = digest(self.text[child.key.service])
                child.workers = self.worker()
                child.reads += 1
        elif reaction is not None:
            code = reaction[1]
            end = Exit(code=code) if code >= 0 else Exit(signal=signal)
            self.loop.call_later(reaction[0], self.ends, child, end)


class Agent:
    """The adapters of one agent's life."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.known: set[Key] = set()
        self.listener: Runtime  # type: ignore[name-defined]  # noqa: F821 - set by who assembles
        world.agent = self


class FakeProcesses:
    """``Processes`` and ``ProcessTable`` over scripted children."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent

    async def spawn(self, order: SpawnOrder, permit: Permit) -> Identity:
        world = self._a.world
        await asyncio.sleep(0.001)
        if self._a.dead:
            await asyncio.Event().wait()
        if world.scripts[order.key.service][0].missing:
            raise SpawnError("cannot start it: exec: no such file", errno.ENOENT, "exec")
        world.pid += 1
        identity = Identity(world.pid, world.pid * 10, BOOT, order.cookie)
        await permit(identity)
        if self._a.dead:
            await asyncio.Event().wait()
        child = world.born(order, identity)
        self._a.known.add(order.key)
        world.acted()
        return replace(child.identity, output=0)

    def adopt(self, key: Key, identity: Identity) -> bool:
        child = self._a.world.children.get(key)
        if child is None or not child.alive or child.identity.cookie != identity.cookie:
            return False
        self._a.known.add(key)
        return True

    def signal(self, key: Key, signal: str, *, group: bool) -> float:
        world = self._a.world
        if self._a.dead:
            return world.loop.time()
        child = world.children.get(key)
        if child is None or not (child.alive or (group and child.group)):
            raise AdapterError(f"cannot send {signal}: it is gone", errno.ESRCH)
        world.takes(child, signal, group=group)
        world.acted()
        return world.loop.time()

    def identify(self, key: Key, pid: int) -> Identity:
        child = self._a.world.children.get(key)
        there = {child.identity.pid: child.identity} if child and child.alive else {}
        found = ({} if child is None else child.heirs | there).get(pid)
        if found is None:
            raise AdapterError(f"there is no process {pid}")
        return found

    def follow(self, key: Key, identity: Identity) -> None:
        child = self._a.world.children[key]
        if child.heirs.pop(identity.pid, None) is None:  # it ended a moment ago
            child.identity, child.alive = identity, True
            self._a.world.loop.call_soon(self._a.world.ends, child, Exit())
            return
        former, child.identity = child.identity, identity
        if child.alive:
            child.heirs[former.pid] = former
        child.alive = True
        self._a.world.acted()

    async def close(self) -> None:
        self._a.known.clear()

    def members(self, key: Key) -> tuple[int, ...]:
        child = self._a.world.children.get(key)
        return () if child is None else (child.identity.pid,) * child.alive + tuple(child.heirs)

    def workers(self, pid: int) -> tuple[Worker, ...]:
        child = self._by_pid(pid)
        return (child.workers,) if child else ()

    def ticks(self) -> int:
        return int(self._a.world.loop.time() * 100)

    async def disposition(self, pid: int, signal: str) -> Disposition:
        await asyncio.sleep(0)
        self._a.world.before_signal()
        return Disposition(safe=True, why="")

    def usage(self, pid: int) -> Usage | None:
        return Usage(0.0, 0) if self._by_pid(pid) else None

    def _by_pid(self, pid: int) -> Child | None:
        found = (c for c in self._a.world.children.values() if c.identity.pid == pid and c.alive)
        return next(found, None)


class FakePidFiles:
    """``PidFiles``: one of every service, in the world."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent

    async def read(self, path: str, uid: int) -> int:
        del uid
        await asyncio.sleep(0.001)
        pid = self._a.world.pid_files.get(path)
        if pid is None:
            raise AdapterError(f"pid_file {path}: No such file or directory")
        return pid


class FakeFiles:
    """``Files``: one input per service, whose text is in the world; the text "gone" is a missing file."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent

    async def snapshot(self, spec: Spec, *, keep: bool, anew: bool = False) -> Manifest | Missing:
        del keep
        await asyncio.sleep(0.001)
        text = self._a.world.text[spec.name]
        if text == "gone":
            return Missing("missing_input", f"{spec.name}.conf is not there")
        value = digest(text)
        return Manifest(value, value[7:19], (Entry(f"/{spec.name}.conf", value[7:], len(text)),))

    def written(self, service: str) -> str | None:
        del service
        return None

    async def restore(self, spec: Spec, digest: str, over: str = "") -> PutBack:
        world = self._a.world
        await asyncio.sleep(0.001)
        known = {globals()["digest"](text): text for text in ("v1", "v2", "v3")}
        if digest not in known:
            raise AdapterError(f"{digest} is not kept")
        if over and globals()["digest"](world.text[spec.name]) not in (over, digest):
            raise MovedError("they changed")
        world.text[spec.name] = known[digest]
        world.acted()
        return PutBack(1, "/rejected" if over else "")

    def watched(self, spec: Spec) -> tuple[str, ...]:
        return spec.inputs

    async def version(self, spec: Spec, manifest: Manifest) -> str:
        del spec
        return manifest.version


class FakeCommands:
    """``Commands``: the only command is the check, which reads the text as it is now. ``hang`` never ends by itself."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent

    async def run(self, order: CommandOrder) -> CommandResult:
        service = dict(order.env)["AGENTD_SERVICE"]
        text = self._a.world.text[service]
        if text == "hang":
            await asyncio.sleep(order.timeout)
            return CommandResult(None, timed_out=True, error=None, output=())
        await asyncio.sleep(0.05)
        if text in self._a.world.bad:
            return CommandResult(1, timed_out=False, error=None, output=(f"{text} is bad",))
        if order.argv[0] == "take":
            for child in self._a.world.running(service):
                child.config = digest(text)
            self._a.world.acted()
        return CommandResult(0, timed_out=False, error=None, output=())


class FakeProbes:
    """``Probes``: everybody is ready, and says truthfully which bytes it has read."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent

    async def probe(
        self, probe: Probe, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> str | None:
        await asyncio.sleep(0.001)
        return None

    async def ask(
        self, question: Question, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> Said:
        await asyncio.sleep(0.001)
        children = self._a.world.children.values()
        return next(
            (Said(c.config) for c in children if c.identity.pid == pid and c.alive),
            Said(why="connection refused"),
        )

    async def names(
        self, question: Question, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> tuple[str, ...] | Said:
        await asyncio.sleep(0.001)
        return ()


class FakeOpens:
    """``Opens``: a child opens its one input whenever it takes a signal."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent
        self.watched: dict[str, tuple[int, frozenset[str]]] = {}
        """Of each service: how often its child had read when it began, and which files."""

    def watch(self, service: str, pid: int, paths: Sequence[str]) -> None:
        self.watched[service] = (self._reads(service), frozenset(paths))

    def fresh(self, service: str) -> None:
        if service in self.watched:
            self.watched[service] = (self._reads(service), self.watched[service][1])

    def opened(self, service: str) -> Opened:
        if service not in self.watched:
            return Opened(None, "nobody watched")
        before, paths = self.watched[service]
        return Opened(paths if self._reads(service) > before else frozenset())

    def drop(self, service: str) -> None:
        self.watched.pop(service, None)

    def _reads(self, service: str) -> int:
        return sum(c.reads for c in self._a.world.children.values() if c.key.service == service)


class FakeOutput:
    """``Output`` and ``Logs``: nothing is said."""

    def open(self, key: Key, spec: Spec) -> int:
        return os.open(os.devnull, os.O_RDWR)

    def adopt(self, key: Key, spec: Spec, pid: int, inode: int) -> bool:
        return True

    def close(self, key: Key) -> None:
        pass

    def inode(self, key: Key) -> int:
        return 0

    def offset(self, service: str) -> int:
        return 0

    def tail(self, service: str, lines: int) -> tuple[str, ...]:
        return ("last words",)

    def since(self, service: str, offset: int, limit: int) -> tuple[tuple[str, ...], int]:
        return (), offset

    async def grown(self, service: str, offset: int) -> None:
        await asyncio.Event().wait()


class FakeListeners:
    """``Listeners`` and ``HeldSockets``: every service's sockets are one TCP address, unless ``shared`` names it."""

    def __init__(self, agent: Agent, shared: Sequence[str] = ()) -> None:
        self._a = agent
        self._shared = shared
        self._leaving: set[str] = set()
        """Whose sockets are declared no more: they are closed with the last generation that has them."""

    def lend(
        self, key: Key, spec: Spec, *, beside: bool, slot: int = 0
    ) -> tuple[tuple[str, int], ...]:
        if not spec.sockets or self._a.dead:
            return ()
        held = self._a.world.held.setdefault(key.service, Queues())
        fd = held.of(key.generation)
        if fd is None:
            held.slots[key.generation] = slot
            if not held.serving(slot):
                held.share.add(slot)
            elif slot in held.places and not held.users[held.places[slot]]:
                held.share.discard(slot)
            if not any(held.users.values()) and len(held.places) == 1:
                held.places, held.share = {slot: next(iter(held.places.values()))}, {slot}
            fd = held.places.get(slot, min(held.places.values()))
            taken = slot not in held.places or (beside and held.users[fd])
            if taken and key.service not in self._shared:
                fd = max(held.waiting) + 1
                held.waiting[fd], held.users[fd] = 0, set()
            held.places.setdefault(slot, fd)
            held.users[fd].add(key.generation)
        return tuple((one.name, fd) for one in spec.sockets)

    def switch(self, key: Key) -> bool:
        held = self._a.world.held.get(key.service)
        fd = held.of(key.generation) if held else None
        if held is None or fd is None or held.users[fd] != {key.generation} or self._a.dead:
            return False
        slot = held.slots[key.generation]
        held.places[slot] = fd
        held.share.add(slot)
        self._a.world.acted()
        return True

    def withdraw(self, key: Key) -> None:
        held = self._a.world.held.get(key.service)
        slot = held.slots.get(key.generation) if held else None
        if held is None or slot is None or self._a.dead or len(held.places) == 1:
            return
        if held.places.get(slot) == held.of(key.generation):
            held.places.pop(slot, None)
            held.share.discard(slot)

    def release(self, key: Key) -> None:
        held = self._a.world.held.get(key.service)
        fd = held.of(key.generation) if held else None
        if held is None or fd is None or self._a.dead:
            return
        held.users[fd].discard(key.generation)
        held.open.pop(key.generation, None)
        if fd not in held.places.values() and not held.users[fd]:
            del held.users[fd], held.waiting[fd]
        elif held.serving(held.slots[key.generation]):
            held.share.discard(held.slots[key.generation])
        self._close_unused(key.service, held)

    def drop(self, service: str) -> None:
        if not self._a.dead:
            self._a.world.held.pop(service, None)

    def prepare(self, spec: Spec, one: SocketSpec) -> None:
        if not self._a.dead:
            self._a.world.held.setdefault(spec.name, Queues())

    def declare(self, spec: Spec) -> None:
        held = self._a.world.held.get(spec.name)
        if held is None or self._a.dead:
            return
        self._leaving.discard(spec.name)
        if not spec.sockets:
            self._leaving.add(spec.name)
            self._close_unused(spec.name, held)

    def _close_unused(self, service: str, held: Queues) -> None:
        if service in self._leaving and not any(held.users.values()):
            self.drop(service)

    async def freed(self) -> None:
        await asyncio.get_running_loop().create_future()

    def adopt(self, key: Key, spec: Spec, pid: int) -> bool:
        held = self._a.world.held.get(key.service)
        return not spec.sockets or (held is not None and held.of(key.generation) is not None)

    def count(self, key: Key, pids: Collection[int]) -> Load:
        held = self._a.world.held.get(key.service)
        fd = held.of(key.generation) if held else None
        if held is None or fd is None:
            return Load(0, 0, 0)
        queued = held.waiting[fd] if key.generation == max(held.users[fd]) else 0
        return Load(queued, held.open.get(key.generation, 0), 0)

    def leave(self, key: Key) -> None:
        """Nothing: here nobody comes to a listener that is not current."""

    def own(self, key: Key, pid: int) -> Own:
        return FakeOwn()


class FakeOwn:
    async def connect(self, host: str, port: int) -> socket | None:
        return None

    def holds(self, inode: int) -> bool:
        return True


class FakeNotify:
    def bind(self, key: Key, uid: int, gid: int) -> str:
        return f"/run/{key.service}.sock"

    def allow(self, key: Key, pid: int) -> None:
        pass

    def drain(self, key: Key) -> None:
        pass

    def unbind(self, key: Key) -> None:
        pass


class FakeStates:
    def write(self, service: str, text: str, uid: int, gid: int) -> str:
        return f"/run/{service}.json"


class FakeBirthFiles:
    """``BirthFiles`` in the world's memory: at once, whatever the journal does."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent

    def write(self, there: Memory) -> None:
        if not self._a.world.births_work:
            raise AdapterError("cannot write the birth file", errno.ENOSPC)
        if not self._a.dead:
            self._a.world.births[there.service] = there

    def read(self) -> tuple[Memory, ...]:
        return tuple(self._a.world.births.values())


class FakeStages:
    """``Stages``: a copy is a name; one that is not discarded is a mistake."""

    def __init__(self) -> None:
        self.there: set[str] = set()

    async def make(self, spec: Spec, digest: str, uid: int, gid: int) -> str:
        await asyncio.sleep(0.001)
        self.there.add(f"/staged/{spec.name}/{digest}")
        return f"/staged/{spec.name}/{digest}"

    async def discard(self, directory: str) -> None:
        self.there.remove(directory)


class FakeStore:
    """``Store`` in the world's memory: what is committed survives the agent, what is on its way does not."""

    def __init__(self, agent: Agent) -> None:
        self._a = agent

    def write(self, records: Sequence[Record], memories: Sequence[Memory]) -> asyncio.Future[None]:
        world = self._a.world
        done: asyncio.Future[None] = world.loop.create_future()
        world.loop.call_soon(self._commit, done, records, memories)
        return done

    def _commit(
        self, done: asyncio.Future[None], records: Sequence[Record], memories: Sequence[Memory]
    ) -> None:
        world = self._a.world
        if self._a.dead or done.cancelled():
            return
        if not world.store_works:
            done.set_exception(AdapterError("no space left on device", errno.ENOSPC))
            return
        world.records += records
        world.memories |= {m.service: m for m in memories}
        done.set_result(None)
        world.acted()

    def memories(self) -> tuple[Memory, ...]:
        return tuple(self._a.world.memories.values())

    def open_reloads(self) -> tuple[tuple[Record, ...], ...]:
        records = self._a.world.records
        ended = {r.fact.reload_id for r in records if isinstance(r.fact, Judged)}
        begun = [r.fact.reload_id for r in records if isinstance(r.fact, Requested)]
        return tuple(
            tuple(r for r in records if getattr(r.fact, "reload_id", None) == id_)
            for id_ in begun
            if id_ not in ended
        )

    async def close(self) -> None:
        pass


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
