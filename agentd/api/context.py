"""What every handler works with: the runtime, the journal to read, the captured output, and who the agent is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from agentd.api.costs import Costs
from agentd.api.disk import Disk
from agentd.api.message import Request
from agentd.api.peers import Names
from agentd.api.problem import busy, printable, unknown_service
from agentd.api.texts import Texts
from agentd.config.access import Level
from agentd.config.definitions import Definitions
from agentd.core.context import parse_traceparent, parse_tracestate
from agentd.core.effects import Reply
from agentd.core.facts import Cause, Record
from agentd.core.host import Host
from agentd.core.plan import Change
from agentd.core.service import Service
from agentd.ports import Archive, Asked, Logs, Reading
from agentd.runtime.runtime import Runtime
from agentd.wire import ExitCode, Trigger, Verdict

if TYPE_CHECKING:
    from agentd.telemetry.meter import Meter
    from agentd.telemetry.metrics import Now
    from agentd.telemetry.resource import Resource

_COMPARED_AT_ONCE = 2
COMMIT_S = 5.0
"""A verdict that is on its way to the disk is heard of within the store's deadline; after this it is lost."""
_BAGGAGE = 8192
"""W3C Baggage §3.3.2."""


class Row(Protocol):
    """One reload as the journal's index has it."""

    @property
    def reload_id(self) -> str: ...  # noqa: D102
    @property
    def trace_id(self) -> str: ...  # noqa: D102


class Reader(Protocol):
    """The read side of the journal. Raises AdapterError when it cannot be read."""

    def reloads(
        self, service: str | None, verdict: Verdict | None, limit: int, *, starts: bool
    ) -> Sequence[Row]:
        """Newest first; ``starts``: process starts too."""

    def find(self, ref: str) -> tuple[str, ...]:
        """The ids that a REF means: none, one, all of one trace, or the candidates."""

    def row(self, reload_id: str) -> Row | None:
        """None: no such reload."""

    def records(self, reload_id: str) -> tuple[Record, ...]:
        """Everything about one reload, oldest first."""

    def requested(self, seq: int, limit: int) -> Sequence[Asked]:
        """The reloads and starts that were asked for after record ``seq``, oldest first."""

    def readings(self, service: str, limit: int) -> Sequence[Reading]:
        """What its reloads and starts found the inputs to be, newest first."""

    def after(self, seq: int, limit: int) -> tuple[Record, ...]:
        """What was written after a record, oldest first."""


class Telemetry(Protocol):
    """How the export stands, and what is measured."""

    @property
    def meter(self) -> Meter:
        """What ``/metrics`` shows."""

    def status(self) -> dict[str, Any] | None:
        """None: nothing is exported."""


