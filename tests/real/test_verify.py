"""What is taken and does no good: found by its own answers, put back and proven again, on real servers under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apps_run import GUNICORN, Told, get
from host import HERE, Host, Nginx, free_port, host, load, until
from test_nginx import attributes, spans
from test_replace import App, alone

WELL = "location = /healthz { return 200; }"
UNWELL = "location = /healthz { return 500; }"
WATCH = 'watch = { debounce = "50ms" }\n'


def verified(port: int, on_failure: str = "restore", seconds: str = "600ms") -> str:
    probe = f'http = "http://127.0.0.1:{port}/healthz"'
    asked = f'{{ {probe}, for = "{seconds}", interval = "100ms", threshold = 2 }}'
    return f'[service.web.reload]\nverify = {asked}\non_failure = "{on_failure}"\n'


def tree(running: Host, reload_id: str) -> dict[str, list[str]]:
    """The names of the spans below each name."""
    every = spans(running, reload_id)
    by_id = {s["spanId"]: s["name"] for s in every}
    found: dict[str, list[str]] = {}
    for s in sorted(every, key=lambda s: int(s["startTimeUnixNano"])):
        found.setdefault(by_id.get(s.get("parentSpanId", ""), ""), []).append(s["name"])
    return found


def rejected_edit(running: Host, reload: Any, path: Path) -> str:
    """What was overwritten, from where the verdict says that it is."""
    place = reload["message"].partition("what was there is kept in ")[2]
    assert place.startswith(str(running.dir / "state" / "rejected"))
    return (Path(place) / str(path).lstrip("/")).read_text()


def test_nginx_that_is_not_well_gets_its_last_good_file_back_and_nobody_notices(
    tmp_path: Path,
) -> None:
    nginx = Nginx(tmp_path)
    nginx.serve("one", WELL)
    nginx.conf.chmod(0o640)
    good = nginx.conf.read_text()
    with host(tmp_path, nginx.definition + verified(nginx.port)) as running:
        before = running.ready("web")
        with load(nginx.port, 300) as counts:
            nginx.serve("two", UNWELL)
            edit = nginx.conf.read_text()
            code, reload = running.ctl("reload", "web")
            assert (code, reload["verdict"], reload["error"]) == (
                152,
                "rolled_back",
                "verify_failed",
            )
        assert counts["bad"] == {}
        assert "answered 500, 2 times in a row" in reload["message"]
        assert nginx.conf.read_text() == good
        assert nginx.conf.stat().st_mode & 0o777 == 0o640
        assert nginx.get() == "one"
        assert rejected_edit(running, reload, nginx.conf) == edit
        after = running.service("web")
        assert after["config"]["live"] == after["config"]["on_disk"] == before["config"]["live"]
        assert (
            after["quarantine"]["hash"] == reload["hash_after"] == after["config"]["last_attempted"]
        )
        assert after["next_start"] is None
        assert running.pid("web") == before["instances"][0]["pid"]

        below = tree(running, reload["reload_id"])
        phases = ("snapshot", "check", "apply", "confirm", "verify", "rollback")
        assert below["reload web"] == [f"reload.{p}" for p in phases]
        inner = ("restore", "snapshot", "apply", "confirm", "verify", "commit")
        assert below["reload.rollback"] == [f"reload.{p}" for p in inner]
        every = spans(running, reload["reload_id"])
        root = attributes(next(s for s in every if s["name"] == "reload web"))
        assert (root["reload.verdict"], root["reload.phase"]) == ("rolled_back", "verify")
        assert root["config.hash"] == root["config.previous_hash"] == before["config"]["live"]
        asked = [attributes(s) for s in every if s["name"] == "reload.verify"]
        assert [int(s["reload.verify.failures"]) for s in asked] == [2, 0]
        assert int(asked[1]["reload.verify.passes"]) >= 5
        shown = running.text("show", "web").stdout
        assert "rolled_back" in shown
        assert "reload.rollback" in shown


def test_a_watch_puts_back_once_and_its_own_write_triggers_nothing(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    nginx.serve("one", WELL)
    with host(tmp_path, nginx.definition + WATCH + verified(nginx.port)) as running:
        running.ready("web")
        nginx.serve("two", UNWELL)
        until(lambda: verdicts(running) == [("watch", "rolled_back")], "it is put back")
        assert running.service("web")["config"]["in_sync"]
        nginx.serve("two", UNWELL)  # the same bytes once more: seen, and not tried
        until(lambda: running.service("web")["config"]["in_sync"] is False, "the watch has seen it")
        nginx.serve("three", WELL)
        done = [("watch", "applied"), ("watch", "rolled_back")]
        until(lambda: verdicts(running) == done, "another edit is tried at once")
        assert nginx.get() == "three"


def verdicts(running: Host) -> list[tuple[str, str | None]]:
    return [(r["trigger"], r["verdict"]) for r in running.history("web")]


def test_kept_the_bad_file_stays_and_is_said_to_be_the_next_to_be_loaded(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    nginx.serve("one", WELL)
    with host(tmp_path, nginx.definition + WATCH + verified(nginx.port, "keep")) as running:
        running.ready("web")
        nginx.serve("two", UNWELL)
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (158, "failed", "verify_failed")
        version = reload["version_after"]
        assert reload["message"].endswith(f"next restart loads FAILED {version}")
        found = running.service("web")
        assert found["config"]["live"] is None
        assert found["next_start"]["text"] == f"next restart loads FAILED {version}"
        assert nginx.get() == "two"
        assert 'reload_config_next_start_rejected{service="web"} 1' in metrics(running)


def metrics(running: Host) -> str:
    with running.connect() as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: agentd\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: s.recv(65536), b"")).decode()


class Dying:
    """gunicorn without preload and with a check that finds nothing: a file that cannot be imported is its end on HUP."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.app = directory / "dying.py"
        self.write("one")
        words = [*GUNICORN[:3], "--bind", f"127.0.0.1:{self.port}", "--chdir", str(directory)]
        self.definition = f"""[service.web]
command = {json.dumps([*words, "--graceful-timeout", "1", "dying:app"])}
recipe = "gunicorn"
env = {{ PYTHONDONTWRITEBYTECODE = "1" }}
inputs = ["{self.app}"]
ready = {{ http = "http://127.0.0.1:{self.port}/" }}
[service.web.reload]
check = ["true"]
timeout = "10s"
on_failure = "@ON_FAILURE@"
"""

    def write(self, body: str) -> None:
        text = f"""def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "{len(body)}")])
    return [b"{body}"]
"""
        new = self.app.with_suffix(".new")
        new.write_text(text if body else "raise SystemError('it cannot be loaded')\n")
        new.rename(self.app)


