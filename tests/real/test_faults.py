"""Faults of the machine, not of a service: each costs what agentd(8) says under FAULTS, and no more."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from host import Host, Nginx, host, load, public_directory, until
from ordinary import NOBODY, PYTHON, UserHost, possible
from reading import is_loaded, loaded, replace, server, up

BACKOFF = (
    'backoff = { first = "20ms", max = "20ms" }\nstart_limit = { burst = 1000, interval = "1s" }'
)
FEW = ["unshare", "--user", "--map-root-user"]


class Limit(StrEnum):
    """As prlimit(1) calls it."""

    NOFILE = "nofile"
    NPROC = "nproc"

    @property
    def words(self) -> str:
        """As /proc/PID/limits does."""
        return {"nofile": "Max open files", "nproc": "Max processes"}[self]


def agent(running: Host) -> int:
    assert running.agent is not None
    return running.agent.pid


@contextmanager
def limited(pid: int, what: Limit, most: int) -> Iterator[None]:
    """That process has a lower limit meanwhile. Its own user sets it, for which nobody needs a privilege."""
    user, group = Path(f"/proc/{pid}").owner(), Path(f"/proc/{pid}").group()
    before = Path(f"/proc/{pid}/limits").read_text()
    soft = next(line.split()[3] for line in before.splitlines() if what.words in line)

    def set_to(value: str) -> None:
        words = ["prlimit", f"--pid={pid}", f"--{what}={value}:"]
        subprocess.run(words, user=user, group=group, extra_groups=[], check=True)

    set_to(str(most))
    try:
        yield
    finally:
        set_to(soft)


def ready_as(running: Host, pid: int) -> None:
    """It is another process than this one."""

    def look() -> Any:
        found = running.service("web")
        return found["phase"] == "ready" and found["instances"][0]["pid"] != pid

    until(look, f"it is started again; {running.log()[-1000:]}")


def test_without_descriptors_a_start_is_tried_again_until_there_are_some(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    with host(tmp_path, server(tmp_path, "web.conf", BACKOFF)) as running:
        up(running)
        pid = running.pid("web")
        open_now = sum(1 for _ in Path(f"/proc/{agent(running)}/fd").iterdir())
        with limited(agent(running), Limit.NOFILE, open_now):
            os.kill(pid, signal.SIGKILL)
            until(lambda: "Too many open files" in running.log(), "it cannot be started")
        ready_as(running, pid)
        replace(conf, "two")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], loaded(running)[-1]) == (0, "applied", "two")
        assert "please report" not in running.log()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_without_room_for_a_process_a_start_is_tried_again_until_there_is() -> None:
    """RLIMIT_NPROC is not for root: the agent is another user's."""
    with public_directory() as directory:
        if not possible(directory):
            pytest.skip(f"{NOBODY} cannot run {PYTHON} on this checkout")
        (directory / "web.conf").write_text("one")
        definition = server(directory, "web.conf", BACKOFF).replace(sys.executable, PYTHON)
        shutil.chown(directory, NOBODY, "nogroup")
        running = UserHost(directory, definition)
        try:
            running.start()
            up(running)
            pid = running.pid("web")
            with limited(spawner(agent(running)), Limit.NPROC, 0):
                os.kill(pid, signal.SIGKILL)
                until(lambda: "temporarily unavailable" in running.log(), "it cannot be started")
            ready_as(running, pid)
            assert running.ctl("reload", "web")[0] == 0
            assert "please report" not in running.log()
        finally:
            running.stop()


def spawner(pid: int) -> int:
    """The process that forks for the agent."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (one,) = (p for p in found if "spawner" in Path(f"/proc/{p}/cmdline").read_text())
    return int(one)


def test_a_stopped_agent_costs_clients_nothing_and_goes_on_with_what_was_asked(
    tmp_path: Path,
) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        running.ready("web")
        pid = running.pid("web")
        with load(nginx.port, 200) as counts:
            os.kill(agent(running), signal.SIGSTOP)
            try:
                nginx.serve("two")
                begun = time.monotonic()
                late = running.text("reload", "web", "--timeout", "1s")
                waited = time.monotonic() - begun
            finally:
                os.kill(agent(running), signal.SIGCONT)
            until(lambda: nginx.get() == "two", "what was asked for meanwhile is done")
        assert late.returncode == 156
        assert "is silent, it may be stopped or overloaded; the reload may go on" in late.stderr
        assert waited < 20, "it was to wait one second, and not for ever for the agent's word"
        assert counts["bad"] == {}
        assert running.pid("web") == pid
        (reload,) = until(lambda: ended(running), "its reload has ended")
        assert reload["verdict"] == "applied"


def ended(running: Host) -> list[Any]:
    """Its reloads, once none is under way."""
    return [] if running.service("web")["running"] else running.history("web")


def test_at_the_limit_of_watches_changes_are_found_by_the_rescan(tmp_path: Path) -> None:
    probe = [*FEW, "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_watches"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs a user namespace of its own")
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
exec {" ".join(FEW)} sh -c 'echo 0 > /proc/sys/user/max_inotify_watches; exec "$@"' sh {sys.executable} "$@"
""")
    python.chmod(0o755)
    running = Host(tmp_path, server(tmp_path, "web.conf", 'watch = { rescan = "200ms" }'))
    running.python = str(python)
    try:
        running.start()
        up(running)
        replace(conf, "two")
        is_loaded(running, "two")
        (reload,) = running.history("web")
        assert (reload["trigger"], reload["verdict"]) == ("watch", "applied")
        said = "the limit fs.inotify.max_user_watches is reached; changes of web are found by the rescan"
        assert running.log().count(said) == 1
    finally:
        running.stop()


def test_five_hundred_that_crash_keep_nobody_from_a_reload(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    crowd = "\n".join(
        f'[service.crash{n}]\ncommand = ["/bin/false"]\nbackoff = {{ first = "1s", max = "1s" }}\n'
        'start_limit = { burst = 1000, interval = "1s" }'
        for n in range(500)
    )
    with host(tmp_path, f"{server(tmp_path, 'web.conf')}\n{crowd}") as running:
        up(running)
        until(lambda: restarts(running) > 500, "they have been started again")
        for said in ("two", "three"):
            replace(conf, said)
            code, reload = running.ctl("reload", "web")
            assert (code, reload["verdict"], loaded(running)[-1]) == (0, "applied", said)
        until(lambda: restarts(running) > 1000, "and again, all the time")
        assert "please report" not in running.log()


def restarts(running: Host) -> int:
    services = running.ctl("status")[1]["services"]
    return sum(s["restarts"] for s in services if s["name"].startswith("crash"))
