"""plan, apply, shutdown: what is asked, the whole text, every mistake."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.canned import (
    HANG_UP,
    HOLD,
    Canned,
    chunked,
    command,
    environment,
    on_terminal,
    problem,
    reply,
)  # fmt: skip
from tests.cli.documents import ID, TRACE, reload, status

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]


def document(*, applied: bool, **more: Any) -> dict[str, Any]:
    return {"applied": applied, "changes": [], "later": [], "warnings": []} | more


def change(service: str, action: str, *keys: str, forced_by: tuple[str, ...] = ()) -> Any:
    return {"service": service, "action": action, "keys": list(keys), "forced_by": list(forced_by)}


CHANGES = [
    change("web", "replace", "command", "stop_timeout", forced_by=("command",)),
    change("job", "start"),
    change("cache", "update", "watch"),
    change("db", "stop"),
]
TEXT = """\
~ web    replace  command, stop_timeout  forced by command
+ job    start
~ cache  update  watch
- db     stop
~ agent.telemetry  takes effect when agentd is started again
warning: job: reloads can only end unverified
"""
MORE = {
    "changes": CHANGES,
    "later": ["agent.telemetry"],
    "warnings": ["job: reloads can only end unverified"],
}
VERBS = [
    ("plan", False, "4 services would be touched; do it with: reloadctl apply\n"),
    ("apply", True, "applied: 4 services\n"),
]


@pytest.mark.parametrize(("verb", "applied", "last"), VERBS)
def test_what_changes(agent: Agent, ctl: Ctl, verb: str, applied: bool, last: str) -> None:  # noqa: FBT001
    told = document(applied=applied, **MORE)
    server = agent(reply(told))
    assert ctl(server, verb) == (0, TEXT + last, "")
    code, out, err = ctl(server, "--json", verb)
    assert (code, json.loads(out), err) == (0, told, "")


def test_what_is_asked(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(document(applied=True)))
    ctl(server, "plan")
    ctl(server, "apply")
    ctl(server, "apply", "--reason", "new limits")
    assert [(r.method, r.path) for r in server.requests] == [
        ("GET", "/v1/plan"),
        *[("POST", "/v1/apply")] * 2,
    ]
    ctl(server, "apply", "--no-wait")
    ctl(server, "apply", "--timeout", "3s")
    asked = {"reason": "", "wait": True, "timeout_s": None}
    assert [r.json for r in server.requests[1:]] == [
        asked,
        asked | {"reason": "new limits"},
        asked | {"wait": False},
        asked | {"timeout_s": 3.0},
    ]


REFUSED = reload("refused", handle="replace", message="it never came up", definition=["command"])
OUTCOMES = {
    "reloads": [REFUSED, reload(service="job", trigger="start", changed=[])],
    "turned_away": [{"service": "db", "exit": 7, "detail": "db waits for disk, which is down"}],
}
BECAME = """\
web  refused  3f2c9a1b77de → 9be01d4a02c1  182 ms  observed by workers
  ~ /etc/nginx/nginx.conf  modified
  it never came up
  see: reloadctl show web
