"""The event of the flip: when it was, what it says, and whose it is."""

from __future__ import annotations

import pytest

from agentd.core import facts as f
from agentd.telemetry.flip import LogEvent, flip
from agentd.telemetry.resource import instance_id
from agentd.telemetry.spans import spans
from agentd.wire import Verdict

from . import stories
from .stories import AGENT, ALL, CLI, ID, NEW, OLD, TRACE, WALL, delivered, prepared


def flipped(records: tuple[f.Record, ...]) -> LogEvent:
    found = flip(records, AGENT)
    assert found is not None
    return found


def test_a_reload_that_was_applied_is_a_flip_at_its_commit() -> None:
    event = flipped(stories.applied())
    said = dict(event.attributes)
    assert (event.name, event.failed, event.at_ns) == ("config.reload", False, WALL + 170_000_000)
    assert event.body == "reload web: applied"
    assert said["config.version"] == NEW[1]
    assert said["config.previous_hash"] == OLD[0]
    assert said["config.changed"] is True
    assert said["reload.verdict"] == "applied"
    assert said["reload.event.type"] == "manual_api_call"


def test_it_is_the_services_own_and_stands_in_the_root_span() -> None:
    event = flipped(stories.with_caller())
    root = spans(stories.with_caller(), AGENT)[0]
    assert (event.trace_id, event.span_id) == (TRACE, root.span_id)
    assert dict(event.resource.attributes) == {
        "host.id": "h1",
        "host.name": "box",
        "process.pid": 4121,
        "service.instance.id": instance_id("h1", "web", 3),
        "service.name": "web",
    }


@pytest.mark.parametrize("told", [stories.rejected(), stories.interrupted()])
def test_a_failure_is_an_error_and_its_version_is_what_runs(told: tuple[f.Record, ...]) -> None:
    event = flipped(told)
    said = dict(event.attributes)
    assert event.failed
    assert said["reload.status"] == "failure"
    assert said["error.type"]
    known = said.get("config.version")
    assert known == (OLD[1] if said["reload.verdict"] == "rejected" else None)
    assert said.get("config.changed") is (False if known else None)


def test_a_verdict_that_only_confirms_has_changed_nothing() -> None:
    t = prepared(CLI).judged(20, Verdict.UNCHANGED, hash_after=OLD[0], version_after=OLD[1])
    assert dict(flipped(t.records()).attributes)["config.changed"] is False


def test_the_switch_of_connections_is_the_moment_where_there_is_one() -> None:
    t = delivered(CLI).at(30, f.PhaseBegan("web", ID, "apply"))
    t.at(40, f.StepBegan("web", ID, "traffic.switch"))
    t.at(45, f.StepEnded("web", ID, "traffic.switch", 1000.045), f.PhaseEnded("web", ID, "apply"))
    t.phase("commit", 60, 70).judged(70, Verdict.APPLIED, hash_after=NEW[0], version_after=NEW[1])
    assert flipped(t.records()).at_ns == WALL + 45_000_000


@pytest.mark.parametrize("verdict", [Verdict.HELD, Verdict.CANCELLED])
def test_what_was_not_run_has_no_event(verdict: Verdict) -> None:
    t = stories.Teller().asked(CLI).judged(1, verdict)
    assert flip(t.records(), AGENT) is None


def test_what_still_runs_has_no_event() -> None:
    assert flip(ALL["running"], AGENT) is None
    assert flip((), AGENT) is None


def test_no_word_of_a_check_is_in_it() -> None:
    said = "nginx: [emerg]"
    assert any(said in line for line in stories.rejected()[-1].fact.output)  # type: ignore[union-attr]
    assert said not in str(flipped(stories.rejected()))
