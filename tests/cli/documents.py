"""Documents of the agent as the manual shows them, to be changed a little by each test."""

from __future__ import annotations

import datetime as dt
from typing import Any

ID = "01JD0000000000000000000001"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OLD, NEW = "3f2c9a1b77de", "9be01d4a02c1"


def sha(version: str) -> str:
    return "sha256:" + version.ljust(64, "0")


def before(**ago: float) -> str:
    """The moment that long before now, as documents write it."""
    moment = dt.datetime.now(dt.UTC) - dt.timedelta(**ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def service(name: str = "web", **more: Any) -> dict[str, Any]:
    instance = {
        "id": "i1",
        "generation": 1,
        "pid": 4121,
        "phase": "ready",
        "uptime_s": 7380.5,
        "instance": 0,
        "serves": True,
        "cpu_percent": 0.1,
        "rss_bytes": 13_000_000,
        "restarts": 2,
    }
    keys = ("desired", "on_disk", "last_attempted", "live")
    document: dict[str, Any] = {
        "name": name,
        "want": "up",
        "phase": "ready",
        "held": False,
        "why": "",
        "hold": None,
        "next_start": None,
        "definition": None,
        "quarantine": None,
        "running": None,
        "waiting": None,
        "on_trial": None,
        "soak": None,
        "alive": None,
        "instances": [instance],
        "ready_instances": 1,
        "declared_instances": 1,
        "config": dict.fromkeys(keys, sha(NEW)) | {"in_sync": True, "version": NEW},
        "last_reload": {
            "reload_id": ID,
            "verdict": "applied",
            "at": before(seconds=210),
            "trigger": "watch",
            "message": "",
        },
    }
    return document | more


def down(name: str, **more: Any) -> dict[str, Any]:
    config = dict.fromkeys(("desired", "on_disk"), sha(NEW)) | dict.fromkeys(
        ("last_attempted", "live", "version")
    )
    return service(
        name,
        **{"phase": "down", "want": "down", "instances": [], "config": config, "last_reload": None}
        | more,
    )


def status(*services: dict[str, Any]) -> dict[str, Any]:
    return {
        "agent": {
            "version": "0.1.0",
            "pid": 7,
            "uptime_s": 1.0,
            "socket": "s",
            "telemetry": None,
            "notices": [],
        },
        "services": list(services),
    }


def reload(verdict: str | None = "applied", **more: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "reload_id": ID,
        "trace_id": TRACE,
        "service": "web",
        "trigger": "cli",
        "handle": "signal",
        "verdict": verdict,
        "status": "success",
        "confirmation": "workers",
        "confirmation_grade": "observed",
        "error": None,
        "hash_before": sha(OLD),
        "hash_after": sha(NEW),
        "version_before": OLD,
        "version_after": NEW,
        "changed": [{"path": "/etc/nginx/nginx.conf", "change": "modified"}],
        "requested_at": "2026-11-22T10:00:00.000000Z",
        "duration_ms": 182.4,
        "downtime_ms": None,
        "outage_ms": None,
        "phases": [{"name": "check", "ms": 11.2}],
        "instances": [{"id": "i1", "generation": 1, "pid": 4121}],
        "output": [],
        "definition": [],
        "not_taken": [],
        "message": "",
        "reason": "",
        "user": "",
        "phase": None,
        "on_trial": None,
        "soak": None,
        "joined": False,
    }
    return document | more


def span(
    name: str, number: int, parent: int | None, start_ms: int, end_ms: int | None, **more: Any
) -> dict[str, Any]:
    begin = 1_700_000_000_000_000_000
    return {
        "name": name,
        "span_id": f"{number:016x}",
        "parent_id": None if parent is None else f"{parent:016x}",
        "kind": "internal",
        "start_ns": begin + start_ms * 1_000_000,
        "end_ns": None if end_ms is None else begin + end_ms * 1_000_000,
        "status": "unset",
        "status_message": "",
        "attributes": {},
        "events": [],
        "links": [],
        "resource": {},
    } | more


def trace(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"trace_id": TRACE, "spans": list(spans)}
