"""OTLP/JSON against a golden text, and against the official encoder where that is installed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode

from agentd.telemetry.otlp import export_request
from agentd.telemetry.sdk import to_sdk
from agentd.telemetry.spans import spans

from . import stories
from .stories import AGENT, ALL, ID, NEW, OLD, TRACE, WALL

GOLDEN = {
    "resourceSpans": [
        {
            "resource": {
                "attributes": [
                    {"key": "host.id", "value": {"stringValue": "h1"}},
                    {"key": "host.name", "value": {"stringValue": "box"}},
                    {"key": "service.name", "value": {"stringValue": "agentd"}},
                    {"key": "service.version", "value": {"stringValue": "1"}},
                ]
            },
            "scopeSpans": [
                {
                    "scope": {"name": "reload", "version": "1.2"},
                    "spans": [
                        {
                            "traceId": TRACE,
                            "spanId": "734050aa366158c6",
                            "flags": 0x101,
                            "name": "reload web",
                            "kind": 1,
                            "startTimeUnixNano": str(WALL),
                            "endTimeUnixNano": str(WALL + 210_000_000),
                            "attributes": [
                                {"key": "reload.id", "value": {"stringValue": ID}},
                                {"key": "reload.service", "value": {"stringValue": "web"}},
                                {"key": "service.peer.name", "value": {"stringValue": "web"}},
                                {
                                    "key": "reload.event.type",
                                    "value": {"stringValue": "auto_file_watch"},
                                },
                                {"key": "reload.handle", "value": {"stringValue": "signal"}},
                                {"key": "reload.coalesced_events", "value": {"intValue": "3"}},
                                {"key": "config.source", "value": {"stringValue": "file"}},
                                {
                                    "key": "config.previous_version",
                                    "value": {"stringValue": OLD[1]},
                                },
                                {"key": "config.previous_hash", "value": {"stringValue": OLD[0]}},
                                {"key": "reload.verdict", "value": {"stringValue": "unchanged"}},
                                {"key": "reload.status", "value": {"stringValue": "success"}},
                                {"key": "reload.duration_ms", "value": {"doubleValue": 210.0}},
                                {"key": "reload.confirmation", "value": {"stringValue": "none"}},
                            ],
                            "links": [
                                {
                                    "traceId": "ab" * 16,
                                    "spanId": "cd" * 8,
                                    "flags": 0x301,
                                    "attributes": [
                                        {"key": "link.type", "value": {"stringValue": "trigger"}},
                                        {
                                            "key": "reload.event.type",
                                            "value": {"stringValue": "manual_api_call"},
                                        },
                                    ],
                                }
                            ],
                            "status": {},
                        },
                    ],
                }
            ],
        }
    ]
}


def request(name: str) -> dict[str, Any]:
    return export_request(to_sdk(spans(ALL[name], AGENT), "1.2"))


def flat(doc: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for r in doc["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]]


def test_one_span_is_written_as_the_golden_text() -> None:
    doc = request("coalesced")
    doc["resourceSpans"][0]["scopeSpans"][0]["spans"][1:] = []
    assert doc == GOLDEN
    assert json.loads(json.dumps(doc)) == doc


@pytest.mark.parametrize("name", ALL)
def test_the_official_encoder_says_the_same(name: str) -> None:
    official = pytest.importorskip("opentelemetry.exporter.otlp.proto.common.trace_encoder")
    json_format = pytest.importorskip("google.protobuf.json_format")
    made = to_sdk(spans(ALL[name], AGENT), "1.2")
    theirs = official.encode_spans(made)
    ours = export_request(made)
    for span in flat(ours):
        for where in (span, *span.get("links", ())):
            where["flags"] &= ~0xFF  # theirs leaves the W3C flags out
            for key in ("traceId", "spanId", "parentSpanId"):
                if key in where:  # in protobuf's own JSON ids are base64
                    where[key] = base64.b64encode(bytes.fromhex(where[key])).decode()
    parsed = json_format.ParseDict(ours, type(theirs)())
    assert parsed == theirs


def test_the_instance_has_a_resource_of_its_own() -> None:
    doc = request("applied")
    names = [
        {kv["key"]: kv["value"].get("stringValue") for kv in r["resource"]["attributes"]}[
            "service.name"
        ]
        for r in doc["resourceSpans"]
    ]
    assert names == ["agentd", "web"]


def test_a_remote_parent_and_an_error_are_marked() -> None:
    root = flat(request("caller"))[0]
    assert (root["parentSpanId"], root["flags"], root["traceState"]) == (
        stories.CALLER,
        0x301,
        "vendor=1",
    )
    root = flat(request("rejected"))[0]
    assert root["status"] == {"code": 2, "message": "the check said no: exit code 1"}


def test_the_sdks_objects_carry_the_same() -> None:
    root = to_sdk(spans(ALL["rejected"], AGENT), "1.2")[0]
    assert root.context is not None
    assert f"{root.context.trace_id:032x}" == TRACE
    assert root.status.status_code is StatusCode.ERROR
    assert root.attributes is not None
    assert root.attributes["config.previous_version"] == OLD[1]
    assert (root.start_time, root.context.trace_flags) == (WALL, 1)
    assert NEW[1] not in str(root.attributes)


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (True, {"boolValue": True}),
        (1 << 62, {"intValue": str(1 << 62)}),
        (float("nan"), {"doubleValue": "NaN"}),
        (float("-inf"), {"doubleValue": "-Infinity"}),
        (("a",), {"arrayValue": {"values": [{"stringValue": "a"}]}}),
    ],
)
def test_values(value: Any, json_value: dict[str, Any]) -> None:
    span = ReadableSpan(
        "x", SpanContext(1, 2, is_remote=False), resource=to_sdk(spans(ALL["started"], AGENT), "")[0].resource,
        attributes={"k": value}, start_time=1, end_time=2,
    )  # fmt: skip
    assert flat(export_request([span]))[0]["attributes"] == [{"key": "k", "value": json_value}]


def test_a_span_that_has_not_ended_and_a_strange_value_are_refused() -> None:
    resource = to_sdk(spans(ALL["started"], AGENT), "")[0].resource
    context = SpanContext(1, 2, is_remote=False)
    with pytest.raises(ValueError, match="has not ended"):
        export_request([ReadableSpan("x", context, resource=resource, start_time=1)])
    strange = ReadableSpan(
        "x", context, resource=resource, attributes={"k": object()}, start_time=1, end_time=2
    )  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="no attribute value"):
        export_request([strange])
