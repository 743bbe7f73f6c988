"""The agent's own definitions while it runs: planned, applied, hung up on; only what changed is touched, or nothing is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import As, Host, free_port, host, public_directory, until
from test_edges import is_loaded, last, replace, server, up

SERVE = Path(__file__).parent / "serve.py"


def sleeper(name: str, *more: str, seconds: int = 1000) -> str:
    lines = (
        f"[service.{name}]",
        f'command = ["/bin/sleep", "{seconds}"]',
        'ready = { after = "0s" }',
        *more,
        f"[service.{name}.reload]",
        'confirm = ["delivered"]',
    )
    return "\n".join(lines) + "\n"


class Replaced:
    """A service with a held socket that is replaced."""

    def __init__(self) -> None:
        self.port = free_port()

    def definition(self, word: str) -> str:
        return f"""[service.app]
command = ["{sys.executable}", "{SERVE}", "{word}"]
sockets = [{{ name = "http", listen = "127.0.0.1:{self.port}" }}]
ready = {{ http = "http://127.0.0.1:{self.port}/" }}
stop_timeout = "2s"
[service.app.reload]
handle = "replace"
"""

    def get(self) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: s.recv(4096), b"")).rpartition(b"\r\n\r\n")[2].decode()


def stand(running: Host) -> dict[str, tuple[str, int, int]]:
    """Phase, generation and pid of each service."""
    _, document = running.ctl("status")
    found = {}
    for s in document["services"]:
        serves = (s["instances"] or [{"generation": 0, "pid": 0}])[-1]
        found[s["name"]] = (s["phase"], serves["generation"], serves["pid"])
    return found


def steady(running: Host) -> dict[str, tuple[str, int, int]]:
    """The same, once all of them are ready and alone."""

    def look() -> Any:
        _, document = running.ctl("status")
        at_rest = all(
            s["phase"] == "ready" and len(s["instances"]) == 1 and not s["running"]
            for s in document["services"]
        )
        return at_rest and stand(running)

    found: dict[str, tuple[str, int, int]] = until(look, f"all are ready; {running.log()[-1000:]}")
    return found


def applied(running: Host, way: str, definitions: str) -> None:
    """Put in force by one of the two ways."""
    running.define(definitions)
    read = running.log().count("definitions read again")
    if way == "apply":
        assert running.ctl("apply")[0] == 0
    else:
        assert running.agent is not None
        running.agent.send_signal(signal.SIGHUP)
    until(lambda: running.log().count("definitions read again") > read, "they were read again")


BOTH_WAYS = pytest.mark.parametrize("way", ["apply", "hangup"])


@BOTH_WAYS
def test_only_what_changed_is_touched(tmp_path: Path, way: str) -> None:
    app = Replaced()
    old = sleeper("keep") + sleeper("soft") + sleeper("hard") + sleeper("gone")
    with host(tmp_path, old + app.definition("one")) as running:
        before = steady(running)
        assert running.text("plan").stdout == "nothing would change\n"
        new = (
            sleeper("keep")
            + sleeper("soft", 'stop_timeout = "3s"', 'restart = "always"')
            + sleeper("hard", 'stop_timeout = "3s"', seconds=2000)
            + app.definition("two")
            + sleeper("more")
        )
        running.define(new)
        planned = running.text("plan")
        assert (planned.returncode, planned.stderr) == (0, "")
        assert planned.stdout.splitlines() == [
            "~ soft  update  stop_timeout, restart",
            "~ hard  restart  command, stop_timeout  forced by command",
            "~ app   replace  command  forced by command",
            "+ more  start",
            "- gone  stop",
            "5 services would be touched; do it with: reloadctl apply",
        ]
        assert stand(running) == before, "a plan touches nothing"

        applied(running, way, new)
        until(lambda: "gone" not in stand(running), "it has ended, and is forgotten")
        until(lambda: app.get() == "two", "connections go to the next generation")
        after = steady(running)
        assert list(after) == ["keep", "soft", "hard", "app", "more"]
        assert {name for name in before if before[name] == after.get(name)} == {"keep", "soft"}
        assert (after["hard"][1], after["app"][1], after["more"][1]) == (2, 2, 1)
        assert running.text("plan").stdout == "nothing would change\n"
        (told,) = running.history("app")
        assert (told["handle"], told["verdict"]) == ("replace", "applied")
        assert told["trigger"] == ("cli" if way == "apply" else "hangup")
        assert "gone" not in running.text("status").stdout
        assert running.ctl("status", "gone")[0] == 4
        assert running.ctl("start", "gone")[0] == 5


def test_what_comes_back_keeps_its_want_and_its_numbers(tmp_path: Path) -> None:
    web, job = sleeper("web"), sleeper("job")
    with host(tmp_path, web + job) as running:
        assert steady(running)["web"][1] == 1
        running.ctl("restart", "web")
        running.ctl("stop", "job")
        applied(running, "apply", sleeper("other"))
        until(lambda: list(stand(running)) == ["other"], "both have ended")
        running.kill()
        running.start()
        assert list(stand(running)) == ["other"], "the next agent does not know them any more"
        applied(running, "apply", sleeper("other") + web + job)
        assert until(lambda: stand(running)["web"][0] == "ready", "it is started again")
        assert stand(running)["web"][1] == 3, "a number is used once"
        assert running.service("job")["want"] == "down"
        assert stand(running)["job"][0] == "down"
        assert running.ctl("start", "job")[0] == 0
        assert stand(running)["job"][1] == 2


MISTAKES = """
[agent]
on_terminate = "sometimes"
[service.web]
command = ["/bin/sleep", "1000"]
stop_timeout = 3
[service.web.reload]
handle = "singal"
"""
KEYS = ("agent.on_terminate", "service.web.stop_timeout", "service.web.reload.handle")


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)
        self.close = self.socket.close

    def hears(self, what: str) -> str:
        """The first message from now on that has this in it."""
        while True:
            message = self.socket.recv(65536).decode()
            if what in message:
                return message


def test_a_mistake_anywhere_changes_nothing(tmp_path: Path) -> None:
    path, good = tmp_path / "notify", sleeper("web") + sleeper("job")
    with (
        contextlib.closing(Manager(path)) as manager,
        host(tmp_path, good, NOTIFY_SOCKET=str(path)) as running,
    ):
        before = steady(running)
        assert running.agent is not None
        manager.hears("STATUS=2 services up")
        running.define(MISTAKES)
        for verb in ("plan", "apply"):
            got = running.text(verb)
            assert (got.returncode, got.stdout) == (6, "")
            heading, *mistakes = got.stderr.splitlines()
            assert heading == (
                "reloadctl: cannot load the definitions: 3 mistakes, nothing was changed"
            )
            assert len(mistakes) == len(KEYS)
            assert all(any(key in one for one in mistakes) for key in KEYS), mistakes
            code, problem = running.ctl(verb)
            assert (code, [f"  {one}" for one in problem["candidates"]]) == (6, mistakes)
        assert "mistakes" not in running.log()

        running.agent.send_signal(signal.SIGHUP)
        assert manager.hears("RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert manager.hears("READY=1") == (
            "READY=1\nSTATUS=2 services up; the definitions on disk have mistakes and are not taken"
        )
        logged = running.log()
        assert all(f"{one.strip()}\n" in logged for one in mistakes), "each on a line of its own"
        assert stand(running) == before
        assert "definitions read again" not in logged

        applied(running, "hangup", good)
        manager.hears("RELOADING=1")
        assert manager.hears("READY=1") == "READY=1\nSTATUS=2 services up"
        assert stand(running) == before


def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    with host(tmp_path, sleeper("web")) as running:
        before = steady(running)
        (tmp_path / "agentd.toml").unlink()
        code, problem = running.ctl("apply")
        assert (code, "agentd.toml" in problem["candidates"][0]) == (6, True)
        assert running.agent is not None
        running.agent.send_signal(signal.SIGHUP)
        until(lambda: "cannot load the definitions: 1 mistake" in running.log(), "it is said")
        assert stand(running) == before
        running.define(sleeper("web"))


def test_watch_and_timer_follow(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    watched = server(tmp_path, "web.conf", 'watch = { debounce = "50ms" }')
    timed = server(tmp_path, "web.conf") + 'every = "200ms"\n'
    with host(tmp_path, server(tmp_path, "web.conf")) as running:
        pid = up(running)["instances"][0]["pid"]
        for definitions, trigger, text in ((watched, "watch", "two"), (timed, "timer", "three")):
            applied(running, "hangup", definitions)
            replace(conf, text)
            is_loaded(running, text)
            assert last(running, "applied")["trigger"] == trigger
        applied(running, "apply", server(tmp_path, "web.conf"))
        replace(conf, "four")
        assert running.ctl("reload", "web")[1]["version_after"]
        assert {r["trigger"] for r in running.history("web")} == {"watch", "timer", "cli"}
        assert running.pid("web") == pid


@contextlib.contextmanager
def public(access: str) -> Iterator[Host]:
    with public_directory() as directory, host(directory, access + sleeper("web")) as running:
        yield running


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_who_may_do_what_follows_at_once(tmp_path: Path) -> None:
    nobody = As("nobody")
    closed = '[agent.access]\nread = ["*"]\n'
    with public(closed) as running:
        assert nobody.text(running, "hold", "web").returncode == 77
        applied(running, "apply", f'{closed}operate = ["user:nobody"]\n{sleeper("web")}')
        assert nobody.text(running, "hold", "web").returncode == 0
        assert nobody.text(running, "plan").returncode == 77
        applied(running, "hangup", closed + sleeper("web"))
        assert nobody.text(running, "release", "web").returncode == 77
        assert running.service("web")["held"]


def test_what_a_running_agent_does_not_take_up_is_said(tmp_path: Path) -> None:
    web = sleeper("web")
    later = '[agent.telemetry]\nretain = { age = "7d" }\n'
    with host(tmp_path, web) as running:
        before = steady(running)
        running.define(later + web)
        told = "~ agent.telemetry  takes effect when agentd is started again"
        assert running.text("plan").stdout.splitlines()[0] == told
        applied(running, "hangup", later + web)
        until(lambda: "agent.telemetry takes effect when" in running.log(), "it is said")
        assert stand(running) == before


def test_shutdown_stops_all_and_waits_for_it(tmp_path: Path) -> None:
    with host(tmp_path, '[agent]\non_terminate = "leave"\n' + sleeper("web")) as running:
        pid = steady(running)["web"][2]
        got = running.text("shutdown")
        assert (got.returncode, got.stdout, got.stderr) == (0, "stopping web, then agentd\n", "")
        assert not Path(f"/proc/{pid}").exists()
        assert running.agent is not None
        assert running.agent.wait(10) == 0
        assert running.text("shutdown").returncode == 156
