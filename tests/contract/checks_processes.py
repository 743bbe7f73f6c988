"""What every ``Processes`` and ``Commands`` must do: run on the real adapter here, and on any fake that wants to be trusted.

A behaviour is a word, so that a fake can act it out: ``lives`` until a signal ends it, ``exits`` with 7 at once, ``leaves``
(its main process exits 0 at once and a child of it lives on until it is killed), ``missing`` (there is no such program).
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import pytest

from agentd.core.process import Exit, Identity
from agentd.ports import (
    AdapterError,
    CommandOrder,
    CommandResult,
    Commands,
    Key,
    Mains,
    Processes,
    SpawnError,
    SpawnOrder,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Event = tuple[str, Key] | tuple[str, Key, Exit, bool]
KEY = Key("web", 1)


class Rig(Protocol):
    """A machine with one ``Processes`` on it, which is ``Mains`` too."""

    processes: Processes

    @property
    def mains(self) -> Mains:
        """The same."""

    def order(self, behaviour: str, key: Key = KEY) -> SpawnOrder:
        """An order for a program that behaves so."""

    async def event(self) -> Event:
        """The next thing the listener was told: ("exited", key, exit, empty) or ("emptied", key)."""

    def left(self) -> int:
        """The one process that is left of KEY."""

    def quiet(self) -> bool:
        """Nothing else was told."""

    async def again(self) -> None:
        """Close the adapter as a dying agent would; ``processes`` is the next agent's from here on."""


async def permit(_identity: Identity) -> None:
    """Always."""


async def _an_exit_is_reported_once_after_spawn_returned(rig: Rig) -> None:
    identity = await rig.processes.spawn(rig.order("exits"), permit)
    assert identity.pid > 0
    assert identity.cookie == rig.order("exits").cookie
    assert await rig.event() == ("exited", KEY, Exit(code=7), True)
    assert rig.quiet()
    with pytest.raises(AdapterError):
        rig.processes.signal(KEY, "TERM", group=False)


async def _a_signal_ends_it_and_its_moment_is_before_the_end(rig: Rig) -> None:
    await rig.processes.spawn(rig.order("lives"), permit)
    first = rig.processes.signal(KEY, "TERM", group=False)
    assert await rig.event() == ("exited", KEY, Exit(signal="TERM"), True)
    await rig.processes.spawn(rig.order("lives"), permit)
    assert rig.processes.signal(KEY, "KILL", group=True) > first
    assert await rig.event() == ("exited", KEY, Exit(signal="KILL"), True)


async def _what_is_left_behind_is_reported_and_can_be_ended(rig: Rig) -> None:
    await rig.processes.spawn(rig.order("leaves"), permit)
    assert await rig.event() == ("exited", KEY, Exit(code=0), False)
    with pytest.raises(AdapterError):
        rig.processes.signal(KEY, "TERM", group=False)
    assert rig.quiet()
    rig.processes.signal(KEY, "KILL", group=True)
    assert await rig.event() == ("emptied", KEY)
    with pytest.raises(AdapterError):
        rig.processes.signal(KEY, "KILL", group=True)


async def _a_program_that_is_not_there_is_a_spawn_error_and_no_exit(rig: Rig) -> None:
    with pytest.raises(SpawnError) as error:
        await rig.processes.spawn(rig.order("missing"), permit)
    assert error.value.step == "exec"
    assert error.value.errno == 2
    assert error.value.what.startswith("cannot start web: exec: ")
    assert rig.quiet()
    await rig.processes.spawn(rig.order("exits"), permit)
    assert await rig.event() == ("exited", KEY, Exit(code=7), True)


async def _without_a_permit_nothing_runs_and_the_reason_is_the_callers(rig: Rig) -> None:
    class NoError(Exception):
        pass

    async def no(identity: Identity) -> None:
        assert identity.started > 0
        raise NoError

    with pytest.raises(NoError):
        await rig.processes.spawn(rig.order("exits"), no)
    assert rig.quiet()
    with pytest.raises(AdapterError):
        rig.processes.signal(KEY, "TERM", group=True)


async def _a_spawn_that_is_cancelled_leaves_nothing(rig: Rig) -> None:
    asked = asyncio.Event()

    async def never(_identity: Identity) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.processes.spawn(rig.order("exits"), never))
        await asked.wait()
        task.cancel()
    assert task.cancelled()
    assert rig.quiet()
    await rig.processes.spawn(rig.order("exits"), permit)
    assert await rig.event() == ("exited", KEY, Exit(code=7), True)


async def _many_start_at_once(rig: Rig) -> None:
    keys = [Key(f"s{n}", 1) for n in range(20)]
    orders = [rig.order("lives", key) for key in keys]
    identities = await asyncio.gather(*(rig.processes.spawn(o, permit) for o in orders))
    assert len({i.pid for i in identities}) == len(keys)
    for key in keys:
        rig.processes.signal(key, "KILL", group=True)
    ended = [await rig.event() for _ in keys]
    assert {e[1] for e in ended} == set(keys)
    assert all(e[2:] == (Exit(signal="KILL"), True) for e in ended)


