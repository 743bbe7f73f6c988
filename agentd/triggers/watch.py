"""The trigger ``watch``: the inputs of a service may have changed.

A request from here is a hint, never the truth. It is given when the kernel reports a change of something that decides
the inputs, when events were lost, when listening began or grew (what happened before is unknown), and when a rescan
finds another signature: on NFS, or where the limits of inotify are reached, nothing else tells. Many events in one
reading are one hint for each service.

It does not decide whether anything changed (the hash does), nor how long to wait for quiet (the core's debounce). The
loop's thread owns all state here; surveys run in threads, at most one per service, and are followed by another when
something happened meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Protocol

from agentd.triggers.base import ReloadRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from agentd.core.spec import Spec

_REST_S = 0.02
"""How long a reading with nothing of interest rests, once there were many: a log beside the inputs costs at most so many wake-ups."""
_BURST = 8
"""Readings with nothing of interest that do not rest: the temporary file of an atomic rename is one, and the rename follows at once."""


class Event(Protocol):
    """What the kernel reported. The members are those of ``agentd.system.inotify.Event``."""

    @property
    def wd(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def lost(self) -> bool: ...  # noqa: D102
    @property
    def is_dir(self) -> bool: ...  # noqa: D102
    @property
    def gone(self) -> bool: ...  # noqa: D102
    @property
    def named(self) -> bool: ...  # noqa: D102
    @property
    def content(self) -> bool: ...  # noqa: D102


class Interest(Protocol):
    """What matters of a watched place."""

    def wants(self, name: str, *, is_dir: bool, named: bool, content: bool) -> bool:
        """Whether this name may be an input, or lead to one."""


class Survey(Protocol):
    """How a service's inputs are listened to."""

    @property
    def points(self) -> Sequence[tuple[int, Interest]]:
        """Watch number and what matters there."""

    @property
    def signature(self) -> bytes:
        """Differs when the inputs do, as far as stat tells."""

    @property
    def problem(self) -> str:
        """A clause, empty when every change will be reported."""


class Surveying(Protocol):
    """A survey under way: as much of ``asyncio.Future`` as is needed."""

    def add_done_callback(self, fn: Callable[[Surveying], object], /) -> object:
        """Call back on the loop."""

    def cancelled(self) -> bool:
        """Nothing came of it."""

    def result(self) -> Survey:
        """Once it is done."""


class Watcher(Protocol):
    """The kernel's side. ``fd`` is readable when there are events, -1 when there never will be."""

    @property
    def fd(self) -> int: ...  # noqa: D102

    def survey(self, spec: Spec) -> Surveying:
        """Listen to what decides the inputs now, in a thread."""

    def read(self) -> Sequence[Event]:
        """What is queued."""

    def forget(self, wd: int) -> None:
        """Stop listening there."""

    def close(self) -> None:
        """Stop all; no survey is under way."""


class Inputs(Protocol):
    """The adapter of files, as far as it is needed here."""

    def watcher(self) -> Watcher:
        """A new one."""


class _Service:
    """What is known of one watched service."""

    def __init__(self, spec: Spec, rescan: float) -> None:
        self.spec = spec
        self.rescan = rescan
        self.points: tuple[tuple[int, Interest], ...] = ()
        self.signature: bytes | None = b"never surveyed"
        """None once a hint was given that covers the next difference."""
        self.problem = ""
        self.surveying = False
        self.again = False
        self.timer: asyncio.TimerHandle | None = None


