# ruff: noqa: ASYNC220 (children and /proc are part of the scenes)
"""The real output: pipes, the thread, the files, and agents that are killed in the middle of it all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentd.core.spec import LogSpec, ProcessSpec, Spec
from agentd.ports import AdapterError, Key
from agentd.system.logfile import OVERLONG, Cut, LogFile, cut, recover
from agentd.system.output import SplicedOutput
from tests.contract import checks_output
from tests.contract.checks_output import ONE, SPEC, TWO
from tests.contract.output_agent import SPEC as KILLED_SPEC


class RealRig:
    def __init__(self, directory: Path) -> None:
        self.output = self.logs = SplicedOutput(asyncio.get_running_loop(), directory)
        self.fds: dict[Key, int] = {}

    def start(self, key: Key, spec: Spec) -> None:
        self.fds[key] = self.output.open(key, spec)

    def write(self, key: Key, data: bytes) -> None:
        while data:
            data = data[os.write(self.fds[key], data) :]

    def end(self, key: Key) -> None:
        os.close(self.fds.pop(key))
        self.output.close(key)


@contextlib.contextmanager
def real(directory: Path) -> Iterator[RealRig]:
    rig = RealRig(directory)
    try:
        yield rig
    finally:
        for fd in rig.fds.values():
            os.close(fd)
        rig.output.stop()


@pytest.mark.parametrize("check", checks_output.CHECKS, ids=lambda check: check.__name__)
def test_the_contract(check: checks_output.Check, tmp_path: Path) -> None:
    asyncio.run(check(lambda: real(tmp_path)))


def files(directory: Path, service: str = "web") -> list[Path]:
    """Oldest first."""
    old = sorted(directory.glob(f"{service}.log.[0-9]*"), key=lambda p: -int(p.suffix[1:]))
    return [path for path in (*old, directory / f"{service}.log") if path.exists()]


def limited(size: int, keep: int) -> Spec:
    return Spec("web", ProcessSpec(("web",)), logs=LogSpec(size=size, keep=keep))


@pytest.mark.parametrize("seed", range(5))
def test_files_end_at_line_ends_and_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    size = dice.choice([1500, 5000, 50_000, 150_000])
    lines = [b"%05d %s\n" % (n, b"y" * dice.choice([0, 3, 80, 700, 2000])) for n in range(800)]

    async def scenario() -> tuple[int, list[str]]:
        with real(tmp_path) as rig:
            rig.start(ONE, limited(size, 10_000))
            data = b"".join(lines)
            while data:
                piece = dice.choice([1, 50, 3000, 60_000])
                rig.write(ONE, data[:piece])
                data = data[piece:]
            offset = rig.logs.offset("web")
            at, got = 0, []
            while at < offset:
                some, at = rig.logs.since("web", at, 5000)
                got += some
            rig.end(ONE)
            return offset, got

    offset, got = asyncio.run(scenario())
    parts = [path.read_bytes() for path in files(tmp_path)]
    assert b"".join(parts) == b"".join(lines)
    assert offset == sum(map(len, lines))  # also: the thread was in time
    assert [line.encode() + b"\n" for line in got] == lines
    assert len(parts) > 1
    assert all(part.endswith(b"\n") for part in parts if part)
    assert all(len(part) <= size or part.count(b"\n") == 1 for part in parts)


def test_only_keep_files_stay_and_offsets_go_on_counting(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, limited(100, 2))
            rig.write(ONE, b"0123456789\n" * 100)
            rig.end(ONE)
            assert rig.logs.offset("web") == 1100
            assert rig.logs.since("web", 0, 10_000)[1] == 1100
            assert 9 < len(rig.logs.since("web", 0, 10_000)[0]) < 30
        with real(tmp_path) as rig:  # the next agent
            assert rig.logs.offset("web") == 1100

    asyncio.run(scenario())
    assert {p.name for p in tmp_path.iterdir()} == {
        "web.log",
        "web.log.1",
        "web.log.2",
        "web.log.base",
    }
    assert (tmp_path / "web.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("room", "current", "midline", "expected"),
    [
        (20, 0, False, Cut(9, rotate=False)),
        (9, 0, False, Cut(9, rotate=False)),
        (7, 0, False, Cut(6, rotate=True)),
        (2, 5, False, Cut(0, rotate=True)),  # the line goes to the next file whole
        (2, 5, True, Cut(3, rotate=True)),  # its beginning is here, so its end is too
        (2, 0, False, Cut(3, rotate=True)),  # longer than a whole file
        (-4, 5, True, Cut(3, rotate=True)),
    ],
)
def test_where_a_file_is_cut(
    room: int,
    current: int,
    midline: bool,  # noqa: FBT001
    expected: Cut,
) -> None:
    assert cut(b"ab\ncd\nef\n", room=room, current=current, midline=midline) == expected


def test_a_line_without_end_is_torn_only_when_far_too_long() -> None:
    assert cut(b"x" * 10, room=5, current=9, midline=True) == Cut(10, rotate=False)
    assert cut(b"x" * 10, room=5 - OVERLONG, current=9, midline=True) == Cut(10, rotate=True)


@pytest.mark.parametrize("died_after", ["nothing", "first rename", "second rename", "base"])
def test_the_count_survives_a_death_within_a_rotation(tmp_path: Path, died_after: str) -> None:
    log = tmp_path / "web.log"
    log.write_bytes(b"x" * 70)
    (tmp_path / "web.log.new").write_bytes(b"")
    (tmp_path / "web.log.base").write_text(f"{log.stat().st_ino} 1000\n")
    if died_after != "nothing":
        log.rename(tmp_path / "web.log.1")
    if died_after in ("second rename", "base"):
        (tmp_path / "web.log.new").rename(log)
    if died_after == "base":
        (tmp_path / "web.log.base").write_text(f"{log.stat().st_ino} 1070\n")
    file = LogFile(str(log), 100, 5)
    assert file.total == 1070
    file.open()
    file.close()
    assert file.total == 1070
    assert recover(str(log)) + log.stat().st_size == 1070


def test_nothing_is_rotated_before_the_count_can_be_kept(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_bytes(b"x" * 70)
    (tmp_path / "web.log.base").mkdir()  # stands for what cannot be made on a full disk
    file = LogFile(str(log), 50, 5)
    file.open()
    file.rotate()
    assert (file.total, file.base, file.current) == (70, 0, 70)
    (tmp_path / "web.log.base").rmdir()
    file.rotate()
    file.close()
    assert (file.total, file.base, file.current) == (70, 70, 0)
    assert recover(str(log)) == 70


def test_a_hole_in_the_numbers_is_filled_before_an_old_file_is_dropped(tmp_path: Path) -> None:
    for name in ("web.log", "web.log.2", "web.log.3"):
        (tmp_path / name).write_text(name)
    file = LogFile(str(tmp_path / "web.log"), 100, 3)
    file.open()
    file.rotate()
    file.close()
    assert [(tmp_path / f"web.log.{n}").read_text() for n in (1, 2, 3)] == [
        "web.log",
        "web.log.2",
        "web.log.3",
    ]


def test_what_a_full_disk_refuses_stays_in_the_pipe(tmp_path: Path) -> None:
    """The kernel's file size limit stands for the full disk: the same error path, and no mount is needed."""
    lines = b"".join(b"%06d\n" % n for n in range(8000))

    async def scenario() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        with real(tmp_path) as rig:
            try:
                rig.start(ONE, SPEC)
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
                rig.write(ONE, lines)
                for _ in range(
                    3
                ):  # the thread has been round and sleeps again: only its timer can wake it
                    assert rig.logs.offset("web") == len(lines)
                assert rig.output.stalled == (str(tmp_path / "web.log"),)
                assert (tmp_path / "web.log").stat().st_size == 20_000
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            await asyncio.wait_for(rig.logs.grown("web", len(lines) - 7), 10)
            assert rig.output.stalled == ()
            rig.end(ONE)

    asyncio.run(scenario())
    assert (tmp_path / "web.log").read_bytes() == lines


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    """Eight pages; what a file may have is not what a disk has, so a limit of the kernel does not do."""
    words = ["mount", "-t", "tmpfs", "-o", "size=32k", "small", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("keys", [(ONE,), (ONE, TWO)], ids=["one writer", "two writers"])
def test_a_disk_that_is_full_within_a_line_has_none_of_it(
    small_disk: Path, keys: tuple[Key, ...]
) -> None:
    """Else another agent would find half a line there, and let the wrong one go on after it."""
    log, ballast = small_disk / "web.log", small_disk / "ballast"

    async def scenario() -> None:
        with real(small_disk) as rig:
            for key in keys:
                rig.start(key, SPEC)
            rig.write(ONE, b"1 begin\n")
            rig.logs.offset("web")
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            for n in range(1000):
                for key in keys:
                    rig.write(key, b"%d %06d\n" % (key.generation, n))
                    rig.logs.offset("web")
            assert rig.output.stalled == (str(log),)
            assert log.stat().st_size in range(4000, 4097)
            assert log.read_bytes().endswith(b"\n")
            ballast.unlink()
            await asyncio.wait_for(rig.logs.grown("web", 1000 * len(keys) * 9 + 7), 10)
            for key in keys:
                rig.end(key)
        found = log.read_bytes().splitlines()[1:]
        for key in keys:
            mine = b"%d " % key.generation
            its = [line for line in found if line.startswith(mine)]
            assert its == [mine + b"%06d" % n for n in range(1000)]
        assert len(found) == 1000 * len(keys)

    asyncio.run(scenario())


def test_a_stray_child_is_read_on_after_close(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, SPEC)
            stray = os.dup(rig.fds[ONE])
            rig.write(ONE, b"main\n")
            rig.end(ONE)
            at = rig.logs.offset("web")
            os.write(stray, b"stray\n")
            os.close(stray)
            await asyncio.wait_for(rig.logs.grown("web", at), 5)
            assert rig.logs.tail("web", 5) == ("main", "stray")

    asyncio.run(scenario())


def test_half_a_line_that_never_ends_does_not_hold_up_the_next_generation(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, SPEC)
            rig.write(ONE, b"prompt> ")
            rig.logs.offset("web")
            rig.start(TWO, SPEC)
            rig.write(TWO, b"hello\n")
            await asyncio.wait_for(rig.logs.grown("web", 9), 5)
            assert rig.logs.tail("web", 5) == ("prompt> ", "hello")

    asyncio.run(scenario())


def test_a_truncated_file_is_continued_without_a_hole(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, SPEC)
            rig.write(ONE, b"before\n")
            at = rig.logs.offset("web")
            os.truncate(tmp_path / "web.log", 0)
            rig.write(ONE, b"after\n")
            assert rig.logs.offset("web") == at + 6
            assert rig.logs.since("web", at, 100) == (("after",), at + 6)

    asyncio.run(scenario())
    assert (tmp_path / "web.log").read_bytes() == b"after\n"


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "web.log").symlink_to(tmp_path / "elsewhere")

    async def scenario() -> None:
        with real(tmp_path) as rig, pytest.raises(AdapterError, match="cannot capture the output"):
            rig.start(ONE, SPEC)

    asyncio.run(scenario())
    assert not (tmp_path / "elsewhere").exists()


