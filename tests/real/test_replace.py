"""Handle ``replace`` on real servers under load: nothing is lost, and a next generation that is no good changes nothing."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps_run import COMMANDS, Asked, Told, get
from host import Host, free_port, host, load, until

REPLACES = 50
RATE = 600
MET = 200
"""New connections that each replacement meets, at least: a busy machine carries fewer a second, but a replacement takes longer there."""
KEPT = ("--keep", "10", "--pause", "50")
LONGEST_GAP = 150.0
"""Milliseconds between two answers on a machine that others share; ``make bench ONLY=graceful`` holds the figure to 30."""
AT_REST = 0.2
"""Of the processors' time, what must be left over for that: where nothing is, servers wait for a processor and not for agentd."""
REFUSED = (151, "refused")


class App:
    """One of the small servers as a service with a held socket."""

    def __init__(self, app: str, directory: Path) -> None:
        self.port = free_port()
        self.told = Told(directory)
        self.words = ", ".join(f'"{word}"' for word in COMMANDS[app])
        # gunicorn says READY before it has a worker.
        self.ready = self.http if app == "gunicorn" else '"notify"'

    @property
    def http(self) -> str:
        return f'{{ http = "http://127.0.0.1:{self.port}/" }}'

    def definition(self, *more: str) -> str:
        return "\n".join(
            (
                "[service.app]",
                f"command = [{self.words}]",
                'env = { APP_FILE = "@DIR@/app.json" }',
                'inputs = ["@DIR@/app.json"]',
                f'sockets = [{{ name = "http", listen = "127.0.0.1:{self.port}" }}]',
                'stop_timeout = "2s"',
                *more,
                "[service.app.reload]",
                'handle = "replace"',
                "",
            )
        )


@contextlib.contextmanager
def serving(app: str, directory: Path, *more: str) -> Iterator[tuple[Host, App]]:
    """The service, ready, with version 1."""
    server = App(app, directory)
    if not any(line.startswith("ready") for line in more):
        more += (f"ready = {server.ready}",)
    with host(directory, server.definition(*more)) as running:
        running.ready("app")
        yield running, server


def alone(running: Host) -> Any:
    """The only generation that is left."""

    def look() -> Any:
        instances = running.service("app")["instances"]
        return len(instances) == 1 and instances[0]

    return until(look, "the old generation has ended")