class FileWatch:
    """Watches the inputs of services. Created and used on the loop's thread."""

    name: ClassVar[str] = "watch"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        files: Inputs,
        on_problem: Callable[[str], None],
    ) -> None:
        """``on_problem`` gets one sentence when changes of a service may be found late, once until that ends."""
        self._loop = loop
        self._watcher = files.watcher()
        self._on_problem = on_problem
        self._services: dict[str, _Service] = {}
        self._wanted: dict[int, list[tuple[_Service, Interest]]] = {}
        self._hints: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._surveys = 0
        self._rest: asyncio.TimerHandle | None = None
        self._tokens = float(_BURST)
        self._filled = loop.time()
        self._closed = False
        if self._watcher.fd >= 0:
            loop.add_reader(self._watcher.fd, self._read)

    def set(self, services: Sequence[Spec]) -> None:
        """Watch these and no others; those without ``watch`` are left out. A new or changed one gives a first hint."""
        wanted = {s.name: s for s in services if s.watch is not None}
        for name, old in [*self._services.items()]:
            if name not in wanted or old.spec != wanted[name]:
                del self._services[name]
                self._hints.pop(name, None)
                if old.timer:
                    old.timer.cancel()
        for name, spec in wanted.items():
            if name not in self._services and spec.watch is not None:
                self._services[name] = _Service(spec, spec.watch.rescan)
                self._survey(self._services[name])
        self._sweep()

    async def requests(self) -> AsyncIterator[ReloadRequest]:
        """Hints from now on, until ``close``; one consumer. A hint not taken yet absorbs later ones of its service."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._hints and not self._closed:
                service = next(iter(self._hints))
                yield ReloadRequest(service, self._hints.pop(service))
            if self._closed:
                return

    def relisted(self, name: str) -> None:
        """Other files are known to be included by the inputs of this service."""
        if (service := self._services.get(name)) is not None:
            self._survey(service)

    def close(self) -> None:
        """Stop watching and end the iteration; the descriptor goes with the last survey under way."""
        if self._closed:
            return
        self.set(())
        self._closed = True
        self._wake.set()
        if self._rest:
            self._rest.cancel()
        if self._watcher.fd >= 0:
            self._loop.remove_reader(self._watcher.fd)
        if not self._surveys:
            self._watcher.close()

    def _hint(self, service: _Service) -> None:
        self._hints[service.spec.name] = self._loop.time()
        self._wake.set()

    def _read(self) -> None:
        """Events: one hint per service, and a survey where the places themselves may be others now."""
        touched: dict[str, bool] = {}
        for event in self._watcher.read():
            if event.lost:
                touched = dict.fromkeys(self._services, True)
                break
            for service, interest in self._listeners(event):
                kind = {"is_dir": event.is_dir, "named": event.named, "content": event.content}
                if interest.wants(event.name, **kind):
                    name = service.spec.name
                    touched[name] = touched.get(name, False) or not event.content
        for name, structural in touched.items():
            service = self._services[name]
            self._hint(service)
            if structural:
                service.signature = None
                self._survey(service)
        if not touched and not self._may_be_idle():
            self._loop.remove_reader(self._watcher.fd)
            self._rest = self._loop.call_later(_REST_S, self._resume)

    def _may_be_idle(self) -> bool:
        """A bucket of ``_BURST`` tokens that gets one each ``_REST_S``."""
        now = self._loop.time()
        self._tokens = min(_BURST, self._tokens + (now - self._filled) / _REST_S)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _listeners(self, event: Event) -> Sequence[tuple[_Service, Interest]]:
        if event.wd not in self._wanted:
            # Set by a survey under way, or given up before. What vanishes under a survey needs another look.
            for service in self._services.values():
                service.again |= service.surveying and event.gone
            return ()
        return self._wanted.pop(event.wd) if event.gone else self._wanted[event.wd]

    def _resume(self) -> None:
        self._loop.add_reader(self._watcher.fd, self._read)

    def _survey(self, service: _Service) -> None:
        if service.surveying:
            service.again = True
            return
        if service.timer:
            service.timer.cancel()
        service.surveying, service.again = True, False
        self._surveys += 1
        future = self._watcher.survey(service.spec)
        future.add_done_callback(lambda done: self._surveyed(service, done))

    def _surveyed(self, service: _Service, done: Surveying) -> None:
        self._surveys -= 1
        service.surveying = False
        if self._closed:
            if not self._surveys:
                self._watcher.close()
        elif self._services.get(service.spec.name) is service and not done.cancelled():
            self._take(service, done.result())
        self._sweep()

    def _take(self, service: _Service, survey: Survey) -> None:
        heard: dict[int, list[Interest]] = {}
        for wd, interest in service.points:
            heard.setdefault(wd, []).append(interest)
        service.points = tuple(survey.points)
        # What was not listened for may have happened between the last hint and now.
        grown = any(interest not in heard.get(wd, ()) for wd, interest in service.points)
        if grown or (service.signature is not None and service.signature != survey.signature):
            self._hint(service)
        service.signature = survey.signature
        if survey.problem and not service.problem:
            late = f"found by the rescan every {service.rescan:g}s" if service.rescan else "missed"
            self._on_problem(f"{survey.problem}; changes of {service.spec.name} are {late}")
        service.problem = survey.problem
        self._index()
        if service.again:
            self._survey(service)
        elif service.rescan > 0:
            service.timer = self._loop.call_later(service.rescan, self._survey, service)

    def _index(self) -> None:
        new: dict[int, list[tuple[_Service, Interest]]] = {}
        for service in self._services.values():
            for wd, interest in service.points:
                new.setdefault(wd, []).append((service, interest))
        for wd in self._wanted:
            new.setdefault(wd, [])
        self._wanted = new

    def _sweep(self) -> None:
        """Give back watches that no service needs; never during a survey, which may just have got the same number."""
        if self._surveys or self._closed:
            return
        self._index()
        for wd in [wd for wd, listeners in self._wanted.items() if not listeners]:
            del self._wanted[wd]
            self._watcher.forget(wd)
