"""Who opens a file, by fanotify: the service's processes count, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentd.system.opens import FanotifyOpens
from tests.contract import checks_opens

READER = """
import os, subprocess, sys
for line in sys.stdin:
    path = line.strip()
    if path.startswith("child "):
        subprocess.run([sys.executable, "-I", "-S", "-c", CHILD, path[6:]])
    else:
        open(path).close()
    print("done", flush=True)
"""
CHILD = "import sys, time; f = open(sys.argv[1]); time.sleep(0.3)"
"""It is still there when the news of its opening arrives."""


def permitted() -> bool:
    return os.geteuid() == 0 and _begins()


def _begins() -> bool:
    loop = asyncio.new_event_loop()
    opens = FanotifyOpens(loop)
    opens.watch("probe", os.getpid(), (__file__,))
    found = opens.opened("probe").paths is not None
    opens.close()
    loop.close()
    return found


needs = pytest.mark.skipif(not permitted(), reason="fanotify with pids is not permitted here")


class Rig:
    """A process that opens what it is told to."""

    def __init__(self, path: Path, process: asyncio.subprocess.Process) -> None:
        self.opens = FanotifyOpens(asyncio.get_running_loop())
        self.path = str(path)
        self.pid = process.pid
        self._process = process

    async def read(self, how: str = "") -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{how}{self.path}\n".encode())
        assert await self._process.stdout.readline() == b"done\n"


@contextlib.asynccontextmanager
async def rig(path: Path) -> AsyncIterator[Rig]:
    path.write_text("x")
    text = READER.replace("CHILD", repr(CHILD))
    argv = (sys.executable, "-I", "-S", "-c", text)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
    made = Rig(path, process)
    try:
        yield made
    finally:
        made.opens.close()
        assert process.stdin
        process.stdin.close()
        await process.wait()


@needs
@pytest.mark.parametrize("check", checks_opens.CHECKS, ids=lambda check: check.__name__)
def test_the_contract(check: checks_opens.Check, tmp_path: Path) -> None:
    asyncio.run(check(lambda: rig(tmp_path / "a.conf")))


@needs
def test_an_opening_by_somebody_else_is_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path / "a.conf") as made:
            made.opens.watch("web", made.pid, (made.path,))
            Path(made.path).read_text()
            assert made.opens.opened("web").paths == frozenset()

    asyncio.run(scenario())


@needs
def test_a_child_counts_as_the_service(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path / "a.conf") as made:
            made.opens.watch("web", made.pid, (made.path,))
            await made.read("child ")
            assert made.opens.opened("web").paths == {made.path}

    asyncio.run(scenario())


@needs
def test_a_name_that_is_a_link_is_the_file_behind_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path / "real.conf") as made:
            link = tmp_path / "a.conf"
            link.symlink_to(made.path)
            made.opens.watch("web", made.pid, (str(link), made.path))
            await made.read()
            assert made.opens.opened("web").paths == {str(link), made.path}

    asyncio.run(scenario())


@needs
def test_a_file_that_is_gone_cannot_be_watched(tmp_path: Path) -> None:
    async def scenario() -> None:
        opens = FanotifyOpens(asyncio.get_running_loop())
        opens.watch("web", os.getpid(), (str(tmp_path / "gone"),))
        found = opens.opened("web")
        assert found.paths is None
        assert found.why.endswith("gone: no such file or directory")

    asyncio.run(scenario())


def test_without_the_right_it_says_so(tmp_path: Path) -> None:
    def refused() -> int:
        raise OSError(errno.EPERM, "fanotify_init")

    async def scenario() -> None:
        opens = FanotifyOpens(asyncio.get_running_loop(), refused)
        opens.watch("web", os.getpid(), (str(tmp_path),))
        why = "who opens the files cannot be seen without CAP_SYS_ADMIN"
        assert opens.opened("web") == (None, why)
        opens.drop("web")
        assert opens.opened("web").why != why

    asyncio.run(scenario())
