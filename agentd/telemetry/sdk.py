"""Our spans as OpenTelemetry's own objects, for exporters and processors, at the records' own times.

Import this module late: the SDK takes a tenth of a second and 6 MiB, and the socket must listen before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentd.telemetry.resource import Resource
    from agentd.telemetry.span import Span

SCOPE = "reload"
"""The instrumentation scope; its version tells attribute names of one release from another's."""
_KINDS = (
    SpanKind.INTERNAL,
    SpanKind.INTERNAL,
    SpanKind.SERVER,
    SpanKind.CLIENT,
    SpanKind.PRODUCER,
    SpanKind.CONSUMER,
)


def to_sdk(spans: Iterable[Span], version: str) -> tuple[ReadableSpan, ...]:
    """One ReadableSpan each, sampled, in the same order. ``version`` is the product's."""
    scope = InstrumentationScope(SCOPE, version)
    resources: dict[Resource, SdkResource] = {}
    made = []
    for span in spans:
        if span.resource not in resources:
            resources[span.resource] = SdkResource(dict(span.resource.attributes))
        made.append(_one(span, scope, resources[span.resource]))
    return tuple(made)


def _one(span: Span, scope: InstrumentationScope, resource: SdkResource) -> ReadableSpan:
    state = TraceState.from_header([span.trace_state] if span.trace_state else [])
    parent = None
    if span.parent_id is not None:
        parent = _context(span.trace_id, span.parent_id, state, remote=span.remote_parent)
    status = Status() if span.error is None else Status(StatusCode.ERROR, span.error)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, state, remote=False),
        parent=parent,
        resource=resource,
        attributes=dict(span.attributes),
        events=[Event(e.name, dict(e.attributes), e.at_ns) for e in span.events],
        links=[
            Link(
                _context(link.to.trace_id, link.to.span_id, None, remote=True),
                dict(link.attributes),
            )
            for link in span.links
        ],
        kind=_KINDS[span.kind],
        instrumentation_scope=scope,
        status=status,
        start_time=span.start_ns,
        end_time=span.end_ns,
    )


def _context(trace_id: str, span_id: str, state: TraceState | None, *, remote: bool) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, flags, state)
