"""Performs effects: starts things and never waits for them. Each answer comes back as an event in the mailbox.

Decides nothing; it knows which port does what, and keeps what happens around a birth in order: an exit or a READY that overtakes the
news of the spawn is handed on after it.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from agentd.core.context import traceparent
from agentd.core.effects import (
    Arm,
    Ask,
    AskReport,
    Cancel,
    CloseSockets,
    Count,
    Disarm,
    Effect,
    Follow,
    Forget,
    Inquiry,
    KeepSockets,
    Kill,
    Look,
    Perform,
    Restore,
    RunCheck,
    SeekMain,
    SendReloadSignal,
    Spawn,
    Switch,
    TakeBaseline,
    TakeSnapshot,
    Unwatch,
    Withdraw,
    WriteDown,
)
from agentd.core.events import (
    BaselineDone,
    CheckDone,
    Counted,
    EffectFailed,
    Elapsed,
    Emptied,
    Exited,
    Probed,
    Reported,
    Restored,
    Sighted,
    SnapshotDone,
    Switched,
    Token,
    WrittenDown,
)
from agentd.core.process import Exit
from agentd.core.question import Question, Said
from agentd.core.saying import heard, lives
from agentd.core.spec import Check, Spec
from agentd.core.steps import Baseline, Sight
from agentd.ports import AdapterError, CommandOrder, CommandResult, Key, Message, MovedError
from agentd.runtime.acts import Acts
from agentd.runtime.births import Births
from agentd.runtime.environment import inherited
from agentd.runtime.machine import Machine
from agentd.runtime.mains import Mains

if TYPE_CHECKING:
    from agentd.runtime.runtime import Runtime

LAST_LINES = 20
"""How many lines of output an exit carries with it."""
LOOK_BYTES = 1 << 20
"""How much new output one look searches at most."""


class Performer:
    """The hands of the runtime."""

    def __init__(
        self,
        runtime: Runtime,
        machine: Machine,
        base_env: Mapping[str, str],
    ) -> None:
        """``base_env`` is what every service's environment starts from."""
        self._runtime = runtime
        self._machine = machine
        self._tasks: asyncio.TaskGroup
        self._loop = asyncio.get_running_loop()
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._under_way: dict[Token, asyncio.Task[None]] = {}
        self._births = Births(runtime, machine, inherited(base_env))
        self._mains = Mains(runtime, machine, self._births)
        self._acts = Acts(runtime, machine, self._births, self._seen)
        self._searched: dict[tuple[str, str], tuple[int, int, str | None]] = {}
        """How far the output was searched for a pattern, from which baseline on, and what was found."""

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """From now on effects may come; what takes its time lives in ``tasks``."""
        self._tasks = tasks

    def close(self) -> None:
        """End what is under way; services are not touched."""
        for timer in self._timers.values():
            timer.cancel()
        for task in tuple(self._under_way.values()):
            task.cancel()

    def perform(self, effect: Effect) -> None:  # noqa: C901, PLR0912, PLR0915 - one case per effect, nothing else
        """Start one effect."""
        match effect:
            case Arm(token=token, delay=delay):
                self._disarm(token.service, token.machine)
                timer = self._loop.call_later(delay, self._elapsed, token)
                self._timers[token.service, token.machine] = timer
            case Disarm(service=service, machine=machine):
                self._disarm(service, machine)
            case Cancel(token=token):
                if task := self._under_way.get(token):
                    task.cancel()
            case Kill():
                self._kill(effect)
            case SeekMain():
                self._start(effect.token, self._mains.seek(effect))
            case Follow():
                self._mains.follow(effect)
            case Forget(service=service, generation=generation):
                self._machine.output.close(Key(service, generation))
                self._machine.notify.unbind(Key(service, generation))
                self._machine.listeners.release(Key(service, generation))
            case TakeBaseline():
                self._start(effect.token, self._baseline(effect))
            case AskReport():
                self._start(effect.token, self._report(effect))
            case Unwatch(service=service):
                self._machine.opens.drop(service)
            case Look(inquiry=None):
                self._look(effect, ())
            case Look():
                self._start(effect.token, self._ask_and_look(effect))
            case Spawn():
                self._births.expect(Key(effect.spec.name, effect.generation))
                self._start(effect.token, self._births.spawn(effect))
            case SendReloadSignal():
                self._start(effect.token, self._acts.signal(effect))
            case Perform():
                self._start(effect.token, self._acts.perform(effect))
            case Switch():
                self._switch(effect)
            case Withdraw(service=service, generation=generation):
                self._machine.listeners.withdraw(Key(service, generation))
            case WriteDown(token=token):
                self._runtime.post(WrittenDown(token))
            case CloseSockets(service=service):
                self._machine.listeners.drop(service)
            case KeepSockets(spec=spec):
                self._machine.openings.declare(spec)
            case Count():
                self._count(effect)
            case Restore():
                self._start(effect.token, self._restore(effect))
            case TakeSnapshot():
                self._start(effect.token, self._snapshot(effect))
            case RunCheck():
                self._start(effect.token, self._check(effect))
            case Ask():
                self._start(effect.token, self._probe(effect))
            case _:
                raise TypeError(effect)

    # What the processes report.

    def exited(self, key: Key, end: Exit, *, empty: bool, pid: int) -> None:
        """The main process ended; its last words go with the news."""
        self._machine.notify.drain(key)
        output = self._machine.logs.tail(key.service, LAST_LINES) if not end.clean else ()
        left = () if empty else self._machine.members.members(key)
        ended = Exited(key.service, key.generation, end, empty, output, pid, left)
        self._births.in_order(key, ended)

    def emptied(self, key: Key) -> None:
        """The last process of the group ended."""
        self._births.in_order(key, Emptied(key.service, key.generation))

    def notified(self, key: Key, message: Message) -> None:
        """A service spoke: what bears on a phase or a reload goes into the mailbox."""
        self._mains.claimed(key, message)
        fields = dict(message.fields)
        for said in (
            lives(key.service, key.generation, fields),
            heard(key.service, key.generation, fields),
        ):
            if said is not None:
                self._births.in_order(key, said)

    # Effects that are done at once.

    def _elapsed(self, token: Token) -> None:
        self._timers.pop((token.service, token.machine), None)
        self._runtime.post(Elapsed(token))

    def _disarm(self, service: str, machine: str) -> None:
        if timer := self._timers.pop((service, machine), None):
            timer.cancel()

    def _kill(self, effect: Kill) -> None:
        key = Key(effect.service, effect.generation)
        self._machine.held.leave(key)
        try:
            self._machine.processes.signal(key, effect.signal, group=effect.group)
        except AdapterError as error:
            if error.errno != errno.ESRCH:  # gone already: its exit is on its way here
                self._runtime.trouble(f"{effect.service}: {error.what}")

    async def _baseline(self, effect: TakeBaseline) -> None:
        """The answers first: they take their time, and the rest is to be of the last moment."""
        answers: tuple[Said | None, ...] = ()
        if effect.inquiry is not None:
            answers = await self._answers(effect.inquiry, effect.pid)
        service = effect.token.service
        if effect.watch:
            self._machine.opens.watch(service, effect.pid, effect.watch)
        baseline = self._seen(service, effect.pid, effect.workers)
        self._runtime.post(BaselineDone(effect.token, replace(baseline, answers=answers)))

    async def _answers(self, inquiry: Inquiry, pid: int) -> tuple[Said | None, ...]:
        """All at once, each bounded by its own time."""
        own = self._machine.held.own(Key(inquiry.spec.name, inquiry.generation), pid)

        async def one(question: Question | None) -> Said | None:
            if question is None:
                return None
            try:
                process = inquiry.spec.process
                return await self._machine.probes.ask(question, pid, process, own=own)
            except AdapterError as error:
                return Said(why=error.what, known=False)

        return tuple(await asyncio.gather(*map(one, inquiry.questions)))

    def _seen(self, service: str, pid: int, workers: bool) -> Baseline:  # noqa: FBT001
        """What is there now."""
        table = self._machine.table
        found = table.workers(pid) if workers else ()
        self._machine.opens.fresh(service)
        written = self._machine.files.written(service) if workers else None
        return Baseline(table.ticks(), found, self._machine.logs.offset(service), written=written)

    def _switch(self, effect: Switch) -> None:
        key = Key(effect.token.service, effect.generation)
        at = self._loop.time()
        try:
            moved = self._machine.listeners.switch(key)
        except AdapterError as error:
            self._runtime.post(EffectFailed(effect.token, "switch_failed", error.what))
        else:
            self._runtime.post(Switched(effect.token, at, moved))

    def _count(self, effect: Count) -> None:
        key = Key(effect.token.service, effect.generation)
        try:
            load = self._machine.held.count(key, self._machine.members.members(key))
        except AdapterError as error:
            self._runtime.post(EffectFailed(effect.token, "count_failed", error.what))
        else:
            self._runtime.post(Counted(effect.token, load.open, load.queued + load.handshakes))

    async def _ask_and_look(self, effect: Look) -> None:
        """What it says, and how it stands when it has said it: who answers and dies has not taken anything."""
        assert effect.inquiry is not None
        self._look(effect, await self._answers(effect.inquiry, effect.pid))

    async def _report(self, effect: AskReport) -> None:
        """What it did not take."""
        spec, probes = effect.spec, self._machine.probes
        own = self._machine.held.own(Key(spec.name, effect.generation), effect.pid)
        found = await probes.names(effect.question, effect.pid, spec.process, own=own)
        if isinstance(found, Said):
            self._runtime.post(Reported(effect.token, None, found.why))
        else:
            self._runtime.post(Reported(effect.token, found))

    def _look(self, effect: Look, answers: tuple[Said | None, ...]) -> None:
        table = self._machine.table
        sight = Sight(
            alive=table.usage(effect.pid) is not None,
            since_sent=self._loop.time() - effect.sent_at,
            workers=table.workers(effect.pid) if effect.workers else (),
            written=self._machine.files.written(effect.token.service) if effect.workers else None,
        )
        if effect.opens:
            opened = self._machine.opens.opened(effect.token.service)
            sight = replace(sight, opened=opened.paths, blind=opened.why)
        said = answers or (None,) * len(effect.patterns)
        sights = tuple(
            replace(sight, matched=self._matched(effect, pattern) if pattern else None, said=one)
            for pattern, one in zip(effect.patterns, said, strict=True)
        )
        self._runtime.post(Sighted(effect.token, sights))

    def _matched(self, effect: Look, pattern: str) -> str | None:
        """The first line after the baseline that matches. Each look goes on where the last one stopped."""
        service, found = effect.token.service, re.compile(pattern)
        place = (service, pattern)
        began, offset, line = self._searched.get(
            place, (effect.log_offset, effect.log_offset, None)
        )
        if began != effect.log_offset:  # of an earlier reload
            began, offset, line = effect.log_offset, effect.log_offset, None
        if line is None:
            lines, offset = self._machine.logs.since(service, offset, LOOK_BYTES)
            line = next((one for one in lines if found.search(one)), None)
        self._searched[place] = (began, offset, line)
        return line

    # Effects that take their time.

    def _start(self, token: Token, coroutine: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(self._guarded(token, coroutine))
        self._under_way[token] = task
        task.add_done_callback(lambda _: self._under_way.pop(token, None))

    async def _guarded(self, token: Token, coroutine: Coroutine[None, None, None]) -> None:
        """A bug of ours in what one service asks for must not end the supervision of all: the effect failed, and it is said."""
        try:
            await coroutine
        except Exception as error:  # noqa: BLE001 - the one place where what was not foreseen is met
            what = f"internal error: {type(error).__name__}: {error}"
            self._runtime.trouble(f"{token.service}: {what}; please report this")
            self._runtime.post(EffectFailed(token, "internal_error", what))

    async def _restore(self, effect: Restore) -> None:
        try:
            done = await self._machine.files.restore(effect.spec, effect.hash, effect.over)
        except AdapterError as error:
            why = "inputs_moved" if isinstance(error, MovedError) else "restore_refused"
            self._runtime.post(EffectFailed(effect.token, why, error.what))
        else:
            self._runtime.post(Restored(effect.token, done.files, done.kept))

    async def _snapshot(self, effect: TakeSnapshot) -> None:
        try:
            spec = effect.spec
            found = await self._machine.files.snapshot(spec, keep=spec.snapshot, anew=effect.anew)
        except AdapterError as error:
            self._runtime.post(EffectFailed(effect.token, "snapshot_failed", error.what))
        else:
            self._runtime.post(SnapshotDone(effect.token, found))

    async def _check(self, effect: RunCheck) -> None:
        spec = effect.spec
        generation = self._runtime.host.services[spec.name].instance.generation
        context = traceparent(effect.trace_id, effect.reload_id, "check/command")
        more = {"TRACEPARENT": context}
        result = await self.check(spec, effect.check, effect.hash, generation, more)
        self._runtime.post(
            CheckDone(effect.token, result.exit_code, result.timed_out, result.error, result.output)
        )

    async def check(
        self, spec: Spec, check: Check, digest: str, generation: int, more: Mapping[str, str]
    ) -> CommandResult:
        """Run a check as the service's user; ``digest`` is what a staged copy is made of."""
        copy = ""
        try:
            env = await self._births.environment(spec, generation, more)
            if check.staged:
                ids = await self._births.owner(spec)
                copy = await self._machine.stages.make(spec, digest, *ids)
            order = CommandOrder(check.on(copy), spec.process, tuple(env.items()), check.timeout)
            return await self._machine.commands.run(order)
        except AdapterError as error:
            return CommandResult(None, timed_out=False, error=error.what, output=())
        finally:
            if copy:
                await self._machine.stages.discard(copy)

    async def _probe(self, effect: Ask) -> None:
        try:
            own = None
            several = effect.spec.instances > 1
            if effect.beside or effect.spec.sockets or several:  # the kernel accepts before it does
                own = self._machine.held.own(Key(effect.spec.name, effect.generation), effect.pid)
            why = await self._machine.probes.probe(
                effect.probe, effect.pid, effect.spec.process, own=own
            )
        except AdapterError as error:
            why = error.what
        self._runtime.post(Probed(effect.token, why))
