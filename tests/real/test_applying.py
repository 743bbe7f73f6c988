"""What an apply does to services that serve: a definition that is not taken harms nobody, and the exit code can be believed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from host import Host, free_port, host, until
from test_definitions import Replaced, sleeper, stand, steady

SERVE = Path(__file__).parent / "serve.py"


def serves(app: Replaced, word: str) -> bool:
    return app.get() == word


def broken(app: Replaced) -> str:
    """The same with a command that is not there."""
    return app.definition("two").replace(str(SERVE), f"{SERVE}.missing")


def declined(running: Host) -> Any:
    return running.service("app")["definition"]


def test_a_definition_that_is_refused_harms_nobody(tmp_path: Path) -> None:
    app = Replaced()
    good, bad = app.definition("one"), broken(app)
    with host(tmp_path, good) as running:
        pid = steady(running)["app"][2]
        running.define(bad)
        got = running.text("apply")
        assert got.returncode == 151, got.stdout
        assert "~ app  replace  command  forced by command" in got.stdout
        assert "refused" in got.stdout
        assert "its definition has changed: command" in got.stdout
        assert "these very bytes" not in got.stdout
        assert (app.get(), running.pid("app")) == ("one", pid)

        assert "~ app  replace  command" in running.text("plan").stdout, "it differs still"
        found = declined(running)
        assert (found["verdict"], found["keys"], found["in_force"]) == (
            "refused",
            ["command"],
            False,
        )
        assert found["text"] in running.text("status").stdout

        os.kill(pid, signal.SIGKILL)
        until(lambda: stand(running)["app"][2] not in (0, pid), "the former one is started again")
        until(lambda: serves(app, "one"), "and serves")
        assert running.service("app")["restarts"] == 1

        code, document = running.ctl("apply")
        assert (code, [r["verdict"] for r in document["reloads"]]) == (151, ["refused"])
        assert running.agent is not None
        running.agent.send_signal(signal.SIGHUP)
        by_hangup = until(
            lambda: [r for r in running.history("app") if r["trigger"] == "hangup"], "it is asked"
        )
        line = f"app reload {by_hangup[0]['reload_id']} refused"
        until(lambda: line in running.log(), "its verdict is logged")
        running.define(app.definition("two"))
        code, document = running.ctl("apply")
        assert (code, [r["verdict"] for r in document["reloads"]]) == (0, ["applied"])
        assert (app.get(), declined(running)) == ("two", None)
        assert running.text("plan").stdout == "nothing would change\n"


def test_the_next_agent_says_what_it_would_start(tmp_path: Path) -> None:
    app = Replaced()
    with host(tmp_path, '[agent]\non_terminate = "leave"\n' + app.definition("one")) as running:
        pid = steady(running)["app"][2]
        running.define('[agent]\non_terminate = "leave"\n' + broken(app))
        assert running.ctl("apply")[0] == 151
        running.kill()
        running.start()
        until(lambda: running.pid("app") == pid, "it is taken over")
        found = declined(running)
        assert found["in_force"]
        assert found["text"].startswith("next restart runs a definition that was REFUSED: ")
        assert found["text"] in running.text("status").stdout
        running.define('[agent]\non_terminate = "leave"\n' + app.definition("one"))
        assert running.ctl("apply")[0] == 0
        assert (declined(running), app.get()) == (None, "one")


def listening(app: Replaced, port: int, word: str = "one", name: str = "http") -> str:
    """The same service at another address."""
    text = app.definition(word).replace(f"127.0.0.1:{app.port}", f"127.0.0.1:{port}")
    return text.replace('name = "http"', f'name = "{name}"')


def answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def test_an_address_that_is_busy_refuses_the_whole_and_touches_nothing(tmp_path: Path) -> None:
    app, other = Replaced(), free_port()
    with (
        host(tmp_path, app.definition("one") + sleeper("job")) as running,
        socket.create_server(("127.0.0.1", 0)) as busy,
    ):
        before = steady(running)
        port = busy.getsockname()[1]
        new = Replaced()
        more = new.definition("new").replace("service.app", "service.more")
        running.define(listening(app, port, "two") + sleeper("job", seconds=7) + more)
        got = running.text("apply")
        assert (got.returncode, got.stdout) == (6, "")
        path = tmp_path / "agentd.toml"
        assert (
            f"{path}:3: service.app.sockets[0].listen: cannot listen on 127.0.0.1:{port} for app"
            in got.stderr
        )
        assert "in use" in got.stderr
        assert steady(running) == before
        assert not answers(new.port), "what had been opened is closed again"
        assert app.get() == "one"
        assert running.agent is not None
        running.agent.send_signal(signal.SIGHUP)
        until(lambda: f"cannot listen on 127.0.0.1:{port}" in running.log(), "it is said")
        assert steady(running) == before

        running.define(listening(app, other, "two") + sleeper("job"))
        code, document = running.ctl("apply")
        assert (code, document["changes"][0]["action"]) == (0, "replace")
        former, app.port = app.port, other
        assert app.get() == "two"
        until(lambda: not answers(former), "the former address is closed with its last process")


def test_a_next_generation_at_another_address_that_is_refused_leaves_it_closed(
    tmp_path: Path,
) -> None:
    app, other = Replaced(), free_port()
    with host(tmp_path, app.definition("one")) as running:
        steady(running)
        bad = listening(app, other).replace(str(SERVE), f"{SERVE}.missing")
        running.define(bad)
        assert running.ctl("apply")[0] == 151
        until(lambda: not answers(other), "nobody serves there, so nobody is kept waiting")
        assert app.get() == "one"


def test_addresses_that_move_between_services_are_handed_on(tmp_path: Path) -> None:
    """Two swap theirs while a third gets that of one that goes."""
    a, b, c = Replaced(), Replaced(), Replaced()

    def named(app: Replaced, name: str, port: int) -> str:
        return listening(app, port, name).replace("service.app", f"service.{name}")

    stubborn = 'command = ["/bin/sh", "-c", "trap : TERM; while :; do sleep 1; done"]'
    old = (
        named(a, "a", a.port)
        + named(b, "b", b.port)
        + f"""[service.gone]
{stubborn}
sockets = [{{ name = "http", listen = "127.0.0.1:{c.port}" }}]
ready = {{ after = "0s" }}
stop_timeout = "3s"
[service.gone.reload]
confirm = ["delivered"]
"""
    )
    with host(tmp_path, old) as running:
        steady(running)
        running.define(named(a, "a", b.port) + named(b, "b", a.port) + named(c, "c", c.port))
        code, document = running.ctl("apply")
        assert code == 0, document
        actions = {one["service"]: one["action"] for one in document["changes"]}
        assert actions == {"a": "restart", "b": "restart", "c": "start", "gone": "stop"}
        assert (a.get(), b.get(), c.get()) == ("b", "a", "c")
        assert all(s["restarts"] == 0 for s in running.ctl("status")[1]["services"])


def test_the_worst_counts_and_each_start_is_in_the_history(tmp_path: Path) -> None:
    app = Replaced()
    with host(tmp_path, app.definition("one") + sleeper("job")) as running:
        steady(running)
        bad = f"""[service.bad]
