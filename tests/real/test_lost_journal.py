"""The journal is lost while nobody looks: the next agent says so once, and takes over the processes by what they show themselves."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps_run import get
from host import Host, Nginx, free_port, host, load, public_directory, until
from ordinary import PYTHON, UserHost, app, copied, possible


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _torn(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=1000")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


ASIDE = {"corrupt": (_garbage, _cut, _torn), "newer": (_newer,), "unreadable": (_directory,)}
DAMAGES = [(kind, damage) for kind, damages in ASIDE.items() for damage in damages]


def damaged(running: Host, damage: Callable[[Path], None]) -> None:
    """Killed, and then this becomes of its journal."""
    running.kill()
    path = running.dir / "state" / "journal.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    damage(path)


def up(running: Host, name: str) -> Any:
    def look() -> Any:
        found = running.service(name)
        return found["phase"] == "ready" and found

    return until(look, f"{name} is ready; {running.log()[-1500:]}")


def processes_of(directory: Path, word: str) -> list[int]:
    """The processes with this word and this directory in their command, but for children of such."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if word in line and str(directory) in line and stat[0] not in "ZX":
                    found[int(entry.name)] = int(stat[1])
    return [pid for pid, parent in found.items() if parent not in found]


def test_a_journal_damaged_in_five_ways_costs_no_request_and_no_second_copy(tmp_path: Path) -> None:
    nginx, told, port = Nginx(tmp_path), copied(tmp_path), free_port()
    with host(tmp_path, nginx.definition + app(sys.executable, port)) as running:
        running.ready("web")
        running.ready("app")
        running.ctl("restart", "web")
        pids = running.ready("web")["instances"][0]["pid"], running.pid("app")
        said = len(running.log())
        with load(nginx.port, 200) as of_nginx, load(port, 200) as of_app:
            for kind, damage in DAMAGES:
                damaged(running, damage)
                running.start()
                web, held = up(running, "web"), up(running, "app")
                assert (web["instances"][0]["pid"], held["instances"][0]["pid"]) == pids
                assert (web["instances"][0]["generation"], web["config"]["live"]) == (2, None)
                (line,) = re.findall(r"the journal /.*", running.log()[said:])
                said = len(running.log())
                (kept,) = re.findall(rf"journal\.db\.{kind}-\d{{8}}T\d{{6}}Z(?:-\d+)?", line)
                assert (running.dir / "state" / kept).exists()
                _, status = running.ctl("status")
                assert status["agent"]["notices"] == [line]
                assert line in running.text("status").stdout
                assert "unknown" in running.text("status").stdout
                assert processes_of(tmp_path, "nginx") == [pids[0]]
                assert processes_of(tmp_path, "plain.py") == [pids[1]]
            told(version=2)
            assert running.ctl("reload", "app")[1]["verdict"] == "applied"
            assert get(port) == "2"
            assert running.ctl("reload", "web")[1]["verdict"] == "applied"
            assert running.ready("web")["instances"][0]["pid"] == pids[0]
            assert running.service("app")["instances"][-1]["generation"] == 2
        assert (of_nginx["bad"], of_app["bad"]) == ({}, {})
        assert of_nginx["good"] > 100 < of_app["good"]


def lose_everything(running: Host) -> None:
    """Neither the journal nor a birth file is left."""
    damaged(running, Path.unlink)
    shutil.rmtree(running.dir / "run" / "births")


def test_with_the_birth_files_lost_too_processes_are_known_by_what_they_show(
    tmp_path: Path,
) -> None:
    copied(tmp_path)
    port = free_port()
    with host(tmp_path, app(sys.executable, port)) as running:
        pid = running.ready("app")["instances"][0]["pid"]
        with load(port, 200) as counts:
            for _ in range(2):
                lose_everything(running)
                running.start()
                found = up(running, "app")
                assert (found["instances"][0]["pid"], found["config"]["live"]) == (pid, None)
                assert processes_of(tmp_path, "plain.py") == [pid]
            assert running.ctl("reload", "app")[1]["verdict"] == "applied"
            (now,) = until(lambda: alone(running, "app"), "the next generation is alone")
            assert (now["generation"], now["pid"] != pid) == (2, True)
        assert counts["bad"] == {}
        assert "is left over" not in running.log()


def alone(running: Host, name: str) -> Any:
    found = running.service(name)["instances"]
    return found if len(found) == 1 else None


