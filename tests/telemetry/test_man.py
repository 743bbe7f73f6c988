"""agentd-tracing(7) names the attributes that the code sets, and no others; the spans it draws are those that are made."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from agentd.core.events import Origin
from agentd.core.spec import ProcessSpec, ReloadSpec, Spec
from agentd.runtime import outwards
from agentd.runtime.environment import environment
from agentd.system.groups import COOKIE
from agentd.telemetry import resource
from agentd.telemetry import spans as folding
from agentd.telemetry.flip import flip
from agentd.telemetry.metrics import Now, Sending, families
from agentd.telemetry.resource import agent_resource
from agentd.telemetry.spans import spans
from agentd.telemetry.tally import Tally

from .stories import ALL, LATE

PAGE = (Path(__file__).parents[2] / "man" / "agentd-tracing.7").read_text().replace("\\-", "-")
NAMES = PAGE.partition('.\\" names: begin')[2].partition('.\\" names: end')[0]
TREE = PAGE.partition(".SH SPANS\n")[2].partition(".SH ATTRIBUTES")[0]
EVERY = ALL | LATE
NO_ATTRIBUTES = {
    "process.start",
    "process.stop",
    "reload.drain",
    "reload.instance",
    "traffic.switch",
    "traffic.switched",
}
"""Names of spans and steps, which look the same."""
EVENTS = {"traffic.switched"}


def told() -> set[str]:
    """The names that a tagged paragraph is about."""
    tags = re.findall(r"^\.TP\n(\\fB.*)$", NAMES, re.MULTILINE)
    return {name for tag in tags for name in re.findall(r"\\fB(.*?)\\fR", tag)}


def written() -> set[str]:
    """Every attribute that stands in the code; a beginning stands for all that begin so."""
    found = set()
    for module in (folding, resource):
        assert module.__file__
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"\A[a-z]+(?:\.[a-z_]+)+\.?\Z|\A[a-z]+\.\Z", node.value))
    return found - NO_ATTRIBUTES


def made() -> set[str]:
    """Every attribute on the spans of all stories, their links and resources."""
    agent = agent_resource("1", "boot/1", {}, "host")
    found = {name for name, _ in agent.attributes}
    for records in EVERY.values():
        for span in spans(records, agent, trace_of=lambda _: "ab" * 16):
            for attributes in (
                span.attributes,
                span.resource.attributes,
                *(link.attributes for link in span.links),
            ):
                found |= {name for name, _ in attributes}
    return found


def covers(name: str) -> bool:
    """Whether the page has the name, or what it begins with."""
    return name in told() or any(name.startswith(t[:-1]) for t in told() if t.endswith("*"))


def test_every_attribute_of_the_code_is_on_the_page() -> None:
    plain = {name for name in written() | made() if not name.endswith(".")}
    assert {name for name in plain if not covers(name)} == set()
    beginnings = {name for name in written() if name.endswith(".")}
    assert {b for b in beginnings if not any(t.startswith(b) for t in told())} == set()


def test_every_attribute_of_the_page_is_in_the_code() -> None:
    known = written() | made()
    gone = {t for t in told() if t not in known and t.removesuffix("*") not in known}
    assert gone == set()


def test_every_metric_is_on_the_page_and_no_other() -> None:
    service = Now("web", True, ("v", "h"), True, False, False, 0)
    sending = Sending("traces", 0, None, 0, 0, 0, 0)
    made = families(Tally(1), [service], [sending], agent_ns=1, wall_ns=2)
    part = PAGE.partition('.\\" metrics: begin')[2].partition('.\\" metrics: end')[0]
    line = r"^\\fB(.*?)\\fR, \\fB(.*?)\\fR \((\w+)\)\n(.*)\nBy (.*)\.$"
    found = re.findall(line, part, re.MULTILINE)
    assert found == [(f.name, f.text, f.kind, f.help, ", ".join(f.labels)) for f in made]


CONTEXT = PAGE.partition(".SH CONTEXT OUTWARDS\n")[2].partition("\n.SH ")[0]


def test_what_a_process_is_told_is_on_the_page_and_no_more() -> None:
    origin = Origin("01JD", "4bf92f3577b34da6a3ce929d0e0e4736", "sha256:9be0", "9be0")
    spec = Spec("web", ProcessSpec(("web",)), reload=ReloadSpec(handle="replace"))
    given = outwards.context(origin, "apply") | outwards.attributes(spec, origin, "id", {})
    variables = {
        *given,
        outwards.STATE_FILE,
        outwards.NUMBER,
        outwards.TAKEOVERS,
        *environment({}, spec, 1, {}),
        COOKIE,
    }
    tagged = re.findall(r"^\.TP\n(\\fB.*)$", CONTEXT, re.MULTILINE)
    named = {name for tag in tagged for name in re.findall(r"\\fB(.*?)\\fR", tag)}
    assert {name for name in named if name.isupper()} == variables
    members = set(json.loads(outwards.state(origin, "apply", "id", 1)))
    assert {name for name in named if not name.isupper()} == members
    pairs = outwards.attributes(spec, origin, "id", {})["OTEL_RESOURCE_ATTRIBUTES"]
    assert all(pair.partition("=")[0] in CONTEXT for pair in pairs.split(","))


def test_the_event_has_what_the_page_says() -> None:
    agent = agent_resource("1", "boot/1", {}, "host")
    events = [event for records in EVERY.values() if (event := flip(records, agent))]
    assert {event.name for event in events} == {"config.reload"}
    names = {name for event in events for name, _ in event.attributes}
    assert {name for name in names if not covers(name)} == {"config.changed"}
    assert "\\fBconfig.changed\\fR" in PAGE


def test_the_spans_that_are_drawn_are_those_that_are_made() -> None:
    names = {
        span.name
        for records in EVERY.values()
        for span in spans(records, agent_resource("1", "boot/1", {}, "host"))
    }
    shapes = {
        re.sub(
            r"^(reload|start|soak) web$",
            r"\1 SERVICE",
            re.sub(r"^signal SIG\w+$", "signal SIGNAL", re.sub("^POST$", "METHOD", name)),
        )
        for name in names - {"nginx"}
    } | {"PROGRAM"}
    missing = {
        shape for shape in shapes if not re.search(rf"(?<![\w.]){re.escape(shape)}(?![\w.])", TREE)
    }
    assert missing == set()
    drawn = re.findall(r"^ *((?:reload|process|traffic)\.\w+)", TREE, re.MULTILINE)
    assert len(drawn) > len(NO_ATTRIBUTES)
    assert set(drawn) <= names | EVENTS, "a span on the page that nobody makes"
