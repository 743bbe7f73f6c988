"""What a reload tells those it starts, asks and signals: its trace, its version, and who they are."""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps_run import HOME
from host import Host, answer, host, public_directory, request, until
from seen import exported, spans

CALLER = f"00-{'ab' * 16}-{'cd' * 8}-01"
NOBODY = "nobody"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can run services as others")


@pytest.fixture
def public_path() -> Iterator[Path]:
    with public_directory() as directory:
        (directory / "report").mkdir()
        (directory / "report").chmod(0o777)
        yield directory


def reporter(directory: Path, *reload: str, service: str = "") -> str:
    (directory / "report").mkdir(exist_ok=True)
    (directory / "input").write_text("1")
    # Not from this checkout: another user may not see it.
    program = directory / "reporter.py"
    program.write_text((HOME / "reporter.py").read_text())
    program.chmod(0o644)
    return "\n".join(
        (
            "[service.app]",
            f'command = ["{python()}", "-S", "@DIR@/reporter.py", "@DIR@/report"]',
            'inputs = ["@DIR@/input"]',
            'ready = "notify"',
            service,
            "[service.app.reload]",
            *reload,
            "",
        )
    )


def python() -> str:
    """One that every user can run."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


def change(running: Host, text: str) -> None:
    (running.dir / "input").write_text(text)


def reported(running: Host, name: str) -> Any:
    path = running.dir / "report" / name
    return json.loads(until(lambda: path.exists() and path.read_text(), f"{name} is written"))


def pairs(env: dict[str, str]) -> dict[str, str]:
    """OTEL_RESOURCE_ATTRIBUTES as a dictionary."""
    found = [pair.partition("=") for pair in env["OTEL_RESOURCE_ATTRIBUTES"].split(",")]
    return {key: value for key, _, value in found}


def starts(running: Host) -> list[Any]:
    """The history with the starts that nobody asked for."""
    s = running.connect()
    s.sendall(request("GET", "/v1/reloads?starts=1", b"", "Connection: close"))
    found: list[Any] = answer(s)[2]["reloads"]
    return found


@pytest.mark.parametrize("handle", ["restart", "replace"])
def test_a_new_process_belongs_to_the_trace_and_knows_its_version(
    handle: str, tmp_path: Path
) -> None:
    service = 'env = { OTEL_RESOURCE_ATTRIBUTES = "team=core,service.instance.id=mine" }'
    with host(tmp_path, reporter(tmp_path, f'handle = "{handle}"', service=service)) as running:
        first = running.ready("app")["instances"][0]["id"]
        change(running, "2")
        code, reload = running.ctl("reload", "app", TRACEPARENT=CALLER)
        assert (code, reload["verdict"], reload["trace_id"]) == (0, "applied", "ab" * 16), reload
        env = reported(running, "start.2.json")["env"]
        found = spans(running, reload["reload_id"])
        assert env["TRACEPARENT"] == f"00-{'ab' * 16}-{found['process.start']['spanId']}-01"
        assert found["reload app"]["parentSpanId"] == "cd" * 8
        until(lambda: len(running.service("app")["instances"]) == 1, "the old one has ended")
        instance = running.service("app")["instances"][0]
        assert instance["id"] != first
        assert pairs(env) == {
            "team": "core",
            "service.instance.id": instance["id"],
            "config.version": reload["version_after"],
            "config.hash": reload["hash_after"],
        }
        own = found["reload.instance"]["of"]
        assert (own["service.name"], own["service.instance.id"]) == ("app", instance["id"])
        assert own["process.pid"] == instance["pid"]
        assert found["reload app"]["of"]["service.name"] == "agentd"
        state = reported(running, "start.2.json")["state"]
        assert (state["traceparent"], state["reload_id"]) == (
            env["TRACEPARENT"],
            reload["reload_id"],
        )


def test_the_first_start_is_a_trace_of_its_own_and_what_is_reloaded_in_place_gets_no_version(
    tmp_path: Path,
) -> None:
    """A version in the resource would be a lie after the first signal."""
    reload = ('signal = "HUP"', 'confirm = [{ log = "reloaded" }]')
    with host(tmp_path, reporter(tmp_path, *reload), TRACEPARENT=CALLER) as running:
        instance = running.ready("app")["instances"][0]
        env = reported(running, "start.1.json")["env"]
        start = starts(running)[-1]
        found = spans(running, start["reload_id"])
        assert start["trigger"] == "start"
        assert start["trace_id"] != "ab" * 16, "the agent's own caller is not everybody's"
        step = found["process.start"]["spanId"]
        assert env["TRACEPARENT"] == f"00-{start['trace_id']}-{step}-01"
        assert pairs(env) == {"service.instance.id": instance["id"]}
        assert found["reload.instance"]["of"]["service.instance.id"] == instance["id"]


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_before_a_signal_the_state_file_is_there_for_the_service_and_nobody_else(
    umask: int, public_path: Path
) -> None:
    reload = ('signal = "HUP"', 'confirm = [{ log = "reloaded" }]')
    text = reporter(public_path, *reload, service=f'user = "{NOBODY}"')
    (public_path / "input").chmod(0o644)
    before = os.umask(umask)
    try:
        with host(public_path, text) as running:
            instance = running.ready("app")["instances"][0]
            change(running, "2")
            code, done = running.ctl("reload", "app", TRACEPARENT=CALLER)
            assert (code, done["verdict"]) == (0, "applied"), done
            seen = reported(running, "hangup.json")
            assert (seen["mode"], seen["uid"]) == (0o600, pwd.getpwnam(NOBODY).pw_uid)
            step = spans(running, done["reload_id"])["signal SIGHUP"]["spanId"]
            assert seen["traceparent"] == f"00-{'ab' * 16}-{step}-01"
            assert seen["reload_id"] == done["reload_id"]
            assert seen["config_hash"] == done["hash_after"] != done["hash_before"]
            assert seen["config_version"] == done["version_after"]
            assert seen["service_instance_id"] == instance["id"]
            assert running.service("app")["instances"][0]["id"] == instance["id"]
            own = spans(running, done["reload_id"])["reload.instance"]["of"]
            assert own["service.instance.id"] == instance["id"]
    finally:
        os.umask(before)


def test_a_check_belongs_to_the_trace(tmp_path: Path) -> None:
    check = tmp_path / "check.sh"
    check.write_text('#!/bin/sh\necho "$TRACEPARENT" > "$0.seen"\n')
    check.chmod(0o755)
    reload = ('signal = "HUP"', 'confirm = [{ log = "reloaded" }]', f'check = ["{check}"]')
    with host(tmp_path, reporter(tmp_path, *reload)) as running:
        running.ready("app")
        change(running, "2")
        code, done = running.ctl("reload", "app")
        assert (code, done["verdict"]) == (0, "applied"), done
        step = spans(running, done["reload_id"])["check.sh"]["spanId"]
        assert (tmp_path / "check.sh.seen").read_text() == f"00-{done['trace_id']}-{step}-01\n"


INTERNAL = 1
"""SpanKind as OTLP counts it."""


def linked(span: Any) -> list[tuple[str, str]]:
    return [(link["traceId"], link["spanId"]) for link in span["links"]]


def test_who_does_not_wait_is_linked_and_so_is_who_joins(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = json.dumps(["/bin/sh", "-c", f"cat {gate} > /dev/null"])
    reload = ('handle = "exec"', f"command = {command}", 'confirm = ["reply"]')
    callers = [f"00-{digit * 32}-{digit * 16}-01" for digit in "123"]
    with host(tmp_path, reporter(tmp_path, *reload)) as running:
        running.ready("app")
        asked = [
            running.ctl("reload", "app", "--no-wait", TRACEPARENT=caller)[1] for caller in callers
        ]
        runs, waits, joins = (one["reload_id"] for one in asked)
        assert (joins, asked[2]["joined"]) == (waits, True)
        assert waits != runs
        for which in (runs, waits):  # one after the other: both words would reach the first
            gate.write_text("go")
            code, done = running.ctl("wait", which)
        assert (code, done["verdict"]) == (0, "applied"), done
        root = spans(running, waits)["reload app"]
        assert (root.get("parentSpanId"), root["kind"]) == (None, INTERNAL)
        assert root["traceId"] == asked[1]["trace_id"] == done["trace_id"]
        assert linked(root) == [("2" * 32, "2" * 16), ("3" * 32, "3" * 16)]
        assert root["said"]["reload.coalesced_events"] == 2
        assert linked(spans(running, runs)["reload app"]) == [("1" * 32, "1" * 16)]
        ids = [span["spanId"] for span in exported(running, waits)]
        assert len(ids) == len(set(ids))
