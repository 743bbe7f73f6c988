"""All metrics by name: from the counts of the journal, from how services stand now, and from how the outbox stands.

Pure; decides names, units, help and labels for both renderings, the text of ``/metrics`` (``openmetrics``) and OTLP
(``metrics_otlp``). The version of a configuration is a label of ``config.info`` alone: on a counter each reload would begin
a series that never ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from agentd.core.manifest import Manifest, Missing
from agentd.telemetry.tally import Durations, Ended, Passed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from agentd.core.service_value import Service
    from agentd.telemetry.tally import Tally


class Kind(StrEnum):
    """What a family's values are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


Labels = tuple[str, ...]
"""Values in the order of the family's names; an empty one is no label."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its series."""

    name: str
    """OpenTelemetry's."""
    text: str
    """In ``/metrics``, without the suffixes of its kind."""
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...]
    """Attribute names, of which the last part after the common prefix is the label's in ``/metrics``."""
    points: Sequence[tuple[Labels, float | Durations]]
    began_ns: int
    """Since when it counts; 0 for what does not count."""


class Now(NamedTuple):
    """How one service stands."""

    service: str
    active: bool
    """A reload runs."""
    live: tuple[str, str] | None
    """Version and hash that are known to run."""
    drift: bool | None
    """The inputs are not what runs; None: one of the two is not known."""
    quarantined: bool
    rejected: bool
    """The inputs on disk are those: the next start meets them."""
    restarts: int
    declined: bool = False
    """No generation of the definition that was applied last was taken."""


class Sending(NamedTuple):
    """How one signal's part of the outbox stands, and what became of it since the agent started."""

    signal: str
    waiting: int
    oldest_ns: int | None
    aside: int
    sent: int
    rejected: int
    dropped: int


LABEL = {
    "reload.service": "service",
    "reload.handle": "handle",
    "reload.event.type": "event_type",
    "reload.verdict": "verdict",
    "reload.status": "status",
    "error.type": "error_type",
    "reload.skipped.reason": "reason",
    "config.version": "config_version",
    "config.hash": "config_hash",
    "reload.outbox.signal": "signal",
}
"""The attributes of OTLP, and what they are called in ``/metrics``."""
_SERVICE = ("reload.service",)
_ENDED = (
    "reload.service",
    "reload.handle",
    "reload.event.type",
    "reload.verdict",
    "reload.status",
    "error.type",
)


def now(s: Service, disk: Manifest | Missing | None) -> Now:
    """A service as the host has it, beside the newest reading of its inputs."""
    live = s.live
    there = disk if isinstance(disk, Manifest) else None
    drift = live.hash != there.hash if live and there else None
    if live and isinstance(disk, Missing):
        drift = True
    running = s.running
    return Now(
        s.spec.name,
        running is not None and not running.silent,
        (live.version, live.hash) if live else None,
        drift,
        s.quarantine is not None,
        _meets(s, there),
        s.restarts,
        s.declined is not None,
    )


def _meets(s: Service, there: Manifest | None) -> bool:
    q = s.quarantine
    return bool(q and there and (q.hash, q.digest) == (there.hash, s.spec.digest))


def families(
    tally: Tally, services: Sequence[Now], outbox: Sequence[Sending], *, agent_ns: int, wall_ns: int
) -> tuple[Family, ...]:
    """Everything. ``agent_ns``: when this agent started; ``wall_ns``: now. Times are Unix nanoseconds."""
    return (
        *_counted(tally, {s.service for s in services}),
        *_standing(services, tally),
        *_outbox(outbox, agent_ns, wall_ns),
    )


