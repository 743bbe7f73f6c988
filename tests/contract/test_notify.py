# ruff: noqa: ASYNC220 (children and files are part of the scenes)
"""The real notify sockets: credentials, strangers, descriptors, and the next agent at the same path."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import resource
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.ports import AdapterError, Key, Message
from agentd.system.notify import NotifySockets, parse
from tests.contract import checks_notify
from tests.contract.checks_notify import ONE, TWO, heard

SAY = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.sendto(sys.argv[2].encode(), sys.argv[1])
"""
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users")


class RealRig:
    def __init__(self, directory: Path) -> None:
        self.heard: asyncio.Queue[tuple[Key, Message]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self.members: set[tuple[Key, int]] = set()
        self.notify = NotifySockets(
            loop,
            directory,
            lambda *said: self.heard.put_nowait(said),
            lambda key, pid: (key, pid) in self.members,
        )
        self.paths: dict[Key, str] = {}

    def bind(self, key: Key, uid: int = os.geteuid()) -> None:
        self.paths[key] = self.notify.bind(key, uid, os.getegid())

    def main(self) -> int:
        return os.getpid()

    def say(
        self, key: Key, data: bytes, ancillary: tuple[tuple[int, int, object], ...] = ()
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendmsg([data], ancillary, 0, self.paths[key])


@contextlib.contextmanager
def real(directory: Path) -> Iterator[RealRig]:
    rig = RealRig(directory)
    yield rig
    rig.notify.close()


@pytest.mark.parametrize("check", checks_notify.CHECKS, ids=lambda check: check.__name__)
def test_the_contract(check: checks_notify.Check, tmp_path: Path) -> None:
    asyncio.run(check(lambda: real(tmp_path)))


def speak(path: str, text: str, **how: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", SAY, path, text], **how)


def test_only_the_service_can_write_and_nobody_can_list(tmp_path: Path) -> None:
    async def scenario() -> None:
        umask = os.umask(0)
        try:
            with real(tmp_path / "notify") as rig:
                rig.bind(ONE)
                mode = Path(rig.paths[ONE]).stat().st_mode
        finally:
            os.umask(umask)
        assert stat.S_ISSOCK(mode)
        assert mode & 0o777 == 0o600
        assert (tmp_path / "notify").stat().st_mode & 0o777 == 0o711

    asyncio.run(scenario())


def test_the_next_agent_binds_the_same_path(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as first:
            first.bind(ONE)
        with real(tmp_path) as second:
            second.bind(ONE)
            assert second.paths == first.paths
            second.notify.allow(ONE, os.getpid())
            first.say(ONE, b"READY=1")
            assert (await heard(second))[1].get("READY") == "1"
            second.notify.unbind(ONE)
            assert not Path(first.paths[ONE]).exists()

    asyncio.run(scenario())


def test_a_living_process_outside_the_tree_is_a_stranger(tmp_path: Path) -> None:
    async def scenario() -> None:
        with (
            real(tmp_path) as rig,
            subprocess.Popen(["cat"], stdin=-1, start_new_session=True) as main,
        ):
            rig.bind(ONE)
            rig.notify.allow(ONE, main.pid)
            rig.say(ONE, b"READY=1")  # from this process: same user, not of the service
            rig.notify.drain(ONE)
            assert rig.notify.dropped == {"stranger": 1}
            assert rig.heard.empty()
            main.stdin.close()

    asyncio.run(scenario())


@needs_root
def test_root_may_not_speak_for_a_process_outside_the_tree(tmp_path: Path) -> None:
    async def scenario() -> None:
        with (
            real(tmp_path) as rig,
            subprocess.Popen(["cat"], stdin=-1, start_new_session=True) as main,
        ):
            rig.bind(ONE)
            rig.notify.allow(ONE, main.pid)
            forged = struct.pack("3i", 1, 0, 0)
            rig.say(ONE, b"READY=1", ((socket.SOL_SOCKET, socket.SCM_CREDENTIALS, forged),))
            rig.notify.drain(ONE)
            assert rig.notify.dropped == {"stranger": 1}
            main.stdin.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("session", [False, True])
def test_a_child_of_the_main_process_speaks_for_it(tmp_path: Path, session: bool) -> None:  # noqa: FBT001
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.bind(ONE)
            rig.notify.allow(ONE, os.getpid())
            child = speak(rig.paths[ONE], "READY=1", start_new_session=session)
            assert (await heard(rig))[1].pid == child.pid
            child.wait()

    asyncio.run(scenario())


def test_an_orphan_in_the_session_speaks_for_the_main_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        script = (
            '(exec "$@" <&3 &) 3<&0; exec cat'  # the parenthesis is the parent, and ends at once
        )
        with real(tmp_path) as rig:
            rig.bind(ONE)
            say = [sys.executable, "-S", "-c", SAY + "os.read(0, 1)", rig.paths[ONE], "READY=1"]
            argv = ["sh", "-c", script, "sh", *say]
            with subprocess.Popen(argv, stdin=-1, start_new_session=True) as main:
                rig.notify.allow(ONE, main.pid)
                said = (await heard(rig))[1]
                stat_line = Path(f"/proc/{said.pid}/stat").read_text()
                assert main.pid not in (said.pid, int(stat_line.rpartition(")")[2].split()[1]))
                main.stdin.close()

    asyncio.run(scenario())


def test_descriptors_that_did_not_fit_spoil_their_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            rig.bind(ONE)
            rig.notify.allow(ONE, os.getpid())
            sock.connect(rig.paths[ONE])
            sock.sendmsg([b"READY=1"], rights(0, 1, 2))
            spare = os.open("/dev/null", os.O_RDONLY)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
            try:
                rig.notify.drain(ONE)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                os.close(spare)
            assert rig.notify.dropped == {"truncated": 1}

    asyncio.run(scenario())


def test_a_sender_already_gone_is_believed_by_its_user(tmp_path: Path) -> None:
    async def scenario() -> None:
        with (
            real(tmp_path) as rig,
            subprocess.Popen(["cat"], stdin=-1, start_new_session=True) as main,
        ):
            rig.bind(ONE)
            speak(rig.paths[ONE], "READY=1").wait()
            rig.notify.allow(ONE, main.pid)
            assert (await heard(rig))[1].get("READY") == "1"
            main.stdin.close()

    asyncio.run(scenario())


@needs_root
def test_a_directory_that_the_service_cannot_pass_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path / "notify") as rig:
            rig.bind(ONE)
            with pytest.raises(AdapterError, match=r"uid 65534\) cannot pass .*; try: chmod o\+x "):
                rig.bind(ONE, NOBODY)

    asyncio.run(scenario())


@needs_root
def test_another_user_s_sender_already_gone_is_not() -> None:
    async def scenario() -> None:
        with (
            tempfile.TemporaryDirectory() as name,
            real(public(name)) as rig,
            subprocess.Popen(["cat"], stdin=-1, start_new_session=True) as main,
        ):
            rig.bind(ONE, NOBODY)
            assert Path(rig.paths[ONE]).stat().st_uid == NOBODY
            speak(rig.paths[ONE], "READY=1").wait()  # root, but the service is nobody
            rig.notify.allow(ONE, main.pid)
            rig.notify.drain(ONE)
            assert rig.notify.dropped == {"stranger": 1}
            main.stdin.close()

    asyncio.run(scenario())


def public(name: str) -> Path:
    """Others can pass it; the directories of pytest are private."""
    Path(name).chmod(0o755)
    return Path(name)


def rights(*fds: int) -> tuple[tuple[int, int, object], ...]:
    return ((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds)),)


def test_descriptors_are_closed_and_a_barrier_after_what_came_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.bind(ONE)
            rig.notify.allow(ONE, os.getpid())
            before = sum(1 for _ in Path("/proc/self/fd").iterdir())
            read, write = os.pipe()
            rig.say(ONE, b"READY=1")
            rig.say(ONE, b"BARRIER=1", rights(write))
            rig.say(ONE, b"BARRIER=1", rights(write, write))
            rig.say(ONE, b"FDSTORE=1", rights(write))
            rig.say(ONE, b"STATUS=\xff", rights(write))
            os.close(write)
            closed = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().add_reader(read, closed.set_result, None)
            await asyncio.wait_for(closed, 5)  # the end of file: nobody holds the other side
            asyncio.get_running_loop().remove_reader(read)
            os.close(read)
            said = [rig.heard.get_nowait()[1].fields for _ in range(rig.heard.qsize())]
            assert said == [(("READY", "1"),), (("FDSTORE", "1"),)]
            assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before

    asyncio.run(scenario())


def test_the_moment_of_receipt_is_monotonic(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.bind(TWO)
            rig.notify.allow(TWO, os.getpid())
            before = time.monotonic()
            rig.say(TWO, b"RELOADING=1")
            assert before <= (await heard(rig))[1].at <= time.monotonic()

    asyncio.run(scenario())


def test_a_path_too_long_says_what_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        with (
            real(tmp_path / ("x" * 100)) as rig,
            pytest.raises(AdapterError, match=r"sockets take 107; use a shorter --runtime-dir"),
        ):
            rig.bind(ONE)

    asyncio.run(scenario())


@given(st.binary(max_size=5000))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    fields = parse(data)
    if fields is not None:
        assert len({name for name, _ in fields}) == len(fields)
        assert all(
            name and "\n" not in name + value and "\0" not in value for name, value in fields
        )


def test_a_daemon_that_left_the_tree_is_heard_when_it_belongs_to_the_instance(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.bind(ONE)
            with subprocess.Popen(["sleep", "60"], start_new_session=True) as main:
                rig.notify.allow(ONE, main.pid)
                rig.say(ONE, b"READY=1")
                rig.members.add((ONE, os.getpid()))
                rig.say(ONE, b"STATUS=mine")
                rig.members.clear()
                rig.notify.drain(ONE)  # both are read with nobody a member
                assert rig.heard.empty()
                rig.members.add((ONE, os.getpid()))
                rig.say(ONE, b"STATUS=mine")
                _, message = await heard(rig)
                assert (message.get("STATUS"), message.member) == ("mine", True)
                assert rig.notify.dropped["stranger"] == 2
                main.kill()

    asyncio.run(scenario())


def test_whether_a_sender_was_one_of_its_own_is_not_known_when_it_is_gone(tmp_path: Path) -> None:
    """But the main process's last words are its own."""

    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.bind(ONE)
            with speak(rig.paths[ONE], "MAINPID=1") as speaker:
                pass
            rig.notify.allow(ONE, os.getpid())
            assert (await heard(rig))[1].member is False
            with speak(rig.paths[ONE], "MAINPID=2") as speaker:
                pass
            rig.notify.unbind(TWO)
            rig.notify.allow(TWO, 1)
            rig.notify.allow(ONE, speaker.pid)
            _, message = await heard(rig)
            assert (message.get("MAINPID"), message.member) == ("2", True)

    asyncio.run(scenario())
