"""A fixed host behind a real socket: canned values, a runtime that answers as it is told, and raw HTTP to it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agentd.api.exchange import Limits
from agentd.api.peers import Peer
from agentd.api.server import Api
from agentd.applying import Applied, Planned
from agentd.config.access import Access, Anyone, Group
from agentd.config.definitions import AgentSpec
from agentd.config.definitions import Definitions as Loaded
from agentd.config.problems import ConfigErrors
from agentd.config.problems import Problem as Mistake
from agentd.core import facts as f
from agentd.core.effects import Accepted, Done, Note
from agentd.core.host import Host
from agentd.core.ids import Mint
from agentd.core.instance import Ending, Instance, Phase
from agentd.core.manifest import Entry, Manifest
from agentd.core.memory import Attempt, Hold, Last, Quarantine, Want
from agentd.core.plan import Change
from agentd.core.process import Identity
from agentd.core.service import Service
from agentd.core.spec import Check, ProcessSpec, ReloadSpec, Spec
from agentd.core.steps import Grade
from agentd.journal import Journal
from agentd.ports import AdapterError, Asked, CommandResult, Reading, Usage
from agentd.telemetry.meter import Meter
from agentd.upgrade import Rehearsal
from agentd.wire import Trigger, Verdict
from tests.api import described

WALL = 1_795_341_600_000_000_000
"""2026-11-22T10:00:00Z."""
ID = "01JDABCDEFGHJKMNPQRSTVWXYZ"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROOT = Peer(77, 0, frozenset({0}))
ALICE = Peer(78, 54321, frozenset({54321}))
"""No group: may read."""
OPERATOR = Peer(79, 54322, frozenset({54322, 500}))
INSPECTOR = Peer(80, 54323, frozenset({400}))
ACCESS = Access((Anyone(),), (Group(400),), (Group(500),), ())
CAUSE = f.Cause(Trigger.CLI, "alice", 1000, 5, "new certificate")


def manifest(word: str) -> Manifest:
    whole = word * (64 // len(word))
    return Manifest(f"sha256:{whole}", whole[:12], (Entry("/etc/web.conf", whole, 3),))


OLD, NEW, BAD = manifest("0a"), manifest("1b"), manifest("2c")


def spec(name: str, **more: Any) -> Spec:
    given = {"inputs": (f"/etc/{name}.conf",), "reload": ReloadSpec(check=Check(("true",), 3))}
    return Spec(name, ProcessSpec((name,)), **(given | more))


def ready(name: str, pid: int = 100, **more: Any) -> Service:
    process = Identity(pid, 1000, "boot", "cookie")
    instance = Instance(Phase.READY, 3, process)
    return Service(
        **({"spec": spec(name), "instance": instance, "live": NEW, "last_good": NEW} | more)
    )


def down(name: str, **more: Any) -> Service:
    return Service(
        **(
            {
                "spec": spec(name),
                "want": Want.DOWN,
                "instance": Instance(Phase.DOWN, 2, ending=Ending.ASKED, why="asked"),
            }
            | more
        )
    )


def troubled(name: str) -> Service:
    """Crashed with a bad file on disk, and on hold."""
    return Service(
        spec(name, digest="d"),
        instance=Instance(Phase.BACKOFF, 7, why="exit code 3", failures=2),
        hold=Hold("freeze", "alice"),
        restarts=2,
        last_good=OLD,
        attempted=Attempt(BAD.hash, BAD.version, Verdict.REJECTED),
        quarantine=Quarantine(BAD.hash, BAD.version, "d", "line 3"),
        last=Last(ID, Verdict.REJECTED, Trigger.WATCH, WALL, "line 3"),
    )


def host(*services: Service) -> Host:
    return Host({s.spec.name: s for s in services}, {}, Mint(b"seed", 0, 0.0))


class MemoryStore:
    """Commits at once, or never can."""

    def __init__(self) -> None:
        self.broken = False
        self.records: list[f.Record] = []

    async def write(self, records: Any, memories: Any) -> None:
        if self.broken:
            raise AdapterError("cannot write the journal: disk full")
        self.records += records


@dataclass(frozen=True)
class Row:
    reload_id: str
    trace_id: str


class MemoryReader:
    """The read side over the same list."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.asked: list[tuple[Any, ...]] = []
        self.broken = False

    def _asked(self) -> list[f.Requested]:
        if self.broken:
            raise AdapterError("cannot read the journal: damaged")
        found = [r.fact for r in self.store.records if isinstance(r.fact, f.Requested)]
        return found[::-1]

    def reloads(self, service: Any, verdict: Any, limit: int, *, starts: bool) -> list[Row]:
        self.asked.append((service, verdict, limit, starts))
        return [Row(a.reload_id, a.trace_id) for a in self._asked()][:limit]

    def find(self, ref: str) -> tuple[str, ...]:
        return tuple(
            a.reload_id for a in self._asked() if (a.reload_id + a.trace_id).find(ref) >= 0
        )

    def row(self, reload_id: str) -> Row | None:
        found = [Row(a.reload_id, a.trace_id) for a in self._asked() if a.reload_id == reload_id]
        return found[0] if found else None

    def records(self, reload_id: str) -> tuple[f.Record, ...]:
        if self.broken:
            raise AdapterError("cannot read the journal: damaged")
        named = (r for r in self.store.records if hasattr(r.fact, "reload_id"))
        return tuple(r for r in named if r.fact.reload_id == reload_id)  # type: ignore[union-attr]

    def requested(self, seq: int, limit: int) -> tuple[Asked, ...]:
        ended = {r.fact.reload_id for r in self.store.records if isinstance(r.fact, f.Judged)}
        return tuple(
            Asked(r.seq, r.fact.reload_id, r.wall_ns, r.fact.reload_id in ended)
            for r in self.store.records
            if isinstance(r.fact, f.Requested) and r.seq > seq
        )[:limit]

    def readings(self, service: str, limit: int) -> tuple[Reading, ...]:
        verdicts = {
            r.fact.reload_id: r.fact.verdict
            for r in self.store.records
            if isinstance(r.fact, f.Judged)
        }
        found = [r for r in self.store.records if isinstance(r.fact, f.SnapshotTaken)]
        return tuple(
            Reading(
                r.fact.hash,
                r.fact.version,
                r.fact.reload_id,
                Trigger.CLI,
                verdicts.get(r.fact.reload_id),
                r.wall_ns,
            )
            for r in found[::-1]
            if isinstance(r.fact, f.SnapshotTaken) and r.fact.service == service
        )[:limit]

    def after(self, seq: int, limit: int) -> tuple[f.Record, ...]:
        return tuple(r for r in self.store.records if r.seq > seq)[:limit]


