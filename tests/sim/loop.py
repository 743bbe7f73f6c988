"""An asyncio loop on virtual time: when nothing is ready, the clock jumps to the next timer. A test that hangs raises instead.

A thread or another process is invisible to it: the clock jumps past them.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any


class _Jump(selectors.DefaultSelector):
    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is armed")
        self.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and costs nothing."""

    def __init__(self) -> None:
        self._now, selector = 0.0, _Jump()
        super().__init__(selector)
        selector.jump = self._advance

    def _advance(self, seconds: float) -> None:
        self._now += seconds

    def time(self) -> float:
        return self._now

    def armed(self) -> int:
        """How many timers wait; none, when nothing is to happen by itself."""
        return sum(not handle.cancelled() for handle in self._scheduled)  # type: ignore[attr-defined]


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on virtual time."""

    @functools.wraps(test)
    def run(*args: Any, **more: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **more))

    return run
