"""Handle ``notify`` on a service that says by hand what it does, and on HAProxy."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps_run import HOME, Told, get
from host import Host, free_port, host, until

RELOADING, READY = ["RELOADING"], ["READY"]


@contextlib.contextmanager
def telling(directory: Path, timeout: str = "10s") -> Iterator[tuple[Host, Told]]:
    """The service, ready; what it shall say at its next reload is written to its input."""
    told = Told(directory)
    definition = f"""[service.app]
command = ["{sys.executable}", "-S", "{HOME}/telling.py"]
env = {{ APP_FILE = "@DIR@/app.json" }}
inputs = ["@DIR@/app.json"]
ready = "notify"
[service.app.reload]
handle = "notify"
timeout = "{timeout}"
"""
    with host(directory, definition) as running:
        running.ready("app")
        yield running, told


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"say": [RELOADING, READY]}, id="two datagrams"),
        pytest.param({"say": [RELOADING, READY], "pause_s": 1}, id="slow"),
        pytest.param({"say": [["RELOADING", "READY"]]}, id="one datagram"),
        pytest.param({"say": [["READY", "RELOADING"]]}, id="one datagram the other way round"),
        pytest.param({"say": [RELOADING, ["STATUS=half"], ["READY", "STATUS=all"]]}, id="status"),
        pytest.param({"say": [RELOADING, ["READY", "HASH"]]}, id="its own hash"),
        pytest.param({"say": [RELOADING, ["READY", "ERRNO=0"]]}, id="errno 0 is none"),
    ],
)
def test_a_service_that_says_it_has_reloaded_is_believed(
    said: dict[str, Any], tmp_path: Path
) -> None:
    with telling(tmp_path) as (running, told):
        before = running.pid("app")
        told(version=2, **said)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        grade = "proven" if "HASH" in said["say"][-1] else "observed"
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("notify", grade)
        assert reload["duration_ms"] >= 1000 * said.get("pause_s", 0)
        found = running.service("app")
        assert found["config"]["live"] == reload["hash_after"]
        assert found["instances"][0]["pid"] == before


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([RELOADING, ["READY", "ERRNO=22", "STATUS=port out of range"]], "port out of range"),
        ([RELOADING, ["ERRNO=22"], READY], "errno 22"),
        ([RELOADING, ["READY", "X_AGENTD_RELOAD_RESULT=failed", "STATUS=no such pool"]], "no such"),
        ([["RELOADING", "READY", "X_AGENTD_RELOAD_RESULT=failed"]], "it says that it failed"),
        ([RELOADING, ["READY", "STATUS=Reload failed!"]], "Reload failed!"),  # HAProxy 3.0
        ([RELOADING, ["READY", f"X_AGENTD_CONFIG_HASH=sha256:{'ab' * 32}"]], "abababababab"),
    ],
)
def test_a_service_that_says_no_is_refused_with_its_reason(
    said: list[list[str]], why: str, tmp_path: Path
) -> None:
    with telling(tmp_path) as (running, told):
        before = running.service("app")
        told(version=2, say=said)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (151, "refused"), reload
        assert why in reload["message"]
        after = running.service("app")
        assert after["config"]["live"] == before["config"]["live"]
        assert after["instances"][0]["pid"] == before["instances"][0]["pid"]
        told(version=3, say=[RELOADING, READY])
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"say": [RELOADING, READY], "stale": True}, id="an hour old"),
        pytest.param({"say": []}, id="nothing"),
        pytest.param({"say": [READY]}, id="ready without reloading"),
        pytest.param({"say": [["RELOADING=1"], READY]}, id="reloading without a time"),
        pytest.param({"say": [RELOADING]}, id="never done"),
        pytest.param({"say": [READY, RELOADING]}, id="ready before reloading"),
    ],
)
def test_what_proves_nothing_is_waited_for_until_the_timeout(
    said: dict[str, Any], tmp_path: Path
) -> None:
    with telling(tmp_path, "500ms") as (running, told):
        before = running.pid("app")
        told(version=2, **said)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (153, "timed_out"), reload
        assert reload["duration_ms"] >= 500
        found = running.service("app")
        assert (found["phase"], found["instances"][0]["pid"]) == ("ready", before)
        assert found["config"]["live"] is None, "what it runs is not known"
        told(version=3, say=[RELOADING, READY])
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload


def test_a_service_that_dies_of_its_reload_has_failed(tmp_path: Path) -> None:
    with telling(tmp_path) as (running, told):
        told(version=2, die=True)
        began = time.monotonic()
        code, reload = running.ctl("reload", "app")
        assert time.monotonic() - began < 5, "its end was not taken for an answer"
        assert (code, reload["verdict"]) == (158, "failed"), reload
        assert "exit code 4" in reload["message"], reload
        assert reload["output"][-1:] == ["told to die"]


class Haproxy:
    """A real master and its worker; what it is asked for answers with a word of its file."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.path = directory / "ha.cfg"
        self.serve("one")

    def serve(self, word: str, broken: str = "") -> None:
        new = self.path.with_suffix(".new")
        new.write_text(f"""defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:{self.port}
  http-request return status 200 content-type text/plain string {word}
{broken}
""")
        new.rename(self.path)

    def definition(self, *more: str) -> str:
        return "\n".join(
            (
                "[service.lb]",
                'command = ["/usr/sbin/haproxy", "-Ws", "-f", "@DIR@/ha.cfg"]',
                'inputs = ["@DIR@/ha.cfg"]',
                'ready = "notify"',
                "[service.lb.reload]",
                'signal = "USR2"',
                'timeout = "1s"',
                *more,
                "",
            )
        )


