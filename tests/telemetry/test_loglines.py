"""The lines on stderr, whole."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, get_args

import pytest

from agentd.core import facts as f
from agentd.core.context import span_id
from agentd.core.process import Exit
from agentd.telemetry.loglines import LogLines, escaped, milliseconds, stderr_is_the_journal
from agentd.wire import Trigger, Verdict
from tests.store.values import FACTS

from . import stories
from .stories import ID, TRACE, WALL, Teller

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def lines(records: Iterable[f.Record]) -> list[str]:
    log = LogLines(with_time=False)
    return [line for record in records if (line := log.line(record)) is not None]


def test_an_applied_reload_is_one_line() -> None:
    assert lines(stories.applied()) == [
        f"web reload {ID} applied 3f3f3f3f3f3f → 9b9b9b9b9b9b in 182 ms (workers, observed)"
    ]


def test_a_rejected_reload_says_why() -> None:
    (line,) = lines(stories.rejected())
    assert line.endswith(
        "rejected 3f3f3f3f3f3f → 9b9b9b9b9b9b in 16 ms: the check said no: exit code 1"
    )


def test_a_start_that_went_well_is_said_by_ready() -> None:
    assert lines(stories.started()) == []


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (
            f.PhaseEntered("web", 3, "ready", "starting", "", 4121),
            "web ready pid 4121 generation 3",
        ),
        (f.LiveChanged("web", None, None, "taken over"), None),
        (
            f.Drained("web", ID, 3, 4121, 1000.0, None, None),
            "web generation 3 drained, its connections were not counted",
        ),
        (
            f.PhaseEntered("web", 3, "backoff", "ready", "exit code 3", None, Exit(3)),
            "web exited: exit code 3; it is started again",
        ),
        (
            f.PhaseEntered("web", 3, "failed", "starting", "not ready within 30s"),
            "web failed: not ready within 30s; given up, start it with: reloadctl start web",
        ),
        (
            f.PhaseEntered("web", 3, "killing", "stopping", "asked"),
            "web does not stop, killing it: asked",
        ),
        (f.PhaseEntered("web", 3, "down", "ready", "", None, Exit(0)), "web exited: exit code 0"),
        (
            f.PhaseEntered("web", 3, "down", "stopping", "asked", None, Exit(0)),
            "web exited: exit code 0",
        ),
        (
            f.PhaseEntered("web", 3, "down", "stopping", "exit code 0; it left 5", None, Exit(0)),
            "web exited: exit code 0; it left 5",
        ),
        (
            f.MainMoved("web", 3, 4130, 4121, "it said MAINPID"),
            "web goes on as pid 4130, not 4121 any more: it said MAINPID",
        ),
        (f.PhaseEntered("web", 3, "stopping", "ready", "asked"), None),
        (f.AgentStarted("1.0", 7, 2), "agentd 1.0 started, pid 7, 2 processes taken over"),
        (
            f.SetAside("/s/journal.db", "/s/journal.db.corrupt-1", "is damaged (malformed)"),
            "the journal /s/journal.db is damaged (malformed); it is kept as /s/journal.db.corrupt-1, and a new one was begun",
        ),
        (f.AgentStopped(left=True), "agentd stopped, its services go on running"),
        (f.Adopted("web", 3, 4121, found=False), "web ended while no agent was there, pid 4121"),
        (f.WantSet("web", "down", "alice"), "web wanted down by alice"),
        (f.HoldSet("web", held=True, reason="a\nb", user=""), r"web held: a\nb"),
        (f.LiveChanged("web", None, None, "not running"), None),
        (
            f.LiveChanged("web", None, None, "failed 01"),
            "web runs an unknown configuration: failed 01",
        ),
        (
            f.SoakBegan("web", "01", "5c" * 16, "sha256:2", "v2", 9),
            "web is looked after with v2 of 01",
        ),
        (
            f.Soaked("web", "01", "passed", 9, 1, "refused"),
            "web has done well with what 01 applied",
        ),
        (f.Soaked("web", "01", "overtaken", 9, 1, "refused"), None),
        (
            f.Soaked("web", "01", "failed", 9, 3, "refused"),
            "web did not do well with what 01 applied: refused",
        ),
        (
            f.Quarantined("web", "sha256:" + "9b" * 32, "no"),
            "web will not try 9b9b9b9b9b9b again unasked: no",
        ),
        (f.Skipped("web", Trigger.WATCH, "unchanged"), None),
    ],
)
def test_other_facts(fact: f.Fact, line: str | None) -> None:
    assert lines(Teller().at(0, fact).records()) == ([] if line is None else [line])


def test_ready_says_how_long_it_took() -> None:
    teller = Teller().at(0, f.PhaseEntered("web", 3, "starting", "down", ""))
    teller.at(80, f.PhaseEntered("web", 3, "ready", "starting", "", 4121))
    assert lines(teller.records()) == ["web ready pid 4121 generation 3 in 80 ms"]


def test_a_start_that_failed_is_a_line() -> None:
    cause = f.Cause(Trigger.START)
    teller = Teller().asked(cause, handle="start")
    teller.judged(5, Verdict.FAILED, trigger=Trigger.START, message="exit code 3")
    assert lines(teller.records()) == [f"web start {ID} failed in 5 ms: exit code 3"]


def test_the_time_stands_first_unless_the_journal_keeps_it() -> None:
    (record,) = Teller().at(0, f.WantSet("web", "up", "")).records()
    assert LogLines().line(record) == "2026-11-22T10:00:00.000Z web wanted up"
    assert LogLines(with_time=False).line(record) == "web wanted up"


def test_json_is_one_object_a_line_that_names_the_span() -> None:
    log = LogLines(as_json=True)
    said = [line for record in stories.rejected() if (line := log.line(record))]
    (line,) = said
    assert "\n" not in line
    made = json.loads(line)
    assert (made["severity"], made["event"], made["service"]) == ("error", "Judged", "web")
    assert (made["trace_id"], made["span_id"]) == (TRACE, span_id(ID))
    assert (made["verdict"], made["error"], made["duration_ms"]) == (
        "rejected",
        "check_failed",
        16.5,
    )


def test_every_fact_has_a_line_or_none_and_nothing_is_remembered() -> None:
    log = LogLines()
    assert {type(fact) for fact in FACTS} == set(get_args(f.Fact))
    for n, fact in enumerate(FACTS):
        line = log.line(f.Record(n, WALL, 1.0, "b", fact))
        assert line is None or line.isprintable()
    assert not log._reloads
    assert not log._starts


def test_nobody_writes_a_line_of_his_own() -> None:
    assert escaped("a\nb\x1b[2J\udcff é") == r"a\nb\x1b[2J\udcff é"
    long = lines(Teller().at(0, f.WantSet("web", "x" * 5000, "")).records())[0]
    assert (len(long), long[-1]) == (2000, "…")


def test_durations_as_a_person_reads_them() -> None:
    assert [milliseconds(s) for s in (0.0004, 0.1824, 1.84)] == ["0 ms", "182 ms", "1.8 s"]


def test_the_journal_is_known_by_its_stream(tmp_path: Path) -> None:
    with (tmp_path / "err").open("w") as err:
        found = os.fstat(err.fileno())
        here = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert stderr_is_the_journal(here, err.fileno())
        assert not stderr_is_the_journal({"JOURNAL_STREAM": f"{found.st_dev}:1"}, err.fileno())
        assert not stderr_is_the_journal({}, err.fileno())
    assert not stderr_is_the_journal(here, 10_000)
