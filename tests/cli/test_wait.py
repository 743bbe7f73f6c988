"""wait: what is asked, and that its end is told as ``reload`` tells it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

import pytest

from agentd.wire import Verdict
from tests.cli.canned import HANG_UP, HOLD, Canned, command, environment, problem, reply
from tests.cli.documents import ID, reload

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("verdict", Verdict)
def test_it_says_what_reload_would_have_said(agent: Agent, ctl: Ctl, verdict: Verdict) -> None:
    server = agent(reply(reload(verdict.value), code=verdict.exit_code))
    for more in ((), ("--json",)):
        assert ctl(server, *more, "wait", ID) == ctl(server, *more, "reload", "web")
    assert ctl(server, "wait", ID)[0] == verdict.exit_code
    asked = server.requests[0]
    assert (asked.method, asked.path) == ("GET", f"/v1/reloads/{ID}/wait")


def test_a_reference_and_a_timeout_are_sent(agent: Agent, ctl: Ctl) -> None:
    server = agent(
        reply(reload(None, phase="confirm", confirmation=None, changed=[]), code=160, status=202)
    )
    code, out, _ = ctl(server, "wait", "web^1", "--timeout", "1500ms")
    assert server.requests[0].path == "/v1/reloads/web%5E1/wait?timeout_s=1.500"
    assert (code, out) == (
        160,
        f"web  still running (confirm)  {ID}\n  follow it with: reloadctl wait {ID}\n",
    )


def test_several_of_one_trace(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply({"reloads": [reload(), reload("failed")]}, code=158))
    code, out, _ = ctl(server, "wait", "4bf92f")
    assert (code, out.count("web  ")) == (158, 2)


def test_what_the_agent_refuses_and_when_it_goes(agent: Agent, ctl: Ctl) -> None:
    assert ctl(agent(problem("there is no reload x", code=5, status=404)), "wait", "x") == (
        5,
        "",
        "reloadctl: there is no reload x\n",
    )
    code, out, err = ctl(agent(HANG_UP), "wait", ID)
    assert (code, out) == (156, "")
    assert err.endswith(f"; the reload may go on; follow it with: reloadctl wait {ID}\n")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_ctrl_c_ends_the_waiting(agent: Agent, more: tuple[str, ...]) -> None:
    server = agent(HOLD)
    line = command("--socket", server.path, *more, "wait", ID)
    child = subprocess.Popen(
        line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert server.asked.wait(10)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=10)
    assert child.returncode == 130
    said = json.loads(out)["detail"] if more else err.decode()
    assert f"the reload goes on; follow it with: reloadctl wait {ID}" in said
