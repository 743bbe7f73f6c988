"""The counts agree with the journal, survive the agent, and read by the parsers of those who read such texts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open,
)
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from agentd.core import facts as f
from agentd.core.instance import Instance, Phase
from agentd.core.manifest import Manifest, Missing
from agentd.core.memory import Declined, Quarantine
from agentd.core.service_value import Service
from agentd.core.spec import ProcessSpec, Spec
from agentd.telemetry.meter import Meter
from agentd.telemetry.metrics import LABEL, Family, Kind, Now, Sending, families, now
from agentd.telemetry.metrics_otlp import request
from agentd.telemetry.openmetrics import OPEN, PLAIN, pieces, wanted
from agentd.telemetry.report import report
from agentd.telemetry.tally import Durations, Ended, Passed, Tally, from_text
from agentd.wire import Trigger, Verdict

from .stories import AGENT, ALL, WALL

BEGAN = WALL - 10**12
NASTY = 'a"b\\c\nd'
SERVICES = (
    Now(
        "web",
        active=True,
        live=("3f3f", "sha256:3f"),
        drift=True,
        quarantined=False,
        rejected=False,
        restarts=2,
    ),
    Now("down", active=False, live=None, drift=None, quarantined=True, rejected=True, restarts=0),
)
OUTBOX = (
    Sending("traces", 3, WALL - 5 * 10**9, 1, 7, 2, 4),
    Sending("logs", 0, None, 0, 9, 0, 0),
)


def history(count: int = 40) -> list[tuple[f.Record, ...]]:
    """Reloads of every kind, each with an id of its own and the numbers of one journal."""
    kinds = [story for name, story in ALL.items() if name not in ("running", "another boot")]
    seq, told = 0, []
    for n in range(count):
        own = []
        for record in kinds[n % len(kinds)]:
            seq += 1
            fact: Any = record.fact
            service = ("web", "down", "gone")[n % 3]
            own.append(
                replace(record, seq=seq, fact=replace(fact, reload_id=f"{n:026}", service=service))
            )
        told.append(tuple(own))
    return told


def counted(records: Any, tally: Tally | None = None) -> Tally:
    tally = tally or Tally(BEGAN)
    for record in records:
        tally.add(record)
    return tally


def every(tally: Tally) -> tuple[Family, ...]:
    return families(tally, SERVICES, OUTBOX, agent_ns=BEGAN, wall_ns=WALL)


def full() -> Tally:
    """With every family in it, and labels that need escaping."""
    tally = counted(r for told in history() for r in told)
    seq = tally.seq
    skipped = f.Skipped("web", Trigger.WATCH, "unchanged")
    tally.add(f.Record(seq + 1, WALL, 1.0, "boot", skipped))
    nasty = f.Judged(NASTY, "x", Verdict.FAILED, NASTY, Trigger.API, 1, 2, error_type=NASTY)
    tally.add(f.Record(seq + 2, WALL, 2.0, "boot", nasty))
    tally.add(f.Record(seq + 3, WALL, 3.0, "boot", replace(nasty, verdict=Verdict.HELD)))
    return tally


def test_the_counts_are_those_of_the_history() -> None:
    told = history()
    tally = counted(r for records in told for r in records)
    expected: dict[Ended, list[float]] = {}
    for records in told:
        r = report(records, WALL)
        assert r is not None
        assert r.verdict is not None
        status = r.verdict.status or ""
        error = (r.error or r.verdict.value) if status in ("failure", "partial") else ""
        judged = next(x.fact for x in records if isinstance(x.fact, f.Judged))
        key = Ended(r.service, r.handle, judged.trigger.event_type, r.verdict.value, status, error)
        expected.setdefault(key, []).append(r.duration_ms / 1000)
    assert {key: len(found) for key, found in expected.items()} == tally.ended
    for key, found in expected.items():
        durations = tally.durations[key]
        assert sum(durations.classes) == len(found)
        assert durations.sum == pytest.approx(sum(found), abs=1e-5)
    assert sum(tally.ended.values()) == 40


def test_a_reload_of_before_and_one_after_the_agent_died_are_counted_once() -> None:
    records = [r for told in history() for r in told]
    whole = counted(records)
    for cut in (0, 1, 7, 8, len(records) // 2, len(records)):
        first = counted(records[:cut])
        again = from_text(first.to_text())
        assert again == first
        assert counted(records, again) == whole  # what was counted before is passed over


def test_a_reload_that_outlived_the_boot_took_what_the_wall_clock_says_and_never_less_than_nothing() -> (
    None
):
    asked, *_, judged = ALL["another boot"]
    for wall, seconds in ((asked.wall_ns + 3 * 10**9, 3.0), (asked.wall_ns - 10**9, 0.0)):
        tally = counted([asked, replace(judged, wall_ns=wall)])
        assert [d.sum for d in tally.durations.values()] == [seconds]


def test_what_was_kept_in_another_shape_is_begun_anew() -> None:
    for text in ("", "{}", "[]", '{"shape":0}', Tally(1).to_text().replace("0.05", "0.06")):
        assert from_text(text) is None


def test_what_was_not_run_is_counted_and_has_no_duration() -> None:
    tally = full()
    held = [key for key in tally.ended if key.verdict == "held"]
    assert [key.status for key in held] == [""]
    assert not set(held) & tally.durations.keys()


def test_the_last_reload_is_that_of_a_person_or_a_trigger_and_not_a_start() -> None:
    def judged(seq: int, verdict: Verdict, trigger: Trigger = Trigger.CLI) -> f.Record:
        fact = f.Judged("web", str(seq), verdict, "signal", trigger, 1, 2)
        return f.Record(seq, WALL + seq, float(seq), "b", fact)

    tally = Tally(BEGAN)
    tally.add(judged(1, Verdict.APPLIED, Trigger.START))
    assert tally.last == {}
    for seq, verdict, success, at in (
        (2, Verdict.REJECTED, False, 0),
        (3, Verdict.APPLIED, True, WALL + 3),
        (4, Verdict.HELD, True, WALL + 3),
        (5, Verdict.PARTIAL, False, WALL + 3),
        (6, Verdict.UNCHANGED, True, WALL + 6),
    ):
        tally.add(judged(seq, verdict))
        assert (tally.last["web"].success, tally.last["web"].succeeded_ns) == (success, at)


class Journal:
    """The records as the store gives them."""

    def __init__(self, records: list[f.Record], kept: str | None = None) -> None:
        self.records = records
        self.text = kept

    def told(self, seq: int, limit: int) -> tuple[f.Record, ...]:
        found = [r for r in self.records if r.seq > seq]
        return tuple(r for r in found if isinstance(r.fact, f.Requested | f.Judged | f.Skipped))[
            :limit
        ]

    def kept(self, name: str) -> str | None:
        return self.text


def metered(journal: Journal, since: tuple[int, int] = (BEGAN, 0)) -> Meter:
    meter = Meter(journal, since=since, sending=lambda: OUTBOX, wall_ns=lambda: WALL)
    while meter.more():
        pass
    return meter


def test_a_meter_goes_on_from_where_the_last_agent_kept_its_sums() -> None:
    records = [r for told in history(400) for r in told]
    whole = metered(Journal(records)).tally
    assert sum(whole.ended.values()) == 400
    half = metered(Journal(records[:1000])).tally.to_text()
    assert (
        metered(Journal(records[1000:], half), (WALL, 9)).tally == whole
    )  # the first are forgotten
    fresh = metered(Journal(records), (WALL, records[-1].seq))
    assert (fresh.tally.ended, fresh.tally.began_ns) == ({}, WALL)


def values(found: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in found
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("kind", [OPEN, PLAIN])
def test_the_text_reads_and_says_what_the_families_say(kind: str) -> None:
    text = "".join(pieces(every(full()), kind))
    found = list((parse_open if kind == OPEN else parse_plain)(text))
    read = values(found)
    said = {}
    for family in every(full()):
        for labels, value in family.points:
            named = {LABEL[n]: v for n, v in zip(family.labels, labels, strict=True) if v}
            key = frozenset(named.items())
            if isinstance(value, Durations):
                said[f"{family.text}_count", key] = float(sum(value.classes))
                said[f"{family.text}_sum", key] = value.sum
                top = frozenset((named | {"le": "+Inf"}).items())
                said[f"{family.text}_bucket", top] = float(sum(value.classes))
            else:
                suffix = {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(family.kind, "")
                said[family.text + suffix, key] = float(value)
    inner = {k for k in read if k[0].endswith("_bucket") and ("le", "+Inf") not in k[1]}
    assert {k: v for k, v in read.items() if k not in inner} == said
    assert len(inner) == 10 * len(full().durations)
    assert any(dict(labels).get("service") == NASTY for _, labels in read)


def test_open_metrics_has_units_start_times_and_an_end() -> None:
    text = "".join(pieces(every(full()), OPEN))
    assert text.endswith("# EOF\n")
    kinds = {x.name: (x.type, x.unit) for x in parse_open(text)}
    assert kinds["reload_duration_seconds"] == ("histogram", "seconds")
    assert kinds["reload_count"] == ("counter", "")
    assert kinds["reload_config"] == ("info", "")
    assert 'reload_count_created{service="web"' in text
    assert f"}} {BEGAN / 1e9:.3f}\n" in text


def test_plain_text_has_nothing_of_open_metrics() -> None:
    text = "".join(pieces(every(full()), PLAIN))
    assert not any(word in text for word in ("# EOF", "# UNIT", "_created", " info\n"))
    assert "# TYPE reload_count_total counter\n" in text
    assert "# TYPE reload_config_info gauge\n" in text
    assert (
        'reload_config_info{service="web",config_version="3f3f",config_hash="sha256:3f"} 1\n'
        in text
    )
    assert 'reload_config_drift{service="web"} 1\n' in text
    assert 'reload_config_drift{service="down"}' not in text
    assert 'reload_outbox_oldest_age_seconds{signal="traces"} 5.0\n' in text


def test_without_an_endpoint_there_is_no_outbox_to_see() -> None:
    found = families(full(), SERVICES, (), agent_ns=BEGAN, wall_ns=WALL)
    assert not [x.name for x in found if "outbox" in x.name]


def test_the_version_is_a_label_of_the_info_alone() -> None:
    wide = [x.name for x in every(full()) if {"config.version", "config.hash"} & set(x.labels)]
    assert wide == ["config.info"]


def test_a_service_that_was_removed_does_not_fail_for_ever() -> None:
    """Its counters stay, its state goes with it."""
    tally = Tally(BEGAN)
    fact = f.Judged("gone", "1", Verdict.REJECTED, "signal", Trigger.CLI, 1, 2)
    tally.add(f.Record(1, WALL, 1.0, "b", fact))
    by_name = {x.name: x for x in every(tally)}
    assert by_name["config.last_reload.success"].points == ()
    assert len(by_name["reload.count"].points) == 1


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain", PLAIN),
        ("application/openmetrics-text", OPEN),
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5", OPEN),
        ("application/openmetrics-text;version=2.0.0, text/plain", PLAIN),
        ("Application/OpenMetrics-Text; version=1.0.0; q=0.3, text/plain;version=0.0.4;q=0.9", PLAIN),
        ("application/openmetrics-text;q=0", PLAIN),
        ("application/openmetrics-text;q=many", PLAIN),
        ("application/openmetrics-text; charset=utf-8; version=1.0.0", OPEN),
    ],
)  # fmt: skip
def test_the_form_is_what_the_caller_accepts(accept: str, kind: str) -> None:
    assert wanted(accept) == kind


def test_otlp_says_the_same() -> None:
    message = ExportMetricsServiceRequest.FromString(request(every(full()), AGENT, WALL))
    (of_resource,) = message.resource_metrics
    (of_scope,) = of_resource.scope_metrics
    assert (of_scope.scope.name, of_scope.scope.version) == ("reload", "1")
    by_name = {m.name: m for m in of_scope.metrics}
    count = by_name["reload.count"]
    assert count.sum.is_monotonic
    assert count.sum.aggregation_temporality == 2  # cumulative
    assert sum(p.as_int for p in count.sum.data_points) == sum(full().ended.values())
    point = count.sum.data_points[0]
    assert (point.start_time_unix_nano, point.time_unix_nano) == (BEGAN, WALL)
    assert {a.key for a in point.attributes} >= {"reload.service", "reload.verdict"}
    durations = by_name["reload.duration"]
    assert durations.unit == "s"
    for p in durations.histogram.data_points:
        assert sum(p.bucket_counts) == p.count
        assert len(p.bucket_counts) == len(p.explicit_bounds) + 1
        assert not p.HasField("min")
    assert by_name["config.info"].gauge.data_points[0].as_int == 1
    assert by_name["reload.outbox.depth"].gauge.data_points[0].as_int == 3
    assert set(by_name) == {x.name for x in every(full())}


def test_the_classes_are_those_of_their_bounds() -> None:
    chance = random.Random(7)
    durations = Durations()
    took = [chance.choice([0.05, 0.1, 60.0, chance.uniform(0, 100)]) for _ in range(500)]
    for one in took:
        durations.add(one)
    line = "".join(
        pieces([Family("x", "x", Kind.HISTOGRAM, "s", "X.", (), [((), durations)], 0)], PLAIN)
    )
    (found,) = parse_plain(line)
    for sample in found.samples:
        if sample.name == "x_bucket":
            assert sample.value == sum(one <= float(sample.labels["le"]) for one in took)


OLD = Manifest("sha256:aa", "aa", ())
NEW = Manifest("sha256:bb", "bb", ())


def test_how_a_service_stands() -> None:
    s = Service(
        Spec("web", ProcessSpec(("x",))), instance=Instance(Phase.READY, 1), live=OLD, restarts=3
    )
    assert now(s, OLD) == Now("web", False, ("aa", "sha256:aa"), False, False, False, 3)
    assert now(s, NEW).drift is True
    assert now(s, None).drift is None
    assert now(s, Missing("missing_input", "gone")).drift is True
    assert now(replace(s, live=None), NEW).drift is None
    assert now(replace(s, quarantine=Quarantine("h", "v", "d", "no")), OLD).quarantined
    assert not now(s, OLD).declined
    declined = Declined("d", "01JD", Verdict.REFUSED, "no")
    assert now(replace(s, declined=declined), OLD).declined
    poisoned = replace(s, quarantine=Quarantine("sha256:bb", "bb", s.spec.digest, "no"))
    assert (now(poisoned, NEW).rejected, now(poisoned, OLD).rejected) == (True, False)


def test_every_trigger_and_reason_has_its_series() -> None:
    tally = Tally(BEGAN)
    for n, trigger in enumerate(Trigger):
        tally.add(f.Record(n + 1, WALL, 1.0, "b", f.Skipped("web", trigger, "unchanged")))
    assert tally.passed[Passed("web", "manual_api_call", "unchanged")] == 2  # cli and api
    assert sum(tally.passed.values()) == len(Trigger)
