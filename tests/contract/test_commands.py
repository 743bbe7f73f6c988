"""The real commands adapter: ends, deadlines, output, and what it leaves behind (nothing)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentd.core.spec import ProcessSpec
from agentd.ports import CommandOrder, CommandResult
from agentd.system.commands import KEEP, OsCommands
from agentd.system.launcher import Launcher
from tests.contract.checks_processes import check_commands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ENV = (("PATH", "/usr/bin:/bin"),)
COMMANDS = {
    "passes": ("sh", "-c", "echo fine"),
    "fails": ("sh", "-c", "echo line 3: bad >&2; exit 4"),
    "hangs": ("sh", "-c", "echo begun; sleep 60"),
    "dies": ("sh", "-c", "kill -ABRT $$"),
    "missing": ("/nowhere/checker",),
}


class OsRig:
    """Commands on this machine."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.launcher = Launcher(loop)
        self.commands = OsCommands(loop, self.launcher)

    def order(self, behaviour: str, timeout: float) -> CommandOrder:
        return self.command(*COMMANDS[behaviour], timeout=timeout)

    def command(self, *argv: str, timeout: float = 10, **spec: object) -> CommandOrder:
        return CommandOrder(argv, ProcessSpec((), **spec), ENV, timeout)  # type: ignore[arg-type]

    async def shell(self, script: str, timeout: float = 10) -> CommandResult:  # noqa: ASYNC109
        return await self.commands.run(self.command("sh", "-c", script, timeout=timeout))


@contextlib.asynccontextmanager
async def rig() -> AsyncIterator[OsRig]:
    async with asyncio.timeout(20):
        made = OsRig()
        try:
            yield made
        finally:
            await made.launcher.close()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers are wanted


def run(test: Callable[[OsRig], Awaitable[None]]) -> None:
    async def main() -> None:
        before = descriptors()
        async with rig() as made:
            await test(made)
        assert descriptors() == before, "a descriptor was left open"

    asyncio.run(main())


def test_contract() -> None:
    asyncio.run(check_commands(rig))


def test_the_end_of_long_output_is_kept_in_whole_lines() -> None:
    async def test(rig: OsRig) -> None:
        result = await rig.shell("seq 1 40000; printf '\\377end'")
        assert result.exit_code == 0
        assert result.output[-2:] == ("40000", "�end")
        numbers = [int(line) for line in result.output[:-1]]
        assert numbers == list(range(numbers[0], 40001))
        assert KEEP - 10 <= sum(len(line) + 1 for line in result.output[:-1]) <= KEEP

    run(test)


def test_what_is_looked_for_is_found_in_all_of_the_output() -> None:
    """More than is kept of it, over the ends of what one read gives, and in a last line without an end."""
    script = """
import sys
for n in range(9000):
    sys.stdout.buffer.write(b"# file /etc/%05d\\xff:\\n" % n + b"x" * 40 + b"\\n")
sys.stdout.buffer.write(b"y" * 70000 + b"# file /too/long:\\n")
sys.stdout.buffer.write(b"# file /last:")
"""

    async def test(rig: OsRig) -> None:
        found = "^# file (.+):$", "^# file /(last|a):$"
        order = replace(rig.command(sys.executable, "-c", script), find=found)
        result = await rig.commands.run(order)
        assert result.exit_code == 0
        files = (*(f"/etc/{n:05}\udcff" for n in range(9000)), "/last")
        assert result.found == (files, ("last",)), "of each pattern what it finds"
        assert sum(map(len, result.output)) <= 64 * 1024
        endless = "while True: print('# file /a:')"
        order = replace(rig.command(sys.executable, "-c", endless, timeout=1.0), find=found)
        result = await rig.commands.run(order)
        assert (result.timed_out, result.found) == (True, ())

    run(test)


def test_a_grandchild_with_the_pipe_does_not_hang_it_and_lives() -> None:
    async def test(rig: OsRig) -> None:
        begun = time.monotonic()
        result = await rig.shell("sleep 60 & echo $!; exit 0")
        assert time.monotonic() - begun < 5
        assert result.exit_code == 0
        os.kill(int(result.output[0]), 9)
        result = await rig.shell("yes & echo $!; exit 0")  # writes for ever: it ends by SIGPIPE
        assert result.exit_code == 0

    run(test)


async def readable(fd: int) -> None:
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ready.set)
    await ready.wait()
    loop.remove_reader(fd)


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_the_whole_group_is_ended(how: str) -> None:
    async def test(rig: OsRig) -> None:
        fifo = f"/tmp/agentd-test-{os.getpid()}-{how}"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        # both shells hold the fifo: its end means that both are gone
        script = f"exec 9>{fifo}; echo up >&9; (trap '' TERM; sleep 60) & sleep 60"
        try:
            limit = 1.0 if how == "deadline" else 60.0
            async with asyncio.TaskGroup() as group:
                task = group.create_task(rig.shell(script, timeout=limit))
                await readable(reader)
                assert os.read(reader, 100) == b"up\n"
                if how == "cancel":
                    task.cancel()
                await readable(reader)
                assert os.read(reader, 100) == b""
            if how == "deadline":
                assert task.result() == CommandResult(None, timed_out=True, error=None, output=())
            else:
                assert task.cancelled()
        finally:
            Path(fifo).unlink()
            os.close(reader)

    run(test)


def test_it_runs_as_the_spec_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def test(rig: OsRig) -> None:
        where = str(tmp_path_factory.mktemp("cwd"))
        order = rig.command(
            "sh",
            "-c",
            "pwd; umask; ulimit -n; echo ${A-unset}",
            cwd=where,
            umask=0o77,
            limits=(("nofile", 99),),
        )
        assert (await rig.commands.run(order)).output == (where, "0077", "99", "unset")
        refused = await rig.commands.run(rig.command("true", user="no-such-user"))
        assert refused.error == 'cannot start true: user: no user "no-such-user"'

    run(test)


def test_many_at_once() -> None:
    async def test(rig: OsRig) -> None:
        results = await asyncio.gather(*(rig.shell(f"exit {n}") for n in range(30)))
        assert [r.exit_code for r in results] == list(range(30))

    run(test)