def test_half_a_line_is_not_growth(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, SPEC)
            rig.write(ONE, b"half ")
            assert rig.logs.offset("web") == 5
            growth = asyncio.ensure_future(rig.logs.grown("web", 0))
            await asyncio.sleep(0)
            assert not growth.done()
            assert rig.logs.since("web", 0, 100) == ((), 0)
            rig.write(ONE, b"a line\n")
            await asyncio.wait_for(growth, 5)
            assert rig.logs.since("web", 0, 100) == (("half a line",), 12)

    asyncio.run(scenario())


def test_an_adopted_writer_finishes_the_line_it_began(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as first:
            first.start(ONE, SPEC)
            inode = first.output.inode(ONE)
            child = subprocess.Popen(["cat"], stdin=-1, stdout=first.fds[ONE], bufsize=0)
            child.stdin.write(b"one\nhalf ")
            await asyncio.wait_for(first.logs.grown("web", 0), 5)
        with real(tmp_path) as second:
            assert second.output.adopt(ONE, SPEC, child.pid, inode)
            assert second.output.inode(ONE) == inode
            child.communicate(b"a line\n")
            second.output.close(ONE)
            assert second.logs.tail("web", 5) == ("one", "half a line")

    asyncio.run(scenario())


def test_a_stranger_is_not_adopted(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            try:
                assert not rig.output.adopt(ONE, SPEC, child.pid, 12345)
                assert rig.output.inode(ONE) == 0
            finally:
                child.communicate()
            assert not rig.output.adopt(ONE, SPEC, child.pid, 12345)

    asyncio.run(scenario())


def test_nothing_runs_while_nothing_is_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, SPEC)
            rig.write(ONE, b"line\n")
            await asyncio.wait_for(rig.logs.grown("web", 0), 5)
            await asyncio.sleep(0.1)
            thread = next(
                t for t in Path("/proc/self/task").iterdir() if t.name != str(os.getpid())
            )
            before = switches(thread)
            await asyncio.sleep(0.5)
            assert switches(thread) == before

    asyncio.run(scenario())


@pytest.mark.parametrize("said", [b"", b"before\n"])
def test_the_end_of_a_silent_service_wakes_nobody_at_once(tmp_path: Path, said: bytes) -> None:
    """The loop has it to start again: tail, close and the next open need no thread."""

    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, SPEC)
            if said:
                rig.write(ONE, said)
                await asyncio.wait_for(rig.logs.grown("web", 0), 5)
            rig.output._ring_soon()
            rig.output._ringing.cancel()  # nobody rings from here on
            thread = next(
                t for t in Path("/proc/self/task").iterdir() if t.name != str(os.getpid())
            )
            await asyncio.sleep(0.05)
            before = switches(thread)
            os.close(rig.fds.pop(ONE))  # the service ends
            assert rig.logs.tail("web", 5) == tuple(said.decode().split())
            rig.output.close(ONE)
            rig.start(TWO, SPEC)
            assert switches(thread) == before
            rig.write(TWO, b"after\n")
            await asyncio.wait_for(rig.logs.grown("web", len(said)), 5)
            assert len(rig.output._thread._pipes) == 1  # the first one is gone, not forgotten
            assert rig.logs.tail("web", 5) == (*said.decode().split(), "after")

    asyncio.run(scenario())


