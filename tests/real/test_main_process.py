"""A main process that becomes another one is followed: no restart, no zombie, and nobody else can say who it is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apps_run import HOME, Asked
from host import Host, Nginx, free_port, host, load, until


def moving(how: str, port: int, ready: str, *more: str) -> str:
    lines = [
        "[service.app]",
        f'command = ["{sys.executable}", "-S", "{HOME}/moving.py", "{how}", "{port}"]',
        'env = { APP_PID_FILE = "@DIR@/app.pid", APP_FILE = "@DIR@/app.json" }',
        'inputs = ["@DIR@/input"]',
        f"ready = {ready}",
        'start_timeout = "10s"',
        *more,
    ]
    return "\n".join(lines) + "\n[service.app.reload]\nconfirm = []\n"


def get(port: int) -> str:
    """Who answers; empty: nobody."""
    with contextlib.suppress(OSError):
        return Asked(port, "/").answer()
    return ""


PID_FILE = 'pid_file = "@DIR@/app.pid"'


def probe(port: int) -> str:
    return f'{{ http = "http://127.0.0.1:{port}/" }}'


def shown(how: str, port: int) -> str:
    """Its pid file shows who its main process is; where it has none, its own word."""
    if how == "file":
        return moving(how, port, probe(port), PID_FILE)
    return moving(how, port, '"notify"')


@pytest.fixture(autouse=True)
def _input(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("1")


def instance(running: Host, name: str = "app") -> Any:
    return running.service(name)["instances"][0]


def followed(running: Host, port: int) -> bool:
    """Who answers is the main process, as the agent has it."""
    there = running.service("app")["instances"]
    return bool(there) and get(port) == str(there[0]["pid"])


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def zombies(agent: int) -> list[str]:
    return [p for p in children(agent) if state(p) == "Z"]


def state(pid: str | int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def ended(pid: int) -> bool:
    return state(pid) in ("", "Z")


@pytest.mark.parametrize("how", ["file", "said", "first"])
def test_a_daemon_that_goes_into_the_background_is_followed_and_stopped(
    how: str, tmp_path: Path
) -> None:
    port = free_port()
    with host(tmp_path, shown(how, port)) as running:
        running.ready("app")
        until(lambda: followed(running, port), "its main process is the daemon")
        daemon = instance(running)
        assert (daemon["generation"], daemon["restarts"]) == (1, 0)
        assert running.agent is not None
        assert zombies(running.agent.pid) == []
        assert running.ctl("stop", "app")[0] == 0
        until(lambda: ended(daemon["pid"]), "it is gone")
        assert running.service("app")["phase"] == "down"
        assert "exit code 0" in running.log(), "it was our orphan, so its status is known"


def test_a_daemon_that_dies_is_started_again(tmp_path: Path) -> None:
    port = free_port()
    with host(tmp_path, shown("file", port)) as running:
        running.ready("app")
        until(lambda: followed(running, port), "the daemon is followed")
        first = instance(running)["pid"]
        os.kill(first, signal.SIGKILL)
        until(lambda: get(port) not in ("", str(first)), "another one serves")
        until(lambda: followed(running, port), "and is followed")
        assert instance(running)["generation"] == 2
        assert "app exited: SIGKILL; it is started again" in running.log()


@pytest.mark.parametrize("killed", [False, True], ids=["", "the agent is killed before"])
@pytest.mark.parametrize("how", ["file", "said", "foreground"])
def test_another_one_that_takes_over_is_no_restart(how: str, killed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    port = free_port()
    with host(tmp_path, shown(how, port)) as running:
        running.ready("app")
        until(lambda: followed(running, port), "it is followed")
        for _ in range(3):
            if killed:
                running.kill()
                running.start()
            before = instance(running)
            os.kill(before["pid"], signal.SIGUSR2)
            until(lambda: ended(before["pid"]), "the former one is gone")  # noqa: B023
            until(lambda: followed(running, port), "the next one is followed")
            after = instance(running)
            assert (after["id"], after["generation"]) == (before["id"], before["generation"])
            assert after["restarts"] == 0
            assert running.service("app")["config"]["live"] is None, "nobody here has asked for it"
        assert "its main process is another one" in running.log()
        assert running.agent is not None
        assert zombies(running.agent.pid) == []
        running.ctl("stop", "app")
        assert running.service("app")["phase"] == "down"
        assert ended(after["pid"])


def test_what_takes_over_while_no_agent_is_there_is_found_by_its_file(tmp_path: Path) -> None:
    port = free_port()
    with host(tmp_path, shown("file", port)) as running:
        running.ready("app")
        until(lambda: followed(running, port), "it is followed")
        before = instance(running)
        running.kill()
        os.kill(before["pid"], signal.SIGUSR2)
        until(lambda: ended(before["pid"]), "the former one is gone")
        running.start()
        until(lambda: followed(running, port), "the next one is followed")
        assert instance(running)["generation"] == before["generation"]


def test_what_nothing_shows_to_be_the_main_process_is_ended_and_named(tmp_path: Path) -> None:
    port = free_port()
    definition = moving("silent", port, '{ after = "5s" }', 'restart = "never"')
    with host(tmp_path, definition) as running:
        until(lambda: running.service("app")["phase"] == "down", "it is ended")
        until(lambda: get(port) == "", "nobody serves")
        log = running.log()
        assert "exit code 0; it left process " in log
        assert "neither MAINPID nor a pid_file shows that one of them is the main process" in log


def test_nobody_else_can_say_who_the_main_process_is(tmp_path: Path) -> None:
    port, other_port = free_port(), free_port()
    other = moving("foreground", other_port, '"notify"').replace("service.app", "service.other")
    definition = moving("foreground", port, '"notify"') + other.replace("app.json", "other.json")
    with host(tmp_path, definition) as running:
        running.ready("app")
        running.ready("other")
        app, stranger = instance(running)["pid"], instance(running, "other")["pid"]
        to = str(tmp_path / "run" / "notify" / "app.1.sock")

        def says(who: str, pid: int, text: str, socket: str = to) -> None:
            (tmp_path / f"{who}.json").write_text(json.dumps({"to": socket, "say": text}))
            os.kill(pid, signal.SIGUSR1)

        with subprocess.Popen(["true"]) as gone:
            pass
        says("app", app, f"MAINPID={stranger}")
        until(lambda: f"app: MAINPID={stranger} is not followed" in running.log(), "refused")
        says("app", app, f"MAINPID={gone.pid}")
        until(lambda: f"app: MAINPID={gone.pid} is not followed" in running.log(), "refused")
        says("app", app, "MAINPID=1")
        until(lambda: "app: MAINPID=1 is not followed" in running.log(), "refused")
        says("other", stranger, f"MAINPID={stranger}")
        says("other", stranger, f"MAINPID={app}", str(tmp_path / "run" / "notify" / "other.1.sock"))
        until(lambda: f"other: MAINPID={app} is not followed" in running.log(), "refused")
        assert instance(running)["pid"] == app
        assert instance(running, "other")["pid"] == stranger
        assert (
            f"app: MAINPID={stranger} is not followed: process {stranger} is none of its own"
            in running.log()
        )


def test_a_pid_file_that_others_could_write_is_not_believed(tmp_path: Path) -> None:
    port = free_port()
    with host(
        tmp_path, moving("file", port, probe(port), PID_FILE, 'restart = "never"')
    ) as running:
        running.ready("app")
        until(lambda: followed(running, port), "it is followed")
        (tmp_path / "app.pid").chmod(0o666)
        os.kill(instance(running)["pid"], signal.SIGUSR2)
        until(lambda: running.service("app")["phase"] == "down", "it has ended")
        assert "is not believed: others may write it (mode 0666)" in running.log()
        until(lambda: get(port) == "", "and what it left is ended")


def test_nginx_upgrades_its_binary_and_goes_on(tmp_path: Path) -> None:
    """As its manual has it: USR2, then QUIT to the old master. In the background, for one in the foreground ignores USR2."""
    nginx = Nginx(tmp_path)
    background = nginx.definition.replace('"-g", "daemon off;", ', "")
    assert background != nginx.definition
    with host(tmp_path, background + 'pid_file = "@DIR@/nginx.pid"\n') as running:
        running.ready("web")
        file = tmp_path / "nginx.pid"
        until(lambda: instance(running, "web")["pid"] == int(file.read_text()), "it is followed")
        first = instance(running, "web")
        with load(nginx.port, 200) as counts:
            for kill in (False, True):
                old = instance(running, "web")["pid"]
                os.kill(old, signal.SIGUSR2)
                until(
                    lambda: (tmp_path / "nginx.pid.oldbin").exists() and file.exists(),
                    "a new master",
                )
                if kill:
                    running.kill()
                os.kill(old, signal.SIGQUIT)
                until(lambda: ended(old), "the old master is gone")  # noqa: B023
                if kill:
                    running.start()
                new = int(file.read_text())
                until(lambda: instance(running, "web")["pid"] == new, "the new one is followed")  # noqa: B023
                assert new != old
                nginx.serve(f"after {new}")
                code, reload = running.ctl("reload", "web")
                assert (code, reload["verdict"], reload["confirmation"]) == (
                    0,
                    "applied",
                    "workers",
                )
                assert nginx.get() == f"after {new}"
        assert counts["bad"] == {}
        last = instance(running, "web")
        assert (last["id"], last["generation"], last["restarts"]) == (first["id"], 1, 0)
        assert running.agent is not None
        assert zombies(running.agent.pid) == []
        running.ctl("stop", "web")
        assert running.service("web")["phase"] == "down"
        assert nginx.get() == ""
        assert ended(new)


def test_gunicorn_starts_its_successor_and_goes_on(tmp_path: Path) -> None:
    """USR2, then TERM to the old one, which takes its pid file away; the new one renames its own up to a second later."""
    port = free_port()
    (tmp_path / "app.py").write_text(
        'def app(environ, start):\n    start("200 OK", [])\n    return [b"it"]\n'
    )
    definition = f"""[service.app]
command = ["{sys.executable}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--pid", "@DIR@/app.pid", "app:app"]
cwd = "@DIR@"
recipe = "gunicorn"
inputs = ["@DIR@/app.py"]
pid_file = "@DIR@/app.pid"
ready = {probe(port)}
"""
    with host(tmp_path, definition) as running:
        running.ready("app")
        old, second = instance(running), tmp_path / "app.pid.2"
        for _ in range(2):
            os.kill(old["pid"], signal.SIGUSR2)
            until(lambda: second.exists() and second.read_text().strip(), "a second master")
            new = int(second.read_text())
            until(lambda: len(children(new)) > 0, "it has a worker")  # noqa: B023
            os.kill(old["pid"], signal.SIGTERM)
            until(lambda: instance(running)["pid"] == new, "it is followed")  # noqa: B023
            after = instance(running)
            assert (after["id"], after["generation"], after["restarts"]) == (old["id"], 1, 0)
            code, reload = running.ctl("reload", "app")
            assert (code, reload["verdict"]) == (0, "applied"), reload
            assert get(port) == "it"
            old = after
        assert running.agent is not None
        assert zombies(running.agent.pid) == []
        running.ctl("stop", "app")
        assert ended(new)
        assert running.service("app")["phase"] == "down"
