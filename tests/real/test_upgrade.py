"""``reloadctl upgrade``: other code in the same process, under load; and code that cannot take over."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from apps_run import Told
from host import HERE, Host, Nginx, free_port, host, load, until
from test_generations import definition

import agentd

OLD = agentd.__version__
COUNTS = """
[service.counts]
command = ["sh", "-c", "n=0; while :; do echo $n; n=$((n+1)); sleep 0.005; done"]
ready = { after = "50ms" }
"""


@pytest.fixture(name="code")
def _code(tmp_path: Path) -> Path:
    """The code of this project in a directory of its own, as an operator's package manager would find it."""
    where = tmp_path / "code"
    for part in ("agentd", "reloadctl"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE.parent.parent / part, where / part, ignore=unwanted)
    return where


def using(code: Path) -> dict[str, str]:
    """This code, and not what is in the directory where the tests run."""
    return {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}


def install(code: Path, version: str = "9.9") -> None:
    (code / "agentd" / "__init__.py").write_text(
        f'"""Supervises."""\n\n__version__ = "{version}"\n'
    )


def pids(running: Host) -> dict[str, list[int]]:
    found = running.ctl("status")[1]["services"]
    return {s["name"]: [i["pid"] for i in s["instances"]] for s in found}


def lines(running: Host) -> list[int]:
    log = running.dir / "state" / "logs" / "counts"
    text = "".join(path.read_text() for path in sorted(log.parent.glob("counts*")))
    return [int(line) for line in text.splitlines() if line.isdigit()]


def agent_of(running: Host) -> Any:
    return running.ctl("status")[1]["agent"]


def test_other_code_takes_over_in_the_same_process_and_nobody_notices(
    tmp_path: Path, code: Path
) -> None:
    nginx, port = Nginx(tmp_path), free_port()
    Told(tmp_path)
    text = nginx.definition + definition(f'listen = "127.0.0.1:{port}"') + COUNTS
    with host(tmp_path, text, **using(code)) as running:
        for name in ("web", "app", "counts"):
            running.ready(name)
        before, agent = pids(running), agent_of(running)
        assert agent["version"] == OLD
        with load(nginx.port, 200) as at_nginx, load(port, 200) as at_app:
            install(code)
            code_, told = running.ctl("upgrade")
            assert (code_, told["from"], told["to"]) == (0, OLD, "9.9"), told
            assert sorted(told["kept"]) == ["app", "counts", "web"]
            after = agent_of(running)
            assert (after["version"], after["pid"]) == ("9.9", agent["pid"])
            assert pids(running) == before
            nginx.serve("two")
            assert running.ctl("reload", "web")[1]["verdict"] == "applied"
            Told(tmp_path)(version=2)
            assert running.ctl("reload", "app")[1]["verdict"] == "applied"
        assert (at_nginx["bad"], at_app["bad"]) == ({}, {})
        seen = lines(running)
        until(lambda: lines(running)[-1] > seen[-1], "its output is heard")
        assert (heard := lines(running)) == list(range(len(heard)))
        os.kill(pids(running)["counts"][0], 9)
        until(lambda: "counts exited: SIGKILL" in running.log(), "its parent knows how it ended")
        assert running.text("upgrade").stdout.startswith(f"agentd 9.9 → 9.9, pid {agent['pid']}, ")
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("where", "text", "said"),
    [
        ("agentd/telemetry/sender.py", "def broken(:\n", "SyntaxError: invalid syntax"),
        ("agentd/store/codec.py", None, "knows 1: it would be set aside"),
        ("agentd/__main__.py", "import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("agentd/__main__.py", "", "it says nothing"),
    ],
)
def test_code_that_cannot_take_over_leaves_the_old_one_running(
    tmp_path: Path, code: Path, where: str, text: str | None, said: str
) -> None:
    with host(tmp_path, COUNTS, **using(code)) as running:
        running.ready("counts")
        before, agent = pids(running), agent_of(running)
        install(code)
        path = code / where
        path.write_text(
            path.read_text().replace("VERSION = 2", "VERSION = 1") if text is None else text
        )
        done = running.text("upgrade")
        assert done.returncode == 150
        assert f"cannot upgrade, agentd {OLD} goes on: " in done.stderr
        assert said in done.stderr
        after = agent_of(running)
        assert (after["version"], after["pid"]) == (OLD, agent["pid"])
        assert pids(running) == before


def test_an_interpreter_that_vanishes_at_the_last_moment_leaves_the_old_code_running(
    tmp_path: Path, code: Path
) -> None:
    """The new code says that it can, and takes away what it would be executed with."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(sys.executable).resolve())
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", tmp_path / "venv")
    (tmp_path / "venv" / "lib").symlink_to(Path(sys.prefix) / "lib")
    running = Host(tmp_path, COUNTS, **using(code))
    running.python = str(python)
    running.start()
    try:
        running.ready("counts")
        before, agent = pids(running), agent_of(running)
        main = code / "agentd" / "__main__.py"
        main.write_text(
            f'import os\nprint("agentd 9.9 can take over, 1 service")\nos.unlink("{python}")\n'
        )
        running.text("upgrade")
        until(lambda: "the upgrade failed, this agentd goes on: " in running.log(), "it failed")
        until(lambda: agent_of(running), "it answers")
        after = agent_of(running)
        assert (after["version"], after["pid"]) == (OLD, agent["pid"])
        assert pids(running) == before
        python.symlink_to(Path(sys.executable).resolve())
        assert running.ctl("restart", "counts")[0] == 0
    finally:
        running.stop()


def test_clients_of_a_service_that_is_down_wait_for_the_start_by_other_code(
    tmp_path: Path, code: Path
) -> None:
    """Nobody but the agent has its listener; the one of a service that is stopped meanwhile is closed."""
    port, may = free_port(), tmp_path / "may"
    serve = f"test -e {may} || exit 1; exec {sys.executable} {HERE / 'serve.py'} well"
    text = f"""[service.app]
command = ["sh", "-c", '''{serve}''']
ready = {{ after = "0s" }}
backoff = {{ first = "2s", factor = 1, max = "2s" }}
start_limit = {{ burst = 1000, interval = "1s" }}
sockets = [{{ name = "http", listen = "127.0.0.1:{port}" }}]
"""
    with host(tmp_path, text, **using(code)) as running, contextlib.ExitStack() as clients:

        def come() -> socket.socket:
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return client

        def crashed() -> bool:
            return running.ctl("status")[1]["services"][0]["phase"] == "backoff"

        until(crashed, "it crashes")
        waits = [come()]
        install(code)
        for _ in range(2):
            assert running.ctl("upgrade")[0] == 0
            waits.append(come())
        may.touch()
        assert [client.recv(100)[:15] for client in waits] == [b"HTTP/1.1 200 OK"] * 3
        assert running.ctl("stop", "app")[0] == 0
        assert running.ctl("upgrade")[0] == 0
        with pytest.raises(ConnectionRefusedError):
            come()
