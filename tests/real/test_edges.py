"""The edges of a reload and of the agent's own life: files in the making, holds, crowds, full disks, two agents."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host import Host, clean_env, host, public_directory, until
from reading import is_loaded, last, loaded, replace, server, up

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount and be others")


def sh(text: str) -> str:
    return json.dumps(["/bin/sh", "-c", text])


NO_BAD = sh("! grep -l BAD @DIR@/web.conf")
WATCH = 'watch = { debounce = "50ms" }'


# Files.


def test_a_rejected_file_left_on_disk_is_announced_before_the_next_crash(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("good")
    definition = server(tmp_path, "web.conf", 'backoff = { first = "30ms" }', check=NO_BAD)
    with host(tmp_path, definition) as running:
        up(running)
        replace(conf, "BAD")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], loaded(running)) == (150, "rejected", ["good"])
        found = running.service("web")
        version = reload["version_after"] or found["next_start"]["version"]
        assert found["next_start"]["text"] == f"next restart loads REJECTED {version}"
        assert found["next_start"]["text"] in running.text("status").stdout
        pid = running.pid("web")
        os.kill(pid, signal.SIGKILL)
        until(
            lambda: running.service("web")["instances"] and running.pid("web") != pid, "a new one"
        )
        up(running)
        replace(conf, "mended")
        code, reload = running.ctl("reload", "web")
        assert (code, loaded(running)[-1]) == (0, "mended")
        found = running.service("web")
        assert (found["next_start"], found["quarantine"]) == (None, None)


@pytest.mark.parametrize("after", ["0s", "300ms"])
def test_a_crash_loop_tells_what_it_loads_and_new_bytes_end_it(tmp_path: Path, after: str) -> None:
    """Also where "ready" is a guess that a broken service passes: what the check rejected is not good for that."""
    conf = tmp_path / "web.conf"
    conf.write_text("good")
    limits = 'start_limit = { burst = 3, interval = "60s" }'
    definition = server(
        tmp_path, "web.conf", 'backoff = { first = "10ms", max = "10ms" }', limits, check=NO_BAD
    ).replace('{ after = "0s" }', f'{{ after = "{after}" }}')
    with host(tmp_path, definition) as running:
        up(running)
        (tmp_path / "crash-on-load").touch()
        replace(conf, "BAD")
        assert running.ctl("reload", "web")[0] == 150
        os.kill(running.pid("web"), signal.SIGKILL)
        until(lambda: running.service("web")["phase"] == "failed", "it is given up")
        found = running.service("web")
        assert found["config"]["live"] is None
        assert found["next_start"]["verdict"] in ("rejected", "failed"), found["next_start"]
        text = running.text("status", "web")
        assert text.returncode == 3
        assert found["next_start"]["text"] in text.stdout
        assert "exit code 9" in text.stdout
        (tmp_path / "crash-on-load").unlink()
        replace(conf, "mended")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        until(lambda: loaded(running)[-1] == "mended", "the mended file is loaded")
        assert running.service("web")["next_start"] is None


def test_a_symlink_swap_as_kubernetes_does_it_is_one_reload(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for number in (1, 2, 3):
        (mount / f"..{number}").mkdir(parents=True)
        (mount / f"..{number}" / "web.conf").write_text(f"number {min(number, 2)}")
    (mount / "..data").symlink_to("..1")
    (mount / "web.conf").symlink_to("..data/web.conf")
    with host(tmp_path, server(tmp_path, "mount/web.conf", WATCH)) as running:
        up(running)
        for number in (2, 3):  # the third has the bytes of the second
            (mount / "..tmp").symlink_to(f"..{number}")
            (mount / "..tmp").rename(mount / "..data")
            is_loaded(running, "number 2")
        (mount / "..1" / "web.conf").write_text("nobody reads this")
        (mount / "..3" / "web.conf").write_text("number 4")
        is_loaded(running, "number 4")
        assert loaded(running) == ["number 1", "number 2", "number 4"]
        changed = running.history("web")[0]["changed"]
        assert changed == [{"path": str(mount / "web.conf"), "change": "modified"}]


def test_files_of_a_glob_and_of_a_directory_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.conf").write_text("a")
    with host(tmp_path, server(tmp_path, "conf.d/*.conf", WATCH)) as running:
        up(running)
        (folder / "b.conf").write_text("b")
        is_loaded(running, "a b")
        (folder / "b.txt").write_text("not matched")
        (folder / "a.conf").unlink()
        is_loaded(running, "b")
        (folder / "b.conf").rename(folder / "c.conf")
        (folder / "c.conf").write_text("c")
        is_loaded(running, "c")
        kinds = {c["change"] for r in running.history("web") for c in r["changed"]}
        assert kinds == {"added", "removed"}


def test_a_directory_is_read_to_its_depths(tmp_path: Path) -> None:
    deep = tmp_path / "conf" / "sub" / "deeper"
    deep.mkdir(parents=True)
    (tmp_path / "conf" / "top").write_text("top")
    (deep / "leaf").write_text("one")
    definition = server(tmp_path, "conf", WATCH).replace("/conf/*", "/conf/t*")
    with host(tmp_path, definition) as running:
        before = up(running)["config"]["live"]
        (deep / "leaf").write_text("two")
        until(lambda: running.service("web")["config"]["live"] != before, "it is noticed")
        assert running.history("web")[0]["changed"] == [
            {"path": str(deep / "leaf"), "change": "modified"}
        ]


def test_a_missing_input_is_missing_and_not_an_empty_configuration(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("good")
    with host(tmp_path, server(tmp_path, "web.conf", WATCH)) as running:
        before = up(running)
        conf.unlink()
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (150, "rejected", "missing_input")
        assert str(conf) in reload["message"]
        found = running.service("web")
        assert found["config"]["live"] == before["config"]["live"]
        assert str(conf) in found["config"]["missing"]
        assert loaded(running) == ["good"]
        conf.symlink_to(tmp_path / "dangling")
        assert running.ctl("reload", "web")[0] == 150
        conf.unlink()
        conf.write_text("back")
        is_loaded(running, "back")


def emptied(conf: Path) -> None:
    conf.write_text("")


def replaced_by_a_directory(conf: Path) -> None:
    conf.unlink()
    conf.mkdir()


@pytest.mark.parametrize("ruin", [emptied, replaced_by_a_directory])
def test_an_input_that_lost_its_bytes_is_missing_too(tmp_path: Path, ruin: Any) -> None:
    """Nothing where there was something is an accident, not a configuration."""
    conf = tmp_path / "web.conf"
    conf.write_text("good")
    with host(tmp_path, server(tmp_path, "web.conf")) as running:
        before = up(running)
        ruin(conf)
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (150, "rejected", "missing_input")
        assert str(conf) in reload["message"]
        assert running.service("web")["config"]["live"] == before["config"]["live"]
        assert loaded(running) == ["good"]


def test_the_same_bytes_again_do_nothing_and_half_a_file_is_waited_for(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    slow = 'watch = { debounce = "300ms" }'
    with host(
        tmp_path, server(tmp_path, "web.conf", slow, check=sh("test -s @DIR@/web.conf"))
    ) as running:
        up(running)
        conf.write_text("one")
        os.utime(conf)
        conf.chmod(0o640)
        replace(conf, "one")
        with conf.open("w") as file:  # truncated, then written in pieces
            file.flush()
            for piece in ("tw", "o"):
                file.write(piece)
                file.flush()
        is_loaded(running, "two")
        code, reload = running.ctl("reload", "web", "--if-changed")
        assert (code, reload["verdict"]) == (0, "unchanged")
        assert loaded(running) == ["one", "two"]
        watched = [r["verdict"] for r in running.history("web") if r["trigger"] == "watch"]
        assert watched == ["applied"]
        assert running.ctl("reload", "web")[1]["verdict"] == "applied", "a person's reload acts"
        assert loaded(running) == ["one", "two", "two"]


# Checks.


def test_a_check_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    (tmp_path / "web.conf").write_text("good")
    hang = f"trap '' TERM; sleep 1000 & echo $$ $! > {tmp_path}/pids; wait"
    check = f'{{ command = {sh(hang)}, timeout = "300ms" }}'
    with host(tmp_path, server(tmp_path, "web.conf", check=check)) as running:
        until((tmp_path / "pids").exists, "the start is checked too")
        up(running)
        (tmp_path / "pids").unlink()
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (150, "rejected", "check_timeout")
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            until(lambda p=pid: not alive(p), f"{pid} has ended")
        assert running.service("web")["quarantine"] is None, "a timeout says nothing of the bytes"
        assert loaded(running) == ["good"]


@needs_root
def test_a_check_runs_as_the_service_does(tmp_path: Path) -> None:
    with public_directory() as directory:
        (directory / "web.conf").write_text("good")
        check = sh("id -un; pwd; umask; echo $FROM_ENV; readlink /proc/self/fd/0; exit 3")
        more = ('user = "nobody"', 'umask = "0027"', 'env = { FROM_ENV = "given" }')
        definition = server(directory, "web.conf", *more, check=check)
        definition = definition.replace(sys.executable, "/usr/bin/env", 1)
        definition = definition.replace('"-S", "@DIR@/server.py"', '"sleep", "1000", "-S"')
        definition = definition.replace(
            '"sleep", "1000", "-S", "@DIR@/web.conf"', '"sleep", "1000"'
        )
        with host(directory, definition) as running:
            running.ready("web")
            code, document = running.ctl("check", "web")
            assert (code, document["verdict"], document["exit_code"]) == (150, "rejected", 3)
            assert document["output"] == ["nobody", str(directory), "0027", "given", "/dev/null"]
            assert (
                Path(f"/proc/{running.pid('web')}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
            )


@pytest.mark.parametrize(
    ("check", "error", "words"),
    [
        ('["/no/such/checker"]', "check_unavailable", "/no/such/checker"),
        ('["/etc/passwd"]', "check_unavailable", "Permission denied"),
        (sh("kill -SEGV $$"), "check_failed", ""),
        (sh("yes | head -c 5000000; echo the reason; exit 1"), "check_failed", ""),
    ],
)
def test_a_check_that_cannot_say_yes_rejects(
    tmp_path: Path, check: str, error: str, words: str
) -> None:
    (tmp_path / "web.conf").write_text("good")
    with host(tmp_path, server(tmp_path, "web.conf", check=check)) as running:
        up(running)
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (150, "rejected", error)
        assert words in reload["message"]
        if "the reason" in check:
            assert reload["output"][-1] == "the reason"
            assert len(reload["output"]) < 100
        assert loaded(running) == ["good"]


# Holds, crowds, waiting.


def test_a_hold_turns_away_until_released_and_force_goes_through(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    with host(tmp_path, server(tmp_path, "web.conf", WATCH)) as running:
        up(running)
        assert running.ctl("hold", "web", "--reason", "freeze until monday")[0] == 0
        replace(conf, "two")
        last(running, "held")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["status"]) == (155, "held", None)
        got = running.text("reload", "web")
        assert got.returncode == 155
        assert "freeze until monday" in got.stdout
        assert "reloadctl release web" in got.stdout
        assert loaded(running) == ["one"]
        assert "freeze until monday" in running.text("status").stdout
        assert running.ctl("reload", "--all")[0] == 0
        assert loaded(running) == ["one"]
        code, reload = running.ctl("reload", "web", "--force")
        assert (code, reload["verdict"], running.service("web")["held"]) == (0, "applied", True)
        replace(conf, "three")
        code, released = running.ctl("release", "web")
        assert (code, released["held"]) == (0, False)
        assert released["reload_id"]
        is_loaded(running, "three")
        assert running.ctl("hold", "web", "--for", "100ms")[0] == 0
        until(lambda: not running.service("web")["held"], "it ends by itself")


def test_fifty_at_once_are_one_that_runs_and_one_that_waits(tmp_path: Path) -> None:
    (tmp_path / "web.conf").write_text("good")
    os.mkfifo(tmp_path / "gate")
    check = sh("echo begun >> @DIR@/checks; cat @DIR@/gate")
    with host(tmp_path, server(tmp_path, "web.conf", check=check)) as running:
        gate = tmp_path / "gate"
        until((tmp_path / "checks").exists, "the start is being checked")
        gate.write_text("")
        up(running)
        found: list[tuple[int, Any]] = []

        def ask() -> None:
            found.append(running.ctl("reload", "web"))

        askers = [threading.Thread(target=ask) for _ in range(50)]
        for asker in askers:
            asker.start()
        waits = ("running", "waiting")
        until(lambda: all(running.service("web")[k] for k in waits), "one runs and one waits")

        def all_have_asked() -> bool:
            s = running.connect()
            with s:
                s.sendall(b"GET /v1/reloads?service=web HTTP/1.1\r\nHost: x\r\n\r\n")
                s.recv(1)
            lines = running.ctl("history", "web")[1]["reloads"]
            assert len(lines) <= 2
            return sum(a.is_alive() for a in askers) == 50

        until(all_have_asked, "all wait")
        checks = tmp_path / "checks"
        while any(a.is_alive() for a in askers):
            begun = checks.read_text().count("begun")
            gate.write_text("")
            until(
                lambda b=begun: (
                    checks.read_text().count("begun") > b
                    or not any(a.is_alive() for a in askers)
                    or not (running.service("web")["running"] or running.service("web")["waiting"])
                ),
                "the next one begins or none is left",
            )
            if not running.service("web")["running"]:
                for asker in askers:
                    asker.join(20)
        assert [code for code, _ in found] == [0] * 50
        ids = {reload["reload_id"] for _, reload in found}
        history = running.history("web")
        assert {r["reload_id"] for r in history} == ids
        assert all(r["verdict"] == "applied" for r in history)
        assert len(ids) <= 4, "late askers may need another, fifty may not"
        assert sum(reload["joined"] for _, reload in found) == 50 - len(ids)


def test_no_wait_and_timeout_leave_the_reload_running(tmp_path: Path) -> None:
    (tmp_path / "web.conf").write_text("good")
    os.mkfifo(tmp_path / "gate")
    gate, check = tmp_path / "gate", sh("cat @DIR@/gate")
    with host(tmp_path, server(tmp_path, "web.conf", check=check)) as running:
        gate.write_text("")
        up(running)
        code, begun = running.ctl("reload", "web", "--no-wait")
        assert (code, begun["verdict"]) == (0, None)
        code, other = running.ctl("reload", "web", "--timeout", "50ms")
        assert (code, other["verdict"]) == (160, None)
        assert running.text("show", begun["reload_id"]).returncode == 0
        for reload_id in (begun["reload_id"], other["reload_id"]):
            until(lambda r=reload_id: running.service("web")["running"] == r, "its turn")
            gate.write_text("")
            until(
                lambda r=reload_id: running.ctl("show", r)[1]["verdict"] == "applied", "it is done"
            )


def test_all_is_what_is_wanted_up_and_not_held_in_order(tmp_path: Path) -> None:
    (tmp_path / "web.conf").write_text("good")
    names = ("db", "app", "held", "stopped")
    definition = "".join(
        server(tmp_path, "web.conf", 'after = ["db"]' if n == "app" else "", name=n) for n in names
    )
    with host(tmp_path, definition) as running:
        for name in names:
            up(running, name)
        running.ctl("hold", "held")
        running.ctl("stop", "stopped")
        code, document = running.ctl("reload", "--all")
        assert code == 0
        assert [r["service"] for r in document["reloads"]] == ["db", "app"]


# Output.


def ended(process: subprocess.Popen[bytes]) -> bool:
    """As a person does: once more when nothing happened for a second."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    return process.returncode is not None


