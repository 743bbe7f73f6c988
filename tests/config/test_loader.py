"""Files in, values or every mistake with its place out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agentd import recipes
from agentd.config.access import Access, Anyone, User
from agentd.config.build import WARNING
from agentd.config.definitions import AgentSpec, OnTerminate
from agentd.config.loader import ConfigErrors, Definitions, describe, load
from agentd.core import spec as s
from agentd.core.question import Question
from agentd.evidence import Changes, Log, Version, Workers


def loaded(folder: Path, text: str, **others: str) -> Definitions:
    for name, content in others.items():
        (folder / f"{name}.toml").write_text(content)
    main = folder / "agentd.toml"
    main.write_text(text)
    return load(main)


def mistakes(folder: Path, text: str, **others: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        loaded(folder, text, **others)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def in_service(folder: Path, line: str) -> list[str]:
    """The mistakes of a service that has this line, which is the third of the file."""
    found = mistakes(folder, f'[service.web]\ncommand = ["web"]\n{line}\n')
    return [text.removeprefix("agentd.toml:3: service.web.") for text in found]


def test_a_service_with_a_command_only_has_the_defaults_of_the_core(tmp_path: Path) -> None:
    result = loaded(tmp_path, '[service.web]\ncommand = ["/usr/bin/web", "-x"]\n')
    (web,) = result.services
    steps = web.reload.steps
    process = s.ProcessSpec(("/usr/bin/web", "-x"))
    assert web == s.Spec("web", process, reload=s.ReloadSpec(steps=steps), digest=web.digest)
    assert result.agent == AgentSpec()


def test_every_key_arrives(tmp_path: Path) -> None:
    text = """