class Telemetry:
    """Counts the store's records; exports to nobody, or as a test says."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.sent: tuple[Any, ...] = ()
        self.document: Any = None
        self.meter = Meter(self, since=(WALL, 0), sending=lambda: self.sent, wall_ns=lambda: WALL)

    def told(self, seq: int, limit: int) -> tuple[f.Record, ...]:
        return tuple(r for r in self.store.records if r.seq > seq)[:limit]

    def kept(self, name: str) -> str | None:
        return None

    def status(self) -> Any:
        return self.document


class Table:
    """Every process has used one second, and is looked at in a list."""

    def __init__(self) -> None:
        self.now = 2000
        self.cpu_s = 1.0
        self.looked: list[int] = []

    def ticks(self) -> int:
        return self.now

    def usage(self, pid: int) -> Usage | None:
        self.looked.append(pid)
        return Usage(self.cpu_s, 4096) if pid else None


class Files:
    """What is on disk; None: the reading never comes back."""

    def __init__(self) -> None:
        self.on_disk: dict[str, Any] = {}
        self.read: list[str] = []
        self.kept = 0

    async def snapshot(self, spec: Spec, *, keep: bool, anew: bool = False) -> Any:
        self.kept += keep
        self.read.append(spec.name)
        await asyncio.sleep(0)
        found = self.on_disk.get(spec.name, NEW)
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, list):
            return found.pop(0)
        return found

    def watched(self, spec: Spec) -> tuple[str, ...]:
        return ()


class Runtime:
    """Answers as it was told, and remembers what it was asked."""

    def __init__(self, fixed: Host) -> None:
        self.host = fixed
        self.on_disk: dict[str, Any] = {}
        self.store = MemoryStore()
        self.journal = Journal(self.store, "boot", 0, lambda: WALL)  # type: ignore[arg-type]
        self.machine = SimpleNamespace(files=Files(), table=Table())
        self.asked: list[Any] = []
        self.answer: Callable[[Any], Awaitable[Any]] = self.done
        self.checked = CommandResult(0, timed_out=False, error=None, output=("fine",))
        self.posted: list[Any] = []
        self.news = asyncio.Event()
        """Somebody has asked."""

    def look_round(self, services: Sequence[str]) -> None:
        """Nobody has done anything behind the agent's back."""
        self.looked_round = tuple(services)

    async def done(self, event: Any) -> Done:
        return Done()

    async def ask(self, event: Any) -> Any:
        self.asked.append(event)
        self.news.set()
        return await self.answer(event)

    def post(self, event: Any) -> None:
        self.posted.append(event)

    async def check(self, service: str, check: Check, digest: str) -> CommandResult:
        return self.checked

    def put(self, s: Service) -> None:
        self.host = replace(self.host, services={**self.host.services, s.spec.name: s})

    def note(self, *facts: f.Fact) -> None:
        """The core told facts, a second apart."""
        self.journal.add([Note(float(n), fact) for n, fact in enumerate(facts)], ())

    def accepts(
        self, verdict: Verdict | None = Verdict.APPLIED, **more: Any
    ) -> Callable[[Any], Awaitable[Accepted]]:
        """Every request becomes a reload which is judged in the same turn: the earliest that it can be."""

        async def answer(event: Any) -> Accepted:
            id_ = f"{ID[:20]}{len(self.asked):06}"
            self.note(
                f.Requested(event.service, id_, TRACE, "signal", event.cause, OLD.hash, OLD.version)
            )
            if verdict is not None:
                self.note(judged(event.service, id_, verdict, **more))
                for _ in range(5):  # heard by all who listen before the caller has its id
                    await asyncio.sleep(0)
            return Accepted(id_, TRACE, joined=False)

        return answer


