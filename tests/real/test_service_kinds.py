"""What a service may be and what agentd does with it, seen from inside the child and from beside it."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import Host, free_port, host, public_directory, until

PYTHON = sys.executable
NOW = 'ready = { after = "0s" }\n'
SAY = """import os, socket
def say(what):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(os.environ["NOTIFY_SOCKET"]); s.send(what)
"""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can run services as others")


@pytest.fixture
def public_path() -> Iterator[Path]:
    with public_directory() as directory:
        yield directory


def script(directory: Path, name: str, text: str) -> str:
    """The command, as TOML, of a small Python program."""
    path = directory / f"a_{name}.py"
    path.write_text(text)
    return f'["{PYTHON}", "-S", "{path}"]'


def shell(text: str) -> str:
    return json.dumps(["/bin/sh", "-c", text])


def service(name: str, command: str, *lines: str) -> str:
    return "\n".join((f"[service.{name}]", f"command = {command}", *lines, ""))


def phase(running: Host, name: str) -> str:
    return str(running.service(name)["phase"])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids(path: Path, count: int) -> list[int]:
    """What a service wrote about itself, once it is all there."""

    def look() -> list[int]:
        found = [int(w) for w in path.read_text().split()] if path.exists() else []
        return found if len(found) == count else []

    return list(until(look, f"{count} pids in {path.name}"))


def gate(directory: Path, name: str) -> Path:
    path = directory / f"{name}.gate"
    os.mkfifo(path)
    return path


def wait_for(path: Path) -> str:
    return f"open({str(path)!r}).read()\n"


def open_gate(path: Path) -> None:
    path.write_text("go")


def test_spawned_is_not_ready_until_the_service_has_said_so(tmp_path: Path) -> None:
    """Notify from a child of the main process, http, tcp, exec, workers and after: each starting first, ready then."""
    http, tcp, gates = free_port(), free_port(), {}
    texts = {
        "notify": SAY + "say(b'STATUS=soon')\n@WAIT@say(b'READY=1\\nSTATUS=here')\n",
        "helper": SAY
        + "pid = os.fork()\nif pid == 0:\n    @WAIT@    say(b'READY=1')\n    os._exit(0)\nos.waitpid(pid, 0)\n",
        "http": "import http.server as h\n@WAIT@"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n        self.send_response(204); self.end_headers()\n"
        f"h.HTTPServer(('127.0.0.1', {http}), H).serve_forever()\n",
        "tcp": f"import socket\n@WAIT@s = socket.create_server(('127.0.0.1', {tcp}))\n",
        "exec": f"@WAIT@open('{tmp_path}/is-up', 'w').close()\n",
        "workers": "import os, signal\n@WAIT@if os.fork() == 0:\n    signal.pause()\n",
    }
    ready = {
        "notify": '"notify"',
        "helper": '"notify"',
        "http": f'{{ http = "http://127.0.0.1:{http}/healthz", interval = "20ms" }}',
        "tcp": f'{{ tcp = "127.0.0.1:{tcp}", interval = "20ms" }}',
        "exec": f'{{ exec = ["test", "-e", "{tmp_path}/is-up"], interval = "20ms" }}',
        "workers": '"workers"',
    }
    definitions = service("after", shell("exec sleep 100"), 'ready = { after = "10ms" }')
    for name, text in texts.items():
        gates[name] = gate(tmp_path, name)
        body = text.replace("@WAIT@", wait_for(gates[name])) + "import signal; signal.pause()\n"
        command = script(tmp_path, name, body)
        definitions += service(name, command, f"ready = {ready[name]}")
    with host(tmp_path, definitions) as running:
        running.ready("after")
        for name in texts:
            assert phase(running, name) == "starting", name
        for path in gates.values():
            open_gate(path)
        for name in texts:
            running.ready(name)


def test_a_stranger_cannot_say_ready_for_a_service_and_a_barrier_is_answered(
    tmp_path: Path,
) -> None:
    go = gate(tmp_path, "go")
    text = f"""{SAY}import array, select, signal