[agent]
on_terminate = "leave"
access = { read = [], admin = ["*", "user:root"] }
[service.db]
command = ["db"]
[service.web]
command = ["web"]
inputs = ["/etc/web/*.conf"]
secret = ["/etc/web/key"]
snapshot = false
version = { file = "/etc/web/v.json", path = "a.b" }
user = "root"
group = "0"
cwd = "/srv"
umask = "027"
nice = -5
env = { A = "1", "b.c" = "" }
env_file = "/etc/default/web"
limits = { nofile = 1024, core = "unlimited", memory_max = "512M", memory_high = "unlimited", pids_max = 100, cpu_weight = 20 }
ready = { tcp = "[::1]:80", interval = "1s", timeout = "3s" }
start_timeout = "1m"
pid_file = "/run/app.pid"
stop_signal = "SIGINT"
stop_timeout = "1s"
restart = "always"
backoff = { first = "1s" }
start_limit = { burst = 1 }
after = ["db"]
requires = ["db"]
watch = { debounce = "1s" }
logs = { keep = 0 }
[service.web.reload]
handle = "signal"
signal = "USR1"
signal_handled = true
check = { command = ["c"], timeout = "2s" }
confirm = ["workers", { log = "ok$" }]
timeout = "9s"
"""
    result = loaded(tmp_path, text)
    db, web = result.services
    assert db.name == "db"
    access = Access(read=(), admin=(Anyone(), User(0)))
    assert result.agent == AgentSpec(on_terminate=OnTerminate.LEAVE, access=access)
    assert web.process == s.ProcessSpec(
        command=("web",),
        user="root",
        group="0",
        cwd="/srv",
        umask=0o27,
        nice=-5,
        env=(("A", "1"), ("b.c", "")),
        env_file=("/etc/default/web",),
        limits=(
            ("nofile", 1024),
            ("core", -1),
            ("memory_max", 512 << 20),
            ("memory_high", -1),
            ("pids_max", 100),
            ("cpu_weight", 20),
        ),
    )
    assert web == s.Spec(
        name="web",
        process=web.process,
        inputs=("/etc/web/*.conf",),
        secret=("/etc/web/key",),
        snapshot=False,
        version=s.VersionKey("/etc/web/v.json", "a.b"),
        ready=s.ReadyProbe(s.TcpProbe("::1", 80, 3.0), 1.0),
        start_timeout=60.0,
        pid_file="/run/app.pid",
        stop_signal="INT",
        stop_timeout=1.0,
        restart=s.Restart.ALWAYS,
        backoff=s.Backoff(first=1.0),
        start_limit=s.StartLimit(burst=1),
        after=("db",),
        requires=("db",),
        watch=s.WatchSpec(debounce=1.0),
        logs=s.LogSpec(keep=0),
        reload=s.ReloadSpec(
            steps=web.reload.steps,
            check=s.Check(("c",), 2.0),
            confirm=(Workers(), Log("ok$")),
            timeout=9.0,
        ),
        digest=web.digest,
    )
    assert [(step.signal, step.assume_handled) for step in web.reload.steps] == [("USR1", True)]


@pytest.mark.parametrize(
    ("line", "ready"),
    [
        ('ready = "notify"', s.ReadyNotify()),
        ('ready = "workers"', s.ReadyProbe(s.WorkersProbe())),
        ('ready = { after = "2s" }', s.ReadyAfter(2.0)),
        ('ready.http = "http://h:1/x"', s.ReadyProbe(s.HttpProbe("http://h:1/x"))),
        (
            'ready.http = "http+unix://%2Frun%2Fs/x"',
            s.ReadyProbe(s.HttpProbe("http+unix://%2Frun%2Fs/x")),
        ),
        ('ready = { exec = ["t"], timeout = "1s" }', s.ReadyProbe(s.ExecProbe(("t",), 1.0))),
    ],
)
def test_the_ways_to_be_ready(tmp_path: Path, line: str, ready: s.Ready) -> None:
    assert (
        loaded(tmp_path, f'[service.web]\ncommand = ["web"]\n{line}\n').services[0].ready == ready
    )


@pytest.mark.parametrize(("word", "watch"), [("true", s.WatchSpec()), ("false", None)])
def test_watch_may_be_a_word(tmp_path: Path, word: str, watch: s.WatchSpec | None) -> None:
    text = f'[service.web]\ncommand = ["web"]\nwatch = {word}\n'
    assert loaded(tmp_path, text).services[0].watch == watch


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'reload.handle = "singal"',
            'reload.handle: "singal" is unknown; known: exec, http, notify, replace, restart, signal',
        ),
        ('start_timout = "3s"', "start_timout: unknown key; did you mean start_timeout?"),
        ("recipe = 'ngnix'", f'recipe: "ngnix" is unknown; known: {", ".join(recipes.names())}'),
        ('inputs = ["/a", "b"]', 'inputs[1]: "b" is relative; write the whole path, from /'),
        ('user = "nobody-here"', 'user: user "nobody-here" does not exist on this host'),
        ('group = "nobody-here"', 'group: group "nobody-here" does not exist on this host'),
        ('user = "4294967295"', 'user: "4294967295" is no user number'),
        (
            'stop_signal = "TREM"',
            'stop_signal: "TREM" is not a signal of this host; did you mean TERM?',
        ),
        (
            'reload.signal = "KILL"',
            "reload.signal: SIGKILL cannot be handled by any program, so it cannot ask for a reload",
        ),
        ('pid_file = "web.pid"', 'pid_file: "web.pid" is relative; write the whole path, from /'),
        (
            'pid_file = "/run/web.pid"\ninstances = 2',
            "pid_file: names one process, and there are several instances",
        ),
        (
            "takes_over = true\ninstances = 2",
            "takes_over: is for one process with listeners of its own, and there are several instances",
        ),
        (
            "takes_over = true\noverlap = false",
            "takes_over: is for one process with listeners of its own, and overlap = false ends the old one first",
        ),
        (
            'takes_over = true\nsockets = [{ name = "h", listen = ":1" }]',
            "takes_over: is for one process with listeners of its own, and agentd holds its sockets",
        ),
        ("stop_timeout = 5", 'stop_timeout: expected a string such as "5s", got an integer'),
        ('stop_timeout = "0s"', "stop_timeout: must be longer than nothing"),
        ("umask = 22", 'umask: expected octal digits in a string, such as "0022"'),
        ("nice = 20", "nice: is not within -20 and 19"),
        ("snapshot = 1", "snapshot: expected true or false, got an integer"),
        ("env = { A = 1 }", "env.A: expected a string, got an integer"),
        ('env = { "A=B" = "" }', 'env."A=B": cannot be the name of a variable'),
        (
            'limits = { memory_max = "much" }',
            'limits.memory_max: "much" is not a size; write for example "10M" (K, M, G and T are powers of 1024)',
        ),
        (
            "limits = { memory_max = 5 }",
            'limits.memory_max: expected a string such as "512M", got an integer',
        ),
        ("limits = { pids_max = 0 }", "limits.pids_max: is not within 1 and 4194304"),
        ("limits = { cpu_weight = 10001 }", "limits.cpu_weight: is not within 1 and 10000"),
        (
            "limits = { memory_mix = 1 }",
            "limits.memory_mix: unknown limit; did you mean memory_max?",
        ),
        ("limits = { nofiles = 1 }", "limits.nofiles: unknown limit; did you mean nofile?"),
        ("limits = { nofile = -1 }", 'limits.nofile: expected an integer from 0, or "unlimited"'),
        (
            'ready = "notfy"',
            'ready: "notfy" is unknown; known: "notify", "workers", or a table with http, tcp, exec or after',
        ),
        (
            'ready = { interval = "1s" }',
            "ready: expected exactly one of http, tcp, exec, after; got none",
        ),
        *(
            (
                f'ready.http = "http://{place}/"',
                f'ready.http: "http://{place}/" is not an address that can be asked; write "http://HOST:PORT/PATH" or "http+unix://%2Fpath%2Fof.sock/PATH"',
            )
            for place in ("h:65536", "h:\u00b2", "[::1]:99999")
        ),
        (
            'ready.http = "https://h/"',
            'ready.http: "https://h/" is not an address that can be asked; write "http://HOST:PORT/PATH" or "http+unix://%2Fpath%2Fof.sock/PATH"',
        ),
        (
            'ready.tcp = "h:0"',
            'ready.tcp: "h:0" is not an address; write "HOST:PORT" or "[IPV6]:PORT"',
        ),
        (
            'ready.tcp = "h:65536"',
            'ready.tcp: "h:65536" is not an address; write "HOST:PORT" or "[IPV6]:PORT"',
        ),
        (
            'restart = "sometimes"',
            'restart: "sometimes" is unknown; known: always, on-failure, never',
        ),
        ("backoff = { factor = nan }", "backoff.factor: is not within 1 and 1000"),
        ("inputs = 1979-05-27", "inputs: expected a list of absolute paths, got a date or time"),
        ('watch = { debounce = "9s" }', "watch: settle_limit is shorter than debounce"),
        ("reload.check = []", "reload.check: is empty; the first string is the program"),
        (
            'reload.check = { timeout = "1s" }',
            'reload.check.command: is missing; write command = ["PROGRAM", "ARGUMENT"]',
        ),
        (
            'reload.confirm = ["log"]',
            'reload.confirm[0]: log needs a regular expression; write { log = "..." }',
        ),
        (
            'reload.confirm = [{ workers = "2" }]',
            'reload.confirm[0].workers: workers takes nothing; write "workers"',
        ),
        (
            'reload.confirm = [{ log = "x*" }]',
            'reload.confirm[0].log: "x*" matches every line, so it would prove nothing',
        ),
        (
            'reload.confirm = ["worker"]',
            'reload.confirm[0]: "worker" is unknown; known: delivered, log, notify, reply, reread, workers',
        ),
        (
            'reload.check = ["c", "{staged}"]\nsnapshot = false',
            "reload.check: cannot be staged: of secret inputs, and with snapshot = false, no copy is kept",
        ),
        (
            'reload.check = { command = ["c"], warnings = "(" }',
            'reload.check.warnings: "(" is not a regular expression: missing ), unterminated subpattern at position 0',
        ),
        (
            'reload = { handle = "restart", report = { exec = ["pending"] } }',
            'reload.report: handle = "restart" starts a new process, which takes everything',
        ),
        (
            'reload.confirm = ["version"]',
            'reload.confirm[0]: version is what the service answers; write { http = "http://HOST:PORT/PATH", expect = "{hash}" }',
        ),
        (
            'reload.confirm = [{ http = "http://h/", exec = ["v"], expect = "x" }]',
            "reload.confirm[0]: expected exactly one of http, exec; got both",
        ),
        (
            'reload.confirm = [{ http = "http://h/" }]',
            'reload.confirm[0]: needs expect = "{hash}", "{version}" or a text; or changes = true',
        ),
        (
            'reload.confirm = [{ http = "http://h/", path = "a", metric = "b", expect = "1" }]',
            "reload.confirm[0]: path is for JSON and metric for Prometheus' format; write one of them",
        ),
        (
            'reload.confirm = [{ http = "http://h/", path = "a", expect = "1", changes = true }]',
            "reload.confirm[0].changes: beside expect it names another value of the same answer, not true",
        ),
        (
            'reload.confirm = [{ http = "http://h/", expect = "1", changes = "when" }]',
            "reload.confirm[0].changes: needs path or metric beside it: both name a value of one answer",
        ),
        (
            'reload.confirm = [{ http = "http://h/", expects = "1" }]',
            "reload.confirm[0].expects: unknown key; did you mean expect?",
        ),
        (
            'reload.handle = "exec"',
            'reload: handle = "exec" needs command; write command = ["PROGRAM", "ARGUMENT"]',
        ),
        (
            'reload.handle = "http"',
            'reload: handle = "http" needs request; write request = { url = "http://HOST:PORT/PATH" }',
        ),
        (
            'reload.command = ["x"]',
            'reload.command: is for handle = "exec", and this one is "signal"',
        ),
        (
            'reload = { handle = "replace", confirm = ["workers"] }',
            'reload.confirm: handle = "replace" starts a new process, whose being ready is the evidence; declare ready instead',
        ),
        (
            'reload = { handle = "http", request = { url = "ftp://h/" } }',
            (
                'reload.request.url: "ftp://h/" is not an address that can be asked; write "http://HOST:PORT/PATH", '
                '"https://..." or "http+unix://%2Fpath%2Fof.sock/PATH"'
            ),
        ),
        (
            'reload = { handle = "http", request = { url = "http://h/", method = "A B" } }',
            'reload.request.method: "A B" is no HTTP method; write one such as POST',
        ),
        (
            'reload = { handle = "http", request = { url = "http://h/", headers = { "X:" = "1" } } }',
            'reload.request.headers."X:": "X:" is no name of a header',
        ),
        (
            'reload = { handle = "http", request = { url = "http://h/", headers = { X = "a\\n" } } }',
            "reload.request.headers.X: holds characters that a header cannot carry",
        ),
        ('after = ["wbe"]', 'after[0]: "wbe" is no service; did you mean web?'),
        ('after = ["web"]', "after[0]: services wait for each other: web → web"),
        ('cwd = "/a\\u0000b"', "cwd: holds a NUL character, which no program can be given"),
    ],
)
def test_a_mistake_is_said_with_its_place_and_what_to_write(
    tmp_path: Path, line: str, said: str
) -> None:
    assert in_service(tmp_path, line) == [said]


def test_a_command_line_is_shown_as_a_list(tmp_path: Path) -> None:
    (said,) = mistakes(tmp_path, "[service.web]\ncommand = \"nginx -g 'daemon off;'\"\n")
    place, said = said.split(": expected ")
    assert place == "agentd.toml:2: service.web.command"
    assert said == 'a list of strings, got a string; write ["nginx", "-g", "daemon off;"]'


def test_a_program_is_a_whole_path_or_a_bare_name(tmp_path: Path) -> None:
    (said,) = mistakes(tmp_path, '[service.web]\ncommand = ["bin/web"]\n')
    assert said.startswith('agentd.toml:2: service.web.command[0]: "bin/web" is relative')


def test_what_a_mistake_quotes_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    (said,) = in_service(tmp_path, 'restart = "\\u001b[2J"')
    assert said == 'restart: "\\u001b[2J" is unknown; known: always, on-failure, never'


def test_a_value_of_the_environment_is_never_quoted(tmp_path: Path) -> None:
    assert "hunter2" not in str(
        in_service(tmp_path, 'env = { PASSWORD = ["hunter2"], A = "hunter2\\u0000" }')
    )


def test_all_mistakes_of_all_files_come_at_once_in_their_order(tmp_path: Path) -> None:
    text = """[agent]