def judged(service: str, reload_id: str, verdict: Verdict, **more: Any) -> f.Judged:
    given: dict[str, Any] = {
        "handle": "signal",
        "trigger": Trigger.API,
        "generation": 3,
        "pid": 100,
        "confirmation": "workers",
        "grade": Grade.OBSERVED,
        "hash_after": NEW.hash,
        "version_after": NEW.version,
    }
    return f.Judged(service, reload_id, verdict, **(given | more))


class Definitions:
    """The operator's files as a test has them: what they would change, or every mistake in them."""

    def __init__(self) -> None:
        self.changes: tuple[Change, ...] = ()
        self.later: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.mistakes: tuple[Mistake, ...] = ()
        self.applied: list[f.Cause] = []
        self.asked: dict[str, asyncio.Future[Any]] = {}
        """Of which services it wants to know what is done; a test answers."""
        self.then: list[Callable[[], None]] = []
        """What happens as soon as it is applied."""

    async def plan(self) -> Planned:
        if self.mistakes:
            raise ConfigErrors(self.mistakes)
        return Planned(Loaded(AgentSpec(), (), self.warnings), self.changes, self.later)

    async def apply(self, cause: f.Cause) -> Applied:
        planned = await self.plan()
        self.applied.append(cause)
        for what in self.then:
            asyncio.get_running_loop().call_soon(what)
        return Applied(planned, self.asked)


class Upgrading:
    """Code that says of itself what a test wants."""

    def __init__(self) -> None:
        self.begun = False
        self.says = Rehearsal("9.9", "")
        self.rehearsed = 0

    async def rehearse(self) -> Rehearsal:
        self.rehearsed += 1
        return self.says

    def begin(self) -> None:
        self.begun = True


@dataclass(frozen=True)
class KeptInput:
    entry: Entry
    stored: bool = True