def test_a_server_that_dies_of_a_bad_file_is_started_once_with_the_last_good_one(
    tmp_path: Path,
) -> None:
    server = Dying(tmp_path)
    with host(tmp_path, server.definition.replace("@ON_FAILURE@", "restore")) as running:
        before = running.ready("web")["instances"][0]
        server.write("")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (152, "rolled_back", "service_died"), (
            reload
        )
        assert get(server.port) == "one"
        found = running.service("web")
        assert found["instances"][0]["generation"] == before["generation"] + 1
        assert found["restarts"] == 0, "it counts as a crash"
        assert found["config"]["in_sync"]
        assert 0 < reload["outage_ms"] < reload["duration_ms"]
        root = next(s for s in spans(running, reload["reload_id"]) if s["name"] == "reload web")
        assert float(attributes(root)["reload.outage_ms"]) == pytest.approx(
            reload["outage_ms"], abs=0.01
        )
        assert "process.start" in tree(running, reload["reload_id"])["reload.apply"]
        assert " down" in running.text("show", "web").stdout
        assert "SystemError" in rejected_edit(running, reload, server.app)


def test_kept_it_goes_on_crashing_and_says_what_it_loads(tmp_path: Path) -> None:
    server = Dying(tmp_path)
    with host(tmp_path, server.definition.replace("@ON_FAILURE@", "keep")) as running:
        running.ready("web")
        server.write("")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (158, "failed", "service_died"), reload
        assert "next restart loads FAILED" in reload["message"]
        server.write("two")
        running.ctl("reload", "web")
        until(lambda: get(server.port) == "two", "mended, it is up again")


