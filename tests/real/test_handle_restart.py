"""Handle ``restart``: the gap is measured, clients of held sockets wait through it, and a new process that is no good is said."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps_run import COMMANDS, Asked, Told, get
from host import Host, free_port, host, load, until
from seen import spans


class App:
    """A small server as a service that is stopped and started again."""

    def __init__(self, directory: Path, app: str = "plain") -> None:
        self.port = free_port()
        self.told = Told(directory)
        self.words = json.dumps(COMMANDS[app])

    def definition(self, *more: str) -> str:
        return "\n".join(
            (
                "[service.app]",
                f"command = {self.words}",
                'env = { APP_FILE = "@DIR@/app.json" }',
                'inputs = ["@DIR@/app.json"]',
                f'sockets = [{{ name = "http", listen = "127.0.0.1:{self.port}" }}]',
                'ready = "notify"',
                *more,
                "[service.app.reload]",
                'handle = "restart"',
                "",
            )
        )


@contextlib.contextmanager
def serving(directory: Path, *more: str, app: str = "plain") -> Iterator[tuple[Host, App]]:
    server = App(directory, app)
    with host(directory, server.definition(*more)) as running:
        running.ready("app")
        yield running, server


def test_the_gap_is_measured_and_clients_wait_through_it(tmp_path: Path) -> None:
    with serving(tmp_path) as (running, server):
        before = running.service("app")["instances"][0]
        with load(server.port, 200) as counts:
            for number in range(2, 5):
                server.told(version=number, slow_start_s=0.4)
                code, reload = running.ctl("reload", "app")
                assert (code, reload["verdict"]) == (0, "applied"), reload
                assert (reload["handle"], reload["confirmation"]) == ("restart", "notify")
                assert get(server.port) == str(number)
        print(f"\n{counts}")
        assert counts["bad"] == {}, "nobody is refused and nobody reset"
        assert counts["older"] == 0
        after = running.service("app")["instances"][0]
        assert (after["generation"], after["pid"] != before["pid"]) == (4, True)
        found = spans(running, reload["reload_id"])
        root = found["reload app"]["said"]
        gap = root["reload.downtime_ms"]
        assert 400 <= gap <= reload["duration_ms"]
        assert gap <= counts["gap_ms"]["server"] + 100, "it says more than clients met"
        assert {"process.stop", "process.start"} <= found.keys()
        assert f"  {gap:.0f} ms down" in running.text("show", reload["reload_id"]).stdout


def test_a_request_under_way_ends_before_the_old_process_does(tmp_path: Path) -> None:
    with serving(tmp_path) as (running, server):
        under_way = Asked(server.port, "/slow?s=1")
        server.told(version=2)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert under_way.answer() == "1"
        assert get(server.port) == "2"


@pytest.mark.parametrize(
    ("said", "limits", "why"),
    [
        pytest.param({"crash": True}, (), "exit code 3", id="crashes"),
        pytest.param(
            {"never_ready": True}, ('start_timeout = "500ms"',), "not ready within 0.5s", id="hangs"
        ),
    ],
)
def test_a_new_process_that_is_no_good_is_failed_and_the_next_good_file_serves_who_waited(
    said: dict[str, bool], limits: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    more = ('backoff = { first = "30s" }', *limits)
    with serving(tmp_path, *more) as (running, server):
        server.told(version=2, **said)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (158, "failed"), reload
        assert why in reload["message"]
        if "crash" in said:
            assert reload["output"][-1:] == ["told to crash"]
        root = spans(running, reload["reload_id"])["reload app"]["said"]
        assert "reload.downtime_ms" not in root, "the gap has no end yet"
        found = running.service("app")
        assert (found["phase"], found["config"]["live"]) == ("backoff", None), found
        waiting = Asked(server.port, "/")
        server.told(version=3)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert waiting.answer() == "3", "who connected meanwhile was not kept"
        assert running.service("app")["phase"] == "ready"


def test_a_rejected_file_stops_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as (running, server):
        definition = server.definition() + 'check = ["grep", "-q", "version", "@DIR@/app.json"]\n'
        running.define(definition)
        assert running.stop() == 0
        running.start()
        before = running.ready("app")["instances"][0]["pid"]
        server.told.path.write_text("{}")
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (150, "rejected"), reload
        assert running.pid("app") == before
        assert get(server.port) == "1"


def test_one_that_will_not_stop_is_killed_and_the_next_one_serves(tmp_path: Path) -> None:
    with serving(tmp_path, 'stop_timeout = "300ms"') as (running, server):
        endless = Asked(server.port, "/stream?s=60")
        until(lambda: running.service("app")["instances"], "there")
        server.told(version=2)
        code, reload = running.ctl("reload", "app")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert "IncompleteRead" in endless.answer()
        assert get(server.port) == "2"
        gap = spans(running, reload["reload_id"])["reload app"]["said"]["reload.downtime_ms"]
        assert gap >= 300
