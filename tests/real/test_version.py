"""Evidence ``version`` and ``changes``: what nginx, Prometheus and a small server say of themselves, and one that lies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from apps_run import HOME, Told
from host import Host, Nginx, free_port, host, until

BY_TEXT = '{ http = "http://127.0.0.1:@PORT@/version", expect = "{version}" }'
BY_JSON = '{ http = "http://127.0.0.1:@PORT@/json", path = "config.version", expect = "{version}" }'
BY_COMMAND = '{ exec = ["curl", "-fsS", "http://127.0.0.1:@PORT@/version"], expect = "{version}" }'
BY_RESULT = (
    '{ http = "http://127.0.0.1:@PORT@/metrics", metric = "ok", expect = "1", changes = "exact" }'
)
BY_COUNTER = '{ http = "http://127.0.0.1:@PORT@/json", path = "n", changes = true }'


@contextlib.contextmanager
def naming(
    directory: Path, confirm: str, lie: str = "", more: str = ""
) -> Iterator[tuple[Host, Told]]:
    """The server that says what it runs, ready; ``confirm`` has its port for @PORT@."""
    told, port = Told(directory), free_port()
    definition = f"""[service.app]
command = ["{sys.executable}", "-S", "{HOME}/naming.py", "{port}"]
env = {{ APP_FILE = "@DIR@/app.json", APP_LIE = "{lie}" }}
inputs = ["@DIR@/app.json"]
version = {{ file = "@DIR@/app.json", path = "version" }}
ready = {{ http = "http://127.0.0.1:{port}/version" }}
[service.app.reload]
confirm = [{confirm}]
timeout = "1s"
{more}
"""
    with host(directory, definition.replace("@PORT@", str(port))) as running:
        running.ready("app")
        yield running, told


@pytest.mark.parametrize(
    "confirm",
    [
        BY_TEXT,
        BY_JSON,
        BY_RESULT,
        pytest.param(
            BY_COMMAND, marks=pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
        ),
    ],
    ids=["text", "json", "result", "command"],
)
def test_what_it_says_it_runs_is_proof(tmp_path: Path, confirm: str) -> None:
    with naming(tmp_path, confirm) as (running, told):
        told(version="2")
        code, reload = running.ctl("reload", "app", "--require-proof")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("version", "proven")
        assert running.service("app")["config"]["version"] == "2"
        code, again = running.ctl("reload", "app", "--require-proof")
        assert (code, again["verdict"]) == (0, "applied"), again


def test_a_counter_that_moved_is_observed_and_no_proof(tmp_path: Path) -> None:
    with naming(tmp_path, BY_COUNTER) as (running, told):
        told(version="2")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("changes", "observed")
        code, reload = running.ctl("reload", "app", "--require-proof")
        assert (code, reload["verdict"]) == (154, "unverified")


def test_one_that_reads_its_file_when_it_is_asked_proves_nothing(tmp_path: Path) -> None:
    with naming(tmp_path, BY_TEXT, "disk") as (running, told):
        told(version="2")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"], reload["error"]) == (154, "unverified", "no_evidence")
        assert running.service("app")["config"]["live"] is None


def test_one_that_is_deaf_says_what_it_still_runs_until_the_timeout(tmp_path: Path) -> None:
    with naming(tmp_path, BY_TEXT, "deaf") as (running, told):
        told(version="2")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (153, "timed_out")
        assert "it last answered 1" in running.text("show", "app").stdout


def test_evidence_that_comes_late_makes_live_known_and_the_verdict_stays(tmp_path: Path) -> None:
    with naming(tmp_path, BY_TEXT, "late") as (running, told):
        told(version="2")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (153, "timed_out")
        after = until(
            lambda: (s := running.service("app"))["config"]["live"] and s, "late evidence"
        )
        assert (after["config"]["version"], after["last_reload"]["verdict"]) == ("2", "timed_out")
        assert f"app runs 2 after all: late version of {reload['reload_id']}" in running.log()


REPORT = 'report = { http = "http://127.0.0.1:@PORT@/pending" }'


def test_what_was_not_taken_is_named_and_the_reload_is_partial(tmp_path: Path) -> None:
    with naming(tmp_path, BY_TEXT, more=REPORT) as (running, told):
        told(version="2", settings=["max_connections", "shared_buffers"])
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"], reload["status"]) == (157, "partial", "partial")
        assert reload["not_taken"] == ["max_connections", "shared_buffers"]
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("version", "proven")
        assert running.service("app")["config"]["version"] == "2"
        shown = running.text("show", "app").stdout
        assert "not taken, or only after a restart: max_connections, shared_buffers" in shown
        told(version="3")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"], reload["not_taken"]) == (0, "applied", [])


def test_without_the_report_nobody_knows_whether_all_was_taken(tmp_path: Path) -> None:
    report = 'report = { exec = ["false"] }'
    with naming(tmp_path, BY_TEXT, more=report) as (running, told):
        told(version="2")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"], reload["error"]) == (154, "unverified", "no_report")
        assert "cannot be asked: exit code 1" in running.text("show", "app").stdout


def test_a_result_that_turns_false_is_a_refusal(tmp_path: Path) -> None:
    with naming(tmp_path, BY_RESULT) as (running, told):
        before = running.service("app")["config"]["live"]
        told(version="2", refuse=True)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"], reload["error"]) == (151, "refused", "contradicted")
        assert running.service("app")["config"]["live"] == before
        told(version="3")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"], reload["confirmation_grade"]) == (0, "applied", "proven")


def test_an_answer_of_another_process_counts_for_nothing(tmp_path: Path) -> None:
    """Beside the service somebody else listens where it is asked, and says what is wanted."""
    with naming(tmp_path, BY_TEXT) as (other, told):
        there = tmp_path / "mine"
        there.mkdir()
        with naming(there, "") as (running, mine):
            text = (there / "agentd.toml").read_text()
            port = (
                (tmp_path / "agentd.toml")
                .read_text()
                .partition('naming.py", "')[2]
                .partition('"')[0]
            )
            confirm = BY_TEXT.replace("@PORT@", port)
            running.define(text.replace("confirm = []", f"confirm = [{confirm}]"))
            assert running.ctl("apply")[0] == 0
            mine(version="2")
            told(version="2")
            other.ctl("reload", "app")
            code, reload = running.ctl("reload", "app")
            assert (code, reload["verdict"]) == (153, "timed_out"), reload
            assert "answered by another process" in running.text("show", "app").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="who opens a file is told to root only")
def test_who_reads_its_file_after_the_signal_is_observed(tmp_path: Path) -> None:
    with naming(tmp_path, '"reread"') as (running, told):
        told(version="2")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("reread", "observed")


@pytest.mark.skipif(os.geteuid() != 0, reason="who opens a file is told to root only")
def test_who_does_not_read_its_file_times_out_whoever_else_reads_it(tmp_path: Path) -> None:
    with naming(tmp_path, '"reread"', "deaf") as (running, told):
        told(version="2")
        reload = running.ctl("reload", "app", "--no-wait")[1]
        while running.ctl("show", reload["reload_id"])[1]["verdict"] is None:
            told.path.read_bytes()
        assert running.ctl("wait", reload["reload_id"])[0] == 153


def test_nginx_says_its_version_on_a_private_socket(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    path = tmp_path / "version.sock"

    def release(version: str) -> None:
        (tmp_path / "release.json").write_text(json.dumps({"version": version}))
        said = f'server {{ listen unix:{path}; location = /version {{ return 200 "{version}"; }} }}'
        (tmp_path / "conf.d" / "version.conf").write_text(said)
        nginx.serve(version)

    release("r1")
    definition = (
        nginx.definition.replace('conf.d/*.conf"]', 'conf.d/*.conf", "@DIR@/release.json"]')
        + f"""
