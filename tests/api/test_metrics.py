"""``/metrics`` and what ``status`` says of the export: for whoever may read, in the form they ask for, without secrets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from agentd.core import facts as f
from agentd.core.spec import ProcessSpec, Spec
from agentd.telemetry.metrics import Sending
from agentd.telemetry.openmetrics import OPEN, PLAIN
from agentd.wire import Trigger, Verdict
from tests.api.stage import (
    ALICE,
    BAD,
    CAUSE,
    NEW,
    TRACE,
    WALL,
    Reply,
    Stage,
    judged,
    looped,
    ready,
    serving,
    troubled,
)


def told(stage: Stage, service: str, reload_id: str, verdict: Verdict, **more: Any) -> None:
    asked = f.Requested(service, reload_id, TRACE, "signal", CAUSE, None, None)
    stage.runtime.note(asked, judged(service, reload_id, verdict, **more))


def body(reply: Reply) -> str:
    """The text, out of its chunks."""
    left, whole = reply.body, b""
    while left:
        size, _, left = left.partition(b"\r\n")
        whole += left[: int(size, 16)]
        left = left[int(size, 16) + 2 :]
    return whole.decode()


def value(found: Any, name: str, **labels: str) -> float:
    (one,) = [
        s.value
        for family in found
        for s in family.samples
        if s.name == name and labels.items() <= s.labels.items()
    ]
    return float(one)


@looped
async def test_whoever_may_read_gets_the_form_they_ask_for(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), troubled("app")) as stage:
        stage.runtime.machine.files.on_disk["app"] = BAD
        stage.telemetry.sent = (Sending("traces", 3, WALL - 10**9, 0, 7, 0, 4),)
        told(stage, "web", "1", Verdict.APPLIED)
        told(stage, "app", "2", Verdict.REJECTED, trigger=Trigger.WATCH, error_type="check_failed")
        plain = await stage.get("/metrics", peer=ALICE)
        opened = await stage.get("/metrics", Accept="application/openmetrics-text;version=1.0.0")
        head = await stage.ask("HEAD", "/metrics")
        told(stage, "web", "3", Verdict.APPLIED)
        later = list(parse_plain(body(await stage.get("/metrics"))))
    assert (plain.status, plain.headers["content-type"]) == (200, PLAIN)
    assert opened.headers["content-type"] == OPEN
    assert (head.status, head.body) == (200, b"")
    found = list(parse_open(body(opened)))
    assert {x.name for x in found} >= {"reload_count", "reload_active", "reload_outbox_depth"}
    error = {"service": "app", "event_type": "auto_file_watch", "error_type": "check_failed"}
    assert value(found, "reload_count_total", **error) == 1
    assert value(found, "reload_config_quarantined", service="app") == 1
    assert value(found, "reload_config_last_reload_successful", service="app") == 0
    assert value(found, "reload_config_drift", service="web") == 0
    assert value(found, "reload_config_info", service="web", config_version=NEW.version) == 1
    assert value(found, "reload_instance_restarts_total", service="app") == 2
    assert value(found, "reload_outbox_dropped_total", signal="traces") == 4
    assert value(later, "reload_count_total", service="web") == 2
    assert value(later, "reload_duration_seconds_count", service="web") == 2


@looped
async def test_a_scrape_of_a_thousand_services_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Every piece is short; what is measured here is the longest time that the loop had no turn, the client's own reading included."""
    names = [f"s{n:04}" for n in range(1000)]
    bare = [ready(n, spec=Spec(n, ProcessSpec((n,)))) for n in names]
    async with serving(tmp_path, *bare) as stage:
        for name in names:
            told(stage, name, f"{name}a", Verdict.APPLIED)
            told(stage, name, f"{name}b", Verdict.REJECTED, error_type="check_failed")
        await stage.get("/metrics")
        gaps: list[float] = []
        scraping = asyncio.ensure_future(stage.get("/metrics"))
        last = time.perf_counter()
        while not scraping.done():
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
        text = body(scraping.result())
    assert text.count("reload_duration_seconds_count{") == 2000
    assert sorted(gaps)[-2] < 0.1  # a collection of garbage may be the longest


@looped
async def test_status_tells_how_the_export_stands(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        assert (await stage.get("/v1/status")).json["agent"]["telemetry"] is None
        stage.telemetry.document = stands = {
            "endpoint": "http://otel", "pending": 3, "oldest_s": 1.5, "aside": 0, "dropped": 0, "last_error": None,
        }  # fmt: skip
        agent = (await stage.get("/v1/status")).json["agent"]
    assert agent["telemetry"] == stands


@looped
async def test_a_reload_is_shown_with_its_flip(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        told(stage, "web", "01A", Verdict.APPLIED)
        told(stage, "web", "01B", Verdict.HELD)
        event = (await stage.get("/v1/reloads/01A")).json["trace"]["event"]
        held = (await stage.get("/v1/reloads/01B")).json["trace"]["event"]
    assert event["name"] == "config.reload"
    assert event["attributes"]["config.changed"] is True
    assert event["resource"]["service.name"] == "web"
    assert held is None