def test_logs_show_what_was_printed_and_rotate(tmp_path: Path) -> None:
    talk = "for i in $(seq 2000); do echo line $i; done; printf 'no newline'; exec sleep 1000"
    definition = f'[service.t]\ncommand = {sh(talk)}\nready = {{ after = "0s" }}\n'
    definition += 'logs = { size = "4K", keep = 2 }\n'
    with host(tmp_path, definition) as running:
        running.ready("t")
        until(lambda: running.ctl("logs", "t")[1]["lines"][-1:] == ["no newline"], "all is there")
        lines = running.ctl("logs", "t", "-n", "3")[1]["lines"]
        assert lines == ["line 1999", "line 2000", "no newline"]
        assert running.text("logs", "t", "-n", "2").stdout == "line 2000\nno newline\n"
        files = list((tmp_path / "state" / "logs").glob("t.log*"))
        assert len([f for f in files if f.suffix[1:].isdigit()]) == 2
        assert all(f.stat().st_size <= 8192 for f in files)
        follower = subprocess.Popen(
            [
                *("env", "--default-signal=INT"),  # background jobs of some shells ignore it
                *(sys.executable, "-m", "reloadctl", "--socket", running.socket, "logs", "t", "-f"),
            ],
            stdout=subprocess.PIPE,
            env=clean_env(),
        )
        assert follower.stdout is not None
        with follower.stdout as out:
            while out.readline() != b"line 2000\n":
                pass
            running.ctl("restart", "t")
            while out.readline() != b"line 2000\n":
                pass
            until(lambda: ended(follower), "it ends by Ctrl-C")
            assert follower.returncode in (0, 130, -signal.SIGINT)


