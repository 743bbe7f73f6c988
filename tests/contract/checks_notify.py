"""What every ``Notify`` keeps, the real one and the fake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Protocol

from agentd.ports import Key, Message, Notify

ONE, TWO = Key("web", 1), Key("web", 2)


class Rig(Protocol):
    notify: Notify
    heard: asyncio.Queue[tuple[Key, Message]]

    def bind(self, key: Key) -> None:
        """Bind for the user that runs the test and remember the path."""

    def main(self) -> int:
        """The pid that ``say`` speaks as."""

    def say(self, key: Key, data: bytes) -> None:
        """A datagram from the main process."""


Make = Callable[[], AbstractContextManager[Rig]]
Check = Callable[[Make], Coroutine[None, None, None]]


async def heard(rig: Rig) -> tuple[Key, Message]:
    return await asyncio.wait_for(rig.heard.get(), 5)


async def check_a_message_is_heard_where_it_was_sent(make: Make) -> None:
    with make() as rig:
        for key in (ONE, TWO):
            rig.bind(key)
            rig.notify.allow(key, rig.main())
        rig.say(TWO, b"READY=1\nSTATUS=fine")
        key, message = await heard(rig)
        assert key == TWO
        assert message.fields == (("READY", "1"), ("STATUS", "fine"))
        assert message.pid == rig.main()
        assert message.get("STATUS") == "fine"
        assert message.get("ERRNO") is None


async def check_what_came_before_allow_is_not_lost(make: Make) -> None:
    with make() as rig:
        rig.bind(ONE)
        rig.say(ONE, b"READY=1")
        await asyncio.sleep(0)
        assert rig.heard.empty()
        rig.notify.allow(ONE, rig.main())
        assert (await heard(rig))[1].get("READY") == "1"


async def check_the_last_value_counts(make: Make) -> None:
    with make() as rig:
        rig.bind(ONE)
        rig.notify.allow(ONE, rig.main())
        rig.say(ONE, b"STATUS=a\nREADY=1\nnonsense\nSTATUS=b\n")
        assert (await heard(rig))[1].fields == (("STATUS", "b"), ("READY", "1"))


async def check_malformed_messages_are_dropped(make: Make) -> None:
    with make() as rig:
        rig.bind(ONE)
        rig.notify.allow(ONE, rig.main())
        for data in (
            b"STATUS=a\0b",
            b"STATUS=\xff",
            b"STATUS=" + b"x" * 4096,
            b"",
            b"A=" + b"x" * 4095,
            b"\n\n",
        ):
            rig.say(ONE, data)
        rig.say(ONE, b"STATUS=" + b"x" * (4096 - 7) + b"\0")
        rig.say(ONE, b"READY=1\0")
        assert len((await heard(rig))[1].get("STATUS") or "") == 4096 - 7
        assert (await heard(rig))[1].fields == (("READY", "1"),)


async def check_order_is_kept(make: Make) -> None:
    with make() as rig:
        rig.bind(ONE)
        rig.notify.allow(ONE, rig.main())
        for n in range(8):
            rig.say(ONE, b"STATUS=%d" % n)
        assert [(await heard(rig))[1].get("STATUS") for _ in range(8)] == list("01234567")


async def check_an_unbound_instance_is_heard_no_more(make: Make) -> None:
    with make() as rig:
        for key in (ONE, TWO):
            rig.bind(key)
            rig.notify.allow(key, rig.main())
        rig.say(ONE, b"STATUS=late")
        rig.notify.unbind(ONE)
        rig.notify.unbind(ONE)
        rig.say(TWO, b"READY=1")
        assert (await heard(rig))[0] == TWO
        assert rig.heard.empty()


CHECKS: list[Check] = [
    check for name, check in sorted(globals().items()) if name.startswith("check_")
]
