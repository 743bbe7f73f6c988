"""The small servers by themselves: two generations on one held socket, started and ended by hand, under load.

On a shared listener a server may lose what it accepted and did not read when it is told to end; that is the server's, and only plain
Python is asked to lose nothing here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps_run import COMMANDS, Asked, Told, get
from host import PATIENCE, clean_env, load, until

GATE = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as s:
        yield s


@contextlib.contextmanager
def generation(app: str, told: Told, listener: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    at = listener.fileno()
    process = subprocess.Popen(
        [sys.executable, "-c", GATE, str(at), *COMMANDS[app]],
        pass_fds=[at],
        env=clean_env(APP_FILE=str(told.path)),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # gunicorn's worker outlives its master
        process.wait(PATIENCE)


@pytest.mark.parametrize("app", COMMANDS)
def test_a_generation_ends_with_what_is_under_way_and_the_next_one_serves(
    app: str, tmp_path: Path, listener: socket.socket
) -> None:
    port, told = listener.getsockname()[1], Told(tmp_path)
    with contextlib.ExitStack() as both:
        old = both.enter_context(generation(app, told, listener))
        assert get(port) == "1"
        with load(port, 300, "--keep", "10") as counts:
            slow = [Asked(port, "/slow?s=1"), Asked(port, "/stream?s=1")]
            told(version="2")
            both.enter_context(generation(app, told, listener))
            until(lambda: get(port) == "2", "the next one answers")
            old.send_signal(signal.SIGTERM)
            assert [asked.answer() for asked in slow] == ["1", "1" * 20]
            assert old.wait(PATIENCE) in (0, -signal.SIGTERM)
            assert {get(port) for _ in range(20)} == {"2"}
    print(app, counts)
    assert set(counts["bodies"]) == {"1", "2"}
    assert not {"refused", "cut", "timeout"} & {*counts["bad"], *counts["kept"]["bad"]}
    if app == "plain":
        assert (counts["bad"], counts["kept"]["bad"], counts["kept"]["retried"]) == ({}, {}, {})


@pytest.mark.parametrize("app", COMMANDS)
def test_one_that_is_never_ready_holds_its_socket_and_does_not_accept(
    app: str, tmp_path: Path, listener: socket.socket
) -> None:
    told: Any = Told(tmp_path)
    told(version="2", never_ready=True)
    with (
        generation(app, told, listener) as process,
        socket.create_connection(listener.getsockname()) as s,
    ):
        until(lambda: _holds(process.pid, listener), "it holds the socket")
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        s.settimeout(1)
        with pytest.raises(TimeoutError):
            s.recv(1)
        assert process.poll() is None


def _holds(pid: int, listener: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{pid}/fd/3").readlink()
            == Path(f"/proc/self/fd/{listener.fileno()}").readlink()
        )
    return False


@pytest.mark.parametrize("app", ["plain", "uvicorn"])
def test_one_that_crashes_ends_with_its_own_code(
    app: str, tmp_path: Path, listener: socket.socket
) -> None:
    told = Told(tmp_path)
    told(crash=True)
    with generation(app, told, listener) as process:
        assert process.wait(PATIENCE) == 3
