"""The trigger ``timer``: a service's configuration is looked at again every so often (``reload.every``).

A request from here does nothing when nothing changed. Services without the key cost nothing; with it, one timer each. The first request
comes one interval after the agent began, later ones one interval after each other, whatever became of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, ClassVar

from agentd.triggers.base import ReloadRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from agentd.core.spec import Spec


class Timer:
    """``Trigger`` on the loop's clock."""

    name: ClassVar[str] = "timer"

    def __init__(self, loop: asyncio.AbstractEventLoop, splay: Callable[[float], float]) -> None:
        """``splay`` draws a delay from 0 to what it is given, in seconds."""
        self._loop = loop
        self._splay = splay
        self._armed: dict[str, tuple[float, float, asyncio.TimerHandle]] = {}
        self._due: deque[ReloadRequest] = deque()
        self._woken = asyncio.Event()
        self._closed = False

    def set(self, specs: Sequence[Spec]) -> None:
        """From now on for these services; who keeps its interval keeps its moment."""
        wanted = {
            spec.name: (spec.reload.every, spec.reload.splay) for spec in specs if spec.reload.every
        }
        for name, (every, splay, handle) in tuple(self._armed.items()):
            if wanted.get(name) != (every, splay):
                handle.cancel()
                del self._armed[name]
        for name, (every, splay) in wanted.items():
            if name not in self._armed and every is not None:
                self._arm(name, every, splay)

    async def requests(self) -> AsyncIterator[ReloadRequest]:
        """See ``Trigger.requests``."""
        while not self._closed:
            while self._due:
                yield self._due.popleft()
            self._woken.clear()
            await self._woken.wait()

    def close(self) -> None:
        """See ``Trigger.close``."""
        self._closed = True
        for _, _, handle in self._armed.values():
            handle.cancel()
        self._armed.clear()
        self._woken.set()

    def _arm(self, name: str, every: float, splay: float) -> None:
        handle = self._loop.call_later(every + self._splay(splay), self._elapsed, name)
        self._armed[name] = (every, splay, handle)

    def _elapsed(self, name: str) -> None:
        every, splay, _ = self._armed[name]
        self._arm(name, every, splay)
        self._due.append(ReloadRequest(name, self._loop.time()))
        self._woken.set()
