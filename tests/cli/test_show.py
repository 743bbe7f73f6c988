"""show and history: the waterfall, the evidence, lists, references."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reloadctl.render.waterfall import rows
from tests.cli.canned import Canned, on_terminal, problem, reply, whole
from tests.cli.documents import ID, NEW, OLD, TRACE, reload, span, trace

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]


def shown() -> dict[str, Any]:
    changed = {
        "name": "file.changed",
        "at_ns": 1_700_000_000_001_000_000,
        "attributes": {"file.path": "/a"},
    }
    spans = trace(
        span("reload web", 1, None, 0, 1000),
        span("reload.settle", 2, 1, 0, 200, events=[changed]),
        span(
            "reload.check",
            3,
            1,
            225,
            321,
            attributes={"process.executable.name": "nginx", "process.exit.code": 0},
        ),
        span("reload.apply", 4, 1, 324, 325),
        span("signal HUP", 5, 4, 324, 325, attributes={"process.pid": 4121}),
        span(
            "reload.confirm",
            6,
            1,
            325,
            500,
            links=[{"trace_id": "aa", "span_id": "bb", "attributes": {}}],
        ),
        span("reload.verify", 7, 1, 800, 1000, status="error", status_message="503 from /healthz"),
    )
    return reload(trace=spans, reason="deploy 7", user="alice", output=["a line", "\x1b[2J"])


def test_the_gap_the_drain_and_the_trial_are_told(agent: Agent, ctl: Ctl) -> None:
    counts = {"reload.drain.open": 12, "reload.drain.cut": 2}
    own = {"process.pid": 4000}
    spans = trace(
        span("reload web", 1, None, 0, 100),
        span("reload.apply", 2, 1, 0, 100),
        span("reload.drain", 3, 2, 50, 30_050, attributes=counts, resource=own),
    )
    trial = {"reload_id": ID, "until": "2026-11-22T10:02:00.500000Z", "back_to": "x"}
    server = agent(reply(reload(trace=spans, downtime_ms=41.2, on_trial=trial)))
    _, out, _ = ctl(server, "show", "web")
    lines = out.splitlines()
    assert lines[0] == f"web  applied  {OLD} → {NEW}  182 ms  41 ms down  observed by workers"
    assert lines[6:9] == [
        "  instance generation 1, pid 4121",
        "  drain    12 connections, 2 cut, 30.0 s, pid 4000",
        f"  put back at 10:02:00 UTC unless confirmed: reloadctl confirm {ID}",
    ]
    root = next(line for line in lines if line.startswith("reload web "))
    assert root.endswith("  " + "█" * 48), "the drain does not make the reload too small to be seen"
    drain = next(line for line in lines if line.startswith("    reload.drain"))
    assert drain.endswith(f"+50 ms     30.0 s  {' ' * 24}{'█' * 24}")
    assert "  drain    12 connections" in on_terminal("--socket", server.path, "show", "web")[1]


def test_a_drain_that_nobody_counted_is_told_without_numbers(agent: Agent, ctl: Ctl) -> None:
    spans = trace(
        span("reload web", 1, None, 0, 100),
        span("reload.apply", 2, 1, 0, 100),
        span("reload.drain", 3, 2, 50, 3_050, resource={"process.pid": 4000}),
    )
    _, out, _ = ctl(agent(reply(reload(trace=spans))), "show", "web")
    assert "  drain    3000 ms, connections were not counted, pid 4000" in out.splitlines()


def test_how_it_did_afterwards_is_told_with_the_trace_of_that(agent: Agent, ctl: Ctl) -> None:
    soak = {
        "trace_id": "5c" * 16, "until": "2026-11-22T10:10:00.000000Z", "outcome": None, "why": "",
        "passes": None, "failures": None, "duration_ms": 4000.0,
    }  # fmt: skip
    over = {"passes": 5, "failures": 3, "why": "answered 500"}
    for more, told in (
        ({}, "until 2026-11-22 10:10:00 UTC, for 4000 ms so far"),
        ({**over, "outcome": "failed"}, "failed: answered 500; 3 of 8 probes failed, 4000 ms"),
        ({**over, "outcome": "passed"}, "passed; 3 of 8 probes failed, 4000 ms"),
    ):
        out = ctl(agent(reply(reload(soak=soak | more))), "show", "web")[1]
        assert f"  soak     {told}, trace {'5c' * 16}" in out.splitlines()


WHOLE = f"""\
web  applied  {OLD} → {NEW}  182 ms  observed by workers
  reload   {ID}
  trace    {TRACE}
  asked    2026-11-22 10:00:00 UTC, cli by alice: deploy 7
  handle   signal
  evidence observed by workers
  instance generation 1, pid 4121