class Planned(Protocol):
    """What the files on disk would change, or have changed."""

    @property
    def changes(self) -> Sequence[Change]: ...  # noqa: D102
    @property
    def later(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def definitions(self) -> Definitions: ...  # noqa: D102


class Applied(Protocol):
    """What was put in force."""

    @property
    def planned(self) -> Planned: ...  # noqa: D102
    @property
    def asked(self) -> Mapping[str, asyncio.Future[Reply]]:
        """For each service that is started, replaced or restarted: which reload that is, once it is its turn."""


class Applying(Protocol):
    """The operator's definitions. Both raise ConfigErrors: nothing has changed."""

    async def plan(self) -> Planned:
        """What an apply would do."""

    async def apply(self, cause: Cause) -> Applied:
        """Put the files in force. Nothing of it happens before the caller waits for something."""


class Rehearsal(Protocol):
    """What new code says of itself."""

    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def why(self) -> str:
        """Why it cannot take over; empty: it can."""

    @property
    def output(self) -> Sequence[str]: ...  # noqa: D102


class Upgrading(Protocol):
    """The agent's own code."""

    begun: bool

    async def rehearse(self) -> Rehearsal:
        """Whether what is installed now could take over; touches nothing."""

    def begin(self) -> None:
        """Give way to it; who waits is told, and what runs goes on."""


class Context:
    """One for each agent; all on the event loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        reader: Reader,
        logs: Logs,
        version: str,
        socket_path: str,
        *,
        archive: Archive,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.applying: Applying
        """Set before anything is answered."""
        self.upgrading: Upgrading
        """The same."""
        self.notices: tuple[str, ...] = ()
        """Sentences of this agent about what it found when it began."""
        self.telemetry = telemetry
        self.runtime = runtime
        self.reader = reader
        self.logs = logs
        self.archive = archive
        self.comparing = asyncio.Semaphore(_COMPARED_AT_ONCE)
        """Who compares configurations: each holds the bytes of two in memory, and a thread."""
        self.version = version
        self.socket_path = socket_path
        self.disk = Disk(runtime)
        self.texts = Texts(self.disk, Costs(runtime.machine.table), self.identify)
        self.commit_s = COMMIT_S
        self._names = Names()
        self._began = time.monotonic()

    @property
    def uptime_s(self) -> float:
        """Since this agent began to listen."""
        return round(time.monotonic() - self._began, 1)

    @property
    def host(self) -> Host:
        """All services as they are now. Raises Problem 503 while the agent takes over what earlier ones left."""
        host: Host | None = getattr(self.runtime, "host", None)
        if host is None:
            raise busy("agentd is starting; ask again in a moment")
        return host

    async def look_round(self, names: Sequence[str]) -> None:
        """Notice what others did to these services; what is noticed is in the state when this returns."""
        self.runtime.look_round(names)
        await asyncio.sleep(0)  # the mailbox is emptied before we go on

    @property
    def services(self) -> Mapping[str, Service]:
        """Those that are declared, and those that are not any more and still have a process. Raises Problem 503."""
        there = self.host.services
        if any(s.spec.removed for s in there.values()):
            return {name: s for name, s in there.items() if not s.spec.removed or s.alive}
        return there

    def service(self, request: Request, code: ExitCode = ExitCode.NO_SUCH_SERVICE) -> Service:
        """The service that the path names. Raises Problem 404."""
        name = request.args["name"]
        found = self.services.get(name)
        if found is None:
            raise unknown_service(name, code)
        return found

    def now(self, name: str) -> Service:
        """A service that was there a moment ago. Raises Problem 404."""
        found = self.services.get(name)
        if found is None:
            raise unknown_service(name)
        return found

    def cause(
        self,
        request: Request,
        reason: str,
        attributes: tuple[tuple[str, str], ...] = (),
        *,
        waits: bool = True,
    ) -> Cause:
        """Who asks, in the kernel's words, and for which trace, in theirs."""
        headers, peer = request.headers, request.peer
        ours = headers.get("user-agent", "").startswith("reloadctl/")
        parent = headers.get("traceparent", "")
        if parse_traceparent(parent) is None:
            parent = ""  # W3C Trace Context §3.3: then tracestate is not looked at either
        state = parse_tracestate(headers.get("tracestate", "")) if parent else ""
        baggage = headers.get("baggage", "")
        return Cause(
            Trigger.CLI if ours else Trigger.API,
            printable(self._names.of(peer.uid)),
            peer.uid,
            peer.pid,
            reason,
            parent,
            state,
            baggage if baggage.isprintable() and len(baggage) <= _BAGGAGE else "",
            attributes,
            waits,
        )

    @cached_property
    def host_id(self) -> str:
        """Of this machine, for the ids of instances."""
        from agentd.telemetry.resource import read_host_id  # noqa: PLC0415 - when first asked

        return read_host_id()

    def measured(self) -> list[Now]:
        """How all services stand, for metrics. Also for another thread: what is read here is replaced, never changed."""
        from agentd.telemetry.metrics import now  # noqa: PLC0415 - when first asked

        there = getattr(self.runtime, "host", None) is not None
        services = self.services if there else {}
        return [now(s, self.disk.newest(name)) for name, s in services.items()]

    def identify(self, service: str, generation: int) -> str:
        """``service.instance.id``."""
        from agentd.telemetry.resource import instance_id  # noqa: PLC0415 - when first asked

        return instance_id(self.host_id, service, generation)

    @cached_property
    def resource(self) -> Resource:
        """The agent's own, for spans."""
        import os  # noqa: PLC0415
        from pathlib import Path  # noqa: PLC0415

        from agentd.telemetry.resource import agent_resource  # noqa: PLC0415 - when first asked

        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return agent_resource(self.version, f"{boot}/{os.getpid()}", os.environ, self.host_id)


def may_inspect(request: Request) -> bool:
    """Whether the caller may see what services and checks print."""
    return request.level >= Level.INSPECT
