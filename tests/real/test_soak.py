"""A change that its reload vouched for and that does no good a while later: on a real nginx, over the death of the agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import Host, Nginx, host, load, public_directory, until
from test_nginx import attributes, spans

from tests.telemetry.receiver import Receiver, receiving

WELL = "location = /healthz { return 200; }"


def while_there_is(path: Path) -> str:
    """Well as long as this file is there, and no longer."""
    return f"location = /healthz {{ root {path.parent}; try_files /{path.name} =500; }}"


def soaked(nginx: Nginx, seconds: str = "1h") -> str:
    probe = f'http = "http://127.0.0.1:{nginx.port}/healthz"'
    asked = f'{{ {probe}, for = "{seconds}", interval = "100ms", threshold = 2 }}'
    return f'{nginx.definition}[service.web.reload]\nsoak = {asked}\non_failure = "restore"\n'


@pytest.fixture(name="there")
def _there() -> Iterator[Path]:
    """A directory that nginx's workers may read."""
    with public_directory() as directory:
        yield directory


def served(directory: Path) -> tuple[Nginx, Path]:
    nginx, sign = Nginx(directory), directory / "well"
    nginx.serve("one", WELL)
    sign.write_text("")
    return nginx, sign


def applied(running: Host, nginx: Nginx, sign: Path) -> Any:
    """The first start has soaked, and a reload of what will do no good has its verdict."""
    until(lambda: first_is_over(running.service("web")), "what it was started with has soaked")
    nginx.serve("two", while_there_is(sign))
    code, reload = running.ctl("reload", "web")
    assert (code, reload["verdict"], nginx.get()) == (0, "applied", "two")
    return reload


def first_is_over(web: Any) -> bool:
    return web["config"]["live"] is not None and web["soak"] is None


def soak_of(running: Host, reload_id: str, outcome: str) -> Any:
    def look() -> Any:
        soak = running.ctl("show", reload_id)[1]["soak"]
        return soak if soak and soak["outcome"] == outcome else None

    return until(look, f"the soak of {reload_id} is {outcome}")


def probed(running: Host, times: int) -> Any:
    """It was asked so often."""

    def look() -> Any:
        soak = running.service("web")["soak"]
        return soak if soak and soak["passes"] >= times else None

    return until(look, f"{times} probes have passed")


def rolled_back(running: Host, reload: Any) -> Any:
    """By a reload of its own that is linked to the first one."""

    def look() -> Any:
        newest = running.history("web")[0]
        return newest if newest["trigger"] == "rollback" and newest["verdict"] else None

    back = until(look, "it was put back")
    root = attributes(spans(running, back["reload_id"])[0])
    assert (back["verdict"], root["reload.rollback.of"]) == ("applied", reload["reload_id"])
    return back


def ids(receiver: Receiver) -> set[str]:
    """Of every span that has arrived."""
    return {span.span_id.hex() for got in receiver.of("traces", 200) for span in got.spans}


def test_what_does_no_good_later_is_put_back_though_the_agent_was_killed_meanwhile(
    there: Path,
) -> None:
    nginx, sign = served(there)
    with receiving() as receiver:
        exports = f'[agent.telemetry]\nendpoint = "{receiver.url}"\n'
        with host(there, exports + soaked(nginx, "1s")) as running:
            running.ready("web")
            running.define(exports + soaked(nginx))
            running.ctl("apply")
            with load(nginx.port, 300) as counts:
                reload = applied(running, nginx, sign)
                began = probed(running, 3)
                assert (began["reload_id"], began["back_to"]) == (
                    reload["reload_id"],
                    reload["hash_before"],
                )
                running.kill()
                running.start()
                after = probed(running, 3)
                assert (after["until"], after["trace_id"]) == (began["until"], began["trace_id"])
                sign.unlink()
                soak = soak_of(running, reload["reload_id"], "failed")
                rolled_back(running, reload)
            assert counts["bad"] == {}
            assert soak["why"] == "answered 500, 2 times in a row"
            assert nginx.get() == "one"
            found = running.service("web")
            assert (found["soak"], found["config"]["live"]) == (None, reload["hash_before"])
            assert found["quarantine"]["hash"] == reload["hash_after"]
            assert running.ctl("show", reload["reload_id"])[1]["verdict"] == "applied"

            every = spans(running, reload["reload_id"])
            root, told = (
                next(s for s in every if s["name"] == name) for name in ("reload web", "soak web")
            )
            assert told["traceId"] == soak["trace_id"] != root["traceId"]
            (link,) = told["links"]
            assert (link["traceId"], link["spanId"]) == (root["traceId"], root["spanId"])
            assert attributes(told)["reload.soak.outcome"] == "failed"
            receiver.wait(
                lambda: told["spanId"] in ids(receiver), "a receiver has the span of the soak"
            )


def test_a_service_that_ends_while_it_soaks_starts_with_what_was_good(there: Path) -> None:
    nginx, sign = served(there)
    with host(there, soaked(nginx, "1s")) as running:
        running.ready("web")
        running.define(soaked(nginx))
        running.ctl("apply")
        reload = applied(running, nginx, sign)
        before = probed(running, 1)
        assert before["version"] == reload["version_after"]
        os.kill(running.pid("web"), signal.SIGKILL)
        soak = soak_of(running, reload["reload_id"], "failed")
        assert soak["why"].startswith("it ended: ")
        until(lambda: nginx.get() == "one", "it serves what was good")
        assert running.ready("web")["config"]["in_sync"]


def test_what_does_well_to_the_end_stays(there: Path) -> None:
    nginx, sign = served(there)
    with host(there, soaked(nginx, "1s")) as running:
        running.ready("web")
        reload = applied(running, nginx, sign)
        assert "soaks until" in running.text("status").stdout
        soak = soak_of(running, reload["reload_id"], "passed")
        assert soak["failures"] == 0
        assert soak["duration_ms"] >= 1000
        sign.unlink()
        assert running.service("web")["soak"] is None
        assert nginx.get() == "two"
        assert "  soak     passed; 0 of " in running.text("show", reload["reload_id"]).stdout