job  applied  3f2c9a1b77de → 9be01d4a02c1  182 ms  observed by workers
db  db waits for disk, which is down
"""


def test_what_became_of_each_and_the_agents_exit_code(agent: Agent, ctl: Ctl) -> None:
    told = document(applied=True, **MORE) | OUTCOMES
    server = agent(reply(told, code=151))
    assert ctl(server, "apply") == (151, f"{TEXT}applied: 4 services\n{BECAME}", "")
    code, out, err = ctl(server, "--json", "apply")
    assert (code, json.loads(out), err) == (151, told, "")


def test_what_is_not_waited_for_can_be_followed(agent: Agent, ctl: Ctl) -> None:
    told = document(applied=True, changes=[change("web", "start")])
    begun = {"reload_id": ID, "trace_id": TRACE, "service": "web", "verdict": None}
    server = agent(reply(told | {"reloads": [begun], "turned_away": []}, status=202))
    code, out, _ = ctl(server, "apply", "--no-wait")
    assert (code, out.splitlines()[-1]) == (0, f"  follow it with: reloadctl wait {ID}")


def test_an_agent_that_dies_while_it_applies(agent: Agent, ctl: Ctl) -> None:
    code, out, err = ctl(agent(HANG_UP), "apply")
    assert (code, out) == (156, "")
    assert err.endswith("it may go on; see it with: reloadctl history --starts\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_ends_the_waiting_for_what_was_applied(agent: Agent, *, as_json: bool) -> None:
    server = agent(HOLD)
    words = ("--json", "apply") if as_json else ("apply",)
    child = subprocess.Popen(
        command("--socket", server.path, *words),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert server.asked.wait(10)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=10)
    assert child.returncode == 130
    told = json.loads(out)["detail"] if as_json else err.decode()
    assert "what was begun goes on; see it with: reloadctl history --starts" in told


@pytest.mark.parametrize(
    ("verb", "applied", "text"),
    [("plan", False, "nothing would change\n"), ("apply", True, "nothing changed\n")],
)
def test_nothing(agent: Agent, ctl: Ctl, verb: str, applied: bool, text: str) -> None:  # noqa: FBT001
    assert ctl(agent(reply(document(applied=applied))), verb) == (0, text, "")


def test_one_is_one(agent: Agent, ctl: Ctl) -> None:
    one = document(applied=True, changes=[change("web", "start")])
    assert ctl(agent(reply(one)), "apply")[1] == "+ web  start\napplied: 1 service\n"


def test_marks_are_coloured_and_strangers_words_harmless(agent: Agent, ctl: Ctl) -> None:
    told = document(applied=False, **MORE | {"warnings": ["a\x1b[2J\nb"]})
    server = agent(reply(told))
    _, shown = on_terminal("--socket", server.path, "plan")
    for mark in ("\x1b[33m~\x1b[0m web", "\x1b[32m+\x1b[0m job", "\x1b[31m-\x1b[0m db"):
        assert mark in shown
    assert "warning: a\\x1b[2J b\n" in ctl(server, "plan")[1]


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_every_mistake_is_printed_once(agent: Agent, ctl: Ctl, verb: str) -> None:
    detail = "cannot load the definitions: 2 mistakes, nothing was changed"
    mistakes = ["agentd.toml:3: a is unknown", "agentd.toml:9: b must be a string"]
    server = agent(problem(detail, code=6, status=422, candidates=mistakes))
    code, out, err = ctl(server, verb)
    assert (code, out) == (6, "")
    assert err.splitlines() == [f"reloadctl: {detail}", *(f"  {one}" for one in mistakes)]
    code, out, err = ctl(server, "--json", verb)
    assert (code, json.loads(out)["candidates"], err) == (6, mistakes, "")


GIVES_WAY = {"from": "0.1.0", "to": "0.2.0", "pid": 7, "kept": ["web", "db"]}


def test_upgrade_waits_for_the_one_who_takes_over(agent: Agent, ctl: Ctl) -> None:
    old, new = status(), status()
    old["agent"]["uptime_s"] = 1e6
    new["agent"] |= {"uptime_s": 0.0, "version": "0.2.0"}

    def story() -> Canned:
        return agent(reply(GIVES_WAY, status=202), HANG_UP, reply(old), reply(new))

    code, out, err = ctl(story(), "upgrade")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"agentd 0\.1\.0 → 0\.2\.0, pid 7, \d+ ms, kept: web, db\n", out)
    code, out, _ = ctl(story(), "--json", "upgrade", "--timeout", "5s")
    document = json.loads(out)
    assert (code, document.pop("duration_ms") >= 0, document) == (0, True, GIVES_WAY)


def test_an_upgrade_that_is_turned_away_says_why(agent: Agent, ctl: Ctl) -> None:
    lines = ["Traceback (most recent call last):", "SyntaxError: invalid syntax"]
    server = agent(problem("cannot upgrade", code=150, status=422, candidates=lines))
    code, out, err = ctl(server, "upgrade")
    assert (code, out) == (150, "")
    assert err.splitlines()[1:] == [f"  {one}" for one in lines]


STOPPING = {"stopping": ["web", "db"]}


@pytest.mark.parametrize("story", [chunked(b'{"seq": 1}\n'), chunked(b"x\n", end=False)])
def test_shutdown_waits_for_the_end(agent: Agent, ctl: Ctl, story: bytes) -> None:
    server = agent(story, reply(STOPPING, status=202))
    assert ctl(server, "shutdown") == (0, "stopping web, db, then agentd\n", "")
    assert [(r.method, r.path) for r in server.requests] == [
        ("GET", "/v1/events"),
        ("POST", "/v1/shutdown"),
    ]
    server = agent(story, reply(STOPPING, status=202))
    code, out, err = ctl(server, "--json", "shutdown")
    assert (code, json.loads(out), err) == (0, STOPPING, "")


def test_shutdown_need_not_be_waited_for(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply({"stopping": []}, status=202))
    assert ctl(server, "shutdown", "--no-wait") == (0, "stopping agentd\n", "")
    assert [r.path for r in server.requests] == ["/v1/shutdown"]


def test_shutdown_that_may_not_be_or_is_not_answered(agent: Agent, ctl: Ctl) -> None:
    denied = problem("root needs admin", code=77, status=403)
    story = chunked(b"x\n")
    assert ctl(agent(story, denied), "shutdown") == (77, "", "reloadctl: root needs admin\n")
    code, out, err = ctl(agent(story, HANG_UP), "shutdown")
    assert (code, out) == (156, "")
    assert "went away before it had answered" in err
    assert ctl("/nowhere.sock", "shutdown")[0] == 156


def test_ctrl_c_ends_the_waiting_for_the_end(agent: Agent) -> None:
    server = agent(HOLD)
    child = subprocess.Popen(
        command("--socket", server.path, "shutdown"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert server.asked.wait(10)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=10)
    assert (child.returncode, out, err) == (130, b"", b""), "it was not asked for yet"
