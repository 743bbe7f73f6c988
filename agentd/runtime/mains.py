"""The main process that becomes another one: what the service says of it, what its pid file has, and going on with it.

Decides nothing: who belongs to an instance the adapter finds out, and whether that process is followed the core decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.core.effects import Follow, SeekMain
from agentd.core.events import Claimed, MainSought
from agentd.core.saying import main_pid
from agentd.ports import AdapterError, Key, Message

if TYPE_CHECKING:
    from agentd.core.process import Identity
    from agentd.runtime.births import Births
    from agentd.runtime.machine import Machine
    from agentd.runtime.runtime import Runtime

_SAID = 8
"""Claims of one generation that are told: a service that makes up ever other ones is not to fill the log."""


class Mains:
    """The hands of the runtime for main processes."""

    def __init__(self, runtime: Runtime, machine: Machine, births: Births) -> None:
        self._runtime = runtime
        self._machine = machine
        self._births = births
        self._refused: dict[str, tuple[int, set[int]]] = {}
        """Of each service the generation and the pids of its claims that were not believed: each is said once, and not for ever."""

    def claimed(self, key: Key, message: Message) -> None:
        """MAINPID=: believed of a process of the instance, about a process of the instance."""
        pid = main_pid(dict(message.fields))
        if pid is None:
            return
        if not message.member:
            self._refuse(
                key, pid, f"its sender, {message.pid}, is gone and cannot be told from others"
            )
            return
        try:
            identity = self._machine.mains.identify(key, pid)
        except AdapterError as error:
            self._refuse(key, pid, error.what)
        else:
            self._births.in_order(key, Claimed(key.service, key.generation, identity))

    def _refuse(self, key: Key, pid: int, why: str) -> None:
        generation, said = self._refused.get(key.service, (0, set()))
        if generation != key.generation:
            said = set()
            self._refused[key.service] = key.generation, said
        if pid not in said and len(said) < _SAID:
            said.add(pid)
            end = "; of others that it names nothing more is said" if len(said) == _SAID else ""
            self._runtime.trouble(f"{key.service}: MAINPID={pid} is not followed: {why}{end}")

    async def seek(self, effect: SeekMain) -> None:
        """The pid file first: it is about this moment."""
        key = Key(effect.token.service, effect.generation)
        identity, why = None, ""
        if effect.spec.pid_file is not None:
            identity, why = await self._named(key, effect, effect.spec.pid_file)
        if identity is None and effect.before is not None:
            identity = self._still(key, effect.before)
            why = "the main process before it lives" if identity else why
        self._runtime.post(MainSought(effect.token, identity, why))

    async def _named(self, key: Key, effect: SeekMain, path: str) -> tuple[Identity | None, str]:
        try:
            uid, _ = await self._births.owner(effect.spec)
            pid = await self._machine.pid_files.read(path, uid)
        except AdapterError as error:
            return None, error.what
        try:
            return self._machine.mains.identify(key, pid), f"pid_file {path} names it"
        except AdapterError as error:
            return None, f"pid_file {path} names {pid}: {error.what}"

    def _still(self, key: Key, before: Identity) -> Identity | None:
        try:
            found = self._machine.mains.identify(key, before.pid)
        except AdapterError:
            return None
        return found if found.same(before) else None

    def follow(self, effect: Follow) -> None:
        """Its end and its words count from now on."""
        key = Key(effect.service, effect.generation)
        self._machine.mains.follow(key, effect.identity)
        self._machine.notify.allow(key, effect.identity.pid)
