"""What every ``Probes`` keeps, the real one and the fake."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from agentd.core.spec import Probe, ProcessSpec
from agentd.ports import Probes

PROCESS = ProcessSpec(("web",))


class Rig(Protocol):
    probes: Probes

    def good(self) -> tuple[Probe, int]:
        """A probe and the pid of a service that passes it."""

    def bad(self) -> tuple[Probe, int]:
        """One that does not pass."""


Make = Callable[[], AbstractAsyncContextManager[Rig]]
Check = Callable[[Make], Coroutine[None, None, None]]


async def check_a_pass_is_none(make: Make) -> None:
    async with make() as rig:
        probe, pid = rig.good()
        assert await rig.probes.probe(probe, pid, PROCESS) is None
        assert await rig.probes.probe(probe, pid, PROCESS) is None


async def check_a_failure_is_one_line(make: Make) -> None:
    async with make() as rig:
        probe, pid = rig.bad()
        why = await rig.probes.probe(probe, pid, PROCESS)
        assert why
        assert "\n" not in why
        assert why[0].islower()


CHECKS: list[Check] = [
    check for name, check in sorted(globals().items()) if name.startswith("check_")
]