command = ["{sys.executable}", "-c", "raise SystemExit(3)"]
restart = "never"
[service.bad.reload]
confirm = ["delivered"]
"""
        running.define(app.definition("two") + sleeper("job", seconds=7) + bad)
        got = running.text("apply", "--reason", "release 7")
        assert got.returncode == 158, got.stdout
        lines = got.stdout.splitlines()
        assert [w for w in ("app", "job", "bad") if any(one.startswith(f"{w}  ") for one in lines)]
        verdicts = {
            one["service"]: one["verdict"]
            for one in running.ctl("history", "--starts")[1]["reloads"]
            if one["reason"] == "release 7"
        }
        assert verdicts == {"app": "applied", "job": "applied", "bad": "failed"}
        without = running.ctl("history")[1]["reloads"]
        assert [one["service"] for one in without] == ["app"]
        start = next(
            one
            for one in running.ctl("history", "job", "--starts")[1]["reloads"]
            if one["reason"] == "release 7"
        )
        shown = running.text("show", start["reload_id"])
        assert (shown.returncode, start["trigger"]) == (0, "start")
        assert "release 7" in shown.stdout


def test_nobody_has_to_wait_for_an_apply(tmp_path: Path) -> None:
    slow = sleeper("job").replace('after = "0s"', 'after = "30s"')
    with host(tmp_path, sleeper("web")) as running:
        steady(running)
        running.define(sleeper("web") + slow)
        code, document = running.ctl("apply", "--timeout", "200ms")
        assert (code, [r["verdict"] for r in document["reloads"]]) == (160, [None])
        running.define(sleeper("web", seconds=7) + slow)
        code, document = running.ctl("apply", "--no-wait")
        assert (code, [r["service"] for r in document["reloads"]]) == (0, ["web"])


def test_what_is_watched_is_what_is_in_force(tmp_path: Path) -> None:
    """A definition that names other inputs and is refused: the inputs of the former one are watched still."""
    app = Replaced()
    one, two = tmp_path / "one.conf", tmp_path / "two.conf"
    one.write_text("1")
    two.write_text("2")

    def watching(text: str, path: Path) -> str:
        inputs = f'inputs = ["{path}"]\nwatch = {{ debounce = "20ms" }}\n'
        return text.replace("stop_timeout", f"{inputs}stop_timeout")

    with host(tmp_path, watching(app.definition("one"), one)) as running:
        running.ready("app")
        running.define(watching(broken(app), two))
        assert running.ctl("apply")[0] == 151
        one.write_text("changed")
        until(
            lambda: any(r["trigger"] == "watch" for r in running.history("app")),
            "its change is seen",
        )
        assert app.get() == "one"
