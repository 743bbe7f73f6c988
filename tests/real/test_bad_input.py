"""Files with mistakes and questions with mistakes: each is named, and nothing changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import Host, clean_env, host, until

IDLE = """
[service.idle]
command = ["sleep", "1000"]
ready = { after = "0s" }
"""
FIRST = """[agent]
include = ["more/*.toml", "absent.toml"]
on_terminate = "explode"

[agent.access]
operate = ["user:nobody-by-this-name", "deploy"]

[service.web]
comand = ["nginx"]
recipe = "ngnix"
start_timeout = "5 parsecs"
user = "nobody-by-this-name"
after = ["wbe2"]
inputs = ["relative/path"]
[service.web.reload]
handle = "singal"
confirm = ["workers", "guess"]

[service.web2]
command = "sleep 1000"
umask = "999"
requires = ["web2"]
limits = { nofle = 10 }
"""


def agentd(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "agentd", "--config", directory / "agentd.toml"),
            *("--state-dir", directory / "state", "--runtime-dir", directory / "run"),
            *("--socket", directory / "agentd.sock", *words),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_env(),
        check=False,
    )


def broken(directory: Path) -> dict[str, list[str]]:
    """Files with mistakes; what must be said, by file and line."""
    more = directory / "more"
    more.mkdir(exist_ok=True)
    (directory / "agentd.toml").write_text(FIRST)
    (more / "a.toml").write_text("\n[service.a]\ncommand = [\n")
    (more / "b.toml").write_text("x = \ny =\n")
    (more / "c.toml").write_bytes(b'[service.c]\ncommand = ["sl\xffeep"]\n')
    (more / "d.toml").write_text('[agent]\n[service.web]\ncommand = ["true"]\n')
    (more / "e.toml").write_text('[services.x]\ncommand = ["true"]\n[service."a b"]\n')
    (more / "f.toml").write_text('[service.f]\ncommand = ["a"]\ncommand = ["b"]\n')
    first = "agentd.toml"
    return {
        f"{first}:2: agent.include[1]": ["absent.toml"],
        f"{first}:3: agent.on_terminate": ["explode", "leave", "stop"],
        f"{first}:6: agent.access.operate[0]": ["nobody-by-this-name"],
        f"{first}:6: agent.access.operate[1]": ["deploy"],
        f"{first}:8: service.web.command": ["missing"],
        f"{first}:9: service.web.comand": ["did you mean command"],
        f"{first}:10: service.web.recipe": ["ngnix", "nginx"],
        f"{first}:11: service.web.start_timeout": ["5 parsecs", "5s"],
        f"{first}:12: service.web.user": ["does not exist"],
        f"{first}:14: service.web.inputs[0]": ["relative/path"],
        f"{first}:16: service.web.reload.handle": ["singal", "signal"],
        f"{first}:17: service.web.reload.confirm[1]": ["guess"],
        f"{first}:20: service.web2.command": ['["sleep", "1000"]'],
        f"{first}:21: service.web2.umask": ["octal"],
        f"{first}:22: service.web2.requires": ["wait for each other", "web2 → web2"],
        f"{first}:23: service.web2.limits.nofle": ["nofile"],
        "a.toml:": ["is not TOML"],
        "b.toml:1": ["is not TOML"],
        "c.toml:2": ["UTF-8"],
        "d.toml:1: agent": ["only be in the first file"],
        "d.toml:2: service.web": ["already declared", "agentd.toml:8"],
        "e.toml:1: services": ["did you mean service"],
        'e.toml:3: service."a b"': ["cannot be a name"],
        "f.toml:3": ["is not TOML"],
    }


def all_are_named(said: str, mistakes: dict[str, list[str]]) -> None:
    lines = said.splitlines()
    for place, words in mistakes.items():
        found = [line for line in lines if place in line]
        assert len(found) == 1, (place, said)
        for word in words:
            assert word in found[0], (word, found)
    assert f"{len(mistakes)} mistakes, nothing was changed" in lines[0]
    assert len(lines) == len(mistakes) + 1, said
    assert "Traceback" not in said


def test_every_mistake_of_every_file_is_named_with_its_line_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    mistakes = broken(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for words in ((), ("--check",)):
        got = agentd(tmp_path, *words)
        assert (got.returncode, got.stdout) == (6, "")
        all_are_named(got.stderr, mistakes)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_running_agent_is_not_disturbed_by_a_broken_file(tmp_path: Path) -> None:
    """SIGHUP says every mistake and changes nothing; nor does a second agent that is started on it."""
    with host(tmp_path, IDLE) as running:
        pid = running.ready("idle")["instances"][0]["pid"]
        mistakes = broken(tmp_path)
        assert running.agent is not None
        running.agent.send_signal(signal.SIGHUP)
        until(lambda: "cannot load the definitions" in running.log(), "it says what is wrong")
        until(lambda: all(place in running.log() for place in mistakes), "every mistake is said")
        assert f"{len(mistakes)} mistakes, nothing was changed" in running.log()
        got = agentd(tmp_path)
        assert got.returncode == 6
        all_are_named(got.stderr, mistakes)
        assert running.pid("idle") == pid
        assert running.ctl("status")[0] == 0
        running.define(IDLE)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("missing", str, "No such file or directory"),
        ("a directory", lambda path: path.mkdir(), "directory"),
        ("empty", lambda path: path.write_text(""), ""),
        ("a NUL", lambda path: path.write_bytes(b"\0"), "is not TOML"),
        ("huge number", lambda path: path.write_text("x = " + "9" * 5000), "x"),
        ("deep", lambda path: path.write_text("x = " + "[" * 5000), "nested too deeply"),
        ("a device", lambda path: path.symlink_to("/dev/zero"), "no regular file"),
        ("a loop", lambda path: path.symlink_to(path), "symbolic links"),
        ("a fifo", os.mkfifo, "no regular file"),
    ],
)
def test_whatever_lies_at_the_place_of_the_file_gets_a_sentence(
    tmp_path: Path, name: str, make: object, words: str
) -> None:
    make(tmp_path / "agentd.toml")  # type: ignore[operator]
    got = agentd(tmp_path, "--check")
    assert got.returncode == (0 if name == "empty" else 6), got.stderr
    assert "Traceback" not in got.stderr
    assert words in got.stderr
    assert name == "empty" or f"{tmp_path}/agentd.toml" in got.stderr


def test_a_file_of_the_agent_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    got = subprocess.run(
        [sys.executable, "-m", "agentd", "--config", "/proc/1/mem/agentd.toml", "--check"],
        capture_output=True,
        text=True,
        env=clean_env(),
        check=False,
    )
    assert got.returncode == 6
    assert "Traceback" not in got.stderr


# The command line: each state of a service has its own code and its own sentence.

KINDS = f"""
[service.up]
command = ["{sys.executable}", "-S", "-c", "import signal\\nsignal.signal(1, print)\\nprint('up', flush=True)\\nwhile True: signal.pause()"]
ready = {{ after = "0s" }}
[service.up.reload]
confirm = ["delivered"]

