"""What is on disk now, for ``status``: a new reading of the inputs where nobody else tells of changes.

A watched service that runs undisturbed is not read: the kernel reports its changes, and each of them is followed by a
reading of the runtime's. All others are, a bounded number for each request, with a bounded wait for all of them
together. A reading that does not come back (a file system that hangs) keeps one thread, and is not begun a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from agentd.core.instance import Phase
from agentd.core.manifest import Manifest, Missing
from agentd.core.service import Service
from agentd.ports import AdapterError
from agentd.runtime.runtime import Runtime

READINGS = 64
"""For one request at most; those read longest ago come first the next time. Named services are always read."""
WAIT_S = 1.0
"""For all of them together; what comes later is in the next answer."""

Found = Manifest | Missing | None


class Disk:
    """The newest reading of each service's inputs: the runtime's, or one of our own made since."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.wait_s = WAIT_S
        self._tasks: asyncio.TaskGroup | None = None
        self._ours: dict[str, tuple[Found, Manifest | Missing]] = {}
        """What the runtime knew when we read, and what we read: while the former stands, the latter is newer."""
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._turn = 0
        self._read_at: dict[str, int] = {}

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """Readings that outlast their request live here."""
        self._tasks = tasks

    def close(self) -> None:
        """No more readings."""
        self._tasks = None
        for task in self._reading.values():
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
        self._turn += 1
        due = [s for s in services if self._unseen(s)]
        if not named and len(due) > READINGS:
            due = sorted(due, key=lambda s: self._read_at.get(s.spec.name, 0))[:READINGS]
        for s in due:
            name = s.spec.name
            self._read_at[name] = self._turn
            if name not in self._reading:
                self._reading[name] = task = self._tasks.create_task(self._read(s))
                task.add_done_callback(self._ended(name))
        if due:
            await asyncio.wait(
                [self._reading[s.spec.name] for s in due if s.spec.name in self._reading],
                timeout=self.wait_s,
            )

    def _unseen(self, s: Service) -> bool:
        """Whether the inputs may be others than last read without anybody having been told."""
        spec = s.spec
        if not (spec.inputs or spec.secret or spec.process.env_file):
            return False
        undisturbed = s.hold is None and s.running is None and s.waiting is None
        watched = spec.watch is not None and s.instance.phase is Phase.READY and undisturbed
        return not watched or not isinstance(self.newest(spec.name), Manifest)

    async def _read(self, s: Service) -> None:
        name = s.spec.name
        theirs = self._runtime.on_disk.get(name)
        try:
            found = await self._runtime.machine.files.snapshot(s.spec, keep=False)
        except AdapterError as error:
            found = Missing("unreadable_input", error.what)
        # A reading of the runtime's that came meanwhile began later than ours, or is as good.
        if self._runtime.on_disk.get(name) is theirs:
            before = self._ours.get(name)
            # The same value again keeps its identity: what was drawn from it stays valid.
            same = before is not None and before[0] is theirs and before[1] == found
            if not same and found != theirs:
                self._ours[name] = (theirs, found)
            elif not same:
                self._ours.pop(name, None)

    def _ended(self, name: str) -> Callable[[asyncio.Task[None]], None]:
        def ended(_: asyncio.Task[None]) -> None:
            self._reading.pop(name, None)

        return ended
