"""Metrics as one OTLP request, by OpenTelemetry's own encoder. Import this module late, like ``encode``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from agentd.telemetry.metrics import Family, Kind
from agentd.telemetry.sdk import SCOPE
from agentd.telemetry.tally import BOUNDS_S, Durations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentd.telemetry.resource import Resource

_CUMULATIVE = AggregationTemporality.CUMULATIVE


def request(families: Iterable[Family], resource: Resource, wall_ns: int) -> bytes:
    """Families without a series are left out. ``wall_ns``: now."""
    made = [_metric(family, wall_ns) for family in families if family.points]
    scope = InstrumentationScope(SCOPE, str(dict(resource.attributes).get("service.version", "")))
    of_scope = ScopeMetrics(scope, made, "")
    own = ResourceMetrics(SdkResource(dict(resource.attributes)), [of_scope], "")
    encoded: bytes = encode_metrics(MetricsData([own])).SerializeToString()
    return encoded


def _metric(family: Family, wall_ns: int) -> Metric:
    data: Sum | Gauge | Histogram
    if family.kind is Kind.HISTOGRAM:
        durations = [_durations(family, labels, d, wall_ns) for labels, d in family.points]
        data = Histogram([d for d in durations if d is not None], _CUMULATIVE)
    else:
        numbers = [
            NumberDataPoint(_attributes(family, labels), family.began_ns, wall_ns, value)
            for labels, value in family.points
            if not isinstance(value, Durations)
        ]
        counts = family.kind is Kind.COUNTER
        data = Sum(numbers, _CUMULATIVE, is_monotonic=True) if counts else Gauge(numbers)
    return Metric(family.name, family.help, family.unit, data)


def _durations(
    family: Family, labels: tuple[str, ...], value: float | Durations, wall_ns: int
) -> HistogramDataPoint | None:
    if not isinstance(value, Durations):
        return None
    return HistogramDataPoint(
        _attributes(family, labels), family.began_ns, wall_ns, sum(value.classes), value.sum,
        tuple(value.classes), BOUNDS_S, None, None,  # type: ignore[arg-type]  # neither is kept, and OTLP needs neither
    )  # fmt: skip


def _attributes(family: Family, labels: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in zip(family.labels, labels, strict=True) if value}
