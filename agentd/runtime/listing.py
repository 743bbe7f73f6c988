"""Runs the command that lists what the inputs of a service include: as its check runs, a few services at a time.

Decides nothing; what its output is worth is ``core.included``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agentd.core.spec import Included, Spec
from agentd.ports import AdapterError, CommandOrder, CommandResult, Commands
from agentd.runtime.environment import environment, inherited

AT_ONCE = 4
"""An agent that begins asks for all of its services."""


class Listing:
    """What ``agentd.system.included`` asks."""

    def __init__(self, commands: Commands, base_env: Mapping[str, str]) -> None:
        """``base_env`` is the agent's own environment."""
        self._commands = commands
        self._base_env = inherited(base_env)
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self, spec: Spec, of: Included) -> CommandResult:
        """To its end; cancelling ends its whole process group."""
        async with self._slots:
            try:
                env = await asyncio.to_thread(environment, self._base_env, spec, 0, {})
            except AdapterError as error:
                return CommandResult(None, timed_out=False, error=error.what, output=())
            find = (of.pattern,) if of.written is None else (of.pattern, of.written)
            order = CommandOrder(of.argv, spec.process, tuple(env.items()), of.timeout, find)
            return await self._commands.run(order)