changed inputs
  ~ /etc/nginx/nginx.conf  modified

span                                    start       took  timeline
reload web                              +0 ms    1000 ms  ████████████████████████████████████████████████
  reload.settle                         +0 ms     200 ms  █████████▌
  reload.check  nginx  exit 0         +225 ms      96 ms            ▐████▍
  reload.apply                        +324 ms     1.0 ms                 ▐
    signal HUP  pid 4121              +324 ms     1.0 ms                 ▐
  reload.confirm                      +325 ms     175 ms                 ▐████████
    ⇢ aa/bb
  ·                                   +500 ms     300 ms                          ...............
  reload.verify  503 from /healthz    +800 ms     200 ms                                        ██████████

events
  +1 ms  file.changed  file.path=/a  (reload.settle)

output
  a line
  \\x1b[2J
"""


def test_of_several_instances_each_is_told(agent: Agent, ctl: Ctl) -> None:
    each = [
        {"id": "a", "instance": 0, "generation": 4, "pid": 40, "outcome": "taken", "error": None},
        {"id": "b", "instance": 1, "generation": 2, "pid": 41, "outcome": "not_taken", "error": "exit_1"},
        {"id": "c", "instance": 2, "generation": 3, "pid": None, "outcome": "down", "error": None},
    ]  # fmt: skip
    out = ctl(agent(reply(shown() | {"instances": each})), "show", "web")[1]
    assert [text for text in out.splitlines() if "instance " in text] == [
        "  instance 0: taken, generation 4, pid 40",
        "  instance 1: not taken (exit_1), generation 2, pid 41",
        "  instance 2: down, generation 3, pid -",
    ]


def test_the_whole(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(shown()))
    assert ctl(server, "show", "web^1") == (0, WHOLE, "")
    assert server.requests[0].path == "/v1/reloads/web%5E1"


def test_on_a_terminal_everything_fits_and_errors_are_red(agent: Agent) -> None:
    server = agent(reply(shown()))
    for columns in (60, 120):
        code, out = on_terminal(
            "--socket", server.path, "--color", "never", "show", "web", columns=columns
        )
        lines = out.splitlines()
        assert (code, max(map(len, lines)) <= columns) == (0, True)
        assert sum(bool(set("▏▎▍▌▋▊▉█▐") & set(line)) for line in lines) == 7
        assert "  \\x1b[2J" in lines
    out = on_terminal("--socket", server.path, "show", "web")[1]
    assert "\x1b[31m  reload.verify  503" in out


def test_without_utf8(agent: Agent) -> None:
    server = agent(reply(shown()))
    done = whole(
        "--socket", server.path, "show", "web", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    text = done.stdout.decode("ascii")
    assert "########" in text
    assert "=> aa/bb" in text


def test_no_reference_is_the_newest(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply({"reloads": [reload()]}), reply(shown()))
    assert ctl(server, "show") == (0, WHOLE, "")
    assert [request.path for request in server.requests] == [
        "/v1/reloads?limit=1",
        f"/v1/reloads/{ID}",
    ]
    started = agent(reply({"reloads": []}), reply({"reloads": [reload()]}), reply(shown()))
    assert ctl(started, "show") == (0, WHOLE, ""), "where nothing was reloaded, the newest start"
    assert started.requests[1].path == "/v1/reloads?limit=1&starts=1"
    code, out, err = ctl(agent(*[reply({"reloads": []})] * 2), "show")
    assert (code, out, "there is no reload or start yet" in err) == (5, "", True)
    assert ctl(server, "show", "") == (
        2,
        "",
        "reloadctl: cannot show nothing: give a reload, a trace or a service\n",
    )


def test_json_and_otlp_are_the_agents_bytes(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(b'{"resourceSpans":  []}'))
    assert ctl(server, "show", "web", "--otlp") == (0, '{"resourceSpans":  []}\n', "")
    assert ctl(server, "--json", "show", "web") == (0, '{"resourceSpans":  []}\n', "")
    assert [request.path for request in server.requests] == [
        "/v1/reloads/web/otlp",
        "/v1/reloads/web",
    ]


def test_an_ambiguous_prefix_lists_the_choices(agent: Agent, ctl: Ctl) -> None:
    answer = problem(
        "01JD is the beginning of several", code=5, status=409, candidates=["01JDA", "01JDB"]
    )
    assert ctl(agent(answer), "show", "01JD") == (
        5,
        "",
        "reloadctl: 01JD is the beginning of several\n  01JDA\n  01JDB\n",
    )
    assert json.loads(ctl(agent(answer), "show", "01JD", "--json")[1])["candidates"] == [
        "01JDA",
        "01JDB",
    ]


def test_a_reload_without_spans_and_one_that_failed(agent: Agent, ctl: Ctl) -> None:
    document = reload(
        "failed",
        message="",
        error="agent_interrupted",
        changed=[],
        instances=[],
        confirmation="none",
    )
    code, out, _ = ctl(agent(reply(document | {"confirmation_grade": None})), "show", "web")
    assert (code, out.splitlines()[:2]) == (
        0,
        [f"web  failed  {OLD} → {NEW}  182 ms", "  agent_interrupted"],
    )
    assert "timeline" not in out


HISTORY = f"""\
RELOAD                      AT (UTC)             SERVICE  VERDICT          VERSION                      DURATION  TRIGGER  MESSAGE
{ID}  2026-11-22 10:00:00  web      running (check)  3f2c9a1b77de                 -         cli
{ID}  2026-11-22 10:00:00  web      applied          3f2c9a1b77de → 9be01d4a02c1  182 ms    cli      deploy 7
"""


def test_history(agent: Agent, ctl: Ctl) -> None:
    running = reload(None, phase="check", duration_ms=None, version_after=None)
    server = agent(reply({"reloads": [running, reload(reason="deploy 7")]}))
    assert ctl(server, "history") == (0, HISTORY, "")
    ctl(server, "history", "web", "-n", "5", "--verdict", "rolled_back")
    assert [request.path for request in server.requests] == [
        "/v1/reloads?limit=20",
        "/v1/reloads?limit=5&service=web&verdict=rolled_back",
    ]
    ctl(server, "history", "web", "--starts")
    assert server.requests[-1].path == "/v1/reloads?limit=20&service=web&starts=1"
    assert ctl(server, "show", TRACE) == (0, HISTORY, ""), "a trace with several reloads is listed"
    assert ctl(agent(reply({"reloads": []})), "history") == (0, "no reloads\n", "")


TIMES = st.tuples(st.integers(0, 1000), st.integers(0, 1000) | st.none())


@given(
    st.lists(TIMES, min_size=1, max_size=8), st.integers(1, 60), st.sampled_from(["utf-8", "ascii"])
)
def test_every_span_has_a_bar_inside_the_width(
    times: list[tuple[int, int | None]], width: int, encoding: str
) -> None:
    spans = [
        span(
            f"s{number}",
            number,
            number - 1 if number else None,
            begin,
            None if took is None else begin + took,
        )
        for number, (begin, took) in enumerate(times)
    ]
    drawn = rows(spans, width, unicode=encoding == "utf-8")
    assert [row.label.strip() for row in drawn if row.state in ("ok", "open")] == [
        s["name"] for s in spans
    ]
    for row in drawn:
        assert len(row.bar) <= width
        assert row.bar.strip() or row.state == "link"


def test_what_the_configuration_says_of_itself_is_shown(agent: Agent, ctl: Ctl) -> None:
    said = [
        {"name": "model.version", "before": "small-1", "after": "small-2"},
        {"name": "prompt.template.id", "before": "triage", "after": "triage"},
        {"name": "team.owner", "before": None, "after": "ai\x1b[2J"},
    ]
    _, out, _ = ctl(agent(reply(shown() | {"attributes": said})), "show", "web")
    assert out.splitlines()[5:8] == [
        "  says     model.version: small-1 → small-2",
        "  says     prompt.template.id: triage",
        "  says     team.owner: none → ai\\x1b[2J",
    ]


def test_a_long_reason_does_not_push_the_bars_away(agent: Agent, ctl: Ctl) -> None:
    why = "the next generation is not well: " + "x" * 200
    spans = trace(span("reload web", 1, None, 0, 100, status="error", status_message=why))
    _, out, _ = ctl(agent(reply(reload(trace=spans, message=why))), "show", "web")
    assert f"  {why}\n" in out
    row = next(line for line in out.splitlines() if line.startswith("reload web"))
    assert row.partition("…")[0] == f"reload web  {why[:59]}"
    assert row.endswith("█" * 48)
