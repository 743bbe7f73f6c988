"""diff and export: what is asked, what is printed, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.canned import Canned, chunked, command, environment, on_terminal, problem, reply
from tests.cli.documents import NEW, OLD, sha

Agent = Callable[..., Canned]
Ctl = Callable[..., tuple[int, str, str]]


def entry(path: str = "/etc/web.conf", **more: Any) -> dict[str, Any]:
    document = {
        "path": path,
        "change": "modified",
        "kind": "text",
        "size_before": 4,
        "size_after": 4,
        "lines": ["@@ -1,2 +1,2 @@", " a", "-b", "+c\td"],
        "more": 0,
        "masked": False,
    }
    return document | more


def difference(*files: dict[str, Any], differs: bool = True) -> dict[str, Any]:
    return {
        "service": "web",
        "from": {"name": "live", "hash": sha(OLD), "version": OLD},
        "to": {"name": "on_disk", "hash": sha(NEW), "version": NEW},
        "differs": differs,
        "files": list(files),
    }


TEXT = f"""--- /etc/web.conf\tlive {OLD}
+++ /etc/web.conf\ton_disk {NEW}
@@ -1,2 +1,2 @@
 a
-b
+c\td
"""


def test_a_unified_diff(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(difference(entry())))
    assert ctl(server, "diff", "web") == (0, TEXT, "")
    assert ctl(server, "diff", "web", "--exit-code") == (1, TEXT, "")
    assert ctl(server, "--json", "diff", "web")[:2] == (0, json.dumps(difference(entry())) + "\n")
    assert ctl(server, "--json", "diff", "web", "--exit-code")[0] == 1
    assert [request.path for request in server.requests] == ["/v1/services/web/diff"] * 4


def test_what_is_compared_is_sent(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(difference(entry())))
    ctl(server, "diff", "web", "last_good")
    ctl(server, "diff", "web", "web^1", "v 2&x")
    assert [request.path.partition("?")[2] for request in server.requests] == [
        "from=last_good",
        "from=web%5E1&to=v%202%26x",
    ]
    assert ctl(server, "diff")[0] == 2
    said = "reloadctl: diff takes at most 3 arguments; try: reloadctl diff --help\n"
    assert ctl(server, "diff", "web", "a", "b", "c") == (2, "", said)


def test_no_difference(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(difference(differs=False)))
    said = f"web: no difference between live {OLD} and on_disk {NEW}\n"
    assert ctl(server, "diff", "web") == ctl(server, "diff", "web", "--exit-code") == (0, said, "")


def test_what_is_not_told_line_by_line(agent: Agent, ctl: Ctl) -> None:
    files = (
        entry("/new", change="added", lines=["@@ -0,0 +1 @@", "+a"], size_before=None),
        entry("/old", change="removed", kind="binary", lines=[], size_after=None),
        entry("/key", kind="secret", lines=[]),
        entry("/big", kind="large", lines=[], size_after=2_000_000),
        entry("/long", lines=["@@ -1 +1 @@", "-a"], more=7),
    )
    _, out, _ = ctl(agent(reply(difference(*files))), "diff", "web")
    assert [line for line in out.splitlines() if line[:3] not in ("---", "+++")] == [
        "@@ -0,0 +1 @@",
        "+a",
        "# binary: it differs; 4 bytes before, absent after",
        "# secret: it differs, and is never shown",
        "# too long to show; 4 bytes before, 2000000 bytes after",
        "@@ -1 +1 @@",
        "-a",
        "# 7 more lines are left out",
    ]
    assert [line.partition("\t")[0] for line in out.splitlines() if line[:3] in ("---", "+++")][
        :4
    ] == [
        "--- /dev/null",
        "+++ /new",
        "--- /old",
        "+++ /dev/null",
    ]


def test_a_version_that_was_asked_for_is_named_once(agent: Agent, ctl: Ctl) -> None:
    document = difference(entry()) | {"from": {"name": OLD, "hash": sha(OLD), "version": OLD}}
    assert ctl(agent(reply(document)), "diff", "web", OLD)[1].splitlines()[0] == f"--- /etc/web.conf\t{OLD}"  # fmt: skip


def test_colours_and_control_characters_on_a_terminal(agent: Agent, ctl: Ctl) -> None:
    server = agent(reply(difference(entry(lines=["@@ -1 +1 @@", "-a\x1b[2J", "+b\tc\r"]))))
    code, shown = on_terminal("--socket", server.path, "diff", "web")
    assert code == 0
    assert "\x1b[31m-a\\x1b[2J\x1b[0m\n\x1b[32m+b" in shown
    assert "c\\x0d\x1b[0m" in shown
    assert (
        "\x1b[31m" not in on_terminal("--socket", server.path, "--color", "never", "diff", "web")[1]
    )
    assert "-a\x1b[2J\n+b\tc\r\n" in ctl(server, "diff", "web")[1], (
        "a pipe gets the bytes as they are"
    )
    assert "\x1b[31m-a" in ctl(server, "diff", "web", "--color", "always")[1]


def test_what_is_not_kept(agent: Agent, ctl: Ctl) -> None:
    server = agent(problem("v1 is not kept", code=5, status=404))
    assert ctl(server, "diff", "web", "v1") == (5, "", "reloadctl: v1 is not kept\n")
    code, out, _ = ctl(server, "--json", "diff", "web", "v1", "--exit-code")
    assert (code, json.loads(out)["exit"]) == (5, 5)
    several = problem("ab may mean 2", code=2, status=409, candidates=["sha256:a", "sha256:b"])
    assert (
        ctl(agent(several), "diff", "web", "ab")[2]
        == "reloadctl: ab may mean 2\n  sha256:a\n  sha256:b\n"
    )


def test_export(agent: Agent, ctl: Ctl) -> None:
    server = agent(chunked(b'{"resourceSpans": [1]}\n{"reso', b'urceSpans": [2]}\n'))
    lines = '{"resourceSpans": [1]}\n{"resourceSpans": [2]}\n'
    assert ctl(server, "export") == ctl(server, "--json", "export") == (0, lines, "")
    ctl(server, "export", "--since", "7d")
    ctl(server, "export", "--since", "1500ms")
    assert [request.path for request in server.requests] == [
        "/v1/export",
        "/v1/export",
        "/v1/export?since=604800.000",
        "/v1/export?since=1.500",
    ]
    assert ctl(agent(chunked()), "export") == (0, "", "")
    code, out, err = ctl(agent(chunked(b'{"a": 1}\n', end=False)), "export")
    assert (code, out, "went away" in err) == (156, '{"a": 1}\n', True)


@pytest.mark.parametrize("verb", [("export",), ("diff", "web")])
def test_a_closed_pipe_ends_it_quietly(agent: Agent, verb: tuple[str, ...], tmp_path: Path) -> None:
    line = b'{"a": "' + b"x" * 100_000 + b'"}\n'
    answer = chunked(*[line] * 50) if verb == ("export",) else reply(difference(*[entry()] * 5000))
    read, write = os.pipe()
    child = subprocess.Popen(
        command("--socket", agent(answer).path, *verb),
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    assert os.read(read, 10)
    os.close(read)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, b"")
