"""What a reload does to a service that runs: signals, commands, calls. Each answer comes back as an event.

Decides nothing: what an exit code or a status means is ``agentd.core.steps``'.
"""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from agentd.core.effects import Perform, SendReloadSignal
from agentd.core.events import EffectFailed, Performed, Signalled
from agentd.core.steps import CallHttp, RunCommand
from agentd.ports import AdapterError, CallOrder, CommandOrder, Key
from agentd.runtime import outwards

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentd.core.steps import Baseline
    from agentd.runtime.births import Births
    from agentd.runtime.machine import Machine
    from agentd.runtime.runtime import Runtime


class Acts:
    """The hands of the runtime for a service that runs."""

    def __init__(
        self,
        runtime: Runtime,
        machine: Machine,
        births: Births,
        seen: Callable[[str, int, bool], Baseline],
    ) -> None:
        """``seen`` takes a baseline of a service and its main process, with its workers or without."""
        self._runtime = runtime
        self._machine = machine
        self._births = births
        self._seen = seen
        self._loop = asyncio.get_running_loop()

    async def signal(self, effect: SendReloadSignal) -> None:
        """Only when it will be handled; the state file first."""
        key, spec = Key(effect.token.service, effect.generation), effect.spec
        post = self._runtime.post
        if not effect.assume_handled:
            found = await self._machine.table.disposition(effect.pid, effect.signal)
            if not found.safe:
                what = f"SIG{effect.signal} was not sent to {key.service}: {found.why}"
                post(EffectFailed(effect.token, "signal_unsafe", what))
                return
        place = f"{effect.origin.within}apply/signal SIG{effect.signal}"
        try:
            ids = await self._births.owner(spec)
        except AdapterError as error:  # it runs all the same, and gets its signal
            self._runtime.trouble(f"{spec.name}: {error.what}")
            ids = os.getuid(), os.getgid()
        try:
            self._births.state(spec, effect.generation, effect.origin, place, ids)
            baseline = self._seen(key.service, effect.pid, effect.workers)
            at = self._machine.processes.signal(key, effect.signal, group=False)
        except AdapterError as error:
            gone = error.errno == errno.ESRCH
            why = "no_such_process" if gone else "signal_failed"
            post(EffectFailed(effect.token, why, error.what))
        else:
            post(Signalled(effect.token, at, baseline))

    async def perform(self, effect: Perform) -> None:
        """A command or a call, bounded by the reload's timeout."""
        match effect.step:
            case RunCommand():
                await self._command(effect, effect.step)
            case CallHttp():
                await self._call(effect, effect.step)

    async def _command(self, effect: Perform, step: RunCommand) -> None:
        spec, more = effect.spec, outwards.context(effect.origin, effect.place)
        more[outwards.NUMBER] = str(effect.origin.slot)
        try:
            env = await self._births.environment(spec, effect.generation, more)
            order = CommandOrder(step.argv, spec.process, tuple(env.items()), effect.timeout)
            at = self._loop.time()
            done = await self._machine.commands.run(order)
        except AdapterError as error:
            self._runtime.post(EffectFailed(effect.token, "spawn_failed", error.what))
            return
        if done.error is not None:
            self._runtime.post(EffectFailed(effect.token, "spawn_failed", done.error))
            return
        answer = Performed(effect.token, at, done.exit_code, done.timed_out, output=done.output)
        self._runtime.post(answer)

    async def _call(self, effect: Perform, step: CallHttp) -> None:
        context = outwards.context(effect.origin, effect.place)
        traced = tuple((name.lower(), value) for name, value in context.items())
        order = CallOrder(
            step.method,
            step.url,
            (*step.headers, *traced),
            step.body,
            step.match,
            step.expect,
            effect.timeout,
        )
        at = self._loop.time()
        done = await self._machine.calls.call(order)
        if not done.sent:
            what = f"{step.label} was not sent: {done.error or 'nobody knows why'}"
            self._runtime.post(EffectFailed(effect.token, "connect_failed", what))
            return
        answer = Performed(effect.token, at, done.status, done.timed_out, done.error, done.output)
        self._runtime.post(answer if done.status is None else replace(answer, timed_out=False))
