"""A real server that hangs: it lives, and the kernel goes on accepting connections for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import Host, free_port, host, until

ASKED = 'interval = "200ms", timeout = "300ms", threshold = 2'


def definition(port: int) -> str:
    return f"""\
[service.app]
command = ["{sys.executable}", "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
cwd = "@DIR@"
ready = {{ http = "http://127.0.0.1:{port}/" }}
alive = {{ http = "http://127.0.0.1:{port}/", {ASKED} }}
stop_timeout = "500ms"
backoff = {{ first = "100ms" }}
reload = {{ handle = "restart" }}
"""


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path, definition(free_port())) as running:
        running.ready("app")
        yield running


def restarted(app: Host, pid: int) -> None:
    until(lambda: app.service("app")["restarts"] == 1, "it is started again")
    app.ready("app")
    assert app.pid("app") != pid


def hang(app: Host, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)

    def told() -> bool:
        return "not alive, asked 2 times in a row: " in app.log()

    until(told, "the log says why")
    restarted(app, pid)
    asked = app.service("app")["alive"]
    assert (asked["failures"], asked["threshold"]) == (0, 2)


def test_a_server_that_hangs_is_started_again(app: Host) -> None:
    hang(app, app.pid("app"))


def test_the_next_agent_asks_too(app: Host) -> None:
    pid = app.pid("app")
    app.kill()
    app.start()
    assert app.pid("app") == pid
    hang(app, pid)


def test_one_that_answers_lives_on_and_is_asked(app: Host) -> None:
    pid = app.pid("app")
    until(lambda: app.text("logs", "app").stdout.count("GET / ") > 5, "it is asked")
    assert (app.pid("app"), app.service("app")["restarts"]) == (pid, 0)


def test_status_says_that_it_fails(tmp_path: Path) -> None:
    (tmp_path / "well").write_text("")
    often = 'interval = "100ms", threshold = 1000'
    text = f"""\
[service.app]
command = ["{sys.executable}", "-c", "import signal; signal.pause()"]
alive = {{ exec = ["/usr/bin/test", "-e", "@DIR@/well"], {often} }}
ready = {{ after = "100ms" }}
"""
    with host(tmp_path, text) as running:
        running.ready("app")
        (tmp_path / "well").unlink()
        until(lambda: running.service("app")["alive"]["failures"] > 1, "it fails")
        assert "of 1000 times: exit code 1" in running.text("status").stdout
        (tmp_path / "well").write_text("")
        until(lambda: running.service("app")["alive"]["failures"] == 0, "it is well again")
