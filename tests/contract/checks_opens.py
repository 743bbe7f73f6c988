"""What every ``Opens`` keeps, the real one and the fake."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from agentd.ports import Opens


class Rig(Protocol):
    opens: Opens
    pid: int
    path: str
    """An input of the service ``web``."""

    async def read(self) -> None:
        """The service opens it."""


Make = Callable[[], AbstractAsyncContextManager[Rig]]
Check = Callable[[Make], Coroutine[None, None, None]]


async def check_an_opening_since_the_beginning_counts(make: Make) -> None:
    async with make() as rig:
        rig.opens.watch("web", rig.pid, (rig.path,))
        assert rig.opens.opened("web").paths == frozenset()
        await rig.read()
        assert rig.opens.opened("web").paths == {rig.path}


async def check_one_from_before_does_not(make: Make) -> None:
    async with make() as rig:
        await rig.read()
        rig.opens.watch("web", rig.pid, (rig.path,))
        await rig.read()
        rig.opens.fresh("web")
        assert rig.opens.opened("web").paths == frozenset()
        await rig.read()
        assert rig.opens.opened("web").paths == {rig.path}


async def check_where_nobody_watches_nobody_can_tell(make: Make) -> None:
    async with make() as rig:
        rig.opens.fresh("web")
        rig.opens.drop("web")
        assert rig.opens.opened("web").paths is None
        rig.opens.watch("web", rig.pid, (rig.path,))
        rig.opens.drop("web")
        found = rig.opens.opened("web")
        assert found.paths is None
        assert found.why


CHECKS: list[Check] = [
    check for name, check in sorted(globals().items()) if name.startswith("check_")
]
