"""rollback, reload --confirm-within, confirm, cancel: what is asked, printed, and exited with."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

import pytest

from agentd.wire import Verdict
from tests.cli.canned import HANG_UP, HOLD, Canned, command, environment, problem, reply
from tests.cli.documents import ID, NEW, OLD, reload, sha

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("verdict", Verdict)
def test_a_roll_back_says_what_a_reload_would(agent: Agent, ctl: Ctl, verdict: Verdict) -> None:
    server = agent(reply(reload(verdict.value, trigger="rollback"), code=verdict.exit_code))
    for more in ((), ("--json",)):
        assert ctl(server, *more, "rollback", "web") == ctl(server, *more, "reload", "web")
    assert ctl(server, "rollback", "web")[0] == verdict.exit_code


def test_what_a_roll_back_asks_for(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(reload()))
    ctl(server, "rollback", "web/1")
    plain = {"reason": "", "force": False, "wait": True, "timeout_s": None, "attributes": {}}
    assert (server.requests[0].method, server.requests[0].path) == (
        "POST",
        "/v1/services/web%2F1/rollback",
    )
    assert server.requests[0].json == plain
    ctl(server, "rollback", "web", "web^2", "--force", "--timeout", "5s", "--reason", "slow")
    assert server.requests[1].json == plain | {
        "to": "web^2",
        "force": True,
        "timeout_s": 5.0,
        "reason": "slow",
    }


def test_a_roll_back_that_is_not_waited_for(agent: Agent, ctl: Ctl) -> None:
    accepted = {"reload_id": ID, "trace_id": "t", "service": "web", "verdict": None}
    server = agent(reply(accepted | {"joined": False}, status=202))
    assert ctl(server, "rollback", "web", "--no-wait") == (
        0,
        f"web  requested  {ID}\n  follow it with: reloadctl wait {ID}\n",
        "",
    )
    assert server.requests[0].json["wait"] is False


def test_a_roll_back_that_cannot_be(agent: Agent, ctl: Ctl) -> None:
    server = agent(problem("web has no configuration or reload nope", code=5, status=404))
    assert ctl(server, "rollback", "web", "nope") == (
        5,
        "",
        "reloadctl: web has no configuration or reload nope\n",
    )
    code, _, err = ctl(agent(HANG_UP), "rollback", "web")
    assert code == 156
    assert err.endswith("; the reload may go on; see it with: reloadctl show web\n")


def test_ctrl_c_ends_the_waiting_for_a_roll_back(agent: Agent) -> None:
    server = agent(HOLD, reply({"running": ID, "waiting": None}))
    child = subprocess.Popen(
        command("--socket", server.path, "rollback", "web"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert server.asked.wait(10)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 130
    assert err.decode() == f"reloadctl: the reload goes on; follow it with: reloadctl wait {ID}\n"


TRIAL = {"reload_id": ID, "until": "2026-11-22T10:02:00.500000Z", "back_to": sha(OLD)}


def test_a_change_on_trial_says_until_when_and_what_keeps_it(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(reload(on_trial=TRIAL, changed=[])))
    for verb in (("reload", "web", "--confirm-within", "2m"), ("wait", ID)):
        assert ctl(server, *verb) == (
            0,
            (
                f"web  applied  {OLD} → {NEW}  182 ms  observed by workers\n"
                f"  put back at 10:02:00 UTC unless confirmed: reloadctl confirm {ID}\n"
            ),
            "",
        )
    assert server.requests[0].json["confirm_within_s"] == 120.0


def test_a_trial_of_nothing_is_none(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(reload(hash_before=sha(NEW), version_before=NEW, changed=[])))
    out = ctl(server, "reload", "web", "--confirm-within", "2m")[1]
    assert out.splitlines()[1:] == ["  nothing to put back: it runs what it ran before"]
    assert "nothing" not in ctl(server, "reload", "web")[1]


def test_a_gap_is_told(agent: Agent, ctl: Ctl) -> None:
    out = ctl(agent(reply(reload(downtime_ms=1234.5, changed=[]))), "reload", "web")[1]
    assert out == f"web  applied  {OLD} → {NEW}  182 ms  1234 ms down  observed by workers\n"


@pytest.mark.parametrize(("verb", "done"), [("confirm", "confirmed"), ("cancel", "cancelled")])
def test_one_reload_is_kept_or_given_up(agent: Agent, ctl: Ctl, verb: str, done: str) -> None:
    document = {"reload_id": ID, "service": "web", done: True}
    server = agent(reply(document))
    assert ctl(server, verb, "web^1") == (0, f"web  {done}  {ID}\n", "")
    asked = server.requests[0]
    assert (asked.method, asked.path, asked.json) == ("POST", f"/v1/reloads/web%5E1/{verb}", {})
    code, out, err = ctl(server, "--json", verb, ID)
    assert (code, json.loads(out), err) == (0, document, "")


@pytest.mark.parametrize("verb", ["confirm", "cancel"])
@pytest.mark.parametrize("code", [2, 5, 7, 77, 160])
def test_one_that_is_too_late_for_it(agent: Agent, ctl: Ctl, verb: str, code: int) -> None:
    server = agent(problem(f"reload {ID} has ended", code=code, status=409))
    assert ctl(server, verb, ID) == (code, "", f"reloadctl: reload {ID} has ended\n")
    got, out, err = ctl(server, "--json", verb, ID)
    assert (got, json.loads(out)["exit"], err) == (code, code, "")