def test_the_first_byte_makes_the_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            rig.start(ONE, SPEC)
            assert list(tmp_path.iterdir()) == []
            assert rig.logs.tail("web", 5) == ()
            rig.end(ONE)
            rig.start(TWO, SPEC)
            rig.write(TWO, b"a line\n")
            rig.end(TWO)
            assert rig.logs.tail("web", 5) == ("a line",)

    asyncio.run(scenario())


def test_last_words_are_told_with_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            for n in range(200):
                rig.start(Key("web", n), SPEC)
                child = subprocess.Popen(
                    ["sh", "-c", f"echo {n} last"], stdout=rig.fds[Key("web", n)]
                )
                os.close(rig.fds.pop(Key("web", n)))
                child.wait()
                assert rig.logs.tail("web", 1) == (f"{n} last",)
                rig.output.close(Key("web", n))

    asyncio.run(scenario())


def test_a_silent_pipe_is_given_back_soon_after_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        with real(tmp_path) as rig:
            before = set(Path("/proc/self/fd").iterdir())
            for n in range(20):
                rig.start(Key("web", n), SPEC)
                rig.end(Key("web", n))
            rig.start(TWO, SPEC)
            async with asyncio.timeout(5):
                while len(set(Path("/proc/self/fd").iterdir()) - before) > 4:
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_log_that_was_never_rotated_is_counted_by_the_next_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        for n in range(3):
            with real(tmp_path) as rig:
                assert rig.logs.offset("web") == 6 * n
                rig.start(ONE, SPEC)
                rig.write(ONE, b"line%d\n" % n)
                rig.end(ONE)
        assert [path.name for path in tmp_path.iterdir()] == ["web.log"]

    asyncio.run(scenario())


