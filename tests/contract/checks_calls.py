"""What every ``Calls`` keeps, the real one and the fake."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from agentd.ports import CallOrder, Calls

ORDER = CallOrder("POST", "", (), None, None, (), 5.0)


class Rig(Protocol):
    calls: Calls

    def answers(self, status: int, *lines: str) -> CallOrder:
        """To a server that answers so."""

    def silent(self) -> CallOrder:
        """To one that takes the request and never answers."""

    def nobody(self) -> CallOrder:
        """To where nobody listens."""


Make = Callable[[], AbstractAsyncContextManager[Rig]]
Check = Callable[[Make], Coroutine[None, None, None]]


async def check_success_is_no_error(make: Make) -> None:
    async with make() as rig:
        result = await rig.calls.call(rig.answers(200, "one", "two"))
        assert (result.status, result.error, result.timed_out, result.sent) == (
            200,
            None,
            False,
            True,
        )
        assert result.output == ("one", "two")
        assert (await rig.calls.call(rig.answers(204))).error is None


async def check_another_status_is_an_error_with_the_answer(make: Make) -> None:
    async with make() as rig:
        result = await rig.calls.call(rig.answers(400, "line 3: bad"))
        assert (result.status, result.sent, result.timed_out) == (400, True, False)
        assert result.error
        assert "400" in result.error
        assert "\n" not in result.error
        assert result.output == ("line 3: bad",)


async def check_what_is_expected_is_success(make: Make) -> None:
    async with make() as rig:
        assert (await rig.calls.call(replace(rig.answers(304), expect=(304, 200)))).error is None
        assert (await rig.calls.call(replace(rig.answers(201), expect=(200,)))).error


async def check_silence_ends_in_time_and_may_have_been_heard(make: Make) -> None:
    async with make() as rig:
        result = await rig.calls.call(replace(rig.silent(), timeout=0.1))
        assert (result.status, result.timed_out, result.sent) == (None, True, True)
        assert result.error == "no answer within 0.1s"


async def check_nobody_there_means_nothing_was_touched(make: Make) -> None:
    async with make() as rig:
        result = await rig.calls.call(rig.nobody())
        assert (result.status, result.timed_out, result.sent) == (None, False, False)
        assert result.error == "connection refused"


CHECKS: list[Check] = [
    check for name, check in sorted(globals().items()) if name.startswith("check_")
]
