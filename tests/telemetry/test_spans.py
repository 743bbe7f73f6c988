"""The spans of each story: names, places, times, and what the root says."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentd.core import facts as f
from agentd.core.context import span_id
from agentd.core.steps import Grade
from agentd.telemetry import said
from agentd.telemetry.span import Kind, Span
from agentd.telemetry.spans import spans
from agentd.wire import Trigger, Verdict

from . import stories
from .stories import AGENT, ALL, CALLER, ID, NEW, OLD, TRACE, WALL, Teller

MS = 1_000_000


def of(records: tuple[f.Record, ...], **more: object) -> dict[str, Span]:
    made = spans(records, AGENT, **more)  # type: ignore[arg-type]
    by_name = {span.name: span for span in made}
    assert len(by_name) == len(made)
    return by_name


def window(span: Span) -> tuple[float, float]:
    return ((span.start_ns - WALL) / MS, (span.end_ns - WALL) / MS)


def drawn(records: tuple[f.Record, ...]) -> list[str]:
    made = spans(records, AGENT)
    depth = {made[0].span_id: 0}
    for span in made[1:]:
        assert span.parent_id is not None
        depth[span.span_id] = depth[span.parent_id] + 1
    return [f"{'  ' * depth[s.span_id]}{s.name} {s.kind.name}" for s in made]


def test_the_tree_of_a_signal_reload() -> None:
    assert drawn(stories.applied()) == [
        "reload web SERVER",
        "  reload.snapshot INTERNAL",
        "  reload.check INTERNAL",
        "    nginx CLIENT",
        "  reload.apply INTERNAL",
        "    signal SIGHUP PRODUCER",
        "  reload.confirm INTERNAL",
        "    reload.instance INTERNAL",
        "  reload.commit INTERNAL",
    ]


def test_times_are_the_records_own_whatever_the_wall_clock_did() -> None:
    made = of(stories.applied())
    assert window(made["reload web"]) == (0, 182.4)
    assert window(made["reload.check"]) == window(made["nginx"]) == (5, 16)
    assert window(made["signal SIGHUP"]) == (17, 18)
    assert window(made["reload.instance"]) == window(made["reload.confirm"]) == (18, 170)


def test_what_the_root_says_when_it_was_applied() -> None:
    root = of(stories.applied())["reload web"]
    assert dict(root.attributes) == {
        "reload.id": ID,
        "reload.service": "web",
        "service.peer.name": "web",
        "reload.event.type": "manual_api_call",
        "reload.handle": "signal",
        "reload.coalesced_events": 1,
        "config.source": "file",
        "config.version": NEW[1],
        "config.hash": NEW[0],
        "config.previous_version": OLD[1],
        "config.previous_hash": OLD[0],
        "config.files": ("/etc/nginx/a.conf", "/etc/nginx/b.conf", "/etc/nginx/nginx.conf"),
        "config.diff.added": 1,
        "config.diff.removed": 0,
        "config.diff.changed": 2,
        "reload.verdict": "applied",
        "reload.status": "success",
        "reload.duration_ms": 182.4,
        "reload.confirmation": "workers",
        "reload.confirmation_grade": "observed",
        "user.name": "alice",
        "cicd.pipeline.name": "deploy",
    }
    assert root.error is None
    assert root.parent_id is None
    assert root.span_id == span_id(ID)


def test_each_of_several_instances_has_a_span_of_its_own() -> None:
    made = spans(ALL["in turn"], AGENT)
    root, by_id = made[0], {s.span_id: s for s in made}
    turns = [s for s in made if s.name == "reload.instance"]
    assert [s.get("reload.instance.number") for s in turns] == [0, 1]
    assert [s.get("reload.instance.outcome") for s in turns] == ["taken", "not_taken"]
    assert [s.error for s in turns] == [None, "contradicted"]
    assert [s.get("config.version") for s in turns] == [NEW[1], None]
    assert len({dict(s.resource.attributes)["service.instance.id"] for s in turns}) == 2
    assert [round((s.end_ns - s.start_ns) / 1e6) for s in turns] == [9, 9]
    assert {s.parent_id for s in turns} == {root.span_id}
    signals = [s for s in made if s.name == "signal SIGHUP"]
    assert [by_id[by_id[s.parent_id].parent_id] for s in signals] == turns
    assert signals[1].span_id == span_id(ID, "instance.1/apply/signal SIGHUP")
    counted = [root.get(f"reload.instances.{word}") for word in ("total", "succeeded", "failed")]
    assert counted == [3, 1, 1]
    assert root.get("config.version") is None


def test_the_check_and_the_signal_say_what_ran() -> None:
    made = of(stories.applied())
    assert made["nginx"].get("process.executable.name") == "nginx"
    assert made["nginx"].get("process.exit.code") == 0
    assert made["signal SIGHUP"].get("reload.signal") == "SIGHUP"
    assert made["signal SIGHUP"].get("process.pid") == 4121


def test_the_instance_speaks_with_its_own_resource() -> None:
    instance = of(stories.applied())["reload.instance"]
    own = dict(instance.resource.attributes)
    namespace = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")
    assert own["service.instance.id"] == str(uuid.uuid5(namespace, "h1/web/0/3"))
    assert (own["service.name"], own["process.pid"], own["host.name"]) == ("web", 4121, "box")
    assert "service.version" not in own
    assert instance.get("config.version") == NEW[1]
    assert instance.get("reload.status") == "success"


def test_a_rejected_reload_keeps_the_old_version_and_says_where_it_failed() -> None:
    made = of(stories.rejected())
    root = made["reload web"]
    assert root.error == "the check said no: exit code 1"
    assert root.get("error.type") == "check_failed"
    assert root.get("reload.phase") == "check"
    assert root.get("reload.status") == "failure"
    assert root.get("config.version") == root.get("config.previous_version") == OLD[1]
    assert made["reload.check"].error == "check_failed"
    assert made["nginx"].get("error.type") == "exit_1"
    assert made["nginx"].get("reload.check.output_lines") == 1
    assert "emerg" not in str(spans(stories.rejected(), AGENT))
    assert "reload.instance" not in made


def test_the_snapshot_says_why_files_could_not_be_listed() -> None:
    told = Teller().asked(stories.CLI)
    taken = f.SnapshotTaken("web", ID, *NEW, 3, (), unlisted="nginx says no")
    made = of(told.phase("snapshot", 1, 5, taken).judged(6, Verdict.REJECTED).records())
    assert made["reload.snapshot"].get("reload.inputs.unlisted") == "nginx says no"
    assert made["reload web"].get("reload.inputs.unlisted") is None
    assert of(stories.applied())["reload.snapshot"].get("reload.inputs.unlisted") is None


def test_others_that_asked_are_counted_and_linked() -> None:
    root = of(stories.coalesced())["reload web"]
    assert root.kind is Kind.INTERNAL
    assert root.get("reload.coalesced_events") == 3
    (link,) = root.links
    assert (link.to.trace_id, link.to.span_id) == ("ab" * 16, "cd" * 8)
    assert dict(link.attributes) == {"link.type": "trigger", "reload.event.type": "manual_api_call"}


def test_more_links_than_back_ends_keep_are_cut() -> None:
    joined = f.Joined("web", ID, f.Cause(Trigger.API, traceparent=f"00-{TRACE}-{CALLER}-01"))
    teller = Teller().asked(f.Cause(Trigger.WATCH))
    for _ in range(150):
        teller.at(1, joined)
    root = of(teller.judged(2, Verdict.UNCHANGED).records())["reload web"]
    assert len(root.links) == 100
    assert root.get("reload.coalesced_events") == 151


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_a_callers_context_is_the_parent_sampled_or_not(flags: str) -> None:
    made = spans(stories.with_caller(flags), AGENT)
    root = made[0]
    assert (root.parent_id, root.remote_parent, root.trace_state) == (CALLER, True, "vendor=1")
    assert {span.trace_id for span in made} == {TRACE}
    assert root.links == ()


def test_a_caller_of_another_trace_is_linked() -> None:
    root = spans(stories.with_caller(trace_id="ab" * 16), AGENT)[0]
    assert (root.parent_id, root.trace_id, root.trace_state) == (None, TRACE, "")
    assert [link.to.trace_id for link in root.links] == ["ab" * 16]


def test_a_broken_traceparent_is_ignored() -> None:
    broken = stories.applied(replace(stories.CLI, traceparent="00-zz-01"))
    root = spans(broken, AGENT)[0]
    assert (root.parent_id, root.links) == (None, ())


def test_what_the_agents_death_cut_off_ends_with_the_verdict() -> None:
    made = of(stories.interrupted())
    root, confirm = made["reload web"], made["reload.confirm"]
    assert window(root) == (0, 60_000)
    assert window(confirm) == (18, 60_000)
    assert (confirm.error, root.get("error.type")) == ("agent_interrupted", "agent_interrupted")
    assert root.get("reload.phase") == "confirm"
    assert root.get("config.version") is None
    assert made["reload.apply"].error is None


def test_after_another_boot_the_wall_clock_is_all_there_is() -> None:
    records = stories.interrupted("boot-2")
    late = (*records[:-1], replace(records[-1], wall_ns=WALL + 90_000 * MS))
    assert window(of(late)["reload web"]) == (0, 90_000)
    # The story's own wall clock went an hour back: a trace still does not.
    assert window(of(records)["reload web"]) == (0, 18)


def test_a_start_is_a_small_trace_of_its_own() -> None:
    assert drawn(stories.started()) == [
        "start web INTERNAL",
        "  reload.snapshot INTERNAL",
        "  reload.apply INTERNAL",
        "    process.start CLIENT",
        "    reload.instance INTERNAL",
        "  reload.commit INTERNAL",
    ]
    made = of(stories.started())
    assert made["start web"].get("reload.event.type") == "process_start"
    assert made["process.start"].get("process.pid") == 4121
    assert made["reload.instance"].parent_id == made["reload.apply"].span_id


def test_a_running_reload_is_drawn_until_now() -> None:
    assert window(of(stories.running())["reload web"]) == (0, 18)
    made = of(stories.running(), now_ns=WALL + 30 * MS)
    assert window(made["reload web"]) == (0, 30)
    assert window(made["reload.confirm"]) == (18, 30)
    assert made["reload web"].get("reload.verdict") is None
    assert made["reload.confirm"].error is None


@pytest.mark.parametrize("verdict", [Verdict.HELD, Verdict.CANCELLED])
def test_what_was_not_run_has_no_status(verdict: Verdict) -> None:
    root = of(Teller().asked(stories.CLI).judged(0, verdict).records())["reload web"]
    assert root.get("reload.status") is None
    assert root.get("reload.verdict") == verdict.value
    assert root.error is None


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_status_of_the_span_is_the_verdicts(verdict: Verdict) -> None:
    root = of(Teller().asked(stories.CLI).judged(1, verdict).records())["reload web"]
    assert (root.error is not None) == (verdict.status in ("failure", "partial"))
    assert (root.get("error.type") is not None) == (root.error is not None)


def test_a_released_reload_is_linked_to_the_one_that_was_held() -> None:
    teller = Teller().asked(stories.CLI, link="01JC")
    records = teller.judged(1, Verdict.APPLIED, grade=Grade.PROVEN).records()
    (link,) = of(records, trace_of={"01JC": "ef" * 16}.get)["reload web"].links
    assert (link.to.trace_id, link.to.span_id) == ("ef" * 16, span_id("01JC"))
    assert of(records)["reload web"].links == ()


def test_a_rollback_holds_what_it_does_again() -> None:
    told = spans(stories.rolled_back(), AGENT)
    made = {span.name: span for span in told}
    lines = drawn(stories.rolled_back())
    assert lines[lines.index("  reload.verify INTERNAL") :] == [
        "  reload.verify INTERNAL",
        "  reload.rollback INTERNAL",
        "    reload.restore INTERNAL",
        "    reload.snapshot INTERNAL",
        "    reload.apply INTERNAL",
        "      signal SIGHUP PRODUCER",
        "    reload.confirm INTERNAL",
        "      reload.instance INTERNAL",
        "    reload.verify INTERNAL",
        "    reload.commit INTERNAL",
    ]
    root = made["reload web"]
    assert (root.get("reload.phase"), root.get("error.type")) == ("verify", "verify_failed")
    assert root.get("config.hash") == root.get("config.previous_hash") == stories.OLD[0]
    assert root.get("reload.outage_ms") is None
    back = made["reload.rollback"]
    assert (back.get("config.version"), back.error) == (stories.OLD[1], None)
    verified = [s for s in told if s.name == "reload.verify"]
    counts = [(s.get("reload.verify.passes"), s.get("reload.verify.failures")) for s in verified]
    assert counts == [(1, 3), (9, 0)]
    assert [s.error for s in verified] == ["verify_failed", None]
    assert [s.get("config.version") for s in verified] == [stories.NEW[1], stories.OLD[1]]
    assert root.get("config.files") is not None


def test_a_soak_is_a_trace_of_its_own_that_is_linked_to_the_reload() -> None:
    told = spans(stories.soaked(), AGENT)
    root, soak = told[0], told[-1]
    assert (soak.name, soak.trace_id, soak.parent_id) == ("soak web", stories.SOAK, None)
    assert [(link.to.trace_id, link.to.span_id) for link in soak.links] == [
        (root.trace_id, root.span_id)
    ]
    assert (soak.start_ns, soak.end_ns) == (root.end_ns, root.end_ns + 3600 * 10**9)
    assert (soak.get("config.version"), soak.get("reload.soak.outcome")) == (
        stories.NEW[1],
        "failed",
    )
    assert (soak.get("reload.verify.passes"), soak.get("reload.verify.failures")) == (5, 3)
    assert (soak.error, soak.get("error.type")) == (
        "answered 500, 3 times in a row",
        "soak_failed",
    )
    assert root.error is None
    well = spans(stories.soaked("passed", "answered 500"), AGENT)[-1]
    assert (well.error, well.get("error.type")) == (None, None)


def test_a_soak_that_goes_on_is_drawn_up_to_now() -> None:
    so_far = stories.soaked()[:-1]
    soak = spans(so_far, AGENT, now_ns=stories.WALL + 60 * 10**9)[-1]
    assert (soak.end_ns, soak.get("reload.soak.outcome")) == (stories.WALL + 60 * 10**9, None)
    assert spans(so_far, AGENT)[-1].end_ns == spans(so_far, AGENT)[0].end_ns


def spans_of_apply(records: tuple[f.Record, ...]) -> list[str]:
    return [s.span_id for s in spans(records, AGENT) if s.name == "reload.apply"]


def test_the_outage_of_one_that_died_ends_with_what_was_put_back() -> None:
    made = {span.name: span for span in spans(stories.died_of_it(), AGENT)}
    assert made["reload web"].get("reload.outage_ms") == pytest.approx(43.0)
    assert made["reload.instance"].get("reload.outage_ms") == pytest.approx(43.0)
    assert made["reload.instance"].parent_id == spans_of_apply(stories.died_of_it())[-1]
    still = [r for r in stories.died_of_it() if not isinstance(r.fact, f.StepEnded)]
    assert spans(still, AGENT)[0].get("reload.outage_ms") is None


@pytest.mark.parametrize("name", ALL)
def test_every_child_is_within_its_parent_and_ids_stay(name: str) -> None:
    made = spans(ALL[name], AGENT)
    by_id = {span.span_id: span for span in made}
    assert len(by_id) == len(made)
    assert made == spans(ALL[name], AGENT)
    for span in made[1:]:
        above = by_id[span.parent_id or ""]
        assert above.start_ns <= span.start_ns <= span.end_ns <= above.end_ns


ROLLBACK = (
    Teller().at(3, f.PhaseBegan("web", ID, "rollback")).at(4, f.PhaseEnded("web", ID, "rollback"))
)
ANY = [r for records in (*ALL.values(), ROLLBACK.records()) for r in records]


@example(
    [
        ROLLBACK.told[0],
        *ALL["applied"][1:2],
        ROLLBACK.told[1],
        *ALL["applied"][3:4],
        ALL["applied"][-1],
    ]
)
@given(st.lists(st.sampled_from(ANY), max_size=25))
def test_any_order_of_records_makes_a_whole_tree(rest: list[f.Record]) -> None:
    made = spans((ALL["applied"][0], *rest), AGENT, now_ns=WALL)
    by_id = {span.span_id: span for span in made}
    assert len(by_id) == len(made)
    for span in made[1:]:
        above = by_id[span.parent_id or ""]
        assert above.start_ns <= span.start_ns <= span.end_ns <= above.end_ns


def test_records_that_are_no_reload_have_no_spans() -> None:
    assert spans((), AGENT) == spans(ALL["applied"][1:], AGENT) == ()


@pytest.mark.parametrize("name", ["reload web", "reload.instance"])
def test_what_the_configuration_says_of_itself_moves_with_its_version(name: str) -> None:
    found = of(stories.of_a_model())[name]
    assert found.get("model.version") == found.get("gen_ai.request.model") == "small-2"
    assert found.get("model.previous_version") == "small-1"
    assert found.get("prompt.template.previous_version") == "v6"
    assert found.get("prompt.template.version") == found.get("gen_ai.prompt.version") == "v7"
    assert found.get("prompt.template.id") == found.get("gen_ai.prompt.name") == "sort"
    assert found.get("prompt.template.previous_id") == "triage"


def test_after_a_rejected_reload_the_model_is_the_one_of_before() -> None:
    root = of(stories.speaking(stories.rejected()))["reload web"]
    assert root.get("model.version") == root.get("model.previous_version") == "small-1"
    assert root.get("gen_ai.prompt.version") == "v6"


def test_what_is_no_longer_said_is_only_told_of_before() -> None:
    assert said.attributes((("team.owner", "ai"),), ()) == {"team.previous_owner": "ai"}


def test_a_twin_that_is_declared_is_not_overruled() -> None:
    both = (("model.version", "a"), ("gen_ai.request.model", "b"))
    assert said.attributes((), both)["gen_ai.request.model"] == "b"


def test_settings_that_were_not_taken_leave_no_doubt_about_the_bytes() -> None:
    """By its own report it runs these bytes but for what it names; several instances run two configurations."""
    named = stories.delivered(stories.CLI).judged(
        170, Verdict.PARTIAL, hash_after=NEW[0], version_after=NEW[1], not_taken=("port",)
    )
    assert of(named.records())["reload web"].get("config.version") == NEW[1]
    mixed = stories.delivered(stories.CLI).judged(
        170, Verdict.PARTIAL, hash_after=NEW[0], version_after=NEW[1]
    )
    assert of(mixed.records())["reload web"].get("config.version") is None


def test_a_drain_that_nobody_counted_says_no_number() -> None:
    *before, last = stories.replaced()
    uncounted = replace(last.fact, open=None, cut=None)  # type: ignore[type-var]  # it is one
    made = spans((*before, replace(last, fact=uncounted)), stories.AGENT)
    (drain,) = (span for span in made if span.name == "reload.drain")
    assert not [key for key, _ in drain.attributes if key.startswith("reload.drain")]
