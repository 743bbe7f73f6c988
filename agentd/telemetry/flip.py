"""The fold of one reload's records to its event ``config.reload``: the moment at which another configuration took over.

One for each verdict that moved ``live``, confirmed it or failed to; none for what was not run. It stands in the context
of the root span, has the outcome's attributes and is the service's own: its resource is the instance's. Pure, like
``spans``; the same records give the same event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentd.telemetry import said
from agentd.telemetry.spans import spans
from agentd.telemetry.story import Story, story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.core.facts import Record
    from agentd.telemetry.resource import Attributes, Resource, Value

NAME = "config.reload"
_SWITCH = "traffic.switch"
"""The step after which every new connection goes to the next generation."""
_OF_ROOT = (
    "config.version",
    "config.previous_version",
    "config.hash",
    "config.previous_hash",
    "reload.id",
    "reload.service",
    "reload.event.type",
    "reload.handle",
    "reload.verdict",
    "reload.status",
    "reload.duration_ms",
    "reload.confirmation",
    "reload.confirmation_grade",
    "error.type",
)
"""What the event shares with the root span."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A log record as a value. Ids in hex, time in Unix nanoseconds."""

    name: str
    at_ns: int
    failed: bool
    """Severity ERROR; else INFO."""
    body: str
    trace_id: str
    span_id: str
    attributes: Attributes
    resource: Resource


def flip(records: Sequence[Record], resource: Resource) -> LogEvent | None:
    """None when the records hold no verdict, or one of what was not run. ``resource`` is the agent's own."""
    told = story(records)
    if told is None or told.judged is None or told.judged.verdict.status is None:
        return None
    judged = told.judged
    root = spans(records, resource)[0]
    known = dict(root.attributes)
    found: dict[str, Value] = {name: known[name] for name in _OF_ROOT if name in known}
    found |= said.attributes(told.asked.attributes_before, told.attributes_now)
    hash_now, _ = told.hash_now
    if hash_now is not None:  # where nobody knows what runs, nobody knows whether that is another
        found["config.changed"] = hash_now != told.asked.hash_before
    return LogEvent(
        NAME,
        _moment(told),
        judged.verdict.status != "success",
        f"{root.name}: {judged.verdict.value}",
        root.trace_id,
        root.span_id,
        tuple(found.items()),
        resource.instance(judged.service, judged.generation, judged.pid),
    )


def _moment(told: Story) -> int:
    """When connections were switched; else when it was committed; else the verdict."""
    steps = (step for phase in told.phases for step in phase.steps if step.name == _SWITCH)
    switched = [step.ended_ns for step in steps if step.ended_ns is not None]
    commits = [phase.began_ns for phase in told.phases if phase.name == "commit"]
    return (switched or commits or [told.end_ns])[-1]


def to_json(event: LogEvent) -> dict[str, object]:
    """Plain values, for who shows the reload."""
    return {
        "name": event.name,
        "at_ns": event.at_ns,
        "severity": "error" if event.failed else "info",
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "attributes": dict(event.attributes),
        "resource": dict(event.resource.attributes),
    }