version = {{ file = "@DIR@/release.json", path = "version" }}
[service.web.reload]
confirm = [{{ http = "http+unix://{quote(str(path), safe="")}/version", expect = "{{version}}" }}, "workers"]
"""
    )
    with host(tmp_path, definition) as running:
        running.ready("web")
        for version in ("r2", "r3"):
            release(version)
            code, reload = running.ctl("reload", "web", "--require-proof")
            assert (code, reload["verdict"]) == (0, "applied"), reload
            assert (reload["confirmation"], reload["confirmation_grade"]) == ("version", "proven")
            assert nginx.get() == running.service("web")["config"]["version"] == version


PROMETHEUS = shutil.which("prometheus")
RESULT = "prometheus_config_last_reload_success"


@pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not installed")
def test_prometheus_tells_its_last_reload_by_metrics(tmp_path: Path) -> None:
    port, conf = free_port(), tmp_path / "prometheus.yml"
    conf.write_text("global: { scrape_interval: 15s }\n")
    metrics = f'http = "http://127.0.0.1:{port}/metrics", metric = "{RESULT}ful"'
    definition = f"""[service.prom]
command = ["{PROMETHEUS}", "--config.file=@DIR@/prometheus.yml", "--storage.tsdb.path=@DIR@/data",
           "--web.listen-address=127.0.0.1:{port}"]
inputs = ["@DIR@/prometheus.yml"]
ready = {{ http = "http://127.0.0.1:{port}/-/ready" }}
[service.prom.reload]
signal_handled = true
confirm = [{{ {metrics}, expect = "1", changes = "{RESULT}_timestamp_seconds" }}]
"""
    with host(tmp_path, definition) as running:
        before: Any = running.ready("prom")
        conf.write_text("global: { scrape_interval: 30s }\n")
        code, good = running.ctl("reload", "prom", "--require-proof")
        assert (code, good["verdict"]) == (0, "applied"), good
        assert good["hash_before"] == before["config"]["live"]
        conf.write_text("global: { scrape_intervall: 30s }\n")
        code, bad = running.ctl("reload", "prom")
        assert (code, bad["verdict"], bad["error"]) == (151, "refused", "contradicted"), bad
        assert running.service("prom")["config"]["live"] == good["hash_after"]
