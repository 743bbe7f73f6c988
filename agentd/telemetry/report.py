"""The fold of one reload's records to the object that ``reload``, ``history`` and ``show`` print (agentd-api(7)).

Pure. Who may see ``output`` is decided by the API; ``joined`` is about one caller and is set there too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentd.core.facts import Outcome
from agentd.telemetry import said
from agentd.telemetry.resource import instance_id
from agentd.telemetry.story import Soak, Story, story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.core.facts import Record
    from agentd.core.manifest import Change
    from agentd.telemetry.span import Span
    from agentd.wire import Trigger, Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """One reload; a running one has no verdict and names its phase."""

    reload_id: str
    trace_id: str
    service: str
    trigger: Trigger
    handle: str
    verdict: Verdict | None
    confirmation: str | None
    confirmation_grade: str | None
    error: str | None
    message: str
    reason: str
    user: str
    hash_before: str | None
    hash_after: str | None
    version_before: str | None
    version_after: str | None
    changed: tuple[Change, ...]
    attributes_before: tuple[tuple[str, str], ...]
    attributes_after: tuple[tuple[str, str], ...]
    requested_ns: int
    ended_ns: int
    phase: str | None
    phases: tuple[tuple[str, float, int | None], ...]
    instances: tuple[tuple[str, Outcome], ...]
    output: tuple[str, ...]
    downtime_ms: float | None = None
    outage_ms: float | None = None
    definition: tuple[str, ...] = ()
    not_taken: tuple[str, ...] = ()
    soak: Soak | None = None
    joined: bool = False

    @property
    def duration_ms(self) -> float:
        """From the request to the verdict, or until now."""
        return _ms(self.ended_ns - self.requested_ns)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return {
            "reload_id": self.reload_id,
            "trace_id": self.trace_id,
            "service": self.service,
            "trigger": self.trigger.value,
            "handle": self.handle,
            "verdict": self.verdict.value if self.verdict else None,
            "status": self.verdict.status if self.verdict else None,
            "confirmation": self.confirmation,
            "confirmation_grade": self.confirmation_grade,
            "error": self.error,
            "message": self.message,
            "reason": self.reason,
            "user": self.user,
            "hash_before": self.hash_before,
            "hash_after": self.hash_after,
            "version_before": self.version_before,
            "version_after": self.version_after,
            "changed": [{"path": c.path, "change": c.change} for c in self.changed],
            "attributes": said.changes(self.attributes_before, self.attributes_after),
            "requested_at": iso(self.requested_ns),
            "duration_ms": self.duration_ms,
            "downtime_ms": self.downtime_ms,
            "outage_ms": self.outage_ms,
            "phase": self.phase,
            "phases": [
                {"name": name, "ms": ms, "instance": instance} for name, ms, instance in self.phases
            ],
            "instances": [
                {
                    "id": id_,
                    "instance": one.instance,
                    "generation": one.generation,
                    "pid": one.pid,
                    "outcome": one.became or None,
                    "error": one.error_type or None,
                }
                for id_, one in self.instances
            ],
            "output": list(self.output),
            "definition": list(self.definition),
            "not_taken": list(self.not_taken),
            "soak": None if self.soak is None else _soak(self.soak),
            "joined": self.joined,
        }


def report(records: Sequence[Record], now_ns: int, host_id: str = "") -> Report | None:
    """None when the records are no reload. ``host_id``: of the machine, for the instances' ids."""
    told = story(records, now_ns)
    return None if told is None else _report(told, host_id)


def _report(told: Story, host_id: str) -> Report:
    asked, judged, taken = told.asked, told.judged, told.snapshot
    running = told.running
    tried: tuple[str | None, str | None] = (taken.hash, taken.version) if taken else (None, None)
    if judged is not None:
        tried = (judged.hash_after, judged.version_after)
    each: tuple[Outcome, ...] = judged.instances if judged is not None else ()
    if judged is not None and judged.pid is not None and not each:
        each = (Outcome(0, judged.generation, judged.pid, ""),)
    instances = tuple((instance_id(host_id, asked.service, one.generation), one) for one in each)
    return Report(
        reload_id=asked.reload_id,
        trace_id=asked.trace_id,
        service=asked.service,
        trigger=asked.cause.trigger,
        handle=judged.handle if judged else asked.handle,
        verdict=judged.verdict if judged else None,
        confirmation=judged.confirmation if judged else None,
        confirmation_grade=judged.grade.value if judged and judged.grade else None,
        error=(judged.error_type or None) if judged else None,
        message=judged.message if judged else "",
        reason=asked.cause.reason,
        user=asked.cause.user,
        hash_before=asked.hash_before,
        hash_after=tried[0],
        version_before=asked.version_before,
        version_after=tried[1],
        changed=taken.changed if taken else (),
        attributes_before=asked.attributes_before,
        attributes_after=taken.attributes if taken else (),
        requested_ns=told.began_ns,
        ended_ns=told.end_ns,
        phase=running.name if running else None,
        phases=tuple(
            (
                p.name,
                _ms((told.end_ns if p.ended_ns is None else p.ended_ns) - p.began_ns),
                told.instance_of(p),
            )
            for p in told.phases
        ),
        instances=instances,
        output=judged.output if judged else (),
        definition=next((j.definition for j in told.joined if j.definition), asked.definition),
        not_taken=judged.not_taken if judged else (),
        downtime_ms=told.downtime_ms,
        outage_ms=told.outage_ms,
        soak=told.soak,
    )


def _soak(soak: Soak) -> dict[str, Any]:
    over = soak.over
    return {
        "trace_id": soak.told.trace_id,
        "until": iso(soak.told.until_wall_ns),
        "outcome": over.became if over else None,
        "why": over.why if over else "",
        "passes": over.passes if over else None,
        "failures": over.failures if over else None,
        "duration_ms": _ms(soak.ended_ns - soak.began_ns),
    }


def trace(spans: Sequence[Span]) -> dict[str, Any]:
    """The member ``trace`` of a shown reload: its spans as plain values. What soaks has another trace."""
    trace_id = spans[0].trace_id if spans else None
    return {
        "trace_id": trace_id,
        "spans": [
            {
                "name": span.name,
                "span_id": span.span_id,
                "parent_id": span.parent_id,
                "kind": span.kind.name.lower(),
                "start_ns": span.start_ns,
                "end_ns": span.end_ns,
                "status": "unset" if span.error is None else "error",
                "status_message": span.error or "",
                "attributes": _plain(span.attributes),
                "events": [
                    {"name": e.name, "at_ns": e.at_ns, "attributes": _plain(e.attributes)}
                    for e in span.events
                ],
                "links": [
                    {
                        "trace_id": link.to.trace_id,
                        "span_id": link.to.span_id,
                        "attributes": _plain(link.attributes),
                    }
                    for link in span.links
                ],
                "resource": _plain(span.resource.attributes),
            }
            for span in spans
            if span.trace_id == trace_id
        ],
    }


def iso(wall_ns: int, digits: int = 6) -> str:
    """RFC 3339 in UTC with so many digits of the second."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    fraction = f"{rest:09d}"[:digits]
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction}Z"


def _plain(attributes: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in attributes}


def _ms(ns: int) -> float:
    return round(ns / 1e6, 3)
