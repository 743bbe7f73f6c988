"""The reload object of each story."""

from __future__ import annotations

import json

import pytest

from agentd.telemetry.report import iso, report, trace
from agentd.telemetry.resource import instance_id
from agentd.telemetry.spans import spans

from . import stories
from .stories import AGENT, ALL, ID, NEW, OLD, TRACE, WALL


def test_an_applied_reload_whole() -> None:
    made = report(stories.applied(), WALL, "h1")
    assert made is not None
    assert made.to_json() == {
        "reload_id": ID,
        "trace_id": TRACE,
        "service": "web",
        "trigger": "cli",
        "handle": "signal",
        "verdict": "applied",
        "status": "success",
        "confirmation": "workers",
        "confirmation_grade": "observed",
        "error": None,
        "message": "",
        "reason": "new certificate",
        "user": "alice",
        "hash_before": OLD[0],
        "hash_after": NEW[0],
        "version_before": OLD[1],
        "version_after": NEW[1],
        "changed": [{"path": c.path, "change": c.change} for c in stories.CHANGED],
        "attributes": [],
        "requested_at": "2026-11-22T10:00:00.000000Z",
        "duration_ms": 182.4,
        "downtime_ms": None,
        "outage_ms": None,
        "soak": None,
        "phase": None,
        "phases": [
            {"name": "snapshot", "ms": 4.0, "instance": None},
            {"name": "check", "ms": 11.0, "instance": None},
            {"name": "apply", "ms": 2.0, "instance": None},
            {"name": "confirm", "ms": 152.0, "instance": None},
            {"name": "commit", "ms": 12.0, "instance": None},
        ],
        "instances": [
            {
                "id": instance_id("h1", "web", 3),
                "instance": 0,
                "generation": 3,
                "pid": 4121,
                "outcome": None,
                "error": None,
            }
        ],
        "output": [],
        "definition": [],
        "not_taken": [],
        "joined": False,
    }


def test_a_rejected_reload_shows_the_checks_own_words() -> None:
    made = report(stories.rejected(), WALL)
    assert made is not None
    assert made.output == ("nginx: [emerg] unknown directive",)
    assert (made.error, made.message) == ("check_failed", "the check said no: exit code 1")


def test_a_running_reload_has_a_phase_and_no_verdict() -> None:
    made = report(stories.running(), WALL + 30_000_000)
    assert made is not None
    said = made.to_json()
    assert (said["verdict"], said["status"], said["phase"]) == (None, None, "confirm")
    assert (said["duration_ms"], said["phases"][-1]) == (
        30.0,
        {"name": "confirm", "ms": 12.0, "instance": None},
    )
    assert said["hash_after"] == NEW[0]


@pytest.mark.parametrize("name", ALL)
def test_it_agrees_with_the_trace(name: str) -> None:
    made = report(ALL[name], WALL, "h1")
    root, *children = spans(ALL[name], AGENT, now_ns=WALL)
    assert made is not None
    assert made.trace_id == root.trace_id
    assert made.ended_ns == root.end_ns
    assert root.get("reload.duration_ms") in (made.duration_ms, None)
    phases = [s for s in children if s.name.startswith("reload.") and s.name != "reload.instance"]
    assert [(s.name[7:], round((s.end_ns - s.start_ns) / 1e6, 3)) for s in phases] == [
        (name, ms) for name, ms, _ in made.phases
    ]


def test_the_gap_of_a_restart_is_told_and_a_replace_has_none() -> None:
    made = [report(told, WALL) for told in (stories.restarted(), stories.replaced())]
    assert [one and one.to_json()["downtime_ms"] for one in made] == [73.0, None]


def test_the_outage_of_one_that_died_of_it_is_told() -> None:
    died = report(stories.died_of_it(), WALL)
    assert died is not None
    assert died.to_json()["outage_ms"] == 43.0


def test_no_reload_no_report() -> None:
    assert report((), WALL) is None


@pytest.mark.parametrize("name", ALL)
def test_a_trace_is_plain_values(name: str) -> None:
    made = trace(spans(ALL[name], AGENT))
    assert json.loads(json.dumps(made)) == made
    assert made["trace_id"] == TRACE
    assert made["spans"][0]["status"] in ("unset", "error")
    assert made["spans"][0]["resource"]["service.name"] == "agentd"
    assert trace(()) == {"trace_id": None, "spans": []}


def test_times_are_rfc_3339() -> None:
    assert iso(WALL + 123_456_789) == "2026-11-22T10:00:00.123456Z"
    assert iso(WALL + 123_456_789, 3) == "2026-11-22T10:00:00.123Z"