def processors() -> tuple[int, int]:
    """The ticks that they had nothing to do so far, and all (proc_stat(5))."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def longest_gap(before: tuple[int, int]) -> float:
    """Milliseconds that may lie between two answers, given what the machine had to do since ``before``."""
    idle, all_ = (now - then for now, then in zip(processors(), before, strict=True))
    return LONGEST_GAP if idle >= AT_REST * all_ else math.inf


def replaced(running: Host, server: App, version: int) -> None:
    server.told(version=version)
    code, reload = running.ctl("reload", "app")
    assert (code, reload["verdict"]) == (0, "applied"), reload
    assert reload["handle"] == "replace"
    assert get(server.port) == str(version), "a new connection is answered by the old generation"


@pytest.mark.parametrize("app", COMMANDS)
def test_fifty_replaces_under_load_lose_nothing(app: str, tmp_path: Path) -> None:
    with serving(app, tmp_path, 'drain_timeout = "300ms"') as (running, server):
        before, worked = running.pid("app"), processors()
        with load(server.port, RATE, *KEPT) as counts:
            for number in range(2, REPLACES + 2):
                replaced(running, server, number)
                alone(running)
        bodies = counts.pop("bodies")
        print(f"\n{app}: {REPLACES} replaces, {counts}")
        assert counts["bad"] == {}
        assert counts["kept"]["bad"] == {}
        assert counts["older"] == 0, "the switch is not one instant"
        assert counts["good"] >= MET * REPLACES
        assert len(bodies) > REPLACES * 0.9
        assert counts["gap_ms"]["server"] < longest_gap(worked)
        assert alone(running)["pid"] != before
        assert alone(running)["generation"] == REPLACES + 1


@pytest.mark.parametrize("app", COMMANDS)
def test_requests_in_flight_finish_on_the_old_generation(app: str, tmp_path: Path) -> None:
    with serving(app, tmp_path, 'drain_timeout = "15s"') as (running, server):
        under_way = [Asked(server.port, "/slow?s=2"), Asked(server.port, "/stream?s=2")]
        replaced(running, server, 2)
        assert [asked.answer() for asked in under_way] == ["1", "1" * 20]
        alone(running)


def test_what_outlasts_the_drain_limit_is_ended_and_not_before(tmp_path: Path) -> None:
    with serving("plain", tmp_path, 'drain_timeout = "1s"') as (running, server):
        endless = Asked(server.port, "/stream?s=60")
        began = time.monotonic()
        replaced(running, server, 2)
        assert "IncompleteRead" in endless.answer()
        assert time.monotonic() - began >= 1
        alone(running)


@pytest.mark.parametrize(("app", "times"), [("plain", 20), ("uvicorn", 3), ("gunicorn", 3)])
def test_a_next_generation_that_never_accepts_is_refused_and_the_old_one_serves(
    app: str, times: int, tmp_path: Path
) -> None:
    server = App(app, tmp_path)  # its port is in the probe
    probe = (f"ready = {server.http}", 'start_timeout = "1s"')
    with host(tmp_path, server.definition(*probe)) as running:
        before = running.ready("app")["instances"][0]
        with load(server.port, 200, *KEPT) as counts:
            for number in range(times):
                server.told(version=100 + number, never_ready=True)
                code, reload = running.ctl("reload", "app")
                assert (code, reload["verdict"]) == REFUSED, reload
                assert get(server.port) == "1"
                assert alone(running)["pid"] == before["pid"]
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})
        assert set(counts["bodies"]) == {"1"}
        replaced(running, server, 2)


@pytest.mark.parametrize("app", COMMANDS)
def test_a_next_generation_that_crashes_is_refused_and_the_old_one_serves(
    app: str, tmp_path: Path
) -> None:
    with serving(app, tmp_path, 'start_timeout = "5s"') as (running, server):
        before = running.pid("app")
        with load(server.port, 200, *KEPT) as counts:
            server.told(version=2, crash=True)
            code, reload = running.ctl("reload", "app")
            assert (code, reload["verdict"]) == REFUSED, reload
            assert alone(running)["pid"] == before
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})
        assert set(counts["bodies"]) == {"1"}
        replaced(running, server, 3)


def test_a_slow_start_is_waited_for_while_the_old_one_serves(tmp_path: Path) -> None:
    with serving("uvicorn", tmp_path) as (running, server):
        worked = processors()
        with load(server.port, RATE, *KEPT) as counts:
            server.told(version=2, slow_start_s=2)
            code, reload = running.ctl("reload", "app")
            assert (code, reload["verdict"]) == (0, "applied"), reload
            assert reload["duration_ms"] >= 2000
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})
        assert counts["gap_ms"]["server"] < longest_gap(worked)


def test_without_overlap_the_socket_stays_and_clients_wait(tmp_path: Path) -> None:
    with serving("plain", tmp_path, "overlap = false") as (running, server):
        with load(server.port, 200) as counts:
            for number in range(2, 7):
                replaced(running, server, number)
                alone(running)
        assert counts["bad"] == {}
        assert counts["older"] == 0


@pytest.mark.parametrize("app", ["plain", "uvicorn"])
def test_the_sockets_outlive_a_killed_agent_and_are_replaced_again(
    app: str, tmp_path: Path
) -> None:
    with serving(app, tmp_path, 'drain_timeout = "300ms"') as (running, server):
        with load(server.port, RATE, *KEPT) as counts:
            for number in range(2, 7):
                replaced(running, server, number)
                running.kill()
                assert get(server.port) == str(number)
                running.start()
                running.ready("app")
                alone(running)
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})
        assert counts["older"] == 0