[service.plain]
command = ["/bin/sh", "-c", "trap : HUP; while :; do sleep 1000 & wait; done"]
ready = {{ after = "0s" }}

[service.proven]
command = ["/bin/sh", "-c", "trap : HUP; while :; do sleep 1000 & wait; done"]
ready = {{ after = "0s" }}
[service.proven.reload]
confirm = [{{ log = "never said" }}]
timeout = "200ms"

[service.unready]
command = ["sleep", "1000"]
ready = "notify"
start_timeout = "60s"

[service.stopped]
command = ["sleep", "1000"]
ready = {{ after = "0s" }}

[service.dead]
command = ["false"]
restart = "never"
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("kinds"), KINDS) as running:
        for name in ("up", "plain", "proven", "stopped"):
            running.ready(name)
        until(lambda: running.ctl("logs", "up")[1]["lines"], "its handler is there")
        until(lambda: running.service("dead")["phase"] == "failed", "dead has ended")
        running.ctl("stop", "stopped")
        yield running


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("reload", "nowhere"), 5, "there is no service nowhere"),
        (("start", "nowhere"), 5, "there is no service nowhere"),
        (("logs", "nowhere"), 5, "there is no service nowhere"),
        (("history", "nowhere"), 5, "there is no service nowhere"),
        (("status", "nowhere"), 4, "there is no service nowhere"),
        (("show", "01ABCDEF"), 5, "01ABCDEF"),
        (("show", "up^99"), 5, "up^99"),
        (("reload", "stopped"), 7, "reloadctl start stopped"),
        (("reload", "unready", "--timeout", "100ms"), 160, ""),
        (("reload", "plain"), 154, "unverified"),
        (("reload", "proven"), 153, "timed_out"),
        (("reload", "up", "--require-proof"), 154, "proof"),
        (("status", "stopped"), 3, "stopped"),
        (("status", "dead"), 3, "exit code 1"),
        (("reload", "dead"), 158, "exit code 1"),
        (("reload",), 2, "--all"),
        (("reload", "up", "--all"), 2, "--all"),
        (("reload", "up", "--timeout", "soon"), 2, "5s"),
        (("reload", "up", "--timeout", "0"), 2, "5s"),
        (("reload", "up", "--no-wiat"), 2, "--no-wait"),
        (("hold", "up", "--for", "-5s"), 2, ""),
        (("logs", "up", "-n", "0"), 2, "1"),
        (("logs", "up", "-n", "many"), 2, "number"),
        (("history", "up", "--verdict", "wrong"), 2, "applied"),
        (("status", ""), 4, ""),
        (("reload", "../../etc"), 5, "../../etc"),
        (("reload", "up\x1b[2J"), 5, ""),
        (("reload", "up stopped"), 5, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_each_answer_has_its_own_code_and_sentence(
    kinds: Host, words: tuple[str, ...], code: int, sentence: str
) -> None:
    got = kinds.text(*words)
    said = got.stdout + got.stderr
    assert got.returncode == code, said
    assert said.strip()
    assert sentence in said
    assert "Traceback" not in said
    assert "\x1b" not in said
    got = kinds.text("--json", *words)
    assert got.returncode == code, got
    document = json.loads(got.stdout)
    if code not in (0, 3, 150, 153, 154, 158, 160):
        assert document["exit"] == code
        assert sentence in document["detail"]


def test_of_several_services_the_worst_counts_and_every_one_is_listed(kinds: Host) -> None:
    code, document = kinds.ctl("reload", "stopped", "up", "plain", "--keep-going")
    assert code == 154, document
    kept = {r.get("service"): r.get("verdict") for r in document["reloads"]}
    assert (kept["up"], kept["plain"]) == ("applied", "unverified")
    assert [t["service"] for t in document["turned_away"]] == ["stopped"]
    got = kinds.text("reload", "stopped", "up", "plain", "--keep-going")
    assert got.returncode == 154
    for sentence in ("up  applied", "plain  unverified", "stopped  not reloaded", "start stopped"):
        assert sentence in got.stdout
    got = kinds.text("reload", "stopped", "up")
    assert (got.returncode, "reloadctl start stopped" in got.stdout) == (7, True)


def test_the_first_failure_stops_the_rest_and_they_are_named(kinds: Host) -> None:
    got = kinds.text("reload", "dead", "plain", "up")
    assert got.returncode == 158
    assert "dead  failed" in got.stdout
    left = [line for line in got.stdout.splitlines() if line.endswith("not tried")]
    code, document = kinds.ctl("reload", "dead", "plain", "up")
    assert (code, [f"{name}  not tried" for name in document["not_tried"]]) == (158, left)
    assert len(document["reloads"]) + len(left) == 3


def test_one_misspelt_name_among_several_and_none_is_reloaded(kinds: Host) -> None:
    before = len(kinds.history("up"))
    got = kinds.text("reload", "up", "nowhere")
    assert got.returncode == 5
    assert "there is no service nowhere" in got.stderr
    assert len(kinds.history("up")) == before


def test_without_an_agent_everything_says_so_with_its_own_code(tmp_path: Path) -> None:
    nobody = Host(tmp_path, "")
    for words in (("status",), ("reload", "x"), ("logs", "x"), ("hold", "x"), ("show",)):
        got = nobody.text(*words)
        assert got.returncode == 156
        assert "cannot reach the agent" in got.stderr
        code, document = nobody.ctl(*words)
        assert (code, document["exit"]) == (156, 156)
    (tmp_path / "agentd.sock").write_text("a file")
    assert nobody.text("status").returncode == 156
    nobody.socket = tmp_path / ("x" * 200)
    got = nobody.text("status")
    assert got.returncode == 156
    assert "long" in got.stderr


@pytest.mark.parametrize(("words", "code"), [(("status", "up"), 1), (("status", "dead"), 3)])
def test_an_answer_that_cannot_be_written_is_no_success(
    kinds: Host, words: tuple[str, ...], code: int
) -> None:
    """What was found out stays the exit code where it was a failure already."""
    command = [sys.executable, "-m", "reloadctl", "--socket", str(kinds.socket), *words]
    got = subprocess.run(
        ["/bin/sh", "-c", '"$@" >/dev/full', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        env=clean_env(),
        check=False,
    )
    assert (got.returncode, "cannot write the answer" in got.stderr) == (code, True)
    assert "Traceback" not in got.stderr
