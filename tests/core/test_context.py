"""Trace context by the letter of W3C, ids that follow from the reload, and who a span is about."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.context import (
    Context,
    parse_traceparent,
    parse_tracestate,
    span_id,
    traceparent,
)
from agentd.telemetry.resource import agent_resource, instance_id, read_host_id

if TYPE_CHECKING:
    from pathlib import Path

T, S = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header", [f"00-{T}-{S}-00", f"00-{T}-{S}-03", f"01-{T}-{S}-01", f"cc-{T}-{S}-01-what"]
)
def test_valid_parents(header: str) -> None:
    assert parse_traceparent(header) == Context(T, S)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{T}-{S}",
        f"00-{T}-{S}-01-more",
        f"00-{T}-{S}-01-",
        f"ff-{T}-{S}-01",
        f"00-{'0' * 32}-{S}-01",
        f"00-{T}-{'0' * 16}-01",
        f"00-{T.upper()}-{S}-01",
        f"00-{T[:-1]}-{S}-01",
        f" 00-{T}-{S}-01",
        f"00-{T}-{S}-01\n",
        f"00-{T}-{S}-0g",
        f"cc-{T}-{S}-01.what",
    ],
)
def test_invalid_parents(header: str) -> None:
    assert parse_traceparent(header) is None


@pytest.mark.parametrize(
    ("header", "state"),
    [
        ("a=1, b=2", "a=1,b=2"),
        ("fw529a3039@dt=FfEJ1MO9", "fw529a3039@dt=FfEJ1MO9"),
        ("a=1,,b=2", "a=1,b=2"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a=1\nb=2", ""),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("", ""),
    ],
)
def test_states(header: str, state: str) -> None:
    assert parse_tracestate(header) == state


@given(st.text(), st.text())
def test_any_span_id_is_one_and_can_be_handed_on(reload_id: str, path: str) -> None:
    assert re.fullmatch("[0-9a-f]{16}", span_id(reload_id, path))
    assert parse_traceparent(traceparent(T, reload_id, path)) == Context(
        T, span_id(reload_id, path)
    )


def test_span_ids_differ_by_place_and_stay_the_same() -> None:
    assert span_id("01JD", "check") == "24704f8d0a29937a"
    assert len({span_id("01JD"), span_id("01JD", "check"), span_id("01JC", "check")}) == 3


def test_an_instance_has_the_conventions_id() -> None:
    namespace = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")
    assert instance_id("h", "web", 4) == str(uuid.uuid5(namespace, "h/web/0/4"))


def test_the_agents_resource_takes_what_the_environment_gives() -> None:
    environ = {
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=pro%20d,service.version=9,bad,service.namespace=n",
        "OTEL_SERVICE_NAME": "hosts",
    }
    made = agent_resource("1.0", "boot/1", environ, "h1")
    own = dict(made.attributes)
    assert own["deployment.environment.name"] == "pro d"
    assert (own["service.name"], own["service.version"], own["service.namespace"]) == (
        "hosts",
        "1.0",
        "n",
    )
    assert own["host.id"] == "h1"
    assert (
        own["service.instance.id"]
        != dict(agent_resource("1.0", "boot/2", {}, "h1").attributes)["service.instance.id"]
    )
    assert dict(made.instance("web", 1, None).attributes).keys() == {
        "deployment.environment.name", "host.id", "host.name", "os.type", "service.instance.id", "service.name",
    }  # fmt: skip


def test_a_machine_without_an_id_is_known_by_its_name(tmp_path: Path) -> None:
    empty, good = tmp_path / "empty", tmp_path / "good"
    empty.write_text("\n")
    good.write_text("abc\n")
    assert read_host_id((tmp_path / "none", empty, good)) == "abc"
    assert read_host_id((empty,)) == dict(agent_resource("1", "", {}).attributes)["host.name"]


MARKS = st.lists(
    st.sampled_from([*"-=,;@ 019af\t", T, S, "00", "cc", "ff", "vendor=1"]), max_size=16
)


@given(st.one_of(st.text(max_size=80), MARKS.map("".join)))
def test_any_header_is_a_parent_that_can_be_handed_on_or_none(header: str) -> None:
    found = parse_traceparent(header)
    assert found is None or parse_traceparent(f"00-{found.trace_id}-{found.span_id}-01") == found
    state = parse_tracestate(header)
    assert parse_tracestate(state) == state
    assert state.isprintable()