include = ["b.toml", "[a]*.toml", "missing.toml"]
inclde = []
[service.web]
after = ["c"]
command = ["web"]
nice = 99
[sevice.x]
"""
    others = {"b": '\n[service.c]\n[service.d]\ncommand = ["d"]\nnice = 99', "a": "\n\nx = \n"}
    assert mistakes(tmp_path, text.replace("inclde = []\n", ""), **others) == [
        'agentd.toml:2: agent.include[2]: cannot read "missing.toml": there is no such file',
        "agentd.toml:6: service.web.nice: is not within -20 and 19",
        "agentd.toml:7: sevice: unknown table; did you mean service?",
        'b.toml:2: service.c.command: is missing; write command = ["PROGRAM", "ARGUMENT"]',
        "b.toml:5: service.d.nice: is not within -20 and 19",
        "a.toml:3: is not TOML: Invalid value, column 5",
    ]


def test_a_name_is_not_missed_while_a_file_cannot_be_read(tmp_path: Path) -> None:
    text = '[agent]\ninclude = ["a.toml"]\n[service.web]\ncommand = ["web"]\nafter = ["db"]\n'
    assert mistakes(tmp_path, text, a="?") == ["a.toml:1: is not TOML: Invalid statement, column 1"]


def test_a_service_declared_twice_names_both_places(tmp_path: Path) -> None:
    text = '[agent]\ninclude = ["a.toml"]\n[service.web]\ncommand = ["web"]\n'
    assert mistakes(tmp_path, text, a='\n\n[service.web]\ncommand = ["other"]\n') == [
        f"a.toml:3: service.web: is already declared at {tmp_path}/agentd.toml:3"
    ]


def test_a_circle_over_files_is_named(tmp_path: Path) -> None:
    text = '[agent]\ninclude = ["a.toml"]\n[service.x]\ncommand = ["x"]\nrequires = ["y"]\n'
    other = '[service.y]\ncommand = ["y"]\nafter = ["z"]\n[service.z]\ncommand = ["z"]\nafter = ["x"]\nnice = 99'
    assert mistakes(tmp_path, text, a=other) == [
        "agentd.toml:5: service.x.requires[0]: services wait for each other: x → y → z → x",
        "a.toml:7: service.z.nice: is not within -20 and 19",
    ]


def test_only_the_first_file_speaks_of_the_agent(tmp_path: Path) -> None:
    (said,) = mistakes(tmp_path, '[agent]\ninclude = ["a.toml"]\n', a="\n[agent]\n")
    assert said == f"a.toml:2: agent: may only be in the first file, {tmp_path}/agentd.toml"


@pytest.mark.parametrize("name", ["", "a/b", "-a", ".a", "é", "a" * 64, "a b"])
def test_what_cannot_be_the_name_of_a_file_cannot_name_a_service(tmp_path: Path, name: str) -> None:
    (said,) = mistakes(tmp_path, f'[service."{name}"]\ncommand = ["x"]\n')
    assert "cannot be a name" in said


def test_includes_are_relative_to_the_file_ordered_and_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "with [odd] name*"
    folder.mkdir()
    files = {name: f'[service.{name}]\ncommand = ["x"]\n' for name in ("b", "a", "c")}
    text = (
        '[agent]\ninclude = ["*.toml", "c.toml", "none.d/*.toml"]\n[service.z]\ncommand = ["x"]\n'
    )
    assert [spec.name for spec in loaded(folder, text, **files).services] == ["z", "a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = \xff", "agentd.toml:1: is not UTF-8: byte 0xff"),
        (
            b"\n\n[a\n",
            "agentd.toml:3: is not TOML: Expected ']' at the end of a table declaration, column 3",
        ),
        (
            b'a = 1\nb = """x\n\n',
            "agentd.toml:2: is not TOML: Unterminated string, at the end of the file",
        ),
        (b"a = 1\na = 2\n", "agentd.toml:2: is not TOML: Cannot overwrite a value, column 6"),
        (b"a = " + b"[" * 5000, "agentd.toml: is nested too deeply"),
    ],
)
def test_a_file_that_is_not_toml_tells_its_first_error(
    tmp_path: Path, content: bytes, said: str
) -> None:
    main = tmp_path / "agentd.toml"
    main.write_bytes(content)
    with pytest.raises(ConfigErrors) as caught:
        load(main)
    assert str(caught.value) == f"{tmp_path}/{said}"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigErrors, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_describe_counts_and_lists(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, "a = 1\n")
    assert describe(caught.value) == (
        "cannot load the definitions: 1 mistake, nothing was changed\n"
        f"{tmp_path}/agentd.toml:1: a: unknown table; known: agent, service"
    )


