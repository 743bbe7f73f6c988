"""What every ``Files`` promises: the fake and the real adapter pass the same checks."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from agentd.core.manifest import Manifest, Missing
from agentd.core.spec import ProcessSpec, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentd.ports import Files


class FilesWorld(Protocol):
    """A place with files, and the adapter under test looking at it."""

    files: Files

    def write(self, name: str, data: bytes) -> str:
        """Write a file; its absolute path."""

    def remove(self, name: str) -> None:
        """Remove it."""


def spec(*inputs: str, name: str = "web", **more: object) -> Spec:
    return Spec(name, ProcessSpec(("true",)), inputs=inputs, **more)  # type: ignore[arg-type]


async def taken(world: FilesWorld, one: Spec, *, keep: bool = True) -> Manifest:
    found = await world.files.snapshot(one, keep=keep)
    assert isinstance(found, Manifest), found
    return found


async def check_files(make: Callable[[], FilesWorld]) -> None:
    world = make()
    a = world.write("a.conf", b"one")
    b = world.write("b.conf", b"")
    web = spec(b, a)

    first = await taken(world, web)
    assert [e.path for e in first.entries] == sorted([a, b])
    assert first.entries[0].hash == sha256(b"one").hexdigest()
    assert [e.size for e in first.entries] == [3, 0]
    assert first.hash.startswith("sha256:")
    assert first.version == first.hash[7:19]
    assert await world.files.version(web, first) == first.version
    assert await taken(world, web) == first
    assert await taken(world, spec(a, b, name="other"), keep=False) == first

    world.write("a.conf", b"two")
    second = await taken(world, web)
    assert second.hash != first.hash
    world.write("a.conf", b"one")
    assert (await taken(world, web)).hash == first.hash

    world.remove("a.conf")
    gone = await world.files.snapshot(web, keep=True)
    assert isinstance(gone, Missing)
    assert gone.error_type == "missing_input"
    assert a in gone.message
    world.write("a.conf", b"one")
    assert (await taken(world, web)).hash == first.hash

    nothing = await taken(world, spec())
    assert nothing.entries == ()
    assert nothing.hash == (await taken(world, spec(name="other"))).hash
    assert any(a.startswith(place) for place in world.files.watched(web))
