"""Lives of the real runtime in a simulated world, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from calls import FakeCalls
from fakes import (
    BOOT,
    Agent,
    FakeBirthFiles,
    FakeCommands,
    FakeFiles,
    FakeListeners,
    FakeNotify,
    FakeOpens,
    FakeOutput,
    FakePidFiles,
    FakeProbes,
    FakeProcesses,
    FakeStages,
    FakeStates,
    FakeStore,
    World,
)

from agentd.core.boot import Left, boot
from agentd.core.events import Event, ShutdownAsked
from agentd.core.found import find
from agentd.core.ids import Mint
from agentd.core.instance import Phase
from agentd.core.spec import Spec
from agentd.journal import Journal
from agentd.ports import Key
from agentd.runtime.machine import Machine
from agentd.runtime.runtime import Runtime


class Life:
    """One agent in a world: post to it, kill it, begin the next."""

    def __init__(self, world: World, specs: Sequence[Spec]) -> None:
        self.world = world
        self.specs = specs
        self.troubles: list[str] = []
        self.runtime: Runtime
        self._task: asyncio.Task[None] | None = None
        self._lives = 0

    def begin(self) -> None:
        world, loop = self.world, asyncio.get_running_loop()
        self._lives += 1
        agent = Agent(world)
        processes, output, store = FakeProcesses(agent), FakeOutput(), FakeStore(agent)
        commands, listeners = FakeCommands(agent), FakeListeners(agent)
        machine = Machine(
            processes=processes,
            table=processes,
            commands=commands,
            probes=FakeProbes(agent),
            output=output,
            logs=output,
            notify=FakeNotify(),
            files=FakeFiles(agent),
            members=processes,
            listeners=listeners,
            held=listeners,
            openings=listeners,
            calls=FakeCalls({}),
            states=FakeStates(),
            opens=FakeOpens(agent),
            stages=FakeStages(),
            mains=processes,
            pid_files=FakePidFiles(agent),
            births=FakeBirthFiles(agent),
        )
        last = max((r.seq for r in world.records), default=0)
        journal = Journal(store, BOOT, last, lambda: int(loop.time() * 1e9))
        self.runtime = agent.listener = Runtime(
            machine, journal, BOOT, self.troubles.append, {}, identify="{}/{}".format
        )
        found, beside = set(), set()
        declared = {spec.name: spec.instances for spec in self.specs}
        there = find(declared, store.memories(), machine.births.read(), BOOT)
        for m in there.memories.values():
            if m.process and processes.adopt(Key(m.service, m.generation), m.process):
                found.add(m.service)
            born = [(one.generation, one.process) for one in (*m.others, *m.places)]
            for generation, process in born:
                if process and processes.adopt(Key(m.service, generation), process):
                    beside.add((m.service, generation))
        left = Left(there.memories, found, store.open_reloads(), BOOT, beside, there.unknown)
        mint = Mint(b"%d" % self._lives, self._lives, loop.time())
        first = boot(self.specs, left, mint, loop.time())
        self.runtime.begin(first)
        self._task = loop.create_task(self.runtime.run())

    def post(self, event: Event) -> None:
        self.runtime.post(event)

    async def die(self) -> None:
        """As by kill -9: nothing it had under way goes on."""
        assert self._task is not None
        assert self.world.agent is not None
        self.world.agent.dead = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def phase(self, name: str) -> Phase:
        return self.runtime.host.services[name].instance.phase

    async def finished(self) -> None:
        """The agent has left by itself."""
        assert self._task is not None
        await self._task


@contextlib.asynccontextmanager
async def living(world: World, *specs: Spec) -> AsyncIterator[Life]:
    life = Life(world, specs)
    life.begin()
    try:
        yield life
    finally:
        if world.agent is not None and not world.agent.dead:
            life.post(ShutdownAsked(leave=True))
            await life.finished()
