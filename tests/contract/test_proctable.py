"""Reading /proc: children, cost, and what a signal would do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentd.ports import AdapterError, Disposition
from agentd.system import proctable, signals
from agentd.system.proctable import OsProcessTable

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = OsProcessTable()


@contextlib.contextmanager
def python(program: str, *, exe: str = sys.executable) -> Iterator[int]:
    """A child that has said that it is ready."""
    command = [exe, "-I", "-S", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        try:
            yield child.pid
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def disposition(pid: int, name: str = "HUP") -> Disposition:
    return asyncio.run(TABLE.disposition(pid, name))


def test_workers_youngest_last_without_zombies() -> None:
    program = (
        "import os,time\n"
        "for n in range(3):\n"
        "    if os.fork()==0: os.execv('/bin/sleep',['wörker: %d'%n,'60'])\n"
        "    time.sleep(0.03)\n"
        "if os.fork()==0: os._exit(0)\n"
        "os.waitid(os.P_ALL,0,os.WEXITED|os.WNOWAIT)\n"
        "print('up',flush=True); time.sleep(60)"
    )
    before = TABLE.ticks()
    with python(program) as pid:
        found = TABLE.workers(pid)
        assert [w.title for w in found] == [f"wörker: {n} 60" for n in range(3)]
        assert [w.started for w in found] == sorted({w.started for w in found})
        assert before <= found[0].started <= found[-1].started <= TABLE.ticks()
        assert len(proctable.children(pid)) == 4
        assert set(proctable.descendants([pid])) == {pid, *proctable.children(pid)}
    assert TABLE.workers(pid) == ()


def test_a_name_with_parentheses_is_split_after_the_last(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to(sys.executable)
    with python("import time; print('up',flush=True); time.sleep(60)", exe=str(odd)) as pid:
        s = proctable.stat(pid)
        assert s is not None
        assert (s.ppid, s.session) == (os.getpid(), pid)


def test_usage_grows_with_work_and_is_none_when_gone() -> None:
    program = (
        "import time\nwhile time.process_time()<0.1: pass\nprint('up',flush=True); time.sleep(60)"
    )
    with python(program) as pid:
        usage = TABLE.usage(pid)
        assert usage is not None
        assert 0.08 <= usage.cpu_s < 5
        with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
            assert usage.rss_bytes == pytest.approx(
                int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), rel=0.3
            )
    assert TABLE.usage(pid) is None


def test_usage_is_cheap() -> None:
    pid, n = os.getpid(), 2000
    best = min(timed(pid, n // 10) for _ in range(10))
    assert best < 50e-6, f"{best * 1e6:.1f} µs a look"


def timed(pid: int, n: int) -> float:
    begun = time.thread_time()
    for _ in range(n):
        TABLE.usage(pid)
    return (time.thread_time() - begun) / n


UP = "print('up',flush=True);"
KINDS = {
    "default": (
        "import time;" + UP + "time.sleep(60)",
        False,
        "SIGHUP would terminate it: no handler",
    ),
    "ignored": (
        "import signal,time;signal.signal(1,signal.SIG_IGN);" + UP + "time.sleep(60)",
        False,
        "ignores SIGHUP: the signal would do nothing",
    ),
    "caught": (
        "import signal,time;signal.signal(1,print);" + UP + "time.sleep(60)",
        True,
        "SIGHUP is caught",
    ),
    "blocked": (
        "import signal,time;signal.pthread_sigmask(0,[1]);" + UP + "time.sleep(60)",
        True,
        "is blocked",
    ),
    "sigwait": ("import signal;" + UP + "signal.sigwait([1])", True, "a thread waits for SIGHUP"),
    "sigwait for another": (
        "import signal;" + UP + "signal.sigwait([10])",
        False,
        "would terminate it",
    ),
    "sigwait in a thread beside one that blocks": (
        "import signal,threading as t;signal.pthread_sigmask(0,[1]);"
        "t.Thread(target=signal.sigwait,args=([1],)).start();" + UP + "signal.sigwait([10])",
        True,
        "a thread waits for SIGHUP",
    ),
    "sigwait in a thread beside one that does not block": (
        "import signal,time,threading as t;"
        "t.Thread(target=signal.sigwait,args=([1],)).start();" + UP + "signal.sigwait([10])",
        False,
        "would terminate it",
    ),
    "blocked in one of two threads": (
        "import signal,time,threading as t;t.Thread(target=time.sleep,args=(60,)).start();"
        "signal.pthread_sigmask(0,[1]);" + UP + "time.sleep(60)",
        False,
        "would terminate it",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_disposition(kind: str) -> None:
    program, safe, why = KINDS[kind]
    with python(program) as pid:
        if "sigwait" in kind:
            wait_for_syscall(pid)
        said = disposition(pid)
        assert (said.safe, why in said.why) == (safe, True), said


def wait_for_syscall(pid: int) -> None:
    """Until each of its threads sits in sigwait: it says "up" a moment before."""
    deadline = time.monotonic() + 5

    def waits(thread: Path) -> bool:
        return b"128 " in proctable.read(f"{thread}/syscall")

    threads = Path(f"/proc/{pid}/task")
    while not all(map(waits, threads.iterdir())) and time.monotonic() < deadline:
        os.sched_yield()


def test_a_signal_that_does_nothing_by_default_is_not_called_fatal() -> None:
    with python(UP + "import time;time.sleep(60)") as pid:
        assert disposition(pid, "WINCH") == Disposition(
            safe=False, why="no handler for SIGWINCH: the signal would do nothing"
        )


def test_a_handler_that_comes_back_after_a_re_exec_is_waited_for() -> None:
    """haproxy -W has no handlers for ~13 ms at each of its reloads."""
    program = "import signal,sys;sys.stdin.readline();signal.signal(1,print);print('up',flush=True);sys.stdin.readline()"
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdin is not None

        async def both() -> Disposition:
            asking = asyncio.ensure_future(TABLE.disposition(child.pid, "HUP"))
            await asyncio.sleep(0)  # the first look was: no handler
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"up\n"
            return await asking

        assert asyncio.run(both()).safe
        child.stdin.write(b"\n")


def test_a_runtime_that_catches_everything_is_no_proof(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.symlink_to(sys.executable)
    catches = "import signal;signal.signal(1,print);" + UP + "import time;time.sleep(60)"
    with python(catches, exe=str(java)) as pid:
        said = disposition(pid)
        assert not said.safe
        assert "Java runtime" in said.why
        assert "signal_handled = true" in said.why


def elf(notes: bytes) -> bytes:
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4) + notes


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    return struct.pack("<III", len(name), len(desc), kind) + name + desc + b"\0" * (-len(desc) % 4)


@pytest.mark.parametrize(
    ("data", "go"),
    [
        (elf(note(b"GNU\0", 3, b"x" * 20) + note(b"Go\0\0", 4, b"id/id")), True),
        (elf(note(b"GNU\0", 3, b"x" * 20)), False),
        (elf(b""), False),
        (elf(note(b"Go\0\0", 4, b""))[:100], False),
        (b"#!/bin/sh\n", False),
        (b"", False),
    ],
)
def test_go_is_known_by_its_note(data: bytes, go: bool, tmp_path: Path) -> None:  # noqa: FBT001
    (tmp_path / "prog").write_bytes(data)
    assert signals._is_go(str(tmp_path / "prog")) is go


def test_who_is_gone_and_what_is_no_signal() -> None:
    with python(UP) as pid:
        pass
    assert disposition(pid) == Disposition(safe=False, why=f"process {pid} is gone")
    with pytest.raises(AdapterError):
        disposition(os.getpid(), "NOPE")
