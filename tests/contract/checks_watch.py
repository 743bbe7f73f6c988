"""What every trigger that watches inputs promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tests.contract.checks_files import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentd.core.spec import Spec


class WatchWorld(Protocol):
    """A place with files, watched."""

    def write(self, name: str, data: bytes) -> str:
        """Write a file; its absolute path."""

    async def watch(self, services: Sequence[Spec]) -> None:
        """Watch these from now on; first hints are taken."""

    async def said(self) -> set[str]:
        """The services that were hinted at because of what happened until now."""

    async def closed(self) -> bool:
        """Close; whether the iteration ended."""


async def check_watch(make: Callable[[], WatchWorld], watched: Callable[[Spec], Spec]) -> None:
    world = make()
    a, b = world.write("a/x", b"1"), world.write("b/x", b"1")
    one, two = watched(spec(a, name="one")), watched(spec(b, name="two"))
    await world.watch([one, two])
    assert await world.said() == set()

    world.write("a/x", b"2")
    assert await world.said() == {"one"}
    world.write("a/x", b"3")
    world.write("b/x", b"3")
    assert await world.said() == {"one", "two"}

    world.write("a/y", b"1")
    assert await world.said() == set()

    await world.watch([two, spec(a, name="unwatched")])
    world.write("a/x", b"4")
    assert await world.said() == set()
    world.write("b/x", b"4")
    assert await world.said() == {"two"}
    assert await world.closed()
