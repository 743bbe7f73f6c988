"""A real service that stops saying that it lives."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import Host, host, until

LIVES = """\
import contextlib, os, select, signal, socket, sys

def say(word):
    # As sd_notify does: to whoever is bound there now, and nobody is while no agent runs.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(word, os.environ["NOTIFY_SOCKET"])

assert os.environ["WATCHDOG_PID"] == str(os.getpid())
every = int(os.environ["WATCHDOG_USEC"]) / 3e6
says = [b"WATCHDOG=1"]

def silent(*_):
    print("silent", flush=True)
    says.clear()

def aborted(*_):
    print("aborted", flush=True)
    sys.exit(0)

signal.signal(signal.SIGUSR1, silent)
signal.signal(signal.SIGUSR2, lambda *_: say(b"WATCHDOG=trigger"))
signal.signal(signal.SIGHUP, lambda *_: say(b"WATCHDOG_USEC=3600000000"))
signal.signal(signal.SIGABRT, aborted)
say(b"READY=1")
while True:
    select.select([], [], [], every)
    for word in says:
        say(word)
"""
APP = f"""\
[service.app]
command = ["{sys.executable}", "@DIR@/app.py"]
ready = "notify"
watchdog = "1500ms"
stop_timeout = "500ms"
backoff = {{ first = "100ms" }}
reload = {{ confirm = ["delivered"] }}
"""


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "app.py").write_text(LIVES)
    with host(tmp_path, APP) as running:
        running.ready("app")
        yield running


def logged(app: Host, line: str) -> None:
    until(lambda: line in app.log(), f"{line!r} is logged")


def restarted(app: Host, pid: int) -> None:
    until(lambda: app.service("app")["restarts"] == 1, "it is started again")
    app.ready("app")
    assert app.pid("app") != pid


def test_a_service_that_falls_silent_is_ended_and_started_again(app: Host) -> None:
    pid = app.pid("app")
    os.kill(pid, signal.SIGUSR1)
    logged(app, "app exited: no WATCHDOG=1 within 1.5s; it is started again")
    restarted(app, pid)
    assert "aborted" in app.text("logs", "app").stdout


def test_one_that_hangs_is_killed(app: Host) -> None:
    pid = app.pid("app")
    os.kill(pid, signal.SIGSTOP)
    logged(app, "app does not stop, killing it: no WATCHDOG=1 within 1.5s")
    restarted(app, pid)


def test_it_may_say_itself_that_it_hangs(app: Host) -> None:
    pid = app.pid("app")
    os.kill(pid, signal.SIGUSR2)
    logged(app, "app exited: it said WATCHDOG=trigger; it is started again")
    restarted(app, pid)


def test_the_next_agent_listens_too_and_one_that_lives_lives_on(app: Host) -> None:
    pid = app.pid("app")
    app.kill()
    app.start()
    assert app.pid("app") == pid
    os.kill(pid, signal.SIGUSR1)
    logged(app, "app exited: no WATCHDOG=1 within 1.5s; it is started again")
    restarted(app, pid)


def test_what_it_said_of_its_interval_outlives_the_agent(app: Host) -> None:
    pid = app.pid("app")
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGUSR1)
    until(lambda: "silent" in app.text("logs", "app").stdout, "it is silent")
    app.kill()
    app.start()
    end = time.monotonic() + 2.5
    until(lambda: time.monotonic() > end, "what the file allows is over")
    assert app.pid("app") == pid
    assert app.service("app")["restarts"] == 0
