"""What every ``Output`` with its ``Logs`` keeps, the real one and the fake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Protocol

from agentd.core.spec import LogSpec, ProcessSpec, Spec
from agentd.ports import Key, Logs, Output

ONE, TWO = Key("web", 1), Key("web", 2)
SPEC = Spec("web", ProcessSpec(("web",)), logs=LogSpec(size=1 << 20, keep=3))


class Rig(Protocol):
    output: Output
    logs: Logs

    def start(self, key: Key, spec: Spec) -> None:
        """Open the output and let a service begin to write to it."""

    def write(self, key: Key, data: bytes) -> None:
        """What the service writes."""

    def end(self, key: Key) -> None:
        """The service ends; its output is closed."""


Make = Callable[[], AbstractContextManager[Rig]]
Check = Callable[[Make], Coroutine[None, None, None]]


async def check_what_was_written_is_there_when_close_returns(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.write(ONE, b"one\ntwo\nthree\n")
        rig.end(ONE)
        assert rig.logs.tail("web", 10) == ("one", "two", "three")
        assert rig.logs.tail("web", 2) == ("two", "three")
        assert rig.logs.tail("web", 0) == ()
        assert rig.logs.tail("other", 5) == ()


async def check_an_offset_parts_before_from_after(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.write(ONE, b"before\n")
        at = rig.logs.offset("web")
        rig.write(ONE, b"after\n")
        await asyncio.wait_for(rig.logs.grown("web", at), 5)
        assert rig.logs.since("web", at, 1 << 16) == (("after",), at + 6)
        rig.end(ONE)
        assert rig.logs.since("web", at + 6, 1 << 16) == ((), at + 6)


async def check_since_gives_whole_lines_within_its_limit(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.write(ONE, b"aaaa\nbbbb\ncccc\n")
        rig.end(ONE)
        assert rig.logs.since("web", 0, 12) == (("aaaa", "bbbb"), 10)
        assert rig.logs.since("web", 10, 12) == (("cccc",), 15)


async def check_growth_already_there_is_not_waited_for(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.write(ONE, b"line\n")
        rig.logs.offset("web")
        await asyncio.wait_for(rig.logs.grown("web", 0), 5)
        rig.end(ONE)


async def check_last_words_without_a_line_end_stand_alone(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.write(ONE, b"fine\nsegmentation fau")
        rig.end(ONE)
        assert rig.logs.since("web", 0, 1 << 16)[0] == ("fine", "segmentation fau")
        rig.start(TWO, SPEC)
        rig.write(TWO, b"hello\n")
        rig.end(TWO)
        assert rig.logs.tail("web", 5) == ("fine", "segmentation fau", "hello")


async def check_bytes_that_are_no_text_are_replaced(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.write(ONE, b"caf\xe9\n")
        rig.end(ONE)
        assert rig.logs.tail("web", 1) == ("caf\ufffd",)


async def check_two_generations_share_a_file_line_by_line(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.write(ONE, b"old 1\n")
        assert rig.logs.offset("web") == 6  # between two pipes there is no order but this
        rig.start(TWO, SPEC)
        for n in range(50):
            rig.write(ONE, b"old half ")
            rig.write(TWO, b"new %d\n" % n)
            rig.write(ONE, b"%d\n" % n)
        rig.end(ONE)
        rig.end(TWO)
        lines = rig.logs.tail("web", 1000)
        assert [line for line in lines if line.startswith("new")] == [f"new {n}" for n in range(50)]
        assert lines[0] == "old 1"
        assert [line for line in lines[1:] if line.startswith("old")] == [
            f"old half {n}" for n in range(50)
        ]


async def check_half_a_line_holds_up_nobody(make: Make) -> None:
    with make() as rig:
        rig.start(ONE, SPEC)
        rig.start(TWO, SPEC)
        rig.logs.offset("web")  # now it is known that there are two
        rig.write(ONE, b"half ")
        rig.logs.offset("web")
        rig.write(TWO, b"hello\n")
        await asyncio.wait_for(rig.logs.grown("web", 0), 0.8)
        rig.write(ONE, b"done\n")
        rig.end(ONE)
        rig.end(TWO)
        assert rig.logs.tail("web", 5) == ("hello", "half done")


CHECKS: list[Check] = [
    check for name, check in sorted(globals().items()) if name.startswith("check_")
]