async def _the_next_agent_takes_over_its_own_and_no_stranger(rig: Rig) -> None:
    identity = await rig.processes.spawn(rig.order("lives"), permit)
    await rig.again()
    other = Identity(identity.pid, identity.started + 1, identity.boot, identity.cookie)
    assert not rig.processes.adopt(KEY, other)
    assert not rig.processes.adopt(
        KEY, Identity(identity.pid, identity.started, "boot", identity.cookie)
    )
    assert not rig.processes.adopt(
        KEY, Identity(identity.pid, identity.started, identity.boot, "other")
    )
    assert rig.quiet()
    assert rig.processes.adopt(KEY, identity)
    rig.processes.signal(KEY, "TERM", group=True)
    assert await rig.event() == ("exited", KEY, Exit(signal="TERM"), True)
    assert not rig.processes.adopt(KEY, identity)


async def _who_is_left_is_followed_as_the_main_process(rig: Rig) -> None:
    first = await rig.processes.spawn(rig.order("leaves"), permit)
    assert await rig.event() == ("exited", KEY, Exit(code=0), False)
    heir = rig.left()
    identity = rig.mains.identify(KEY, heir)
    assert (identity.pid, identity.cookie, identity.boot) == (heir, first.cookie, first.boot)
    rig.mains.follow(KEY, identity)
    rig.processes.signal(KEY, "TERM", group=False)
    assert await rig.event() == ("exited", KEY, Exit(signal="TERM"), True)
    assert rig.quiet()


async def _nobody_else_is_the_main_process(rig: Rig) -> None:
    await rig.processes.spawn(rig.order("lives"), permit)
    other = await rig.processes.spawn(rig.order("lives", Key("other", 1)), permit)
    for pid in (other.pid, os.getpid(), 1, 1 << 30):
        with pytest.raises(AdapterError):
            rig.mains.identify(KEY, pid)
    with pytest.raises(AdapterError):
        rig.mains.identify(Key("nobody", 1), other.pid)
    for key in (KEY, Key("other", 1)):
        rig.processes.signal(key, "KILL", group=True)
        assert await rig.event() == ("exited", key, Exit(signal="KILL"), True)


async def _the_next_agent_takes_over_who_was_followed(rig: Rig) -> None:
    await rig.processes.spawn(rig.order("leaves"), permit)
    assert await rig.event() == ("exited", KEY, Exit(code=0), False)
    identity = rig.mains.identify(KEY, rig.left())
    rig.mains.follow(KEY, identity)
    await rig.again()
    assert rig.processes.adopt(KEY, identity)
    assert rig.mains.identify(KEY, identity.pid).same(identity)
    rig.processes.signal(KEY, "TERM", group=True)
    event = await rig.event()
    assert event in {("exited", KEY, end, True) for end in (Exit(signal="TERM"), Exit())}


async def _who_is_gone_when_it_is_followed_has_ended(rig: Rig) -> None:
    await rig.processes.spawn(rig.order("leaves"), permit)
    assert await rig.event() == ("exited", KEY, Exit(code=0), False)
    identity = rig.mains.identify(KEY, rig.left())
    rig.processes.signal(KEY, "KILL", group=True)
    assert await rig.event() == ("emptied", KEY)
    rig.mains.follow(KEY, identity)
    assert await rig.event() == ("exited", KEY, Exit(), True)
    assert rig.quiet()


CHECKS = (
    _an_exit_is_reported_once_after_spawn_returned,
    _a_signal_ends_it_and_its_moment_is_before_the_end,
    _what_is_left_behind_is_reported_and_can_be_ended,
    _a_program_that_is_not_there_is_a_spawn_error_and_no_exit,
    _without_a_permit_nothing_runs_and_the_reason_is_the_callers,
    _a_spawn_that_is_cancelled_leaves_nothing,
    _many_start_at_once,
    _the_next_agent_takes_over_its_own_and_no_stranger,
    _who_is_left_is_followed_as_the_main_process,
    _nobody_else_is_the_main_process,
    _the_next_agent_takes_over_who_was_followed,
    _who_is_gone_when_it_is_followed_has_ended,
)


async def check_processes(make: Callable[[], AbstractAsyncContextManager[Rig]]) -> None:
    """Each check on a fresh machine."""
    for check in CHECKS:
        async with make() as rig:
            await check(rig)


class CommandRig(Protocol):
    """A machine with ``Commands`` on it.

    ``passes`` says "fine" and exits 0; ``fails`` says "line 3: bad" and exits 4; ``hangs`` says "begun" and stays;
    ``dies`` of ABRT; ``missing``: there is no such program.
    """

    commands: Commands

    def order(self, behaviour: str, timeout: float) -> CommandOrder:
        """An order for a command that behaves so."""


async def check_commands(make: Callable[[], AbstractAsyncContextManager[CommandRig]]) -> None:
    """How commands end."""
    async with make() as rig:
        run, order = rig.commands.run, rig.order
        assert await run(order("passes", 10)) == CommandResult(0, False, None, ("fine",))
        assert await run(order("fails", 10)) == CommandResult(4, False, None, ("line 3: bad",))
        assert await run(order("dies", 10)) == CommandResult(134, False, None, ())
        assert await run(order("hangs", 0.5)) == CommandResult(None, True, None, ("begun",))
        missing = await run(order("missing", 10))
        assert (missing.exit_code, missing.timed_out, missing.output) == (None, False, ())
        assert missing.error is not None
        assert "No such file or directory" in missing.error
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run(order("hangs", 60)))
            await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()
