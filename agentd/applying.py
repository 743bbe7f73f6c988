"""The operator's definitions while the agent runs: read again, compared, and put in force whole or not at all.

Decides what of the agent's own part takes effect at once and what only a new agent takes up. What a change means to a service is
``agentd.core.plan``'s, when it is done the core's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from agentd.config.access import Access
from agentd.config.definitions import AgentSpec, Definitions
from agentd.config.loader import load
from agentd.core.events import DefinitionsLoaded
from agentd.core.facts import Cause
from agentd.core.memory import Memory
from agentd.core.plan import Change, plan
from agentd.core.spec import Spec
from agentd.runtime.runtime import Runtime

AT_ONCE = frozenset({"include", "on_terminate", "access"})
"""Keys of [agent] that a running agent takes up."""


class Watches(Protocol):
    """A trigger that is told anew which services it is for."""

    def set(self, specs: list[Spec]) -> None:
        """From now on for these."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the files on disk would change."""

    definitions: Definitions
    changes: tuple[Change, ...]
    later: tuple[str, ...]
    """Keys of [agent] that differ and take effect when agentd is started again."""


class Applying:
    """One for each agent; on the event loop's thread, files are read in another."""

    def __init__(
        self,
        path: Path,
        definitions: Definitions,
        runtime: Runtime,
        memories: Callable[[], tuple[Memory, ...]],
        allow: Callable[[Access], None],
    ) -> None:
        """``memories``: what is known of services that were here before; ``allow`` takes the rules who may ask for what."""
        self.definitions = definitions
        self._path = path
        self._runtime = runtime
        self._memories = memories
        self._allow = allow
        self._triggers: list[Watches] = []
        self._one = asyncio.Semaphore(1)
        """Two readings of the files do not overtake each other."""

    def tell(self, *triggers: Watches) -> None:
        """Who must know which services there are: now, and after every change."""
        self._triggers += triggers
        self._told()

    async def plan(self) -> Planned:
        """What an apply would do. Raises ConfigErrors with every mistake."""
        new = await asyncio.to_thread(load, self._path)
        now = {name: s.spec for name, s in self._runtime.host.services.items()}
        return Planned(new, plan(now, new.services), _later(self.definitions.agent, new.agent))

    async def apply(self, cause: Cause) -> Planned:
        """Put the files in force. Raises ConfigErrors: nothing has changed."""
        async with self._one:
            planned = await self.plan()
            self.definitions = planned.definitions
            self._allow(planned.definitions.agent.access)
            event = DefinitionsLoaded(planned.definitions.services, cause, self._memories())
            self._runtime.post(event)
            self._told()
            return planned

    def _told(self) -> None:
        for trigger in self._triggers:
            trigger.set(list(self.definitions.services))


def _later(old: AgentSpec, new: AgentSpec) -> tuple[str, ...]:
    names = (field.name for field in fields(AgentSpec) if field.name not in AT_ONCE)
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))