has_haproxy = pytest.mark.skipif(
    not shutil.which("/usr/sbin/haproxy"), reason="haproxy is not installed"
)


@has_haproxy
@pytest.mark.parametrize("handle", ["notify", "signal"])
def test_haproxy_says_ready_after_a_file_it_could_not_load_and_is_not_believed(
    handle: str, tmp_path: Path
) -> None:
    """2.6 sends RELOADING=1 without MONOTONIC_USEC and then READY=1, 3.0 READY=1 with STATUS=Reload failed!"""
    balancer = Haproxy(tmp_path)
    confirm = ["confirm = ['workers']"] if handle == "signal" else []
    more = (f'handle = "{handle}"', *confirm)
    with host(tmp_path, balancer.definition(*more)) as running:
        running.ready("lb")
        assert get(balancer.port) == "one"
        balancer.serve("two", "  nonsense here")
        code, reload = running.ctl("reload", "lb")
        assert (code, reload["verdict"]) in ((153, "timed_out"), (151, "refused")), reload
        assert get(balancer.port) == "one", "the old worker serves"
        assert running.service("lb")["phase"] == "ready"


@has_haproxy
def test_haproxy_takes_a_good_file_by_a_signal_and_new_workers_prove_it(tmp_path: Path) -> None:
    balancer = Haproxy(tmp_path)
    check = 'check = ["/usr/sbin/haproxy", "-c", "-f", "@DIR@/ha.cfg"]'
    with host(tmp_path, balancer.definition("confirm = ['workers']", check)) as running:
        before = running.ready("lb")["instances"][0]["pid"]
        balancer.serve("two")
        code, reload = running.ctl("reload", "lb")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("workers", "observed")
        until(lambda: get(balancer.port) == "two", "the new worker serves")
        balancer.serve("three", "  nonsense here")
        code, reload = running.ctl("reload", "lb")
        assert (code, reload["verdict"]) == (150, "rejected"), reload
        assert any("unknown keyword 'nonsense'" in line for line in reload["output"])
        assert get(balancer.port) == "two"
        assert running.pid("lb") == before