def test_doubts_are_warnings(tmp_path: Path) -> None:
    text = '[service.web]\ncommand = ["web"]\nwatch = true\n'
    said = [
        w.removeprefix(f"{tmp_path}/agentd.toml: service.web.")
        for w in loaded(tmp_path, text).warnings
    ]
    assert [w.partition(":")[0] for w in said] == ["ready", "reload.confirm", "watch"]
    assert "reloads of web can only end unverified" in said[1]
    assert loaded(tmp_path, "").warnings == (f"{tmp_path}/agentd.toml: no service is declared",)


IDLE = {
    'inputs = ["/i"]\ndrain_timeout = "9s"\noverlap = false': "drain_timeout overlap",
    'inputs = ["/i"]\nmax_generations = 4\n[service.web.reload]\nhandle = "replace"': "",
    'inputs = ["/i"]\ntakes_over = true\n[service.web.reload]\nhandle = "replace"': "",
    'inputs = ["/i"]\ntakes_over = true': "takes_over",
    '[service.web.reload]\nevery = "9s"\nsplay = "1s"': "reload.every",
    'inputs = ["/i"]\n[service.web.reload]\nsplay = "1s"': "reload.splay",
    'inputs = ["/i"]\nwatch = true\n[service.web.reload]\nsplay = "1s"': "",
    'inputs = ["/i"]\n[service.web.reload]\nwarnings_as_errors = true': "reload.warnings_as_errors",
    'inputs = ["/i"]\n[service.web.reload]\nhandle = "exec"\ncommand = ["c"]\nsignal = "HUP"\nsignal_handled = true': (
        "reload.signal reload.signal_handled"
    ),
    'inputs = ["/i"]\n[service.web.reload]\nsignal = "HUP"\nsignal_handled = true': "",
    'recipe = "nginx"\ninputs = ["/i"]': "",
}
"""Definitions, and the keys in them that change nothing."""