open("{tmp_path}/path", "w").write(os.environ["NOTIFY_SOCKET"])
{wait_for(go)}r, w = os.pipe()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.sendmsg([b"BARRIER=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [w]))])
os.close(w)
poll = select.poll(); poll.register(r, 0)
assert poll.poll(10000), "nobody closed the barrier"
say(b"READY=1")
signal.pause()
"""
    definition = service("shy", script(tmp_path, "shy", text), 'ready = "notify"')
    with host(tmp_path, definition) as running:
        where = tmp_path / "path"
        path = until(lambda: where.exists() and where.read_text(), "the service tells its socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect(path)
            s.send(b"READY=1")
        assert phase(running, "shy") == "starting"
        open_gate(go)
        running.ready("shy")


def test_a_service_that_never_gets_ready_is_ended_and_start_says_why(tmp_path: Path) -> None:
    lines = ('start_timeout = "300ms"', 'restart = "never"', 'ready = "notify"')
    definition = service("mute", shell("sleep 100 & exec sleep 100"), *lines)
    definition += service(
        "rude", shell("trap '' TERM; sleep 100"), *lines, 'stop_timeout = "100ms"'
    )
    with host(tmp_path, definition) as running:
        for name in ("mute", "rude"):
            until(lambda n=name: phase(running, n) == "failed", f"{name} is given up")
            assert running.service(name)["why"].startswith("not ready within 0.3s")
        code, told = running.ctl("start", "mute")
        assert code == 158
        assert "not ready within 0.3s" in told["message"], told
        got = running.text("start", "mute")
        assert got.returncode == 158
        assert "not ready within 0.3s" in got.stdout + got.stderr
        code, document = running.ctl("status")
        assert code == 3
        assert document["services"][0]["instances"] == [], "nothing of it is left"


def test_stopped_means_that_the_whole_group_is_gone(tmp_path: Path) -> None:
    """One ignores TERM together with its child and is killed; one leaves at once, but its child needs a moment."""
    stubborn = f"trap '' TERM; sleep 1000 & echo $$ $! > {tmp_path}/stubborn; wait; wait"
    child = (
        "import signal, sys\n"
        "def end(*_):\n"
        f"    open('{tmp_path}/asked', 'w').close()\n"
        f"    open('{tmp_path}/late.gate').read()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"open('{tmp_path}/set', 'w').close()\n"
        "while True: signal.pause()\n"
    )
    late = gate(tmp_path, "late")
    (tmp_path / "child.py").write_text(child)
    leaver = f"{PYTHON} -S {tmp_path}/child.py & echo $$ $! > {tmp_path}/leaver; exec sleep 1000"
    definition = service("stubborn", shell(stubborn), NOW, 'stop_timeout = "200ms"')
    definition += service("leaver", shell(leaver), NOW, 'stop_timeout = "20s"')
    with host(tmp_path, definition) as running:
        two = pids(tmp_path / "stubborn", 2)
        code, told = running.ctl("stop", "stubborn")
        assert (code, told["phase"]) == (0, "down")
        assert not any(map(alive, two))
        main, left = pids(tmp_path / "leaver", 2)
        until((tmp_path / "set").exists, "the child handles TERM")
        code, told = running.ctl("stop", "leaver", "--no-wait")
        assert (code, told["phase"]) == (0, "stopping")
        until((tmp_path / "asked").exists, "the child hears of it too")
        assert not alive(main)
        assert (alive(left), phase(running, "leaver")) == (True, "stopping")
        code, _ = running.ctl("stop", "leaver", "--timeout", "100ms")
        assert code == 160
        open_gate(late)
        code, told = running.ctl("stop", "leaver")
        assert (code, told["phase"]) == (0, "down")
        assert not alive(left)


INSIDE = """import json, os, resource, signal, sys
mask = os.umask(0); os.umask(mask)
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
fds = {}
for n in os.listdir("/proc/self/fd"):
    try: fds[n] = os.readlink(f"/proc/self/fd/{n}")
    except OSError: pass
json.dump({
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": sorted(os.getgroups()), "umask": mask,
    "nice": os.nice(0), "cwd": os.getcwd(), "fds": fds, "env": dict(os.environ),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "ignored": status["SigIgn"].strip(), "caught": status["SigCgt"].strip(), "blocked": status["SigBlk"].strip(),
    "sid": os.getsid(0), "pgid": os.getpgid(0), "pid": os.getpid(), "ctty": open("/proc/self/stat").read().rpartition(")")[2].split()[4],
}, open(sys.argv[1] + ".new", "w")); os.rename(sys.argv[1] + ".new", sys.argv[1])
print("said to stdout", flush=True); open("/dev/stderr", "w").write("said to stderr\\n")
signal.pause()
"""


def inside(path: Path) -> dict[str, Any]:
    until(path.exists, "the child tells what it sees")
    return dict(json.loads(path.read_text()))


@needs_root
def test_the_child_sees_exactly_what_was_declared(public_path: Path) -> None:
    nobody, tmp_path = pwd.getpwnam("nobody"), public_path
    told = tmp_path / "told"
    told.mkdir()
    told.chmod(0o777)
    (tmp_path / "inside.py").write_text(INSIDE)
    (tmp_path / "one.env").write_text("# a comment\nFROM_FILE=file\nBOTH='of file'\n")
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else PYTHON
    command = json.dumps([python, "-S", f"{tmp_path}/inside.py", f"{told}/full"])
    definition = service(
        "full",
        command,
        NOW,
        'user = "nobody"',
        'group = "daemon"',
        'umask = "0027"',
        "nice = 5",
        f'cwd = "{told}"',
        'env = { BOTH = "of env", FROM_ENV = "env" }',
        f'env_file = "{tmp_path}/one.env"',
        "limits = { nofile = 333, core = 0 }",
    )
    plain = json.dumps([python, "-S", f"{tmp_path}/inside.py", f"{told}/plain"])
    definition += service("plain", plain, NOW)
    with host(tmp_path, definition) as running:
        seen = inside(told / "full")
        assert set(seen["uid"]) == {nobody.pw_uid}
        assert set(seen["gid"]) == {1}
        assert 0 not in seen["groups"]
        assert (seen["umask"], seen["nice"], seen["cwd"]) == (0o027, 5, str(told))
        assert (seen["nofile"], seen["core"]) == ([333, 333], [0, 0])
        env = seen["env"]
        assert (env["BOTH"], env["FROM_FILE"], env["FROM_ENV"]) == ("of env", "file", "env")
        assert (env["HOME"], env["USER"], env["LOGNAME"]) == (nobody.pw_dir, "nobody", "nobody")
        for name in ("full", "plain"):
            seen = inside(told / name)
            assert set(seen["fds"]) == {"0", "1", "2"}, seen["fds"]
            assert seen["fds"]["0"] == "/dev/null"
            default = {int(seen[k], 16) & ~(1 << 12 | 1 << 24) for k in ("ignored", "blocked")}
            assert default == {0}, seen  # Python itself ignores PIPE and XFSZ
            assert seen["sid"] == seen["pgid"] == seen["pid"] == running.pid(name)
            assert seen["ctty"] == "0"
            strange = {k for k in seen["env"] if k.startswith(("PYTHON", "NOTIFY_", "LISTEN_"))}
            assert strange == set()
            log = until(
                lambda n=name: (lines := running.ctl("logs", n)[1]["lines"])[1:] and lines,
                "both streams are captured",
            )
            assert sorted(log) == ["said to stderr", "said to stdout"]
        assert set(inside(told / "plain")["uid"]) == {0}


def test_what_cannot_be_started_says_which_step_and_why(tmp_path: Path) -> None:
    """In status, in the answer to start, and in the log: the same sentence."""
    (tmp_path / "no-x").write_text("#!/bin/sh\n")
    script_without_program = tmp_path / "bad-shebang"
    script_without_program.write_text("#!/no/such/interpreter\n")
    script_without_program.chmod(0o755)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x00\x01\x02")
    garbage.chmod(0o755)
    cases = {
        "missing": (f'["{tmp_path}/nothing-here"]', "", "No such file or directory"),
        "unsearched": ('["no-such-program-anywhere"]', "", "No such file or directory"),
        "noexec": (f'["{tmp_path}/no-x"]', "", "Permission denied"),
        "shebang": (f'["{tmp_path}/bad-shebang"]', "", "its interpreter does not exist"),
        "format": (f'["{tmp_path}/garbage"]', "", "Exec format error"),
        "folder": (f'["{tmp_path}"]', "", "Permission denied"),
        "nocwd": ('["sleep", "9"]', f'cwd = "{tmp_path}/gone"', f"{tmp_path}/gone"),
        "noenv": ('["sleep", "9"]', f'env_file = "{tmp_path}/gone.env"', f"{tmp_path}/gone.env"),
    }
    definition = "".join(
        service(name, command, NOW, more, 'restart = "never"')
        for name, (command, more, _) in cases.items()
    )
    with host(tmp_path, definition) as running:
        for name, (command, _, why) in cases.items():
            until(lambda n=name: phase(running, n) == "failed", f"{name} fails")
            said = running.service(name)["why"]
            assert why.lower() in said.lower(), (name, said)
            code, told = running.ctl("start", name)
            assert (code, told["reload"]["error"]) == (158, "spawn_failed")
            assert told["message"] == running.service(name)["why"], name
            if not name.startswith("no"):
                assert json.loads(command)[0] in said, (name, said)
            assert "Errno" not in said


def test_services_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    order = tmp_path / "order"
    order.touch()
    text = f"""{SAY}import signal, sys, time
name = os.environ["AGENTD_SERVICE"]
def tell(what):
    with open("{order}", "a") as f: f.write(what + " " + name + "\\n")
def end(*_):
    tell("ended"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
tell("began")
open("{tmp_path}/" + name + ".gate").read()
tell("ready"); say(b"READY=1")
while True: signal.pause()
"""
    command = script(tmp_path, "ordered", text)
    gates = {name: gate(tmp_path, name) for name in ("db", "app", "front")}
    definition = service("front", command, 'ready = "notify"', 'requires = ["app"]')
    definition += service("app", command, 'ready = "notify"', 'requires = ["db"]')
    definition += service("db", command, 'ready = "notify"')
    definition += service("alone", shell("exec sleep 100"), NOW, 'after = ["db"]')
    with host(tmp_path, definition) as running:
        for name in ("db", "app", "front"):
            until(lambda n=name: f"began {n}" in order.read_text(), f"{name} begins")
            open_gate(gates[name])
            running.ready(name)
        began = [f"{what} {n}" for n in ("db", "app", "front") for what in ("began", "ready")]
        assert order.read_text().splitlines() == began
        running.ready("alone")
        assert running.stop() == 0
        ended = order.read_text().splitlines()[6:]
        assert ended == ["ended front", "ended app", "ended db"]


def test_a_required_service_that_cannot_start_keeps_the_other_down_and_says_so(
    tmp_path: Path,
) -> None:
    definition = service("db", shell("exit 3"), 'restart = "never"')
    definition += service("app", shell("exec sleep 100"), NOW, 'requires = ["db"]')
    with host(tmp_path, definition) as running:
        until(lambda: phase(running, "db") == "failed", "db fails")
        assert running.service("db")["why"] == "exit code 3"
        found = running.service("app")
        assert found["phase"] == "down"
        assert "db" in found["why"], found
        assert "app: down: waits for db" in running.text("status").stdout
        assert running.service("db")["next_start"] is None, "it has no inputs that could be bad"
        for verb in ("start", "restart", "reload"):
            got = running.text(verb, "app")
            assert got.returncode == 7, verb
            assert "db, which is failed: exit code 3" in got.stdout + got.stderr
        assert running.service("app")["want"] == "up"


def test_one_who_waits_for_a_start_is_told_when_what_it_requires_is_given_up(
    tmp_path: Path,
) -> None:
    go = gate(tmp_path, "go")
    definition = service("db", shell(f"cat {go}; exit 3"), 'restart = "never"', 'ready = "notify"')
    definition += service("mid", shell("exec sleep 100"), NOW, 'requires = ["db"]')
    definition += service("app", shell("exec sleep 100"), NOW, 'requires = ["mid"]')
    with host(tmp_path, definition) as running:
        told: list[Any] = []
        asker = threading.Thread(target=lambda: told.append(running.ctl("start", "app")))
        until(lambda: phase(running, "db") == "starting", "db starts")
        asker.start()
        assert running.ctl("start", "app", "--timeout", "300ms")[0] == 160
        assert running.ctl("start", "app", "--no-wait")[0] == 0
        assert not told, "somebody else's asking does not end the wait"
        open_gate(go)
        asker.join(20)
        code, answer = told[0]
        assert (code, answer["phase"]) == (7, "down")
        assert "app waits for db, which is failed: exit code 3" in answer["message"]


def test_a_crash_loop_backs_off_and_is_given_up_until_somebody_starts_it(tmp_path: Path) -> None:
    lines = (
        'backoff = { first = "20ms", factor = 2, max = "50ms" }',
        'start_limit = { burst = 4, interval = "60s" }',
    )
    count = tmp_path / "count"
    text = f"echo x >> {count}; test -e {tmp_path}/mended && exec sleep 100; exit 7"
    with host(tmp_path, service("loop", shell(text), *lines)) as running:
        until(lambda: phase(running, "loop") == "failed", "it is given up")
        found = running.service("loop")
        assert found["why"] == "exit code 7; 4 starts within 60s"
        assert count.read_text().count("x") == 4
        code, document = running.ctl("status")
        assert code == 3
        assert document["services"][0]["want"] == "up"
        assert running.text("status").returncode == 3
        (tmp_path / "mended").touch()
        code, told = running.ctl("start", "loop")
        assert (code, told["phase"]) == (0, "ready")
        assert count.read_text().count("x") == 5


def test_a_service_that_ends_by_itself_is_restarted_as_declared(tmp_path: Path) -> None:
    quick = 'backoff = { first = "10ms" }'
    once = f"test -e {tmp_path}/@ && exec sleep 100; touch {tmp_path}/@; exit %d"
    definition = service("failing", shell((once % 3).replace("@", "f")), NOW, quick)
    definition += service("clean", shell((once % 0).replace("@", "c")), NOW, quick)
    always = shell((once % 0).replace("@", "a"))
    definition += service("always", always, NOW, quick, 'restart = "always"')
    never = shell((once % 3).replace("@", "n"))
    definition += service("never", never, NOW, quick, 'restart = "never"')
    with host(tmp_path, definition) as running:
        for name in ("failing", "always"):
            until(
                lambda n=name: [i["generation"] for i in running.service(n)["instances"]] == [2],
                f"{name} is there again",
            )
        until(lambda: phase(running, "clean") == "down", "it is done")
        until(lambda: phase(running, "never") == "failed", "it is left as it is")


HANDLES = (
    "import signal\nsignal.signal(signal.SIGHUP, lambda *_: None)\nwhile True: signal.pause()\n"
)
WAITS = """import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
while True: signal.sigwait({signal.SIGHUP})
"""


def test_a_signal_is_only_sent_to_who_will_handle_it(tmp_path: Path) -> None:
    confirm = "confirm = ['delivered']"
    kinds = {
        "sleeper": ('["sleep", "1000"]', 150, "would terminate it"),
        "nohupped": ('["nohup", "sleep", "1000"]', 150, "ignores SIGHUP"),
        "handler": (script(tmp_path, "handler", HANDLES), 0, ""),
        "waiter": (script(tmp_path, "waiter", WAITS), 0, ""),
    }
    definition = "".join(
        service(name, command, NOW, f"[service.{name}.reload]", confirm)
        for name, (command, _, _) in kinds.items()
    )
    with host(tmp_path, definition) as running:
        for name, (_, code, why) in kinds.items():
            pid = running.ready(name)["instances"][0]["pid"]
            if code == 0:  # the handler is not there from the first moment on
                until(lambda n=name: running.ctl("reload", n)[0] == 0, f"{name} is reloaded")
            got, reload = running.ctl("reload", name)
            assert got == code, reload
            assert why in reload["message"]
            if code:
                assert (reload["verdict"], reload["error"]) == ("rejected", "signal_unsafe")
                assert why in running.text("reload", name).stdout
            else:
                assert reload["confirmation_grade"] == "declared"
            assert running.pid(name) == pid
            os.kill(pid, 0)


def test_a_service_that_ends_with_its_own_signal_says_which(tmp_path: Path) -> None:
    with host(tmp_path, service("idle", '["sleep", "1000"]', NOW, 'restart = "never"')) as running:
        running.ready("idle")
        os.kill(running.pid("idle"), signal.SIGSEGV)
        until(lambda: phase(running, "idle") == "failed", "it ends")
        assert running.service("idle")["why"] == "SIGSEGV"
