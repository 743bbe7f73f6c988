"""What keeps a service down that will not end by itself: somebody who asks for a start or a reload is told, and does not wait for ever.

Decides nothing: the core goes on wanting the service up, and starts it as soon as what it requires is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from agentd.api.context import Context
from agentd.core.facts import PhaseEntered, Record
from agentd.core.host import AT_REST
from agentd.core.instance import Ending, Phase
from agentd.core.memory import Want
from agentd.core.reload_value import Act
from agentd.core.service import Service

AT_ONCE = 1.0
"""Seconds in which a start that nobody waits for is told its id: it may have to wait for what it requires."""


def obstacle(services: Mapping[str, Service], name: str) -> str:
    """One sentence; empty when it is on its way, or when what it waits for is."""
    s = services.get(name)
    if s is None or s.phase not in AT_REST or s.serves or s.running is not None:
        return ""
    stuck = next((other for r in s.spec.requires if (other := _stuck(services, r))), "")
    if not stuck:
        return ""
    held_up = services[stuck]
    why = held_up.instance.why
    how = f"{held_up.phase.value}: {why}" if why else held_up.phase.value
    return f"{name} waits for {stuck}, which is {how}; start it with: reloadctl start {stuck}"


def _stuck(services: Mapping[str, Service], name: str) -> str:
    """The service at the end of the chain that nobody will start; definitions without a way out are refused at load."""
    s = services.get(name)
    at_rest = s is not None and s.phase in (Phase.DOWN, Phase.FAILED) and not s.serves
    if s is None or not at_rest or s.running is not None:
        return ""
    if s.phase is Phase.FAILED or s.want is Want.DOWN:
        return name
    if s.instance.ending is Ending.BY_ITSELF:
        return name
    return next((other for r in s.spec.requires if (other := _stuck(services, r))), "")


def arrived(context: Context, name: str) -> bool:
    """Nothing of it is on its way any more: it is ready, or down, or waits for its next try."""
    s = context.now(name)
    launching = s.running is not None and s.running.act is Act.LAUNCH
    begins = s.phase is Phase.STARTING or launching or s.next_start is not None
    return s.want is Want.DOWN or s.phase is Phase.READY or not begins


@asynccontextmanager
async def patience(context: Context, name: str, until: float | None) -> AsyncIterator[None]:
    """TimeoutError when the time is up, or when the service cannot start until somebody starts another."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(until) as limit:

        def look(record: Record | None = None) -> None:
            moved = record is None or isinstance(record.fact, PhaseEntered)
            if moved and not limit.expired() and obstacle(context.host.services, name):
                limit.reschedule(loop.time())

        stop = context.runtime.journal.listen(look)
        try:
            look()
            yield
        finally:
            stop()