@pytest.mark.parametrize(("text", "keys"), IDLE.items())
def test_keys_that_change_nothing_are_warned_of(tmp_path: Path, text: str, keys: str) -> None:
    found = loaded(tmp_path, f'[service.web]\ncommand = ["web"]\n{text}\n').warnings
    said = [w.split(": ", 1)[1].removeprefix("service.web.") for w in found if "has n" in w]
    assert sorted(w.partition(":")[0] for w in said) == sorted(keys.split())


def test_what_a_reload_sends_is_one_of_the_inputs(tmp_path: Path) -> None:
    text = """[service.web]
command = ["web"]
inputs = ["/etc/web/*.json"]
[service.web.reload]
handle = "http"
request = { method = "POST", url = "http://h/load", body = "%s" }
"""
    assert loaded(tmp_path, text % "/etc/web/a.json").services[0].reload.steps
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, text % "/etc/other.json")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/agentd.toml:6: service.web.reload.request.body: ")
    assert "/etc/other.json is not among the inputs" in said


def test_definitions_that_everybody_can_change_are_warned_of(tmp_path: Path) -> None:
    loaded(tmp_path, "")
    os.chmod(tmp_path / "agentd.toml", 0o666)  # noqa: PTH101
    assert "everybody on this host can change it" in load(tmp_path / "agentd.toml").warnings[0]


