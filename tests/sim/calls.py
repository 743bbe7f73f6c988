"""``Calls`` by script: what each URL answers, on the clock of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from agentd.ports import CallOrder, CallResult


@dataclass(frozen=True)
class Answer:
    """What a server says after a delay; ``status`` None: never anything."""

    status: int | None = 200
    output: tuple[str, ...] = ()
    after: float = 0.0


@dataclass
class FakeCalls:
    """A URL without a script is one where nobody listens. What was ordered is kept."""

    answers: Mapping[str, Answer]
    made: list[CallOrder] = field(default_factory=list)

    async def call(self, order: CallOrder) -> CallResult:
        self.made.append(order)
        answer = self.answers.get(order.url)
        if answer is None:
            return CallResult(None, "connection refused", timed_out=False, sent=False, output=())
        if answer.status is None or answer.after >= order.timeout:
            await asyncio.sleep(order.timeout)
            late = f"no answer within {order.timeout:g}s"
            return CallResult(None, late, timed_out=True, sent=True, output=())
        await asyncio.sleep(answer.after)
        status = answer.status
        good = status in order.expect if order.expect else 200 <= status < 300
        error = None if good else f"answered {status}"
        return CallResult(status, error, timed_out=False, sent=True, output=answer.output)
