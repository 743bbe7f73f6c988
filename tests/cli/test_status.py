"""status: the table, what is said under it, and what a terminal makes of it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from reloadctl.render.look import duration, epoch, milliseconds, size
from tests.cli.canned import Canned, on_terminal, problem, reply, whole
from tests.cli.documents import ID, NEW, OLD, before, down, service, sha, status

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]

NEXT = "77aa01bc93de"


def troubled() -> dict[str, Any]:
    return service(
        "api",
        phase="backoff",
        why="exit code 3",
        held=True,
        hold={"reason": "migration", "user": "alice"},
        config=service()["config"] | {"on_disk": sha(NEXT)},
        next_start={
            "verdict": "rejected",
            "version": NEXT,
            "text": f"next restart loads REJECTED {NEXT}",
        },
        quarantine={"hash": sha(NEXT), "version": NEXT, "reason": "check failed"},
        last_reload={
            "reload_id": ID,
            "verdict": "rejected",
            "at": before(hours=5, minutes=9),
            "trigger": "watch",
            "message": "check: exit code 1",
        },
    )


WHOLE = """\
NAME  PHASE          VERSION              PID   UPTIME  CPU   MEMORY  RESTARTS  LAST RELOAD
web   ready          9be01d4a02c1         4121  2h03m   0.1%  12.4M   2         applied 3m ago (watch)
api   backoff, held  9be01d4a02c1 ≠ disk  4121  2h03m   0.1%  12.4M   2         rejected 5h ago (watch)
db    down           -                    -     -       -     -       -         -

