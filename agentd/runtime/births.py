"""Births: everything a new process is given, and what is heard of it meanwhile in the right order.

Decides nothing. An exit or a READY that overtakes the news of the spawn is handed on after it; nothing runs that the next agent could not
find.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from agentd.core.effects import Spawn
from agentd.core.events import EffectFailed, Origin, ProcessEvent, Spawned
from agentd.core.process import Identity
from agentd.core.spec import ReadyNotify, Spec
from agentd.ports import AdapterError, Key, LetGoError, SpawnOrder
from agentd.runtime import outwards
from agentd.runtime.environment import environment, owner

if TYPE_CHECKING:
    from agentd.runtime.machine import Machine
    from agentd.runtime.runtime import Runtime

AT_ONCE = 16
"""How many processes are born at a time: enough to keep the spawner busy, and a thousand at once cost no memory."""
PLACE = "apply/process.start"
"""Of the span below which a new process's own spans belong."""


def hears(spec: Spec) -> bool:
    """Whether the service is given a notify socket: it says when it is ready, or when it has reloaded, or that it lives."""
    said = any(evidence.name == "notify" for evidence in spec.reload.confirm)
    return said or isinstance(spec.ready, ReadyNotify) or spec.process.watchdog is not None


class Births:
    """The hands of the runtime for what does not live yet."""

    def __init__(self, runtime: Runtime, machine: Machine, base_env: Mapping[str, str]) -> None:
        """``base_env`` is what every environment starts from."""
        self._runtime = runtime
        self._machine = machine
        self._base_env = base_env
        self._held: dict[Key, list[ProcessEvent]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def expect(self, key: Key) -> None:
        """From now on what is heard of it waits for the news of its birth."""
        self._held[key] = []

    def in_order(self, key: Key, event: ProcessEvent) -> None:
        """Nothing is heard of an instance before its birth is."""
        if (held := self._held.get(key)) is not None:
            held.append(event)
        else:
            self._runtime.post(event)

    async def spawn(self, effect: Spawn) -> None:
        """To the news of its birth, or why there is none."""
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
            for event in self._held.pop(key):
                runtime.post(event)

    async def _born(self, effect: Spawn, key: Key, spec: Spec) -> Identity:
        machine = self._machine
        more = {outwards.NUMBER: str(effect.slot)}
        if spec.takes_over:
            more[outwards.TAKEOVERS] = str(effect.takeovers)

        async def permit(identity: Identity) -> None:
            """Nothing runs that the next agent could not find; a journal that fails does not keep a service down.

            Where another generation serves, nobody is kept down: this one is not started. Raises AdapterError.
            """
            if "NOTIFY_SOCKET" in more:
                machine.notify.allow(key, identity.pid)
            identity = replace(identity, output=machine.output.inode(key))
            try:
                await asyncio.shield(self._runtime.remember(key, identity))
            except AdapterError as error:
                if effect.beside:
                    raise
                self._runtime.trouble(f"{spec.name}: started without a record: {error.what}")

        sockets = await self._lent(effect, key, spec)
        output = machine.output.open(key, spec)
        try:
            ids = await self.owner(spec)
            if hears(spec):
                more["NOTIFY_SOCKET"] = machine.notify.bind(key, *ids)
            if spec.process.watchdog is not None:  # WATCHDOG_PID is the child's own to add
                more["WATCHDOG_USEC"] = str(round(spec.process.watchdog * 1e6))
            if effect.origin is not None:
                place = f"{effect.origin.within}{PLACE}"
                more |= outwards.context(effect.origin, place)
                more |= self.state(spec, effect.generation, effect.origin, place, ids)
            env = await self.environment(spec, effect.generation, more)
            if effect.origin is not None:
                named = self._runtime.identify(spec.name, effect.generation)
                env |= outwards.attributes(spec, effect.origin, named, env)
            order = SpawnOrder(
                key, spec.process, effect.cookie, tuple(env.items()), output, sockets
            )
            return await machine.processes.spawn(order, permit)
        finally:
            os.close(output)

    async def _lent(self, effect: Spawn, key: Key, spec: Spec) -> tuple[tuple[str, int], ...]:
        """An address that moves here from another service is waited for until that has let it go. Raises AdapterError."""
        machine, loop = self._machine, asyncio.get_running_loop()
        until = loop.time() + spec.start_timeout
        while True:
            try:
                return machine.listeners.lend(key, spec, beside=effect.beside, slot=effect.slot)
            except LetGoError:
                if loop.time() >= until:
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await machine.openings.freed()

    def state(
        self, spec: Spec, generation: int, origin: Origin, place: str, ids: tuple[int, int]
    ) -> dict[str, str]:
        """Write the state file; the variable that names it. A process that cannot learn of its reload still gets it."""
        named = self._runtime.identify(spec.name, generation)
        text = outwards.state(origin, place, named, self._runtime.wall_ns())
        try:
            path = self._machine.states.write(
                outwards.state_name(spec.name, origin.slot), text, *ids
            )
        except AdapterError as error:
            self._runtime.trouble(f"{spec.name}: {error.what}")
            return {}
        return {outwards.STATE_FILE: path}

    async def owner(self, spec: Spec) -> tuple[int, int]:
        """The user database may hang: it is asked in a thread."""
        if spec.process.user is None and spec.process.group is None:
            return os.getuid(), os.getgid()
        return await asyncio.to_thread(owner, spec.process, os.getuid(), os.getgid())

    async def environment(
        self, spec: Spec, generation: int, more: Mapping[str, str]
    ) -> dict[str, str]:
        """Files and the user database may hang: they are asked in a thread."""
        if spec.process.env_file or spec.process.user is not None:
            return await asyncio.to_thread(environment, self._base_env, spec, generation, more)
        return environment(self._base_env, spec, generation, more)
