"""The one writer: takes an event from the mailbox, lets the core decide, journals, and has the effects performed.

Decides nothing about services. What cannot be journalled is not done to a running service; supervision itself goes on in memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from agentd.core.effects import (
    Answer,
    Cancel,
    Effect,
    Leave,
    Note,
    Perform,
    Reply,
    Restore,
    SendReloadSignal,
    WriteDown,
)
from agentd.core.events import (
    Ask,
    DefinitionsLoaded,
    EffectFailed,
    Event,
    SnapshotDone,
    Token,
    WorkersSeen,
)
from agentd.core.host import Host, Step, step
from agentd.core.instance import ALIVE
from agentd.core.manifest import Manifest, Missing
from agentd.core.memory import Memory, Other
from agentd.core.process import Exit, Identity
from agentd.core.spec import Check
from agentd.journal import Journal
from agentd.ports import AdapterError, CommandResult, Key, Message
from agentd.runtime.machine import Machine
from agentd.runtime.perform import Performer

Durable = SendReloadSignal | Perform | Restore | WriteDown
"""What is done only when what led to it is on the disk."""


class Runtime:
    """The shell of one agent. Everything here happens on the event loop's thread."""

    def __init__(
        self,
        machine: Machine,
        journal: Journal,
        boot: str,
        trouble: Callable[[str], None],
        base_env: Mapping[str, str],
        *,
        identify: Callable[[str, int], str],
    ) -> None:
        """``trouble`` takes one sentence for the log; ``base_env`` is what every service's environment starts from.

        ``identify`` is the ``service.instance.id`` of a service and a generation.
        """
        self.host: Host
        self.machine = machine
        self.journal = journal
        self.identify = identify
        self.on_disk: dict[str, Manifest | Missing] = {}
        """The newest reading of each service's inputs."""
        self._boot = boot
        self._trouble = trouble
        self._loop = asyncio.get_running_loop()
        self._mail: deque[tuple[Event, float]] = deque()
        self._woken = False
        self._written: dict[str, Memory] = {}
        self._there: dict[str, Memory] = {}
        """What the birth files tell."""
        self._births_fail = False
        self._unborn: dict[str, dict[int, Identity]] = {}
        """Processes that may already run and that the core has not heard of: no write may forget them."""
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._next_reply = 0
        self._left: asyncio.Future[None] = self._loop.create_future()
        self._performer = Performer(self, machine, base_env)
        self._first: list[Step] = []
        self._uncommitted: set[Token] = set()
        """Durable effects whose records are on their way to the disk."""
        self._running = False
        self._unwritten = False

    def begin(self, first: Step) -> None:
        """What ``boot`` said; performed by ``run``."""
        self.host = first.host
        self._first = [first]

    async def run(self) -> None:
        """Supervise until the core lets the agent leave."""
        async with asyncio.TaskGroup() as tasks:
            self._performer.open(tasks)
            self._running = True
            self._take(self._first.pop())  # kept nowhere: it holds a whole second host
            self._wake()
            try:
                await self._left
            finally:
                self._running = False
                self._performer.close()

    # In.

    def post(self, event: Event) -> None:
        """Put an event into the mailbox; it is stamped now."""
        self._mail.append((event, self._loop.time()))
        self._wake()

    async def ask(self, event: Ask) -> Reply:
        """Post a request and wait for what the core makes of it (not for its verdict)."""
        self._next_reply += 1
        number = self._next_reply
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._replies[number] = future
        self.post(replace(event, reply=number))
        try:
            return await future
        finally:
            self._replies.pop(number, None)

    def define(
        self, event: DefinitionsLoaded, names: Sequence[str]
    ) -> dict[str, asyncio.Future[Reply]]:
        """Post other definitions; for each of these services what the core makes of its own, once it is its turn."""
        asked: dict[str, asyncio.Future[Reply]] = {}
        replies = []
        for name in names:
            self._next_reply += 1
            number = self._next_reply
            future = asked[name] = self._replies[number] = self._loop.create_future()
            future.add_done_callback(partial(self._answered, number))
            replies.append((name, number))
        self.post(replace(event, replies=tuple(replies)))
        return asked

    def _answered(self, number: int, _: asyncio.Future[Reply]) -> None:
        self._replies.pop(number, None)

    async def check(self, service: str, check: Check, digest: str) -> CommandResult:
        """Run a service's check now, apart from any reload; ``digest`` is of what was just read."""
        known = self.host.services[service]
        generation = known.instance.generation
        return await self._performer.check(known.spec, check, digest, generation, {})

    def look_round(self, services: Sequence[str]) -> None:
        """Notice reloads that nobody here asked for: a look at the workers of those whose evidence they are."""
        for name in services:
            s = self.host.services[name]
            told = any(evidence.workers for evidence in s.spec.reload.confirm)
            if s.running is not None or not told:
                continue
            for i in s.slots:
                if i.process is not None:
                    workers = self.machine.table.workers(i.process.pid)
                    self.post(WorkersSeen(name, i.generation, workers))

    # What the adapters report.

    def exited(self, key: Key, end: Exit, *, empty: bool, at: float, pid: int) -> None:  # noqa: ARG002 - stamped when posted
        """The main process of an instance ended."""
        self._performer.exited(key, end, empty=empty, pid=pid)

    def emptied(self, key: Key, at: float) -> None:  # noqa: ARG002
        """The last process of an instance's group ended."""
        self._performer.emptied(key)

    def notified(self, key: Key, message: Message) -> None:
        """A service spoke."""
        self._performer.notified(key, message)

    # What the performer needs.

    def memory(self, service: str) -> Memory:
        """What would be written for a service now."""
        s = self.host.services[service]
        memory = replace(s.memory, boot=self._boot)
        for generation, born in tuple(self._unborn.get(service, {}).items()):
            there = (s.instance, *s.others, s.next, *s.former)
            expected = (i for i in there if i and i.process is None)
            its = next((i for i in expected if i.generation == generation), None)
            if its is None or its.phase not in ALIVE:
                del self._unborn[service][generation]
            elif its in s.slots and its.slot == 0:
                memory = replace(memory, process=born)
            elif its in s.slots:
                places = (
                    replace(p, process=born) if p.slot == its.slot else p for p in memory.places
                )
                memory = replace(memory, places=tuple(places))
            else:
                phase, slot, takeovers = its.phase.value, its.slot, its.takeovers
                other = Other(generation, phase, born, slot=slot, takeovers=takeovers)
                memory = replace(memory, others=(*memory.others, other))
        return memory

    def remember(self, key: Key, identity: Identity) -> asyncio.Future[None]:
        """Write down a process before it may run: nothing runs that the next agent could not find."""
        self._unborn.setdefault(key.service, {})[key.generation] = identity
        memory = self._written[key.service] = self.memory(key.service)
        self._keep_birth(memory)
        return self.journal.add((), (memory,))

    def wall_ns(self) -> int:
        """Unix time in ns."""
        return self.journal.wall_ns()

    def trouble(self, what: str) -> None:
        """One sentence for the log."""
        self._trouble(what)

    # The turn.

    def _wake(self) -> None:
        if self._running and not self._woken:
            self._woken = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Take what is there, one event after the other. What an effect posts at once is taken in the next round."""
        self._woken = False
        try:
            for _ in range(len(self._mail) if self._running else 0):
                event, at = self._mail.popleft()
                if isinstance(event, SnapshotDone):
                    self.on_disk[event.token.service] = event.found
                self._take(step(self.host, event, at))
        finally:
            if (
                self._mail
            ):  # also when an event was a bug of ours: the others are not to wait for the next
                self._wake()

    def _take(self, now: Step) -> None:
        self.host = now.host
        if now.refused:
            self._trouble(f"an event was dropped, please report this: {now.refused}")
        memories = self._changed(now.touched)
        committed = self._journal(now.notes, memories)
        later = [e for e in now.effects if isinstance(e, Durable)]
        for effect in now.effects:
            if not effect.durable:
                self._effect(effect)
        if committed is None:
            for durable in later:
                self._effect(durable)
        elif later:
            self._uncommitted.update(effect.token for effect in later)
            committed.add_done_callback(partial(self._committed, later))

    def _journal(
        self, notes: Sequence[Note], memories: Sequence[Memory]
    ) -> asyncio.Future[None] | None:
        if not notes and not memories:
            return None
        committed = self.journal.add(notes, memories)
        committed.add_done_callback(self._was_written)
        return committed

    def _changed(self, touched: Sequence[str]) -> list[Memory]:
        changed = []
        for name in touched:
            memory = self.memory(name)
            if self._written.get(name) != memory:
                self._written[name] = memory
                self._keep_birth(memory)
                changed.append(memory)
        return changed

    def _keep_birth(self, memory: Memory) -> None:
        """Who is there is written twice, since it may be the journal that is lost. Trouble with it keeps nothing from running."""
        there = memory.there
        if self._there.get(memory.service) == there:
            return
        try:
            self.machine.births.write(there)
        except AdapterError as error:
            self._there.pop(memory.service, None)
            if not self._births_fail:
                self._trouble(f"{error.what}; without it a lost journal cannot be made good")
            self._births_fail = True
        else:
            self._there[memory.service] = there
            self._births_fail = False

    def _committed(self, effects: Sequence[Durable], committed: asyncio.Future[None]) -> None:
        """Journal before perform: what must not be repeated after a crash is done only now, if it is still wanted."""
        if not self._running:
            return
        error = committed.exception()
        for effect in effects:
            if effect.token not in self._uncommitted:
                continue
            self._uncommitted.discard(effect.token)
            if error is None:
                self._effect(effect)
            else:
                what = f"the journal cannot be written: {error}"
                self.post(EffectFailed(effect.token, "journal_unavailable", what))

    def _was_written(self, committed: asyncio.Future[None]) -> None:
        """Say once when the journal fails, and once when it works again."""
        if committed.cancelled():
            return
        error = committed.exception()
        if error is not None and not isinstance(error, AdapterError):
            raise error
        if (error is not None) != self._unwritten:
            self._unwritten = error is not None
            self._trouble(
                f"the journal cannot be written, reloads are rejected until it can: {error}"
                if error
                else "the journal is written again"
            )

    def _effect(self, effect: Effect) -> None:
        match effect:
            case Answer(reply=number, answer=answer):
                future = self._replies.get(number)
                if future is not None and not future.done():
                    future.set_result(answer)
            case Leave():
                if not self._left.done():
                    self._left.set_result(None)
            case Cancel(token=token) if token in self._uncommitted:
                self._uncommitted.discard(token)
            case _:
                self._performer.perform(effect)
