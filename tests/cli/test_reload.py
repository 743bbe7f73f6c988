"""reload: what is sent, what is printed for each ending, and what happens when nobody answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agentd.wire import Verdict
from reloadctl.client import Lost, get
from tests.cli.canned import HANG_UP, HOLD, Canned, command, environment, problem, reply
from tests.cli.documents import ID, NEW, OLD, TRACE, reload, service

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]

APPLIED = f"web  applied  {OLD} → {NEW}  182 ms  observed by workers\n  ~ /etc/nginx/nginx.conf  modified\n"


def test_applied(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(reload()))
    assert ctl(server, "reload", "web") == (0, APPLIED, "")
    request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/v1/services/web/reload")
    assert request.headers["user-agent"].startswith("reloadctl/")
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "reason": "",
        "if_changed": False,
        "force": False,
        "wait": True,
        "timeout_s": None,
        "require_proof": False,
        "confirm_within_s": None,
        "attributes": {},
    }


def test_every_option_is_sent(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(reload()))
    ctl(
        server,
        "reload",
        "web",
        "--if-changed",
        "--force",
        "--timeout",
        "90s",
        "--reason",
        'a "b" é',
        "--require-proof",
        "--confirm-within",
        "2m",
    )
    sent = server.requests[0].json
    assert sent == {
        "reason": 'a "b" é',
        "if_changed": True,
        "force": True,
        "wait": True,
        "timeout_s": 90.0,
        "require_proof": True,
        "confirm_within_s": 120.0,
        "attributes": {},
    }


def test_several_and_all_go_in_one_request(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply({"reloads": [reload(), reload(service="db", changed=[])]}, code=157))
    code, out, _ = ctl(server, "reload", "web", "db", "--max-parallel", "3", "--keep-going")
    assert (code, out) == (
        157,
        APPLIED + f"db  applied  {OLD} → {NEW}  182 ms  observed by workers\n",
    )
    ctl(server, "reload", "--all")
    first, second = server.requests
    assert first.path == second.path == "/v1/reload"
    assert (first.json["services"], first.json["max_parallel"], first.json["keep_going"]) == (
        ["web", "db"],
        3,
        True,
    )
    assert (second.json["all"], second.json["max_parallel"], "services" in second.json) == (
        True,
        1,
        False,
    )


def test_all_of_nothing(agent: Agent, ctl: Ctl) -> None:
    assert ctl(agent(reply({"reloads": []})), "reload", "--all") == (0, "nothing to reload\n", "")


@pytest.mark.parametrize("argv", [("reload",), ("reload", "--all", "web")])
def test_services_or_all(ctl: Ctl, argv: tuple[str, ...]) -> None:
    said = "reload needs services or --all, and not both; try: reloadctl reload --help"
    assert ctl("/nowhere", *argv) == (2, "", f"reloadctl: {said}\n")


def test_rejected_shows_why_and_what_to_type(agent: Agent, ctl: Ctl) -> None:
    document = reload(
        "rejected",
        confirmation="none",
        confirmation_grade=None,
        error="check_failed",
        message="the check said no: exit code 1",
        output=['nginx: [emerg] unknown directive "lisen"', "\x1b[31mred"],
    )
    text = (
        f"web  rejected  {OLD} → {NEW}  182 ms\n"
        "  ~ /etc/nginx/nginx.conf  modified\n"
        "  the check said no: exit code 1\n"
        '    nginx: [emerg] unknown directive "lisen"\n'
        "    \\x1b[31mred\n"
        "  see: reloadctl show web\n"
    )
    assert ctl(agent(reply(document, code=150)), "reload", "web") == (150, text, "")


@pytest.mark.parametrize("verdict", Verdict)
def test_the_exit_code_is_the_agents_in_text_and_json(
    agent: Agent, ctl: Ctl, verdict: Verdict
) -> None:
    server = agent(reply(reload(verdict.value), code=verdict.exit_code))
    code, out, _ = ctl(server, "reload", "web")
    assert (code, out.split()[1]) == (verdict.exit_code, verdict.value)
    assert ("see: reloadctl show web" in out) == (verdict.exit_code != 0)
    code, out, _ = ctl(server, "--json", "reload", "web")
    assert (code, json.loads(out)["verdict"]) == (verdict.exit_code, verdict.value)


def test_grades_and_versions(agent: Agent, ctl: Ctl) -> None:
    declared = reload(
        confirmation="delivered", confirmation_grade="declared", version_before=NEW, changed=[]
    )
    assert (
        ctl(agent(reply(declared)), "reload", "web")[1]
        == f"web  applied  {NEW}  182 ms  delivered, as declared\n"
    )
    unknown = reload(
        version_before=None,
        confirmation="notify",
        confirmation_grade="proven",
        changed=[],
        joined=True,
    )
    assert ctl(agent(reply(unknown)), "reload", "web")[1] == (
        f"web  applied  unknown → {NEW}  182 ms  proven by notify\n  joined a reload that was asked for before\n"
    )


def test_not_waited_for(agent: Agent, ctl: Ctl) -> None:
    asked = {"reload_id": ID, "trace_id": TRACE, "service": "web", "verdict": None}
    server = agent(reply(asked, status=202))
    text = f"web  requested  {ID}\n  follow it with: reloadctl wait {ID}\n"
    assert ctl(server, "reload", "web", "--no-wait") == (0, text, "")
    assert server.requests[0].json["wait"] is False


def test_still_running_at_the_timeout(agent: Agent, ctl: Ctl) -> None:
    document = reload(
        None,
        phase="confirm",
        duration_ms=None,
        confirmation=None,
        confirmation_grade=None,
        changed=[],
    )
    code, out, _ = ctl(
        agent(reply(document, status=202, code=160)), "reload", "web", "--timeout", "1s"
    )
    assert (code, out) == (
        160,
        f"web  still running (confirm)  {ID}\n  follow it with: reloadctl wait {ID}\n",
    )


@pytest.mark.parametrize(("code", "status"), [(5, 404), (7, 409), (77, 403), (6, 422)])
def test_what_the_agent_refuses(agent: Agent, ctl: Ctl, code: int, status: int) -> None:
    answer = problem("it cannot be done", code=code, status=status)
    assert ctl(agent(answer), "reload", "web") == (code, "", "reloadctl: it cannot be done\n")
    got, out, err = ctl(agent(answer), "reload", "web", "--json")
    assert (got, json.loads(out)["detail"], err) == (code, "it cannot be done", "")


def test_the_callers_trace_and_pipeline(
    agent: Agent, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {
        "TRACEPARENT": f"00-{TRACE}-00f067aa0ba902b7-01",
        "TRACESTATE": "a=b",
        "BAGGAGE": "x=1\r\nHost: evil",
        "GITHUB_RUN_ID": "42",
        "GITHUB_WORKFLOW": "deploy",
        "GITHUB_SHA": "abc",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "o/r",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    server = agent(reply(reload()))
    ctl(server, "reload", "web")
    headers = server.requests[0].headers
    assert (headers["traceparent"], headers["tracestate"]) == (environ["TRACEPARENT"], "a=b")
    assert "baggage" not in headers, "a value that would break the request is not sent"
    assert headers["host"] == "agentd"
    assert server.requests[0].json["attributes"] == {
        "cicd.pipeline.name": "deploy",
        "cicd.pipeline.run.id": "42",
        "cicd.pipeline.run.url.full": "https://github.com/o/r/actions/runs/42",
        "vcs.ref.head.revision": "abc",
        "vcs.repository.url.full": "https://github.com/o/r",
    }


def test_an_agent_that_dies_while_we_wait(agent: Agent, ctl: Ctl) -> None:
    server = agent(HANG_UP)
    code, out, err = ctl(server, "reload", "web")
    assert (code, out) == (156, "")
    assert err == (
        f"reloadctl: the agent at {server.path} went away before it had answered (no answer); "
        "the reload may go on; see it with: reloadctl show web\n"
    )
    cut = agent(reply(reload())[:-20])
    code, out, err = ctl(cut, "reload", "web", "db")
    assert (code, out, "half an answer" in err, "reloadctl history" in err) == (156, "", True, True)


@pytest.mark.parametrize("found", [service(running=ID), service()])
def test_ctrl_c_ends_the_waiting_and_says_how_to_go_on(
    agent: Agent, found: dict[str, object]
) -> None:
    server = agent(HOLD, reply(found))
    line = command("--socket", server.path, "reload", "web")
    child = subprocess.Popen(
        line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert server.asked.wait(10)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=10)
    where = f"wait {ID}" if found["running"] else "show web"
    assert (child.returncode, out) == (130, b"")
    assert err.decode() == f"reloadctl: the reload goes on; follow it with: reloadctl {where}\n"


def test_an_agent_that_says_nothing(agent: Agent) -> None:
    server = agent(HOLD)
    with pytest.raises(Lost, match="is silent"):
        get({"socket": server.path}, "/v1/status", 0.05)


def test_no_agent(ctl: Ctl, tmp_path: Path) -> None:
    path = str(tmp_path / "none.sock")
    said = f"cannot reach the agent at {path}: no such file or directory; is agentd running? try: systemctl status agentd"
    assert ctl(path, "reload", "web") == (156, "", f"reloadctl: {said}\n")
    code, out, err = ctl(path, "--json", "reload", "web")
    assert (code, json.loads(out), err) == (
        156,
        {"type": "about:blank", "title": "reloadctl", "detail": said, "exit": 156},
        "",
    )


def test_a_socket_nobody_listens_on_and_a_path_that_is_too_long(ctl: Ctl, agent: Agent) -> None:
    gone = agent(b"")
    gone._sock.shutdown(2)
    assert ctl(gone, "status")[0] == 156
    code, _, err = ctl("/" + "x" * 200, "status")
    assert (code, "path too long" in err) == (156, True)


def test_what_is_no_agent(ctl: Ctl, agent: Agent) -> None:
    code, _, err = ctl(agent(b"220 smtp ready\r\n\r\n"), "status")
    assert (code, "does not speak HTTP" in err) == (156, True)


def test_permission_denied(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(reload()))
    Path(server.path).chmod(0)
    was = os.geteuid()
    if was == 0:
        Path(server.path).parent.chmod(0o755)
        os.seteuid(65534)  # root is never denied
    try:
        code, out, err = ctl(server, "reload", "web")
    finally:
        os.seteuid(was)
    said = f"cannot connect to {server.path}: permission denied; ask who runs the agent"
    assert (code, out, err) == (77, "", f"reloadctl: {said}\n")