def _unreadable(path: Path) -> None:
    path.chmod(0)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_without_control_groups_loses_nothing_either() -> None:
    with public_directory() as directory:
        if not possible(directory):
            pytest.skip(f"nobody cannot run {PYTHON} on this checkout")
        copied(directory)
        nginx, port = Nginx(directory), free_port()
        for path in (directory, directory / "app.json", nginx.conf):
            shutil.chown(path, "nobody", "nogroup")
        running = UserHost(directory, nginx.definition + app(PYTHON, port))
        try:
            running.start()
            pids = [running.ready(name)["instances"][0]["pid"] for name in ("web", "app")]
            with load(nginx.port, 200) as of_nginx, load(port, 200) as of_app:
                for damage in (_garbage, _unreadable):
                    damaged(running, damage)
                    running.start()
                    assert [up(running, n)["instances"][0]["pid"] for n in ("web", "app")] == pids
                assert len(list((directory / "state").glob("journal.db.unreadable-*"))) == 1
                lose_everything(running)
                (directory / "agentd.toml").write_text(
                    app(PYTHON, port).replace("@DIR@", str(directory))
                )
                running.start()
                assert up(running, "app")["instances"][0]["pid"] == pids[1]
            assert (of_nginx["bad"], of_app["bad"]) == ({}, {})
            assert processes_of(directory, "plain.py") == [pids[1]]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[0], signal.SIGTERM)  # nginx without any sign is nobody's
            if running.agent is not None and running.agent.poll() is not None:
                running.start()
            running.stop()


@contextlib.contextmanager
def planted(env: dict[str, str], **how: Any) -> Iterator[int]:
    """A process that pretends."""
    words = ["/bin/sleep", "1000"]
    process = subprocess.Popen(words, env=env, start_new_session=True, cwd="/", **how)
    try:
        yield process.pid
        assert process.poll() is None, "it was touched"
    finally:
        process.kill()
        process.wait()


def environment_of(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_who_pretends_to_be_an_instance_is_not_taken_over(tmp_path: Path) -> None:
    definition = '[service.idle]\ncommand = ["sleep", "1000"]\nready = { after = "0s" }\n'
    with host(tmp_path, definition) as running:
        pid = running.ready("idle")["instances"][0]["pid"]
        env = environment_of(pid)
        forged = env | {"AGENTD_INSTANCE": env["AGENTD_INSTANCE"][:-1] + "x"}
        births = tmp_path / "run" / "births"
        with (
            planted(env, user="nobody", group="nogroup", extra_groups=[]) as copied_mark,
            planted(forged) as no_mark,
        ):
            lose_everything(running)
            os.kill(pid, signal.SIGKILL)
            running.start()
            mine = up(running, "idle")["instances"][0]
            assert mine["pid"] not in (pid, copied_mark, no_mark)
            assert f"pid {copied_mark} shows the mark of idle" in running.log()
            assert f"pid {no_mark}" not in running.log()

            # A birth file that names a stranger; then one that somebody else has written.
            damaged(running, Path.unlink)
            os.kill(mine["pid"], signal.SIGKILL)
            told = (births / "idle").read_text()
            (births / "idle").write_text(told.replace(f'"pid":{mine["pid"]},', f'"pid":{no_mark},'))
            running.start()
            third = up(running, "idle")["instances"][0]
            assert third["pid"] not in (mine["pid"], copied_mark, no_mark)
            assert third["generation"] == mine["generation"] + 1

            damaged(running, Path.unlink)
            shutil.chown(births / "idle", "nobody")
            running.start()
            assert (
                up(running, "idle")["instances"][0]["pid"] == third["pid"]
            )  # by its group or mark
            assert "belongs to another user" in running.log()


def test_what_nobody_has_defined_is_left_alone_and_listed_until_it_is_defined_again(
    tmp_path: Path,
) -> None:
    one = '[service.one]\ncommand = ["sleep", "1000"]\nready = { after = "0s" }\n'
    two = one.replace("one", "two")
    with host(tmp_path, one + two) as running:
        pids = [running.ready(name)["instances"][0]["pid"] for name in ("one", "two")]
        damaged(running, _garbage)
        running.define(one)
        running.start()
        up(running, "one")
        notices = running.ctl("status")[1]["agent"]["notices"]
        assert len(notices) == 2
        assert notices[1].startswith(f"pid {pids[1]} is left over of two")
        assert Path(f"/proc/{pids[1]}").exists()
        running.kill()
        running.define(one + two)
        running.start()
        assert [up(running, name)["instances"][0]["pid"] for name in ("one", "two")] == pids
        assert running.ctl("status")[1]["agent"]["notices"] == []


def test_what_was_wanted_and_held_outlives_the_journal(tmp_path: Path) -> None:
    one = '[service.one]\ncommand = ["sleep", "1000"]\nready = { after = "0s" }\n'
    with host(tmp_path, one + one.replace("one", "two")) as running:
        running.ready("one")
        running.ready("two")
        running.ctl("stop", "one")
        running.ctl("hold", "two", "--reason", "freeze")
        damaged(running, _garbage)
        running.start()
        up(running, "two")
        assert running.service("one")["phase"] == "down"
        assert running.ctl("reload", "two")[1]["verdict"] == "held"