class Archive:
    """Configurations by hash; of an input without bytes nothing is stored."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[KeptInput, ...]] = {}
        self.bytes: dict[str, bytes] = {}

    def keep(
        self, version: str, files: dict[str, bytes], *, secret: tuple[str, ...] = ()
    ) -> Manifest:
        """A configuration of these files."""
        entries = tuple(
            Entry(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in files.items()
        )
        whole = hashlib.sha256(repr((version, entries)).encode()).hexdigest()
        self.manifests[f"sha256:{whole}"] = tuple(
            KeptInput(e, stored=e.path not in secret) for e in entries
        )
        self.bytes |= {e.hash: files[e.path] for e in entries if e.path not in secret}
        return Manifest(f"sha256:{whole}", version, entries)

    def kept(self, digest: str) -> tuple[KeptInput, ...] | None:
        return self.manifests.get(digest)

    def holds(self, digest: str) -> bool:
        return digest in self.manifests

    def read(self, entry: Entry) -> bytes:
        if entry.hash not in self.bytes:
            raise AdapterError(f"cannot read the snapshot of {entry.path}: it is pruned")
        return self.bytes[entry.hash]


class Logs:
    """Lines in a list; an offset is a number of lines."""

    def __init__(self) -> None:
        self.lines = [f"line {n}" for n in range(5)]
        self.more = asyncio.Event()

    def offset(self, service: str) -> int:
        return len(self.lines)

    def tail(self, service: str, lines: int) -> tuple[str, ...]:
        return tuple(self.lines[-lines:]) if lines else ()

    def since(self, service: str, offset: int, limit: int) -> tuple[tuple[str, ...], int]:
        return tuple(self.lines[offset:]), len(self.lines)

    async def grown(self, service: str, offset: int) -> None:
        while len(self.lines) <= offset:
            self.more.clear()
            await self.more.wait()

    def add(self, line: str) -> None:
        self.lines.append(line)
        self.more.set()


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def exit(self) -> int:
        return int(self.headers["reloadctl-exit"])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Stage:
    """One API on one socket."""

    def __init__(self, path: Path, fixed: Host, limits: Limits, access: Access) -> None:
        self.path = path
        self.peer = ROOT
        self.runtime = Runtime(fixed)
        self.reader = MemoryReader(self.runtime.store)
        self.logs = Logs()
        self.archive = Archive()
        self.telemetry = Telemetry(self.runtime.store)
        self.api = Api(
            self.runtime,  # type: ignore[arg-type]
            self.reader,
            self.logs,
            access,
            path,
            archive=self.archive,
            version="1.0",
            who=lambda _: self.peer,
            limits=limits,
            telemetry=self.telemetry,
        )
        self.definitions = Definitions()
        self.api.define(self.definitions)
        self.upgrading = Upgrading()
        self.api.upgrade(self.upgrading)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path), limit=1 << 22)

    async def raw(self, data: bytes) -> Reply:
        """Send these bytes and read the answer to its end."""
        reader, writer = await self.connect()
        try:
            with contextlib.suppress(ConnectionError):  # refused while sending: it has answered
                writer.write(data)
                await writer.drain()
            return await reply(reader)
        finally:
            writer.close()

    async def get(self, path: str, peer: Peer | None = None, **headers: str) -> Reply:
        return await self.ask("GET", path, peer=peer, **headers)

    async def post(
        self, path: str, body: Any = None, peer: Peer | None = None, **headers: str
    ) -> Reply:
        return await self.ask("POST", path, body, peer=peer, **headers)

    async def ask(
        self, method: str, path: str, body: Any = None, peer: Peer | None = None, **headers: str
    ) -> Reply:
        self.peer = peer or ROOT
        got = await self.raw(request(method, path, body, **headers))
        described.hold(method, path, got)
        return got


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: agentd"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + data


async def reply(reader: asyncio.StreamReader) -> Reply:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().strip().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
    try:
        body = await reader.read()
    except ConnectionResetError:  # what we sent and was not read; the answer came before it
        body = b""
    return Reply(int(first.split()[1]), headers, body)


@contextlib.asynccontextmanager
async def serving(
    path: Path, *services: Service, limits: Limits | None = None, access: Access = ACCESS
) -> AsyncIterator[Stage]:
    stage = Stage(path / "agentd.sock", host(*services), limits or Limits(), access)
    stage.api.bind()
    await stage.api.start()
    try:
        yield stage
    finally:
        await stage.api.close()


def looped(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a coroutine test on a real loop; one that hangs fails."""

    @functools.wraps(test)
    def run(*args: Any, **more: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **more), 20))

    return run


async def soon(there: Callable[[], bool]) -> None:
    """Let the loop turn until it is so."""
    while not there():
        await asyncio.sleep(0)


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