def test_a_crash_meets_a_file_that_was_rejected_and_loads_the_last_good_one(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    nginx.serve("one", WELL)
    with host(tmp_path, nginx.definition + verified(nginx.port)) as running:
        running.ready("web")
        nginx.serve("two", "nonsense on;")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (150, "rejected")
        said = running.service("web")["next_start"]["text"]
        assert (
            said
            == f"next restart puts back {reload['version_before']} over REJECTED {reload['version_after']}"
        )
        assert running.text("restart", "web").returncode == 0
        until(lambda: nginx.get() == "one", "it serves what was good")
        assert "nonsense" not in nginx.conf.read_text()
        assert running.service("web")["quarantine"] is not None


def replaceable(directory: Path, on_failure: str) -> App:
    server = App("plain", directory)
    probe = f'http = "http://127.0.0.1:{server.port}/healthz"'
    asked = f'{{ {probe}, for = "500ms", interval = "50ms", threshold = 2 }}'
    server.more = f'verify = {asked}\non_failure = "{on_failure}"\n'  # type: ignore[attr-defined]
    return server


@pytest.mark.parametrize("on_failure", ["keep", "restore"])
def test_a_next_generation_that_is_not_well_gives_its_place_back_and_nothing_is_lost(
    on_failure: str, tmp_path: Path
) -> None:
    server = replaceable(tmp_path, on_failure)
    text = server.definition(f"ready = {server.ready}", 'drain_timeout = "3s"') + server.more  # type: ignore[attr-defined]
    with host(tmp_path, text) as running:
        before = running.ready("app")["instances"][0]
        with load(server.port, 300, "--keep", "5", "--pause", "50") as counts:
            server.told(version="2", unwell=True)
            code, reload = running.ctl("reload", "app")
            assert (code, reload["verdict"], reload["error"]) == (151, "refused", "verify_failed")
            assert alone(running)["pid"] == before["pid"]
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})
        assert set(counts["bodies"]) == {"1", "2"}, "the next one never had the place"
        assert get(server.port) == "1"
        text = server.told.path.read_text()
        assert ("unwell" in text) == (on_failure == "keep")
        assert running.service("app")["quarantine"]["hash"] == reload["hash_after"]
        if on_failure == "restore":
            assert "the inputs are" in reload["message"]
            assert "unwell" in rejected_edit(running, reload, server.told.path)
        server.told(version="3")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied")
        assert get(server.port) == "3"


def test_an_answer_of_somebody_else_is_none(tmp_path: Path) -> None:
    """The address that is asked belongs to another process: it is well, and that proves nothing."""
    nginx = Nginx(tmp_path)
    other = Told(tmp_path)
    port = free_port()
    stranger = f"""[service.other]
command = {json.dumps([sys.executable, str(HERE / "apps" / "plain.py"), "--port", str(port)])}
env = {{ APP_FILE = "{other.path}" }}
ready = "notify"
"""
    with host(tmp_path, nginx.definition + verified(port) + stranger) as running:
        running.ready("other")
        until(lambda: running.service("web")["phase"] == "ready", "web is ready")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (158, "failed", "verify_failed")
        assert "answered by another process (pid " in reload["message"]
        assert "no configuration is known to be good" in reload["message"]