api: backoff: exit code 3
api: next restart loads REJECTED 77aa01bc93de
api: last reload rejected: check: exit code 1 (reloadctl show api)
api: quarantined 77aa01bc93de: check failed; only a person's reload tries it again
api: held by alice: migration (reloadctl release api)
api: on disk is 77aa01bc93de, live is 9be01d4a02c1 (reloadctl reload api)
"""


def test_the_table_and_what_is_wrong(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(status(service(), troubled(), down("db")), code=3))
    assert ctl(server, "status") == (3, WHOLE, "")
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/v1/status")


def test_what_cannot_be_listed_is_said(agent: Agent, ctl: Ctl) -> None:
    config = service()["config"] | {"unlisted": "nginx says no"}
    _, out, _ = ctl(agent(reply(status(service(config=config)))), "status")
    assert out.splitlines()[-1] == "web: nginx says no; what is on disk may be more than is known"


def test_what_the_agent_met_when_it_began_is_said(agent: Agent, ctl: Ctl) -> None:
    for services in ((service(),), ()):
        document = status(*services)
        document["agent"]["notices"] = ["the journal is damaged", "pid 7 is left over\n"]
        _, out, _ = ctl(agent(reply(document)), "status")
        said = ["agentd: the journal is damaged", "agentd: pid 7 is left over "]
        assert out.splitlines()[-2:] == said


def test_all_is_well(agent: Agent, ctl: Ctl) -> None:
    code, out, err = ctl(agent(reply(status(service()))), "status")
    assert (code, len(out.splitlines()), err) == (0, 2, "")


def test_services_are_named_in_the_query_and_quoted(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(status(service())))
    ctl(server, "status", "web", "a b/é")
    assert server.requests[0].path == "/v1/status?service=web&service=a%20b%2F%C3%A9"


def test_json_is_the_bytes_of_the_agent(agent: Agent, ctl: Ctl) -> None:
    body = b'{"agent":   {}, "services": []}\n'
    assert ctl(agent(reply(body, code=3)), "--json", "status") == (3, body.decode(), "")


def test_no_services(agent: Agent, ctl: Ctl) -> None:
    assert ctl(agent(reply(status())), "status") == (0, "no services are defined\n", "")


def test_an_unknown_service(agent: Agent, ctl: Ctl) -> None:
    answer = problem("no service is named nope; known: web", code=4, status=404)
    assert ctl(agent(answer), "status", "nope") == (
        4,
        "",
        "reloadctl: no service is named nope; known: web\n",
    )
    code, out, err = ctl(agent(answer), "status", "--json", "nope")
    assert (code, json.loads(out)["exit"], err) == (4, 4, "")


def test_live_unknown_two_instances_and_what_is_under_way(agent: Agent, ctl: Ctl) -> None:
    one = service()["instances"][0]
    config = service()["config"] | {"live": None, "version": None}
    adopted = service(
        instances=[
            one | {"phase": "draining", "serves": False},
            one | {"pid": 5000, "uptime_s": 3.0},
        ],
        config=config,
        last_reload=None,
        running=ID,
        waiting="01JD2",
    )
    assert ctl(agent(reply(status(adopted))), "status")[1] == (
        "NAME  PHASE  VERSION  PID      UPTIME  CPU   MEMORY  RESTARTS  LAST RELOAD\n"
        "web   ready  unknown  5000 +1  3s      0.2%  24.8M   2         -\n"
        "\nweb: generation 1 is draining, pid 4121"
        f"\nweb: reload {ID} runs\nweb: reload 01JD2 waits\n"
    )


def test_what_stands_beside_and_what_is_on_trial(agent: Agent, ctl: Ctl) -> None:
    one = service()["instances"][0]
    others = [
        one | {"generation": 2, "phase": "stopping", "serves": False},
        one | {"generation": 4, "phase": "starting", "pid": None, "serves": False},
    ]
    trial = {"reload_id": ID, "until": "2026-11-22T10:02:00.500000Z", "back_to": sha(OLD)}
    web = service(instances=[*others, one | {"generation": 3}], on_trial=trial)
    assert ctl(agent(reply(status(web))), "status")[1].splitlines()[3:] == [
        "web: generation 2 is stopping, pid 4121",
        "web: the next generation 4 is starting, pid -",
        f"web: on trial, goes back to {OLD} at 10:02:00 UTC (reloadctl confirm {ID})",
    ]


def test_a_receiver_that_is_not_there_is_told_under_the_services(agent: Agent, ctl: Ctl) -> None:
    whole = status(service())
    sending = {
        "endpoint": "http://c:4318",
        "pending": 12,
        "oldest_s": 185.0,
        "aside": 0,
        "dropped": 0,
    }
    for trouble, lines in (
        ("connection refused", ["telemetry: 12 wait, the oldest for 3m05s: connection refused"]),
        (None, []),
    ):
        whole["agent"]["telemetry"] = sending | {"last_error": trouble}
        assert ctl(agent(reply(whole)), "status")[1].splitlines()[3:] == lines


def test_what_soaks_is_told_and_how_it_does(agent: Agent, ctl: Ctl) -> None:
    soak = {
        "reload_id": ID, "trace_id": "5c" * 16, "version": NEW, "until": "2026-11-22T10:02:00.500000Z",
        "passes": 7, "failures": 0, "why": "", "back_to": sha(OLD),
    }  # fmt: skip
    for told, more in (
        (soak, ""),
        (soak | {"failures": 2, "why": "answered 500"}, ", 2 of 9 probes failed: answered 500"),
    ):
        lines = ctl(agent(reply(status(service(soak=told)))), "status")[1].splitlines()
        assert lines[3:] == [f"web: {NEW} soaks until 2026-11-22 10:02:00 UTC{more}"]


def test_what_fails_to_show_that_it_is_alive_is_told(agent: Agent, ctl: Ctl) -> None:
    alive = {"asked": True, "failures": 0, "threshold": 3, "why": ""}
    failing = alive | {"failures": 2, "why": "answered 500"}
    for told, more in ((alive, []), (failing, ["web: not alive, 2 of 3 times: answered 500"])):
        lines = ctl(agent(reply(status(service(alive=told)))), "status")[1].splitlines()
        assert lines[3:] == more


def test_several_instances_are_counted_and_the_trouble_is_named(agent: Agent, ctl: Ctl) -> None:
    one = service()["instances"][0]
    web = service(
        phase="backoff",
        why="instance 1 is backoff: exit code 3",
        instances=[
            one,
            one | {"instance": 1, "pid": None, "phase": "backoff"},
            one | {"instance": 2, "pid": 4123},
        ],
        ready_instances=2,
        declared_instances=3,
    )
    _, out, _ = ctl(agent(reply(status(web) | {"exit": 3})), "status")
    assert out.splitlines()[1].split()[:6] == ["web", "ready", "2/3", NEW, "4123", "+1"]
    assert out.splitlines()[3] == "web: backoff: instance 1 is backoff: exit code 3"
    none = web | {"ready_instances": 0, "phase": "starting"}
    assert "web   starting 0/3" in ctl(agent(reply(status(none))), "status")[1]


def test_control_characters_of_others_do_not_reach_the_terminal(agent: Agent, ctl: Ctl) -> None:
    out = ctl(
        agent(reply(status(service(phase="failed", why="\x1b]0;owned\x07\nweb2: fine")))), "status"
    )[1]
    assert out.splitlines()[-1] == "web: failed: \\x1b]0;owned\\x07 web2: fine"


def test_without_utf8_signs_are_ascii_and_columns_still_align(agent: Agent) -> None:
    server = agent(reply(status(service(), troubled())))
    done = whole(
        "--socket", server.path, "status", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    head, web, api = done.stdout.decode("ascii").splitlines()[:3]
    assert "!= disk" in api
    assert head.index("PID") == web.index("4121") == api.index("4121")


def test_colours_on_a_terminal_only_and_never_against_the_operators_will(agent: Agent) -> None:
    server = agent(reply(status(service())))
    line = ("--socket", server.path, "status")
    assert "\x1b[32mready" in on_terminal(*line)[1]
    assert "\x1b" not in on_terminal(*line, NO_COLOR="1")[1]
    assert "\x1b" not in on_terminal(*line, TERM="dumb")[1]
    assert "\x1b" not in on_terminal(*line, "--color", "never")[1]
    assert b"\x1b[32mready" in whole(*line, "--color", "always").stdout
    assert b"\x1b" not in whole(*line).stdout


@pytest.mark.parametrize("columns", [50, 60, 80, 100])
def test_a_table_is_never_wider_than_the_terminal(agent: Agent, columns: int) -> None:
    server = agent(reply(status(service(), service("a-service-with-a-long-name"))))
    out = on_terminal("--socket", server.path, "--color", "never", "status", columns=columns)[1]
    assert max(map(len, out.splitlines())) <= columns
    assert ("UPTIME" in out) == (columns == 100)
    assert ("9be01d4a02c1" in out) == (columns >= 60)


def test_small_things_said() -> None:
    assert [duration(s) for s in (0, 59.9, 60, 3600, 86400 * 3 + 7200)] == [
        "0s",
        "59s",
        "1m00s",
        "1h00m",
        "3d02h",
    ]
    assert [milliseconds(m) for m in (0.44, 10, 182.4, 12345, 200000)] == [
        "0.4 ms",
        "10 ms",
        "182 ms",
        "12.3 s",
        "3m20s",
    ]
    assert [size(b) for b in (0, 980 * 1024, 13_000_000, 3 * 1024**3)] == [
        "0K",
        "980K",
        "12.4M",
        "3.0G",
    ]


@pytest.mark.parametrize("year", [1999, 2000, 2024, 2026, 2100])
@pytest.mark.parametrize("month", [1, 2, 3, 12])
def test_the_clock_by_hand_is_the_calendars(year: int, month: int) -> None:
    moment = dt.datetime(year, month, 28, 23, 59, 30, 0, dt.UTC)
    assert epoch(moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) == moment.timestamp()
    assert epoch("yesterday") == 0


@pytest.mark.parametrize("in_force", [False, True])
def test_a_definition_that_was_not_taken(agent: Agent, ctl: Ctl, *, in_force: bool) -> None:
    """It is the last reload too: that is told once."""
    told = {"reload_id": ID, "verdict": "refused", "keys": ["command"], "in_force": in_force}
    last = {"reload_id": ID, "verdict": "refused", "at": before(minutes=3), "trigger": "cli"}
    web = service(definition=told | {"text": "it was REFUSED: why"}, last_reload=last)
    shown = ctl(agent(reply(status(web))), "status")[1].splitlines()[2:]
    again = "reload web" if in_force else "apply"
    assert shown == ["", f"web: it was REFUSED: why (reloadctl {again} tries it again)"]