def switches(task: Path) -> str:
    return next(
        line for line in (task / "status").read_text().splitlines() if line.startswith("voluntary")
    )


@pytest.mark.slow
@pytest.mark.parametrize("writers", [1, 2])
def test_killed_agents_lose_double_and_tear_nothing(tmp_path: Path, writers: int) -> None:
    """10,000 lines a second, tiny files, and an agent killed again and again."""
    names = [b"w%d" % (n + 1) for n in range(writers)]
    count, dice, kills = 20_000 // writers, random.Random(7), 0
    here = Path(__file__).with_name("output_agent.py")
    hold_read, hold_write = os.pipe()
    env = {**os.environ, "PYTHONPATH": str(here.parents[2])}

    def agent(*how: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, str(here), str(tmp_path), *how]
        return subprocess.Popen(argv, stdin=hold_read, stdout=subprocess.PIPE, env=env)

    done = [b"%s %07d" % (name, count - 1) for name in names]
    how = ("start", str(count), str(writers))
    while not all(
        any(end in f.read_bytes() for f in files(tmp_path / "logs")[-30:]) for end in done
    ):
        with agent(*how) as one:
            how = ("adopt",)
            assert one.stdout.readline() == b"ready\n"
            for _ in range(dice.randrange(4)):
                if select.select([one.stdout], [], [], 0.3)[0]:
                    one.stdout.readline()
            one.kill()
        kills += 1
        assert kills < 200
    state = json.loads((tmp_path / "state.json").read_text())

    async def last_agent() -> int:
        with real(tmp_path / "logs") as rig:
            loop, ended = asyncio.get_running_loop(), []
            for generation, (pid, inode) in state.items():
                assert rig.output.adopt(Key("web", int(generation)), KILLED_SPEC, pid, inode)
                ended.append((os.pidfd_open(pid), loop.create_future()))
                loop.add_reader(ended[-1][0], ended[-1][1].set_result, None)
            os.close(hold_write)
            for pidfd, gone in ended:
                await asyncio.wait_for(gone, 10)
                loop.remove_reader(pidfd)
                os.close(pidfd)
            for generation in state:
                rig.output.close(Key("web", int(generation)))
            return rig.logs.offset("web")

    offset = asyncio.run(last_agent())
    os.close(hold_read)
    captured = b"".join(path.read_bytes() for path in files(tmp_path / "logs"))
    for name in names:
        want = [b"%s %07d %s" % (name, n, b"x" * (n % 40)) for n in range(count)]
        assert [line for line in captured.split(b"\n") if line.startswith(name)] == [
            *want,
            name + b" last words",
        ]
    assert captured.count(b"\n") == writers * (count + 1)
    assert offset == len(captured)
    assert kills >= 5
