"""A service that takes memory until the kernel ends it: real ones, in groups that the kernel bounds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import Host, until

from tests.real.delegated import delegated, leaf

HUNGRY = """\
import os, signal, socket

def eat(*_):
    taken = []
    while True:
        taken.append(bytearray(b"x" * (1 << 20)))

def feed(*_):
    if os.fork() == 0:
        eat()
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]) and 3)

signal.signal(signal.SIGUSR1, eat)
signal.signal(signal.SIGUSR2, feed)
signal.signal(signal.SIGHUP, lambda *_: open("app.conf").read() == "eat" and eat())
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.send(b"READY=1")
while True:
    signal.pause()
"""
APP = f"""\
[service.app]
command = ["{sys.executable}", "@DIR@/app.py"]
cwd = "@DIR@"
inputs = ["@DIR@/app.conf"]
ready = "notify"
backoff = {{ first = "100ms" }}
reload = {{ signal_handled = true, confirm = [{{ log = "^taken" }}] }}
"""
OOM = "SIGKILL by the kernel, out of memory"


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "app.py").write_text(HUNGRY)
    (tmp_path / "app.conf").write_text("sleep")
    with delegated(tmp_path, APP) as running:
        running.ready("app")
        bound(running.pid("app"))
        yield running


def bound(pid: int) -> None:
    group = leaf(pid)
    (group / "memory.max").write_text(str(64 << 20))
    swap = group / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")


def logged(app: Host, line: str) -> None:
    until(lambda: line in app.log(), f"{line!r} is logged")


def test_out_of_memory_is_named(app: Host) -> None:
    os.kill(app.pid("app"), signal.SIGUSR1)
    logged(app, f"app exited: {OOM}; it is started again")
    app.ready("app")


def test_a_kill_by_somebody_else_is_none(app: Host) -> None:
    os.kill(app.pid("app"), signal.SIGKILL)
    logged(app, "app exited: SIGKILL; it is started again")


def test_a_worker_that_ran_out_of_memory_is_named_beside_the_exit_code(app: Host) -> None:
    os.kill(app.pid("app"), signal.SIGUSR2)
    logged(
        app, "app exited: exit code 3; the kernel had ended a process of it, out of memory; it is"
    )


def test_a_reload_that_runs_out_of_memory_says_so(app: Host) -> None:
    (app.dir / "app.conf").write_text("eat")
    code, reload = app.ctl("reload", "app")
    assert (code, reload["verdict"], reload["error"]) == (158, "failed", "service_died")
    assert OOM in reload["message"]


def test_an_adopted_service_is_counted_too(app: Host) -> None:
    app.kill()
    app.start()
    app.ready("app")
    os.kill(app.pid("app"), signal.SIGUSR1)
    logged(app, "out of memory; it is started again")  # how it ended: known from Linux 6.15 on
