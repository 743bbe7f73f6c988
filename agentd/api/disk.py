"""What is on disk now, for ``status``: a new reading of the inputs where nobody else tells of changes.

A watched service that runs undisturbed is not read: the kernel reports its changes, and each of them is followed by a
reading of the runtime's. Of the others those are read whose stamps have moved (``survey``), or that are asked for by
name; a bounded number for each request, with a bounded wait for all of them together. A reading that does not come back
(a file system that hangs) keeps one thread, and is not begun a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentd.api import survey
from agentd.core.manifest import Manifest, Missing
from agentd.core.service import Service
from agentd.core.spec import Spec
from agentd.ports import AdapterError
from agentd.runtime.runtime import Runtime

READINGS = 64
"""Awaited by one request at most; the rest is read when it has been answered. Named services are always read."""
WAIT_S = 1.0
"""For all of them together; what comes later is in the next answer."""

Found = Manifest | Missing | None


@dataclass(frozen=True, slots=True)
class _Known:
    """Where the inputs of a service come from, and how that stood before they were last read."""

    spec: Spec
    places: survey.Places
    stamp: survey.Stamp


class Disk:
    """The newest reading of each service's inputs: the runtime's, or one of our own made since."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.wait_s = WAIT_S
        self._tasks: asyncio.TaskGroup | None = None
        self._ours: dict[str, tuple[Found, Manifest | Missing]] = {}
        """What the runtime knew when we read, and what we read: while the former stands, the latter is newer."""
        self._known: dict[str, _Known] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._survey: asyncio.Task[list[str]] | None = None
        self._rest: asyncio.Task[None] | None = None
        self._turn = 0
        self._read_at: dict[str, int] = {}

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """Readings that outlast their request live here."""
        self._tasks = tasks

    def close(self) -> None:
        """No more readings."""
        self._tasks = None
        for task in (*self._reading.values(), self._survey, self._rest):
            if task is not None:
                task.cancel()

    def newest(self, name: str) -> Found:
        """None: never read."""
        theirs = self._runtime.on_disk.get(name)
        ours = self._ours.get(name)
        return ours[1] if ours is not None and ours[0] is theirs else theirs

    async def refresh(self, services: Sequence[Service], *, named: bool) -> None:
        """Read what may have changed unseen."""
        if self._tasks is None:
            return
        until = asyncio.get_running_loop().time() + self.wait_s
        due = [s for s in services if self._unseen(s)]
        if not named:
            due = await self._moved(self._tasks, due, until)
            due = sorted(due, key=lambda s: self._read_at.get(s.spec.name, 0))
            due, later = due[:READINGS], due[READINGS:]
            if later and self._rest is None:
                self._rest = self._tasks.create_task(self._read_rest(later))
        self._turn += 1
        for s in due:
            name = s.spec.name
            self._read_at[name] = self._turn
            if name not in self._reading:
                self._reading[name] = task = self._tasks.create_task(self._read(s))
                task.add_done_callback(self._ended(name))
        waiting = [self._reading[s.spec.name] for s in due if s.spec.name in self._reading]
        if waiting:
            left = until - asyncio.get_running_loop().time()
            await asyncio.wait(waiting, timeout=max(left, 0.0))

    async def _read_rest(self, services: Sequence[Service]) -> None:
        """Once, one after the other, while nobody waits: then the stamps are known and tell."""
        for s in services:
            name = s.spec.name
            if self._tasks is not None and name not in self._reading and name not in self._known:
                self._reading[name] = task = self._tasks.create_task(self._read(s))
                task.add_done_callback(self._ended(name))
                await asyncio.wait([task], timeout=self.wait_s)
        self._rest = None

    def _unseen(self, s: Service) -> bool:
        """Whether the inputs may be others than last read without anybody having been told."""
        spec = s.spec
        if not (spec.inputs or spec.included or spec.secret or spec.process.env_file):
            return False
        if spec.watch is None or not s.serves:
            return True
        disturbed = s.hold or s.running or s.waiting
        return bool(disturbed) or not isinstance(self.newest(spec.name), Manifest)

    async def _moved(
        self, tasks: asyncio.TaskGroup, services: Sequence[Service], until: float
    ) -> list[Service]:
        """Those whose stamps differ, and those of which we have none. A survey that hangs is waited for by no one else."""
        stamped = []
        for s in services:
            known = self._known.get(s.spec.name)
            if known is not None and known.spec is s.spec:
                stamped.append((s.spec.name, known.places, known.stamp))
        moved: Sequence[str] = ()
        if stamped and self._survey is None:
            self._survey = tasks.create_task(asyncio.to_thread(survey.moved, stamped))
            self._survey.add_done_callback(self._surveyed)
            left = until - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait([self._survey], timeout=left)
            moved = [name for task in done for name in task.result()]
        quiet = {name for name, _, _ in stamped}.difference(moved)
        return [s for s in services if s.spec.name not in quiet]

    def _surveyed(self, _: asyncio.Task[list[str]]) -> None:
        self._survey = None

    async def _read(self, s: Service) -> None:
        spec, name = s.spec, s.spec.name
        files = self._runtime.machine.files
        theirs = self._runtime.on_disk.get(name)
        before = self.newest(name)
        manifest = before if isinstance(before, Manifest) else None
        # Of before the reading: what changes meanwhile makes the stamp differ the next time.
        places, stamp = await asyncio.to_thread(survey.stand, files, spec, manifest)
        try:
            found = await files.snapshot(spec, keep=False)
        except AdapterError as error:
            found = Missing("unreadable_input", error.what)
        self._take(name, theirs, found)
        self._known.pop(name, None)
        if stamp is None or not isinstance(found, Manifest):
            return
        if all(entry.path in places for entry in found.entries):
            self._known[name] = _Known(spec, places, stamp)

    def _take(self, name: str, theirs: Found, found: Manifest | Missing) -> None:
        """Ours is the newest, unless the runtime has read meanwhile: that began later, or is as good."""
        if self._runtime.on_disk.get(name) is not theirs:
            return
        if found == theirs:
            self._ours.pop(name, None)
            return
        before = self._ours.get(name)
        # The same again keeps its identity: what was drawn from it stays valid.
        if before is None or before[0] is not theirs or before[1] != found:
            self._ours[name] = (theirs, found)

    def _ended(self, name: str) -> Callable[[asyncio.Task[None]], None]:
        def ended(_: asyncio.Task[None]) -> None:
            self._reading.pop(name, None)

        return ended