def digest(folder: Path, text: str) -> str:
    return loaded(folder, f"[service.web]\n{text}\n").services[0].digest


@pytest.mark.parametrize(
    ("lines", "warnings"),
    [
        ('check = ["c"]', None),
        ('check = { command = ["c"], warnings = "W" }', None),
        ('check = { command = ["c"], warnings = "W" }\nwarnings_as_errors = true', "W"),
        ('check = ["c"]\nwarnings_as_errors = true', WARNING),
    ],
)
def test_a_warning_is_looked_for_only_where_it_is_an_error(
    tmp_path: Path, lines: str, warnings: str | None
) -> None:
    text = f'[service.web]\ncommand = ["web"]\n[service.web.reload]\n{lines}\n'
    assert loaded(tmp_path, text).services[0].reload.check == s.Check(("c",), 30.0, warnings)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("nginx: [warn] conflicting server name", True),
        ("[WARNING]  (12) : parsing [/etc/haproxy.cfg:3]", True),
        ("the option is deprecated", True),
        ("3 warnings", True),
        ("Configuration file is valid", False),
        ("forwarned is forearmed", False),
    ],
)
def test_what_a_warning_looks_like(line: str, *, found: bool) -> None:
    assert (re.search(WARNING, line) is not None) is found


@pytest.mark.parametrize(
    ("entry", "evidence"),
    [
        (
            '{ http = "http://h:1/v", expect = "{hash}" }',
            Version(Question(s.HttpProbe("http://h:1/v"), names=True), "{hash}"),
        ),
        (
            '{ http = "http+unix://%2Frun%2Fs/v", path = "a.b", expect = "{version}", timeout = "1s" }',
            Version(
                Question(s.HttpProbe("http+unix://%2Frun%2Fs/v", 1.0), "a.b", names=True),
                "{version}",
            ),
        ),
        (
            '{ exec = ["ask"], metric = "ok", expect = "1", changes = "when" }',
            Version(Question(s.ExecProbe(("ask",)), "", "ok", "when"), "1"),
        ),
        ('{ exec = ["ask"], changes = true }', Changes(Question(s.ExecProbe(("ask",))))),
    ],
)
def test_what_a_service_says_it_runs_is_evidence(
    tmp_path: Path, entry: str, evidence: Version | Changes
) -> None:
    text = f'[service.web]\ncommand = ["web"]\nreload.confirm = [{entry}]\n'
    assert loaded(tmp_path, text).services[0].reload.confirm == (evidence,)


def test_the_digest_is_of_what_is_declared_not_how(tmp_path: Path) -> None:
    one = digest(tmp_path, 'command = ["nginx"]\nnice = 1')
    assert len(one) == 64
    assert digest(tmp_path, 'nice = 1 # a comment\ncommand = [ "nginx", ]') == one
    assert digest(tmp_path, 'command = ["nginx"]\nnice = 2') != one
    assert digest(tmp_path, 'command = ["nginx"]\nnice = 1\nrecipe = "nginx"') != one


def test_a_correct_file_never_loads_what_only_mistakes_need(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text('[service.web]\ncommand = ["nginx"]\nrecipe = "nginx"\n')
    code = (
        "import sys; from pathlib import Path; from agentd.config.loader import load; load(Path(sys.argv[1]));"
        "print(*sorted({'tomlkit', 'difflib', 'shlex', 'typing_extensions', 'logging'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
