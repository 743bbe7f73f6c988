"""OTLP/JSON by hand: one ExportTraceServiceRequest from finished spans, as plain values for ``json.dumps``.

The JSON form differs from protobuf's usual one: ids are hex, not base64; 64-bit integers are strings; enumerations are
numbers; names are lowerCamelCase (opentelemetry-proto, docs/specification.md "JSON Protobuf Encoding"). Reads the SDK's
``ReadableSpan`` and imports nothing of it.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Link, SpanContext

Json = dict[str, Any]

_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200


def export_request(spans: Iterable[ReadableSpan]) -> Json:
    """The request, spans grouped by resource and scope in the order in which these first appear."""
    resources: dict[Any, dict[Any, list[Json]]] = {}
    for span in spans:
        scopes = resources.setdefault(span.resource, {})
        scopes.setdefault(span.instrumentation_scope, []).append(_span(span))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource.attributes)},
                "scopeSpans": [
                    {"scope": _scope(scope), "spans": of_scope}
                    for scope, of_scope in scopes.items()
                ],
            }
            for resource, scopes in resources.items()
        ]
    }


def _scope(scope: Any) -> Json:
    if scope is None:
        return {}
    return {"name": scope.name} | ({"version": scope.version} if scope.version else {})


def _span(span: ReadableSpan) -> Json:
    context, parent = span.context, span.parent
    if context is None or span.start_time is None or span.end_time is None:
        raise ValueError(f"span {span.name} has not ended")
    made: Json = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "flags": _flags(context, parent),
        "name": span.name,
        "kind": span.kind.value + 1,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
    }
    if parent is not None:
        made["parentSpanId"] = f"{parent.span_id:016x}"
    if context.trace_state:
        made["traceState"] = context.trace_state.to_header()
    if span.attributes:
        made["attributes"] = _attributes(span.attributes)
    if span.events:
        made["events"] = [_event(event) for event in span.events]
    if span.links:
        made["links"] = [_link(link) for link in span.links]
    made["status"] = _status(span)
    return made


def _status(span: ReadableSpan) -> Json:
    code = span.status.status_code.value
    made: Json = {"code": code} if code else {}
    if span.status.description:
        made["message"] = span.status.description
    return made


def _flags(context: SpanContext, whose: SpanContext | None) -> int:
    """The W3C flags, and in bits 8 and 9 whether ``whose`` context is known to be remote, and is."""
    remote = whose is not None and whose.is_remote
    return int(context.trace_flags) | _HAS_IS_REMOTE | (_IS_REMOTE if remote else 0)


def _event(event: Event) -> Json:
    made: Json = {"timeUnixNano": str(event.timestamp), "name": event.name}
    return made | ({"attributes": _attributes(event.attributes)} if event.attributes else {})


def _link(link: Link) -> Json:
    made: Json = {
        "traceId": f"{link.context.trace_id:032x}",
        "spanId": f"{link.context.span_id:016x}",
        "flags": _flags(link.context, link.context),
    }
    return made | ({"attributes": _attributes(link.attributes)} if link.attributes else {})


def _attributes(attributes: Mapping[str, Any]) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Any) -> Json:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value if isfinite(value) else _NOT_FINITE[str(value)]}
        case str():
            return {"stringValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [_value(item) for item in value]}}
        case _:
            raise TypeError(f"{type(value).__name__} is no attribute value")


_NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
