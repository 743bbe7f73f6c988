"""The operator's definitions while the agent runs: read again, compared, and put in force whole or not at all.

Decides what of the agent's own part takes effect at once and what only a new agent takes up, and that every address that is new can be
listened on before anything is touched. What a change means to a service is ``agentd.core.plan``'s, when it is done, and whether the
definition of one service is in force, the core's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

from agentd.config.access import Access
from agentd.config.definitions import AgentSpec, Definitions
from agentd.config.loader import at_sockets, load
from agentd.config.problems import ConfigErrors
from agentd.core.effects import Reply
from agentd.core.events import DefinitionsLoaded
from agentd.core.facts import Cause, DefinitionsTaken, Judged, PhaseEntered, Record, Skipped
from agentd.core.memory import Memory
from agentd.core.plan import Action, Change, plan, to_open
from agentd.core.spec import Spec
from agentd.ports import AdapterError
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


@dataclass(frozen=True, slots=True)
class Applied:
    """What was put in force."""

    planned: Planned
    asked: Mapping[str, asyncio.Future[Reply]]
    """For each service that is started, replaced or restarted: which reload that is, once it is its turn."""


_CAUSES = frozenset({Action.START, Action.RESTART, Action.REPLACE})
_MOVES = (Judged, PhaseEntered, Skipped, DefinitionsTaken)
"""Facts with which another definition may have come into force."""


class Applying:
    """One for each agent; on the event loop's thread, files are read in another."""

    def __init__(
        self,
        path: Path,
        definitions: Definitions,
        runtime: Runtime,
        memories: Callable[[], tuple[Memory, ...]],
        allow: Callable[[Access], None],
        *,
        doubts: Callable[[Sequence[Spec]], Iterable[str]],
    ) -> None:
        """``memories``: what is known of services that were here before; ``allow`` takes the rules who may ask for what.

        ``doubts``: what of the definitions cannot be had on this host, one sentence each.
        """
        self.definitions = definitions
        self._path = path
        self._runtime = runtime
        self._memories = memories
        self._allow = allow
        self._doubts = doubts
        self._triggers: list[Watches] = []
        self._told: dict[str, Spec] = {}
        self._one = asyncio.Semaphore(1)
        """Two readings of the files do not overtake each other."""

    def tell(self, *triggers: Watches) -> None:
        """Who must know which services there are: now, and after every change."""
        self._triggers += triggers
        self._tell(self.definitions.services)

    def hear(self, record: Record) -> None:
        """One definition more may be in force by now: what is watched and when is looked follows."""
        fact = record.fact
        if not isinstance(fact, _MOVES):
            return
        services = self._runtime.host.services
        if not isinstance(fact, DefinitionsTaken):
            s = services.get(fact.service)
            now = None if s is None or s.spec.removed else s.spec
            if now is self._told.get(fact.service):
                return
        self._tell([s.spec for s in services.values() if not s.spec.removed])

    async def plan(self) -> Planned:
        """What an apply would do. Raises ConfigErrors with every mistake."""
        new = await asyncio.to_thread(load, self._path)
        new = replace(new, warnings=(*new.warnings, *self._doubts(new.services)))
        return Planned(
            new, plan(self._now(), new.services), _later(self.definitions.agent, new.agent)
        )

    async def apply(self, cause: Cause) -> Applied:
        """Put the files in force. Raises ConfigErrors: nothing has changed.

        Nothing is done before the caller has heard of it: it can begin to listen for what follows.
        """
        async with self._one:
            planned = await self.plan()
            if problems := self._prepare(planned):
                raise ConfigErrors(await asyncio.to_thread(at_sockets, self._path, problems))
            self.definitions = planned.definitions
            self._allow(planned.definitions.agent.access)
            event = DefinitionsLoaded(planned.definitions.services, cause, self._memories())
            names = [change.service for change in planned.changes if change.action in _CAUSES]
            return Applied(planned, self._runtime.define(event, names))

    def _now(self) -> dict[str, Spec]:
        return {name: s.spec for name, s in self._runtime.host.services.items()}

    def _prepare(self, planned: Planned) -> list[tuple[str, int, str]]:
        """Open what is new; where one cannot be, none is: the service, which of its sockets, and why."""
        services, openings = self._runtime.host.services.values(), self._runtime.machine.openings
        there = [s.spec for s in services if not s.spec.removed or s.alive]
        now = {spec.name: spec for spec in there}
        problems, touched = [], []
        for spec, index in to_open(there, planned.definitions.services):
            touched.append(spec)
            try:
                openings.prepare(spec, spec.sockets[index])
            except AdapterError as error:
                problems.append((spec.name, index, error.what))
        if problems:
            for spec in touched:
                openings.declare(now.get(spec.name) or replace(spec, sockets=()))
        return problems

    def _tell(self, specs: Sequence[Spec]) -> None:
        self._told = {spec.name: spec for spec in specs}
        for trigger in self._triggers:
            trigger.set(list(specs))


def _later(old: AgentSpec, new: AgentSpec) -> tuple[str, ...]:
    names = (field.name for field in fields(AgentSpec) if field.name not in AT_ONCE)
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))
