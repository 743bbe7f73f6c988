"""Performs effects: starts things and never waits for them. Each answer comes back as an event in the mailbox.

Decides nothing; it knows which port does what, and keeps what happens around a birth in order: an exit or a READY that overtakes the
news of the spawn is handed on after it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from agentd.core.context import traceparent
from agentd.core.effects import (
    Arm,
    Ask,
    Cancel,
    Disarm,
    Effect,
    Forget,
    Kill,
    Look,
    RunCheck,
    SendReloadSignal,
    Spawn,
    TakeBaseline,
    TakeSnapshot,
)
from agentd.core.events import (
    BaselineDone,
    CheckDone,
    EffectFailed,
    Elapsed,
    Emptied,
    Exited,
    Notified,
    Probed,
    Sighted,
    Signalled,
    SnapshotDone,
    Spawned,
    Token,
)
from agentd.core.process import Exit, Identity
from agentd.core.spec import Check, ReadyNotify, Spec
from agentd.core.steps import Baseline, Sight
from agentd.ports import AdapterError, CommandOrder, CommandResult, Key, Message, SpawnOrder
from agentd.runtime.environment import environment, inherited, owner
from agentd.runtime.machine import Machine

if TYPE_CHECKING:
    from agentd.runtime.runtime import Runtime

LAST_LINES = 20
"""How many lines of output an exit carries with it."""
_MICROSECONDS = re.compile(r"[0-9]{1,15}")
LOOK_BYTES = 1 << 20
"""How much new output one look searches at most."""
BIRTHS = 16
"""How many processes are born at a time: enough to keep the spawner busy, and a thousand at once cost no memory."""


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
        self._base_env = inherited(base_env)
        self._loop = asyncio.get_running_loop()
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._under_way: dict[Token, asyncio.Task[None]] = {}
        self._births: dict[Key, list[Exited | Emptied | Notified]] = {}
        self._slots = asyncio.Semaphore(BIRTHS)
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

    def perform(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - one case per effect, nothing else
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
            case Forget(service=service, generation=generation):
                self._machine.output.close(Key(service, generation))
                self._machine.notify.unbind(Key(service, generation))
            case TakeBaseline():
                self._baseline(effect)
            case Look():
                self._look(effect)
            case Spawn():
                self._births[Key(effect.spec.name, effect.generation)] = []
                self._start(effect.token, self._spawn(effect))
            case SendReloadSignal():
                self._start(effect.token, self._signal(effect))
            case TakeSnapshot():
                self._start(effect.token, self._snapshot(effect))
            case RunCheck():
                self._start(effect.token, self._check(effect))
            case Ask():
                self._start(effect.token, self._probe(effect))
            case _:
                raise TypeError(effect)

    # What the processes report.

    def exited(self, key: Key, end: Exit, *, empty: bool) -> None:
        """The main process ended; its last words go with the news."""
        self._machine.notify.drain(key)
        output = self._machine.logs.tail(key.service, LAST_LINES) if not end.clean else ()
        self._in_order(key, Exited(key.service, key.generation, end, empty, output))

    def emptied(self, key: Key) -> None:
        """The last process of the group ended."""
        self._in_order(key, Emptied(key.service, key.generation))

    def notified(self, key: Key, message: Message) -> None:
        """A service spoke: what bears on its phase goes into the mailbox."""
        ready = message.get("READY") == "1"
        extend = _MICROSECONDS.fullmatch(message.get("EXTEND_TIMEOUT_USEC") or "")
        seconds = int(extend[0]) / 1e6 if extend else 0.0
        if ready or seconds:
            self._in_order(key, Notified(key.service, key.generation, ready, seconds))

    def _in_order(self, key: Key, event: Exited | Emptied | Notified) -> None:
        """Nothing is heard of an instance before its birth is."""
        if (held := self._births.get(key)) is not None:
            held.append(event)
        else:
            self._runtime.post(event)

    # Effects that are done at once.

    def _elapsed(self, token: Token) -> None:
        self._timers.pop((token.service, token.machine), None)
        self._runtime.post(Elapsed(token))

    def _disarm(self, service: str, machine: str) -> None:
        if timer := self._timers.pop((service, machine), None):
            timer.cancel()

    def _kill(self, effect: Kill) -> None:
        key = Key(effect.service, effect.generation)
        try:
            self._machine.processes.signal(key, effect.signal, group=effect.group)
        except AdapterError as error:
            if error.errno != errno.ESRCH:  # gone already: its exit is on its way here
                self._runtime.trouble(f"{effect.service}: {error.what}")

    def _baseline(self, effect: TakeBaseline) -> None:
        baseline = self._seen(effect.token.service, effect.pid, workers=effect.workers)
        self._runtime.post(BaselineDone(effect.token, baseline))

    def _seen(self, service: str, pid: int, *, workers: bool) -> Baseline:
        """What is there now."""
        table = self._machine.table
        found = table.workers(pid) if workers else ()
        return Baseline(table.ticks(), found, self._machine.logs.offset(service))

    def _look(self, effect: Look) -> None:
        table = self._machine.table
        sight = Sight(
            alive=table.usage(effect.pid) is not None,
            since_sent=self._loop.time() - effect.sent_at,
            workers=table.workers(effect.pid) if effect.workers else (),
        )
        sights = tuple(
            replace(sight, matched=self._matched(effect, pattern)) if pattern else sight
            for pattern in effect.patterns
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

    async def _spawn(self, effect: Spawn) -> None:
        key, spec = Key(effect.spec.name, effect.generation), effect.spec
        machine, runtime = self._machine, self._runtime
        try:
            async with self._slots, asyncio.timeout(spec.start_timeout + spec.stop_timeout):
                identity = await self._born(effect, key, spec)
        except TimeoutError:
            what = f"cannot start {spec.name}: its process never came to exec (a file system that hangs?)"
            runtime.post(EffectFailed(effect.token, "spawn_failed", what))
        except AdapterError as error:
            runtime.post(EffectFailed(effect.token, "spawn_failed", error.what))
        else:
            identity = replace(identity, output=machine.output.inode(key))
            runtime.post(Spawned(effect.token, identity))
        finally:
            for event in self._births.pop(key):
                runtime.post(event)

    async def _born(self, effect: Spawn, key: Key, spec: Spec) -> Identity:
        machine = self._machine

        async def permit(identity: Identity) -> None:
            """Nothing runs that the next agent could not find; a journal that fails does not keep a service down."""
            identity = replace(identity, output=machine.output.inode(key))
            try:
                await asyncio.shield(self._runtime.remember(spec.name, identity))
            except AdapterError as error:
                self._runtime.trouble(f"{spec.name}: started without a record: {error.what}")

        output = machine.output.open(key, spec)
        try:
            more = {}
            if isinstance(spec.ready, ReadyNotify):
                uid, gid = owner(spec.process, os.getuid(), os.getgid())
                more["NOTIFY_SOCKET"] = machine.notify.bind(key, uid, gid)
            env = await self._environment(spec, effect.generation, more)
            order = SpawnOrder(key, spec.process, effect.cookie, env, output)

            async def allowed(identity: Identity) -> None:
                if "NOTIFY_SOCKET" in more:
                    machine.notify.allow(key, identity.pid)
                await permit(identity)

            return await machine.processes.spawn(order, allowed)
        finally:
            os.close(output)

    async def _environment(
        self, spec: Spec, generation: int, more: Mapping[str, str]
    ) -> tuple[tuple[str, str], ...]:
        """Files and the user database may hang: they are asked in a thread."""
        if spec.process.env_file or spec.process.user is not None:
            return await asyncio.to_thread(environment, self._base_env, spec, generation, more)
        return environment(self._base_env, spec, generation, more)

    async def _signal(self, effect: SendReloadSignal) -> None:
        key = Key(effect.token.service, effect.generation)
        post = self._runtime.post
        if not effect.assume_handled:
            found = await self._machine.table.disposition(effect.pid, effect.signal)
            if not found.safe:
                what = f"SIG{effect.signal} was not sent to {key.service}: {found.why}"
                post(EffectFailed(effect.token, "signal_unsafe", what))
                return
        baseline = self._seen(key.service, effect.pid, workers=effect.workers)
        try:
            at = self._machine.processes.signal(key, effect.signal, group=False)
        except AdapterError as error:
            gone = error.errno == errno.ESRCH
            post(
                EffectFailed(
                    effect.token, "no_such_process" if gone else "signal_failed", error.what
                )
            )
        else:
            post(Signalled(effect.token, at, baseline))

    async def _snapshot(self, effect: TakeSnapshot) -> None:
        try:
            found = await self._machine.files.snapshot(effect.spec, keep=effect.spec.snapshot)
        except AdapterError as error:
            self._runtime.post(EffectFailed(effect.token, "snapshot_failed", error.what))
        else:
            self._runtime.post(SnapshotDone(effect.token, found))

    async def _check(self, effect: RunCheck) -> None:
        spec = effect.spec
        generation = self._runtime.host.services[spec.name].instance.generation
        context = traceparent(effect.trace_id, effect.reload_id, "check/command")
        result = await self.check(spec, effect.check, generation, {"TRACEPARENT": context})
        self._runtime.post(
            CheckDone(effect.token, result.exit_code, result.timed_out, result.error, result.output)
        )

    async def check(
        self, spec: Spec, check: Check, generation: int, more: Mapping[str, str]
    ) -> CommandResult:
        """Run a check as the service's user."""
        try:
            env = await self._environment(spec, generation, more)
            order = CommandOrder(check.argv, spec.process, env, check.timeout)
            return await self._machine.commands.run(order)
        except AdapterError as error:
            return CommandResult(None, timed_out=False, error=error.what, output=())

    async def _probe(self, effect: Ask) -> None:
        try:
            why = await self._machine.probes.probe(effect.probe, effect.pid, effect.spec.process)
        except AdapterError as error:
            why = error.what
        self._runtime.post(Probed(effect.token, why))
