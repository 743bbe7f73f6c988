"""What is due as OTLP bytes, by OpenTelemetry's own encoder: one piece for each verdict, joined to a request of any size.

A request is a message of repeated fields, so the bytes of several, one after the other, are the request that holds all of
them: a verdict is encoded once, and is the same bytes however often and beside whatever it is sent. Import this module
late: encoder and SDK take a tenth of a second and 8 MiB, which is for those who export.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from agentd.telemetry.flip import flip
from agentd.telemetry.resource import from_text
from agentd.telemetry.sdk import SCOPE, to_sdk
from agentd.telemetry.spans import spans

if TYPE_CHECKING:
    from agentd.ports import Due
    from agentd.telemetry.resource import Resource


_NOT_WHOLE = "the journal does not tell it whole"
"""A record of it could not be read."""


def piece(signal: str, due: Due, own: Resource) -> tuple[bytes, int]:
    """One verdict's part of a request, and how many spans or events it holds. ``own`` is this agent's resource.

    Raises:
        ValueError and what the encoder raises: it has no form that could be sent.
    """
    if not due.records:
        return b"", 0  # forgotten meanwhile, which was counted
    resource = from_text(due.resource) if due.resource else own
    return _traces(due, resource) if signal == "traces" else _events(due, resource)


def _traces(due: Due, resource: Resource) -> tuple[bytes, int]:
    found = spans(due.records, resource, trace_of=lambda _: due.linked)
    if not found:
        raise ValueError(_NOT_WHOLE)
    encoded: bytes = encode_spans(to_sdk(found, _version(resource))).SerializeToString()
    return encoded, len(found)


def _events(due: Due, resource: Resource) -> tuple[bytes, int]:
    event = flip(due.records, resource)
    if event is None:
        raise ValueError(_NOT_WHOLE)
    ids = int(event.trace_id, 16), int(event.span_id, 16)
    root = SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    record = LogRecord(
        timestamp=event.at_ns,
        observed_timestamp=event.at_ns,
        context=set_span_in_context(NonRecordingSpan(root), Context()),
        severity_number=SeverityNumber.ERROR if event.failed else SeverityNumber.INFO,
        severity_text="ERROR" if event.failed else "INFO",
        body=event.body,
        attributes=dict(event.attributes),
        event_name=event.name,
    )
    own = SdkResource(dict(event.resource.attributes))
    scope = InstrumentationScope(SCOPE, _version(resource))
    encoded: bytes = encode_logs([ReadableLogRecord(record, own, scope)]).SerializeToString()
    return encoded, 1


def _version(resource: Resource) -> str:
    return str(dict(resource.attributes).get("service.version", ""))


def rejected(signal: str, body: bytes) -> tuple[int, str]:
    """What a receiver says that it did not take, and why; nothing when it does not say so in protobuf."""
    try:
        match signal:
            case "traces":
                some = ExportTraceServiceResponse.FromString(body).partial_success
                return some.rejected_spans, some.error_message
            case "logs":
                events = ExportLogsServiceResponse.FromString(body).partial_success
                return events.rejected_log_records, events.error_message
            case _:
                points = ExportMetricsServiceResponse.FromString(body).partial_success
                return points.rejected_data_points, points.error_message
    except Exception:  # noqa: BLE001 - protobuf's DecodeError is of no tree, and it is received all the same
        return 0, ""