# The agent's own life.


def alive(pid: int) -> bool:
    """A zombie whose parent is slow to reap it is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_sigterm_stops_all_or_leaves_all_as_declared(tmp_path: Path) -> None:
    (tmp_path / "web.conf").write_text("good")
    definition = server(tmp_path, "web.conf")
    with host(tmp_path, definition) as running:
        up(running)
        pid = running.pid("web")
        assert running.stop() == 0
        assert not alive(pid)
        assert not running.socket.exists()
        running.define('[agent]\non_terminate = "leave"\n' + definition)
        running.start()
        up(running)
        pid = running.pid("web")
        assert running.stop() == 0
        assert alive(pid)
        replace(tmp_path / "web.conf", "while nobody was there")
        running.start()
        found = running.service("web")
        assert (found["phase"], running.pid("web")) == ("ready", pid)
        until(lambda: running.service("web")["config"]["in_sync"] is False, "the drift is seen")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], running.pid("web")) == (0, "applied", pid)
        assert running.agent is not None
        running.agent.send_signal(signal.SIGINT)
        assert running.agent.wait(20) == 0
        assert not alive(pid)


def test_sigterm_ends_what_hangs_and_a_caller_is_told(tmp_path: Path) -> None:
    """A reload whose check hangs, and a service that ignores TERM, do not keep the agent."""
    (tmp_path / "web.conf").write_text("good")
    check = sh("test -e @DIR@/hang || exit 0; sleep 1000")
    definition = server(tmp_path, "web.conf", check=check)
    stubborn = sh("trap '' TERM; echo $$ > @DIR@/stubborn; while :; do sleep 1000; done")
    definition += (
        f'[service.s]\ncommand = {stubborn}\nready = {{ after = "0s" }}\nstop_timeout = "200ms"\n'
    )
    with host(tmp_path, definition) as running:
        up(running)
        until((tmp_path / "stubborn").exists, "it ignores TERM")
        (tmp_path / "hang").touch()
        told: list[tuple[int, Any]] = []
        asker = threading.Thread(target=lambda: told.append(running.ctl("reload", "web")))
        asker.start()
        until(lambda: running.service("web")["running"], "the check runs")
        assert running.stop() == 0
        asker.join(20)
        assert told[0][0] in (159, 156), told
        assert not alive(int((tmp_path / "stubborn").read_text()))
        (tmp_path / "hang").unlink()
        running.start()
        up(running)
        assert running.history("web")[0]["verdict"] == "cancelled"


def test_a_second_agent_on_the_same_state_says_who_has_it_and_goes(tmp_path: Path) -> None:
    definition = '[service.idle]\ncommand = ["sleep", "1000"]\nready = { after = "0s" }\n'
    with host(tmp_path, definition) as running:
        pid = running.ready("idle")["instances"][0]["pid"]
        assert running.agent is not None
        got = subprocess.run(
            [
                *(sys.executable, "-m", "agentd", "--config", tmp_path / "agentd.toml"),
                *("--state-dir", tmp_path / "state", "--runtime-dir", tmp_path / "run"),
                *("--socket", tmp_path / "other.sock"),
            ],
            capture_output=True,
            text=True,
            timeout=20,
            env=clean_env(),
            check=False,
        )
        assert got.returncode == 1
        assert f"another agentd (pid {running.agent.pid}) holds it" in got.stderr
        assert "Traceback" not in got.stderr
        assert running.pid("idle") == pid


@contextmanager
def tmpfs(directory: Path, size: str) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", directory], check=True
    )
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def can_mount() -> bool:
    return (
        os.getuid() == 0
        and shutil.which("unshare") is not None
        and subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"],
            check=False,
            capture_output=True,
        ).returncode
        == 0
    )


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs the right to mount a tmpfs")


def fill(directory: Path) -> None:
    """To the last page. Unbuffered: a buffer would be written once more when the file is closed."""
    with (
        contextlib.suppress(OSError),
        (directory / "filler").open("wb", buffering=0) as file,
    ):
        while True:
            file.write(b"\0" * 65536)


@needs_mount
def test_a_full_disk_stops_reloads_and_not_services(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("good")
    definition = server(tmp_path, "web.conf", 'backoff = { first = "20ms" }')
    with tmpfs(tmp_path / "state", "4M") as state, host(tmp_path, definition) as running:
        up(running)
        fill(state)
        replace(conf, "two")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (150, "rejected"), reload
        assert reload["error"] in ("journal_unavailable", "snapshot_failed")
        assert "space" in reload["message"].lower(), reload["message"]
        pid = running.pid("web")
        os.kill(pid, signal.SIGKILL)
        until(
            lambda: running.service("web")["instances"] and running.pid("web") != pid, "restarted"
        )
        assert running.service("web")["phase"] in ("starting", "ready")
        (state / "filler").unlink()
        code, reload = running.ctl("reload", "web")
        until(lambda: running.ctl("reload", "web")[0] == 0, "it works again by itself")
        assert "please report" not in running.log()


@needs_mount
def test_a_full_disk_starts_no_next_generation(tmp_path: Path) -> None:
    """The next agent would not know it, nor who serves. Snapshots are not kept, so that only the journal is in the way."""
    (tmp_path / "web.conf").write_text("good")
    definition = f"""[service.web]
command = ["{sys.executable}", "-S", "-c", "import time; time.sleep(1000)"]
inputs = ["@DIR@/web.conf"]
snapshot = false
ready = {{ after = "0.1s" }}
[service.web.reload]
handle = "replace"
"""
    with tmpfs(tmp_path / "state", "4M") as state, host(tmp_path, definition) as running:
        pid = running.ready("web")["instances"][0]["pid"]
        fill(state)
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) in ((151, "refused"), (150, "rejected")), reload
        assert running.pid("web") == pid
        running.kill()
        (state / "filler").unlink()
        running.start()
        assert running.ready("web")["instances"][0]["pid"] == pid
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (0, "applied"), "it works again by itself"
        until(lambda: len(running.service("web")["instances"]) == 1, "the former one ended")
        assert "please report" not in running.log()


@needs_mount
def test_a_read_only_state_directory_is_one_sentence(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "state", "1M") as state:
        subprocess.run(["mount", "-o", "remount,ro", state], check=True)
        lonely = Host(tmp_path, "")
        with pytest.raises(AssertionError, match=r"ended \(1\)"):
            lonely.start()
        assert "Read-only file system" in lonely.log()
        assert "Traceback" not in lonely.log()
        assert str(state) in lonely.log()
