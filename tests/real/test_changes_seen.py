"""How files change in real life, and that each change is one reload of exactly what was meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host import Host, host, until
from reading import is_loaded, loaded, replace, server, up

PAUSE = 0.2
WRITER = """import sys, time
path, pause, times = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
with open(path, "w") as file:
    file.flush()
    for n in range(times):
        time.sleep(pause)
        file.write("n" if n else "new")
        file.flush()
"""
"""Another program that takes its time with a file."""


@contextmanager
def watching(directory: Path, inputs: str, *more: str, debounce: str = "100ms") -> Iterator[Host]:
    watch = f'watch = {{ debounce = "{debounce}" }}'
    with host(directory, server(directory, inputs, watch, *more)) as running:
        up(running)
        yield running


def by_watch(running: Host) -> list[Any]:
    return [r for r in running.history("web") if r["trigger"] == "watch"]


def ended(running: Host) -> None:
    until(
        lambda: (found := by_watch(running)) and all(r["verdict"] for r in found), "all have ended"
    )


def only(running: Host, conf: Path, was: str) -> None:
    """What was written is loaded by one reload: the next edit is the second, and there is none between."""
    is_loaded(running, was)
    ended(running)
    replace(conf, "the next edit")
    is_loaded(running, "the next edit")
    ended(running)
    assert [r["verdict"] for r in by_watch(running)] == ["applied", "applied"]
    assert loaded(running) == ["old", was, "the next edit"]


def moved_away(conf: Path) -> None:
    conf.rename(conf.with_name("web.conf~"))
    time.sleep(PAUSE / 2)
    conf.write_text("new")


def deleted(conf: Path) -> None:
    conf.with_name(".web.conf.swp").write_text("new")
    conf.unlink()
    time.sleep(PAUSE / 2)
    conf.with_name(".web.conf.swp").rename(conf)


def in_place(conf: Path) -> None:
    with conf.open("r+") as file:
        file.truncate(0)
        file.write("new")


@pytest.mark.parametrize("save", [moved_away, deleted, in_place])
def test_an_editor_s_save_is_one_reload(save: Callable[[Path], None], tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("old")
    with watching(tmp_path, "web.conf", debounce="200ms") as running:
        save(conf)
        only(running, conf, "new")


def test_what_is_truncated_and_then_written_is_never_loaded_empty(tmp_path: Path) -> None:
    """The file is empty for longer than the debounce: what was full is missing then, not an empty configuration."""
    conf = tmp_path / "web.conf"
    conf.write_text("old")
    with watching(tmp_path, "web.conf", debounce="50ms") as running:
        subprocess.run([sys.executable, "-S", "-c", WRITER, conf, str(PAUSE), "1"], check=True)
        only(running, conf, "new")


def test_a_file_renamed_over_twice_is_seen_twice(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("old")
    with watching(tmp_path, "web.conf") as running:
        replace(conf, "new")
        only(running, conf, "new")


def test_eleven_files_written_together_are_one_reload(tmp_path: Path) -> None:
    parts = tmp_path / "conf.d"
    parts.mkdir()
    for n in range(11):
        (parts / f"{n:02}.conf").write_text("old")
    with watching(tmp_path, "conf.d", debounce="300ms") as running:
        for n in range(11):
            replace(parts / f"{n:02}.conf", f"new{n}")
            time.sleep(0.025)
        is_loaded(running, " ".join(f"new{n}" for n in range(11)))
        replace(parts / "00.conf", "next")
        until(lambda: loaded(running)[-1].startswith("next"), "the next edit is loaded")
        assert len(by_watch(running)) == 2
        assert len(next(r for r in by_watch(running)[::-1])["changed"]) == 11


def test_a_file_that_never_rests_is_loaded_within_the_settle_limit(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("old")
    limited = 'watch = { debounce = "200ms", settle_limit = "800ms" }'
    with host(tmp_path, server(tmp_path, "web.conf", limited)) as running:
        up(running)
        argv = [sys.executable, "-S", "-c", WRITER, conf, "0.05", "1000"]
        with subprocess.Popen(argv) as writer:
            try:
                until(lambda: loaded(running)[-1] != "old", "something of it is loaded", 10)
                took = [r["duration_ms"] for r in by_watch(running)]
                assert took
                assert min(took) < 3000
            finally:
                writer.kill()


def test_a_file_that_changes_while_it_is_checked_is_loaded_by_another_reload(
    tmp_path: Path,
) -> None:
    """The one that was checked is not called applied; what came meanwhile follows."""
    conf, gate = tmp_path / "web.conf", tmp_path / "gate"
    conf.write_text("old")
    check = (
        f"""["/bin/sh", "-c", "test ! -e {gate} || {{ touch {tmp_path}/checks; cat {gate}; }}"]"""
    )
    with host(tmp_path, server(tmp_path, "web.conf", check=check)) as running:
        up(running)
        os.mkfifo(gate)
        replace(conf, "first")
        _, asked = running.ctl("reload", "web", "--no-wait")
        until((tmp_path / "checks").exists, "it is being checked")
        replace(conf, "second")
        gate.write_text("")
        gate.unlink()
        first = running.ctl("wait", asked["reload_id"])[1]
        assert (first["verdict"], first["error"]) == ("unverified", "inputs_moved")
        is_loaded(running, "second")
        follower = until(
            lambda: next((r for r in running.history("web") if r["verdict"] == "applied"), None),
            "another reload follows",
        )
        assert follower["version_after"] == running.service("web")["config"]["version"]


def test_a_link_that_leads_nowhere_and_one_in_a_circle_are_named(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("old")
    with watching(tmp_path, "web.conf") as running:
        before = running.pid("web")
        for target in ("nowhere", "web.conf"):
            conf.unlink()
            conf.symlink_to(target)
            code, reload = running.ctl("reload", "web")
            assert (code, reload["verdict"]) == (150, "rejected")
            assert str(conf) in reload["message"]
        conf.unlink()
        with conf.open("wb") as file:
            file.truncate(100 * 1024 * 1024)  # more than one input may have
        code, reload = running.ctl("reload", "web")
        assert (code, reload["error"]) == (150, "oversized_input")
        assert (running.pid("web"), loaded(running)) == (before, ["old"])


def test_a_server_that_ignores_the_signal_is_not_called_reloaded(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("old")
    with host(tmp_path, server(tmp_path, "web.conf", timeout="300ms")) as running:
        up(running)
        pid = running.pid("web")
        os.kill(pid, signal.SIGSTOP)  # the signal waits with it
        try:
            replace(conf, "new")
            code, reload = running.ctl("reload", "web")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (code, reload["verdict"]) == (153, "timed_out")
        assert running.pid("web") == pid
