"""Runs agentd and reloadctl as a user would, on temporary directories and sockets, and real servers under it."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 20.0


def until(found: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Ask until it is so: for what another process does there is nothing to wait on."""
    end = time.monotonic() + seconds
    while True:
        if got := found():
            return got
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def clean_env(**more: str) -> dict[str, str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTHON", "OTEL_", "TRACE", "BAGGAGE", "AGENTD_", "NOTIFY_"))
    }
    return kept | {"PYTHONPATH": str(HERE.parent.parent)} | more


class Host:
    """One agentd on a directory of its own."""

    def __init__(self, directory: Path, definitions: str, **env: str) -> None:
        self.dir = directory
        self.env = env
        self.python = sys.executable
        self.socket = directory / "agentd.sock"
        self.define(definitions)
        self.agent: subprocess.Popen[bytes] | None = None

    def define(self, definitions: str) -> None:
        (self.dir / "agentd.toml").write_text(definitions.replace("@DIR@", str(self.dir)))

    def connect(self) -> socket.socket:
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(self.socket))  # with a timeout it would not wait for a place in the queue
        s.settimeout(PATIENCE)
        return s

    def start(self) -> None:
        with (self.dir / "agentd.log").open("ab") as log:
            self.agent = subprocess.Popen(
                [
                    *(self.python, "-m", "agentd"),
                    *("--config", self.dir / "agentd.toml", "--socket", self.socket),
                    *("--state-dir", self.dir / "state", "--runtime-dir", self.dir / "run"),
                ],
                stdout=log,
                stderr=log,
                env=clean_env(**self.env),
                start_new_session=True,
            )
        until(lambda: self._answers() or self._ended(), "agentd answers")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(1)
            s.connect(str(self.socket))
            s.sendall(b"GET /v1/status HTTP/1.1\r\nHost: agentd\r\nConnection: close\r\n\r\n")
            return s.recv(12) == b"HTTP/1.1 200"
        return False

    def _ended(self) -> bool:
        assert self.agent is not None
        if self.agent.poll() is not None:
            raise AssertionError(f"agentd ended ({self.agent.returncode}): {self.log()[-2000:]}")
        return False

    def kill(self) -> None:
        """Kill the agent, and nobody else."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait()

    def stop(self) -> int:
        assert self.agent is not None
        if self.agent.poll() is None:
            self.agent.terminate()
        return self.agent.wait(PATIENCE)

    def log(self) -> str:
        return (self.dir / "agentd.log").read_text(errors="replace")

    def text(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "reloadctl", "--socket", self.socket, *words],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_env(**env),
            check=False,
        )

    def ctl(self, *words: str, **env: str) -> tuple[int, Any]:
        """The exit code and the JSON document."""
        got = self.text("--json", *words, **env)
        assert "Traceback" not in got.stderr, got.stderr
        return got.returncode, json.loads(got.stdout or "null")

    def service(self, name: str) -> Any:
        _, document = self.ctl("status")
        return next(s for s in document["services"] if s["name"] == name)

    def ready(self, name: str) -> Any:
        def look() -> Any:
            found = self.service(name)
            return found["phase"] == "ready" and found["config"]["live"] and found

        return until(look, f"{name} is ready; {self.log()[-1000:]}")

    def pid(self, name: str) -> int:
        return int(self.service(name)["instances"][0]["pid"])

    def history(self, name: str, count: int = 100) -> list[Any]:
        return self.ctl("history", name, "-n", str(count))[1]["reloads"]


@contextlib.contextmanager
def host(directory: Path, definitions: str, **env: str) -> Iterator[Host]:
    """A host whose services end with it, also when the test fails."""
    running = Host(directory, definitions, **env)
    try:
        running.start()
        yield running
    finally:
        if running.agent is not None:
            if running.agent.poll() is not None:
                with contextlib.suppress(AssertionError):
                    running.start()  # somebody must stop what a killed agent left
            running.stop()
        shutil.rmtree(directory / "state", ignore_errors=True)


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that every user can enter; those of pytest are private."""
    with tempfile.TemporaryDirectory(prefix="agentd-public-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


class As:
    """Another user of this host: root lowers itself to ask as them."""

    def __init__(self, user: str, *groups: str) -> None:
        self.uid = pwd.getpwnam(user).pw_uid
        self.gid = pwd.getpwnam(user).pw_gid
        self.groups = [grp.getgrnam(name).gr_gid for name in groups]

    def connect(self, path: Path) -> socket.socket:
        """A connection of theirs: the kernel notes the effective user at that moment."""
        s = socket.socket(socket.AF_UNIX)
        before = os.getgroups()
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            s.connect(str(path))
        except OSError:
            s.close()
            raise
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(before)
        s.settimeout(PATIENCE)
        return s

    def text(self, running: Host, *words: str) -> subprocess.CompletedProcess[str]:
        """Their reloadctl. It becomes them only once it is loaded: they may not see this checkout."""
        load = (
            "import pkgutil, reloadctl; [__import__(m.name) for m in "
            "pkgutil.walk_packages(reloadctl.__path__, 'reloadctl.') "
            "if not m.name.endswith('__main__')]"
        )
        become = f"os.setgroups({self.groups}); os.setgid({self.gid}); os.setuid({self.uid})"
        run = "import sys; from reloadctl.__main__ import main; sys.exit(main())"
        program = f"import os, json; {load}; import reloadctl.__main__; {become}; {run}"
        return subprocess.run(
            [sys.executable, "-c", program, "--socket", running.socket, *words],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_env(),
            check=False,
        )


def request(method: str, path: str, body: bytes = b"", *more: str) -> bytes:
    """One whole request as bytes."""
    head = [f"{method} {path} HTTP/1.1", "Host: agentd", f"Content-Length: {len(body)}", *more]
    if body:
        head.append("Content-Type: application/json")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answer(s: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers in lower case, and the JSON document, read to the end of the connection."""
    data = b""
    with s, contextlib.suppress(ConnectionResetError):
        while chunk := s.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return int(first.split()[1]), headers, json.loads(body) if body else None


def unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        out, body = out + body[:length], body[length + 2 :]
        if length == 0:
            break
    return out


@contextlib.contextmanager
def load(port: int, per_second: float, *options: str) -> Iterator[dict[str, Any]]:
    """Requests meanwhile, from the first answer on; filled with the counts at the end."""
    result: dict[str, Any] = {}
    process = subprocess.Popen(
        [sys.executable, HERE / "load.py", str(port), str(per_second), *options],
        stdout=subprocess.PIPE,
        env=clean_env(),
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield result
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)
        result |= json.loads(output)


class Nginx:
    """A real nginx below a directory, with a conf.d."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.port = free_port()
        self.conf = directory / "nginx.conf"
        (directory / "conf.d").mkdir()
        self.serve("one")

    @property
    def definition(self) -> str:
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        return f"""[service.web]
command = ["{nginx}", "-g", "daemon off;", "-p", "@DIR@/", "-c", "@DIR@/nginx.conf"]
recipe = "nginx"
inputs = ["@DIR@/nginx.conf", "@DIR@/conf.d/*.conf"]
"""

    def serve(self, body: str, broken: str = "") -> None:
        d = self.dir
        temporary = " ".join(
            f"{kind}_temp_path {d}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"""pid {d}/nginx.pid; error_log {d}/error.log notice; worker_processes 2;
events {{ worker_connections 512; }}
http {{ access_log off; {temporary} include {d}/conf.d/*.conf;
  server {{ listen 127.0.0.1:{self.port}; {broken} location / {{ return 200 "{body}"; }} }} }}
"""
        new = self.conf.with_suffix(".new")
        new.write_text(text)
        new.rename(self.conf)

    def get(self) -> str:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as s,
        ):
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while chunk := s.recv(4096):
                answer += chunk
            return answer.partition(b"\r\n\r\n")[2].decode()
        return ""
