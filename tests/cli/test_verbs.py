"""start, stop, restart, check, hold, release, logs, version; and what every verb does when writing fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentd import __version__
from reloadctl.__main__ import main
from tests.cli.canned import (
    Canned,
    chunked,
    command,
    environment,
    on_terminal,
    problem,
    reply,
    whole,
)
from tests.cli.documents import NEW, OLD, reload, service, sha, status

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]


def acted(name: str = "web", **more: Any) -> dict[str, Any]:
    document = {
        "service": name,
        "want": "up",
        "phase": "ready",
        "generation": 2,
        "pid": 99,
        "message": "",
    }
    return document | {"reload": None} | more


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_verbs_that_move_a_service(agent: Agent, ctl: Ctl, verb: str) -> None:
    server = agent(reply(acted(reload=reload())))
    line = f"web  ready  pid 99\n  web  applied  {OLD} → {NEW}  182 ms  observed by workers\n"
    assert ctl(server, verb, "web", "--timeout", "5s") == (0, line, "")
    assert server.requests[0].path == f"/v1/services/web/{verb}"
    assert server.requests[0].json == {"wait": True, "timeout_s": 5.0}
    ctl(server, verb, "web", "--no-wait")
    assert server.requests[1].json == {"wait": False, "timeout_s": None}


def test_several_are_asked_in_turn_and_the_worst_counts(agent: Agent, ctl: Ctl) -> None:
    answers = (
        reply(acted("a", phase="down", pid=None)),
        problem("no service is named b", code=5, status=404),
        reply(acted("c", phase="failed", pid=None, message="exit code 3"), code=158),
    )
    code, out, err = ctl(agent(*answers), "stop", "a", "b", "c")
    assert (code, out) == (158, "a  down\nc  failed\n  exit code 3\n")
    assert err == "reloadctl: no service is named b\n"
    code, out, err = ctl(agent(*answers), "--json", "stop", "a", "b", "c")
    documents = json.loads(out)["services"]
    assert (code, err) == (158, "")
    assert [document.get("service") for document in documents] == ["a", None, "c"]
    assert documents[1]["detail"] == "no service is named b"


def test_no_agent_ends_it_at_once(ctl: Ctl) -> None:
    code, _, err = ctl("/nowhere.sock", "stop", "a", "b")
    assert (code, len(err.splitlines())) == (156, 1)


CHECKED = {
    "service": "web",
    "exit_code": 0,
    "output": [],
    "hash": sha(NEW),
    "version": NEW,
    "changed": [],
    "error": None,
}


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({"verdict": "passed"}, 0, f"web  passed  {NEW}  the check passed\n"),
        ({"verdict": "none", "exit_code": None}, 0, f"web  none  {NEW}  no check is defined\n"),
        (
            {"verdict": "rejected", "exit_code": 1, "output": ["line 3: bad"]},
            150,
            f"web  rejected  {NEW}  the check said no; a reload would be rejected (exit code 1)\n    line 3: bad\n",
        ),
        (
            {
                "verdict": "rejected",
                "exit_code": None,
                "error": "cannot run nginx: not found",
                "version": None,
            },
            150,
            f"web  rejected  {NEW}  the check said no; a reload would be rejected\n  cannot run nginx: not found\n",
        ),
    ],
)
def test_check(agent: Agent, ctl: Ctl, more: dict[str, Any], code: int, text: str) -> None:
    server = agent(reply(CHECKED | more, code=code))
    assert ctl(server, "check", "web") == (code, text, "")
    assert server.requests[0].path == "/v1/services/web/check"


def test_hold_and_release(agent: Agent, ctl: Ctl) -> None:
    held = agent(reply({"service": "web", "held": True, "reason": "migration"}))
    assert ctl(held, "hold", "web", "--reason", "migration", "--for", "90m") == (
        0,
        "web  held for 1h30m: migration  (reloadctl release web)\n",
        "",
    )
    assert held.requests[0].json == {"reason": "migration", "for_s": 5400.0}
    free = agent(reply({"service": "web", "held": False, "reload_id": None}))
    assert ctl(free, "release", "web") == (0, "web  released\n", "")
    started = agent(reply({"service": "web", "held": False, "reload_id": "01JD"}))
    text = "web  released  reload 01JD runs; follow it with: reloadctl wait 01JD\n"
    assert ctl(started, "release", "web") == (0, text, "")
    assert (
        ctl(started, "--json", "release", "web")[1]
        == '{"service": "web", "held": false, "reload_id": "01JD"}\n'
    )


def test_logs(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply({"service": "web", "lines": ["one", "\x1b[31mtwo"]}))
    assert ctl(server, "logs", "web") == (0, "one\n\x1b[31mtwo\n", ""), (
        "a pipe gets the bytes as they were"
    )
    assert "\\x1b[31mtwo" in on_terminal("--socket", server.path, "logs", "web")[1]
    assert server.requests[0].path == "/v1/services/web/logs?lines=50"
    assert ctl(agent(reply({"service": "web", "lines": []})), "logs", "web", "-n", "3") == (
        0,
        "",
        "",
    )


def test_logs_that_follow(agent: Agent, ctl: Ctl) -> None:
    parts = (b'{"line": "one"}\n{"li', b'ne": "two"}\n', b"\n", b'{"lines": ["three", "four"]}\n')
    server = agent(chunked(*parts))
    assert ctl(server, "logs", "web", "-f", "-n", "5") == (0, "one\ntwo\nthree\nfour\n", "")
    assert server.requests[0].path == "/v1/services/web/logs?lines=5&follow=1"
    assert ctl(server, "--json", "logs", "web", "-f")[1].splitlines()[0] == '{"line": "one"}'
    dead = agent(chunked(parts[0], end=False))
    code, out, err = ctl(dead, "logs", "web", "-f")
    assert (code, out, "went away" in err) == (156, "one\n", True)
    assert ctl(agent(problem("not yours", code=77, status=403)), "logs", "-f", "web") == (
        77,
        "",
        "reloadctl: not yours\n",
    )


def test_version(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(status(service()), code=3))
    text = f"reloadctl {__version__}\nagentd 0.1.0 (pid 7, {server.path})\n"
    assert ctl(server, "version") == (0, text, "")
    assert json.loads(ctl(server, "--json", "version")[1])["agent"]["pid"] == 7
    code, out, err = ctl("/nowhere", "version")
    assert (code, "agentd unknown: cannot reach the agent at /nowhere" in out, err) == (0, True, "")
    assert json.loads(ctl("/nowhere", "--json", "version")[1]) == {
        "version": __version__,
        "agent": None,
    }


def test_help_and_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert re.search("reload +Make services take up their configuration", capsys.readouterr().out)
    assert main(["reload", "--help"]) == 0
    assert "--keep-going" in capsys.readouterr().out
    assert main([]) == 2
    assert "Usage: reloadctl" in capsys.readouterr().err
    assert main(["hold"]) == 2
    assert (
        capsys.readouterr().err == "reloadctl: missing argument 'SVC'; try: reloadctl hold --help\n"
    )
    assert main(["logs", "web", "-n", "x", "--json"]) == 2
    said = "cannot read --lines 'x': a whole number from 1 on is needed; try: reloadctl logs --help"
    assert json.loads(capsys.readouterr().out)["detail"] == said


def test_a_bug_is_one_sentence_and_a_traceback_on_request(
    agent: Agent, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = agent(reply(b"[]"))
    code, out, err = ctl(server, "status")
    assert (code, out) == (1, "")
    said = "internal error: ValueError: not one JSON object; run with RELOADCTL_DEBUG=1 for the traceback"
    assert err == f"reloadctl: {said}\n"
    assert json.loads(ctl(agent(reply(b"{}")), "--json", "show")[1])["exit"] == 1
    monkeypatch.setenv("RELOADCTL_DEBUG", "1")
    assert "Traceback" in ctl(server, "status")[2]


def test_a_reader_that_went_away_does_not_change_the_exit_code(agent: Agent) -> None:
    server = agent(reply(reload("rejected"), code=150))
    for more in ((), ("--json",)):
        read, write = os.pipe()
        os.close(read)
        line = command("--socket", server.path, *more, "reload", "web")
        done = subprocess.run(
            line, env=environment(), stdout=write, stderr=subprocess.PIPE, timeout=30, check=False
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (150, b"")


def test_a_full_disk_is_told(agent: Agent) -> None:
    server = agent(reply(status(service())))
    line = command("--socket", server.path, "status")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            line, env=environment(), stdout=full, stderr=subprocess.PIPE, timeout=30, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        b"reloadctl: cannot write the answer: No space left on device\n",
    )


def test_without_stdout_at_all(agent: Agent) -> None:
    server = agent(reply(status(service()), code=3))
    line = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command("--socket", server.path, "status")]
    done = subprocess.run(line, env=environment(), timeout=30, check=False)
    assert done.returncode == 3


def test_the_socket_comes_from_the_environment(agent: Agent) -> None:
    server = agent(reply(status(service())))
    assert whole("status", AGENTD_SOCKET=server.path).returncode == 0
    assert (
        f"{'/run/agentd' if os.getuid() == 0 else '/x/agentd'}/agentd.sock"
        in whole("status", XDG_RUNTIME_DIR="/x").stderr.decode()
    )