def _counted(tally: Tally, there: Collection[str]) -> tuple[Family, ...]:
    """What is said of the last reload is said of services that are there."""
    began, last = tally.began_ns, {n: x for n, x in tally.last.items() if n in there}
    ended: Mapping[Ended, int] = tally.ended
    passed: Mapping[Passed, int] = tally.passed
    return (
        Family(
            "reload.count", "reload_count", Kind.COUNTER, "{reload}",
            "Reloads that ended, and starts, by verdict.", _ENDED, tuple(ended.items()), began,
        ),
        Family(
            "reload.duration", "reload_duration_seconds", Kind.HISTOGRAM, "s",
            "From the request to the verdict, of what was run.", _ENDED, tuple(tally.durations.items()), began,
        ),
        Family(
            "reload.skipped", "reload_skipped", Kind.COUNTER, "{reload}",
            "Times that a trigger found nothing to do.",
            ("reload.service", "reload.event.type", "reload.skipped.reason"), tuple(passed.items()), began,
        ),
        Family(
            "config.last_reload.success", "reload_config_last_reload_successful", Kind.GAUGE, "1",
            "Whether the last reload that was run succeeded.", _SERVICE,
            tuple(((name,), int(x.success)) for name, x in last.items()), 0,
        ),
        Family(
            "config.last_reload.time", "reload_config_last_reload_success_timestamp_seconds", Kind.GAUGE, "s",
            "When a reload succeeded last, in Unix time.", _SERVICE,
            tuple(((name,), x.succeeded_ns / 1e9) for name, x in last.items() if x.succeeded_ns), 0,
        ),
    )  # fmt: skip


def _standing(services: Iterable[Now], tally: Tally) -> tuple[Family, ...]:
    every = tuple(services)
    return (
        Family(
            "reload.active", "reload_active", Kind.GAUGE, "{reload}", "Reloads under way.", _SERVICE,
            tuple(((s.service,), int(s.active)) for s in every), 0,
        ),
        Family(
            "config.info", "reload_config", Kind.INFO, "1",
            "The configuration that is known to run.", ("reload.service", "config.version", "config.hash"),
            tuple(((s.service, *s.live), 1) for s in every if s.live), 0,
        ),
        Family(
            "config.drift", "reload_config_drift", Kind.GAUGE, "1",
            "Whether the inputs on disk are not what is known to run.", _SERVICE,
            tuple(((s.service,), int(s.drift)) for s in every if s.drift is not None), 0,
        ),
        Family(
            "config.quarantined", "reload_config_quarantined", Kind.GAUGE, "1",
            "Whether some bytes are not tried again unasked, since they were rejected.", _SERVICE,
            tuple(((s.service,), int(s.quarantined)) for s in every), 0,
        ),
        Family(
            "config.next_start.rejected", "reload_config_next_start_rejected", Kind.GAUGE, "1",
            "Whether the inputs on disk are such bytes, which the next start would meet.", _SERVICE,
            tuple(((s.service,), int(s.rejected)) for s in every), 0,
        ),
        Family(
            "definition.declined", "reload_definition_declined", Kind.GAUGE, "1",
            "Whether the definition that was applied last was not taken.", _SERVICE,
            tuple(((s.service,), int(s.declined)) for s in every), 0,
        ),
        Family(
            "instance.restarts", "reload_instance_restarts", Kind.COUNTER, "{restart}",
            "Starts after an end that nobody had asked for.", _SERVICE,
            tuple(((s.service,), s.restarts) for s in every), tally.began_ns,
        ),
    )  # fmt: skip


def _outbox(outbox: Sequence[Sending], agent_ns: int, wall_ns: int) -> tuple[Family, ...]:
    if not outbox:
        return ()
    labels = ("reload.outbox.signal",)

    def family(name: str, kind: Kind, unit: str, help_: str, of: Sequence[float]) -> Family:
        text = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
        points = tuple(((x.signal,), value) for x, value in zip(outbox, of, strict=True))
        began = agent_ns if kind is Kind.COUNTER else 0
        return Family(name, text, kind, unit, help_, labels, points, began)

    ages = [0.0 if x.oldest_ns is None else max(wall_ns - x.oldest_ns, 0) / 1e9 for x in outbox]
    return (
        family("reload.outbox.depth", Kind.GAUGE, "{item}", "Verdicts that wait to be sent.", [x.waiting for x in outbox]),
        family("reload.outbox.oldest_age", Kind.GAUGE, "s", "How long the oldest of them has waited.", ages),
        family("reload.outbox.aside", Kind.GAUGE, "{item}", "Verdicts that a receiver called malformed and that are not sent again.",
               [x.aside for x in outbox]),
        family("reload.outbox.sent", Kind.COUNTER, "{item}", "Verdicts that a receiver has.", [x.sent for x in outbox]),
        family("reload.outbox.rejected", Kind.COUNTER, "{item}", "Spans or events that a receiver has rejected of what it received.",
               [x.rejected for x in outbox]),
        family("reload.outbox.dropped", Kind.COUNTER, "{item}", "Verdicts that were forgotten before anybody received them.",
               [x.dropped for x in outbox]),
    )  # fmt: skip
