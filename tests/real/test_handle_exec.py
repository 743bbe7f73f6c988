"""Handle ``exec``: nginx by its own ``-s reload``, and commands that say yes, no, nothing, or are not there."""

from __future__ import annotations

import json
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import Host, Nginx, host, public_directory, until
from seen import alive, spans

NOBODY = "nobody"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can run services as others")


@pytest.fixture
def public_path() -> Iterator[Path]:
    with public_directory() as directory:
        yield directory


def asked(directory: Path, script: str, *more: str, service: str = "") -> str:
    """A service that reads nothing and is reloaded by a shell script."""
    path = directory / "reload.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    (directory / "input").write_text("1")
    return "\n".join(
        (
            "[service.app]",
            'command = ["/bin/sleep", "1000"]',
            'ready = { after = "0s" }',
            'inputs = ["@DIR@/input"]',
            service,
            "[service.app.reload]",
            'handle = "exec"',
            'command = ["@DIR@/reload.sh", "secret-argument"]',
            *more,
            "",
        )
    )


def reloaded(running: Host) -> tuple[int, Any]:
    """One more change, and what came of it."""
    (running.dir / "input").write_text("2")
    return running.ctl("reload", "app")


def test_nginx_by_its_own_command(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    command = (
        'command = ["/usr/sbin/nginx", "-s", "reload", "-p", "@DIR@/", "-c", "@DIR@/nginx.conf"]'
    )
    definition = nginx.definition + f'[service.web.reload]\nhandle = "exec"\n{command}\n'
    with host(tmp_path, definition) as running:
        before = running.ready("web")
        nginx.serve("two")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert (reload["handle"], reload["confirmation"]) == ("exec", "workers")
        assert nginx.get() == "two"
        assert running.pid("web") == before["instances"][0]["pid"]
        assert {"nginx", "reload.apply", "reload.confirm"} <= spans(
            running, reload["reload_id"]
        ).keys()
        nginx.serve("three", "nonsense;")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (150, "rejected"), reload
        assert nginx.get() == "two"


def test_nginx_that_cannot_load_the_file_says_no_by_the_command_itself(tmp_path: Path) -> None:
    """Without a check: ``nginx -s reload`` reads the file before it signals."""
    nginx = Nginx(tmp_path)
    command = (
        'command = ["/usr/sbin/nginx", "-s", "reload", "-p", "@DIR@/", "-c", "@DIR@/nginx.conf"]'
    )
    check = 'check = ["true"]'
    definition = nginx.definition + "included = false\n"  # what lists files would have noticed it
    definition += f'[service.web.reload]\nhandle = "exec"\n{command}\n{check}\n'
    with host(tmp_path, definition) as running:
        before = running.ready("web")
        nginx.serve("two", "nonsense;")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (151, "refused", "exit_1"), reload
        assert any('unknown directive "nonsense"' in line for line in reload["output"]), reload
        assert nginx.get() == "one"
        assert running.service("web")["config"]["live"] == before["config"]["live"]


def test_exit_code_zero_is_a_yes_and_says_something_only_where_that_is_declared(
    tmp_path: Path,
) -> None:
    with host(tmp_path, asked(tmp_path, "exit 0", 'confirm = ["reply"]')) as running:
        running.ready("app")
        code, reload = reloaded(running)
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("reply", "observed")
        step = spans(running, reload["reload_id"])["reload.sh"]
        assert "secret-argument" not in json.dumps(step)
    with host(tmp_path, asked(tmp_path, "exit 0")) as running:
        running.ready("app")
        code, reload = reloaded(running)
        assert (code, reload["verdict"]) == (154, "unverified"), reload


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo no such pool >&2; exit 3", "exit_3"),
        ("echo no such pool; kill -SEGV $$", f"exit_{128 + signal.SIGSEGV}"),
    ],
)
def test_another_exit_code_is_a_no_with_its_output(script: str, error: str, tmp_path: Path) -> None:
    with host(tmp_path, asked(tmp_path, script, 'confirm = ["reply"]')) as running:
        before = running.ready("app")
        code, reload = reloaded(running)
        assert (code, reload["verdict"], reload["error"]) == (151, "refused", error), reload
        assert "no such pool" in reload["output"]
        after = running.service("app")
        assert after["config"]["live"] == before["config"]["live"]
        assert after["instances"][0]["pid"] == before["instances"][0]["pid"]
        assert spans(running, reload["reload_id"])["reload.sh"]["said"]["error.type"] == error


def test_a_command_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    script = 'sleep 500 & echo $! $$ > "$0.pids.new"; mv "$0.pids.new" "$0.pids"; wait'
    limits = ('confirm = ["reply"]', 'timeout = "500ms"')
    with host(tmp_path, asked(tmp_path, script, *limits)) as running:
        before = running.ready("app")["instances"][0]["pid"]
        code, reload = reloaded(running)
        assert (code, reload["verdict"]) == (153, "timed_out"), reload
        assert 500 <= reload["duration_ms"] < 5000
        assert "was left alone" in reload["message"]
        pids = [int(word) for word in (tmp_path / "reload.sh.pids").read_text().split()]
        assert len(pids) == 2
        until(lambda: not any(alive(pid) for pid in pids), "the command's group is gone")
        found = running.service("app")
        assert (found["phase"], found["instances"][0]["pid"]) == ("ready", before)


def test_a_program_that_is_not_there_has_touched_nothing(tmp_path: Path) -> None:
    with host(tmp_path, asked(tmp_path, "exit 0", 'confirm = ["reply"]')) as running:
        before = running.ready("app")
        (tmp_path / "reload.sh").unlink()
        code, reload = reloaded(running)
        assert (code, reload["verdict"]) == (150, "rejected"), reload
        assert "reload.sh: No such file or directory" in reload["message"]
        assert running.service("app")["config"]["live"] == before["config"]["live"]


@needs_root
def test_the_command_runs_as_the_service_does_and_belongs_to_the_trace(public_path: Path) -> None:
    report = public_path / "report"
    report.mkdir(mode=0o777)
    report.chmod(0o777)
    script = f"id -u > {report}/uid; env > {report}/env"
    service = f'user = "{NOBODY}"\nenv = {{ POOL = "seven" }}'
    text = asked(public_path, script, 'confirm = ["reply"]', service=service)
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with host(public_path, text) as running:
        running.ready("app")
        (public_path / "input").write_text("2")
        code, reload = running.ctl("reload", "app", TRACEPARENT=parent)
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert reload["trace_id"] == "ab" * 16
        assert int((report / "uid").read_text()) == pwd.getpwnam(NOBODY).pw_uid
        env = dict(line.split("=", 1) for line in (report / "env").read_text().splitlines())
        step = spans(running, reload["reload_id"])["reload.sh"]
        assert env["TRACEPARENT"] == f"00-{reload['trace_id']}-{step['spanId']}-01"
        assert (env["POOL"], env["USER"], env["AGENTD_SERVICE"]) == ("seven", NOBODY, "app")
        assert "NOTIFY_SOCKET" not in env
