# ruff: noqa: D102 (methods are explained where they are declared)
"""The two supervisors, driven from outside only, by what they document: started, asked, killed, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bell import ENV, PATIENCE, until
from kernel import children, commandline


@dataclass(frozen=True, slots=True)
class Service:
    """One service for either supervisor: restarted at once, as often as it likes, and ready when it runs."""

    name: str
    command: tuple[str, ...]
    agentd: str = ""
    """More lines of its table."""
    supervisord: str = ""
    """More lines of its section."""

    def toml(self) -> str:
        """The service in agentd's file."""
        return f"""[service.{self.name}]
command = {json.dumps(self.command)}
ready = {{ after = "0s" }}
restart = "always"
backoff = {{ first = "0ms" }}
start_limit = {{ burst = 10000, interval = "1s" }}
{self.agentd}
"""

    def ini(self) -> str:
        """The service in supervisord's file."""
        command = " ".join('"' + word.replace("%", "%%") + '"' for word in self.command)
        return f"""[program:{self.name}]
command={command}
startsecs=0
autorestart=true
redirect_stderr=true
{self.supervisord}
"""


def sleepers(count: int) -> list[Service]:
    """Services that do nothing."""
    sleep = shutil.which("sleep") or "/bin/sleep"
    return [Service(f"s{n:04}", (sleep, "100000")) for n in range(count)]


class Server:
    """A supervisor with a directory of its own; ends with all its children."""

    def __init__(self, directory: Path, services: list[Service]) -> None:
        self.dir = directory
        self.count = len(services)
        self.process: subprocess.Popen[bytes]
        self._killed = False

    def command(self) -> list[str]:
        """Its command line."""
        raise NotImplementedError

    def up(self) -> bool:
        """Whether every service runs."""
        raise NotImplementedError

    def start(self) -> float:
        """Seconds from its exec until every service runs."""
        began = time.monotonic()
        with (self.dir / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.dir, env=ENV, start_new_session=True,
            )  # fmt: skip
        try:
            until(self._up_or_dead, f"{self.count} services run under {self.command()[0]}")
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - began

    def _up_or_dead(self) -> bool:
        if self.process.poll() is not None:
            log = (self.dir / "log").read_text(errors="replace")
            raise RuntimeError(
                f"{self.command()[0]} ended ({self.process.returncode}): {log[-2000:]}"
            )
        return self.up()

    def executing(self) -> list[int]:
        """The services that are past exec: before it their command line is that of who started them."""
        own = commandline(self.process.pid)
        return [pid for pid in self.born() if commandline(pid) not in ("", own)]

    def born(self) -> list[int]:
        """The pids of its services."""
        return children(self.process.pid)

    def kill(self) -> None:
        """Kill it, and nobody else."""
        self.process.kill()
        self.process.wait()
        self._killed = True

    def stop(self) -> float:
        """Seconds from SIGTERM until it and all its services are gone."""
        began = time.monotonic()
        ours = self.born() if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            for pid in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            print(f"{self.command()[0]} did not end within {PATIENCE:g} s", file=sys.stderr)
        return time.monotonic() - began

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Agent(Server):
    """agentd as installed."""

    def __init__(self, bin_: Path, directory: Path, services: list[Service]) -> None:
        super().__init__(directory, services)
        self.bin = bin_
        self.socket = directory / "agentd.sock"
        self._spawner: int | None = None
        text = "".join(service.toml() for service in services)
        (directory / "agentd.toml").write_text(text or "[agent]\n")

    def command(self) -> list[str]:
        d = self.dir
        argv = [self.bin / "agentd", "--config", d / "agentd.toml", "--state-dir", d / "state"]
        return [str(w) for w in (*argv, "--runtime-dir", d / "run", "--socket", self.socket)]

    def ctl(self, *words: str) -> list[str]:
        """A command line of reloadctl for this agent."""
        return [str(self.bin / "reloadctl"), "--socket", str(self.socket), *words]

    def up(self) -> bool:
        # Asking costs the agent as much as starting some services: look at its children first. What it adopted from
        # one that was killed are not its children.
        if not self._killed and len(self.born()) < self.count:
            return False
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return all(service["phase"] == "ready" for service in self.status())
        return False

    def born(self) -> list[int]:
        spawner = self.spawner()
        return [pid for pid in children(self.process.pid) if pid != spawner]

    def spawner(self) -> int | None:
        """The program beside the agent that gives birth to its children."""
        if self._spawner is None:
            for pid in children(self.process.pid):
                if "spawner.py" in commandline(pid):
                    self._spawner = pid
                    break
        return self._spawner

    def send(self, method: str, path: str, body: str = "") -> socket.socket:
        """A request on its way; the reply is not read yet."""
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(PATIENCE)
        peer.connect(str(self.socket))
        head = f"{method} {path} HTTP/1.1\r\nHost: agentd\r\nConnection: close\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        peer.sendall(f"{head}\r\n{body}".encode())
        return peer

    def ask(self, method: str, path: str, body: str = "") -> bytes:
        """The body of the reply."""
        with self.send(method, path, body) as peer:
            reply = b"".join(iter(lambda: peer.recv(1 << 20), b""))
        head, _, content = reply.partition(b"\r\n\r\n")
        if head[9:10] != b"2":
            raise RuntimeError(f"{method} {path}: {reply[:500].decode(errors='replace')}")
        return content

    def status(self) -> list[Any]:
        """The services as ``status`` shows them."""
        services: list[Any] = json.loads(self.ask("GET", "/v1/status"))["services"]
        return services

    def idle(self, service: str) -> None:
        """Wait until no reload of the service runs or waits."""

        def look() -> bool:
            found = json.loads(self.ask("GET", f"/v1/services/{service}"))
            return not found["running"] and not found["waiting"]

        until(look, f"{service} has no reload under way")


class Supervisor(Server):
    """supervisord, with nothing switched off that it does by default but its pause of a second after a start."""

    def __init__(self, bin_: Path, directory: Path, services: list[Service]) -> None:
        super().__init__(directory, services)
        self.bin = bin_
        (directory / "logs").mkdir()
        self.conf = directory / "supervisord.conf"
        self.conf.write_text(
            f"""[supervisord]
logfile={directory}/supervisord.log
pidfile={directory}/supervisord.pid
childlogdir={directory}/logs
nodaemon=true
silent=true
minfds=8192
[unix_http_server]
file={directory}/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{directory}/sock
"""
            + "".join(service.ini() for service in services)
        )

    def command(self) -> list[str]:
        return [str(self.bin / "supervisord"), "-c", str(self.conf)]

    def ctl(self, *words: str) -> list[str]:
        """A command line of supervisorctl for it."""
        return [str(self.bin / "supervisorctl"), "-c", str(self.conf), *words]

    def up(self) -> bool:
        return (
            (self.dir / "sock").exists()
            and len(self.born()) >= self.count
            and len(self.executing()) >= self.count
        )