def test_an_agent_that_is_killed_on_the_way_back_is_gone_on_by_the_next(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    nginx.serve("one", WELL)
    with host(tmp_path, nginx.definition + verified(nginx.port, seconds="2s")) as running:
        before = running.ready("web")
        pid = running.pid("web")
        for wait in ("verify", "rollback", "rollback/verify"):
            nginx.serve(f"two {wait}", UNWELL)
            code, accepted = running.ctl("reload", "web", "--no-wait")
            assert code == 0
            reached(running, accepted["reload_id"], wait)
            running.kill()
            running.start()
            code, reload = running.ctl("wait", accepted["reload_id"])
            assert (code, reload["verdict"]) == (152, "rolled_back"), reload
            assert nginx.get() == "one"
            assert running.pid("web") == pid
            assert running.service("web")["config"]["live"] == before["config"]["live"]
            assert [r["reload_id"] for r in running.history("web")].count(
                accepted["reload_id"]
            ) == 1


def reached(running: Host, reload_id: str, where: str) -> None:
    """Wait until it is in this phase: of the way back, when that is meant."""

    def look() -> bool:
        reload = running.ctl("show", reload_id)[1]
        names = [phase["name"] for phase in reload["phases"]]
        return names.count("verify") == 2 if "/" in where else where in names

    until(look, f"it is in {where}")


def test_what_is_in_git_is_left_alone_unless_it_is_forced(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    nginx.serve("one", WELL)
    (tmp_path / ".gitignore").write_text("*\n!nginx.conf\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "nginx.conf"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    with host(tmp_path, nginx.definition + verified(nginx.port)) as running:
        running.ready("web")
        nginx.serve("two", UNWELL)
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (158, "failed", "rollback_failed")
        assert "tracked in git" in reload["message"]
        assert "two" in nginx.conf.read_text()
        running.define(nginx.definition + verified(nginx.port, "force"))
        assert running.ctl("apply")[0] == 0
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (152, "rolled_back"), reload
        assert "one" in nginx.conf.read_text()


def test_a_service_that_is_stopped_on_the_way_back_stays_down(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    nginx.serve("one", WELL)
    with host(tmp_path, nginx.definition + verified(nginx.port, seconds="5s")) as running:
        running.ready("web")
        nginx.serve("two", UNWELL)
        _, accepted = running.ctl("reload", "web", "--no-wait")
        reached(running, accepted["reload_id"], "rollback/verify")
        assert running.text("stop", "web").returncode == 0
        code, reload = running.ctl("wait", accepted["reload_id"])
        assert (code, reload["error"]) == (158, "rollback_failed"), reload
        until(lambda: running.service("web")["phase"] == "down", "it is down")


def test_a_way_back_that_fails_too_is_the_end_of_what_is_automatic(tmp_path: Path) -> None:
    """What makes it ill is not in its files: no configuration is well any more."""
    nginx = Nginx(tmp_path)
    alive = tmp_path / "healthz"
    alive.write_text("well")
    by_file = verified(nginx.port).replace(
        f'http = "http://127.0.0.1:{nginx.port}/healthz"', f'exec = ["test", "-e", "{alive}"]'
    )
    with host(tmp_path, nginx.definition + WATCH + by_file) as running:
        running.ready("web")
        alive.unlink()
        nginx.serve("two")
        until(lambda: running.history("web"), "the watch has seen it")
        until(lambda: running.history("web", 1)[0]["verdict"], "its verdict")
        reload = running.history("web", 1)[0]
        assert (reload["verdict"], reload["error"]) == ("failed", "rollback_failed")
        assert "could not be put back: web took it and is not well" in reload["message"]
        assert nginx.get() == "one"
        assert running.service("web")["config"]["live"] is None
        until(lambda: 'reason="quarantined"' in metrics(running), "the watch has seen its write")
        assert [t for t, _ in verdicts(running)].count("watch") == 1, verdicts(running)
        alive.write_text("well")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (0, "applied"), "a person may"


def test_a_next_generation_that_dies_a_while_later_is_found_out(tmp_path: Path) -> None:
    server = replaceable(tmp_path, "restore")
    more = server.more.replace('"500ms"', '"5s"')  # type: ignore[attr-defined]
    with host(tmp_path, server.definition(f"ready = {server.ready}") + more) as running:
        running.ready("app")
        until(lambda: get(server.port) == "1", "it serves")
        server.told(version="2")
        _, accepted = running.ctl("reload", "app", "--no-wait")
        reached(running, accepted["reload_id"], "verify")
        there = running.service("app")["instances"]
        os.kill(max(there, key=lambda i: int(i["generation"]))["pid"], signal.SIGKILL)
        code, reload = running.ctl("wait", accepted["reload_id"])
        assert (code, reload["verdict"], reload["error"]) == (151, "refused", "signal_KILL"), reload
        assert "did not live" in reload["message"]
        assert get(server.port) == "1"
        assert json.loads(server.told.path.read_text())["version"] == "1"
