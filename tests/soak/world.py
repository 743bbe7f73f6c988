"""The world of the soak: twenty services on held sockets and an nginx, under one agent, a receiver and a disk of their own.

Knows how each service is declared, edited well and badly, killed, and how its processes are told from others'. What is done when, what is
looked at meanwhile and what it shows is decided elsewhere.
"""

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps_run import COMMANDS, HOME, Told
from host import Host, Nginx, answer, request

from tests.soak.judge import Look, Seen
from tests.soak.schedule import Act
from tests.telemetry.receiver import Receiver

DISK = "128M"
WEB = "web"
PATIENCE = 90.0
"""Seconds that an answer of the agent may take: a reload waits for another one."""
_COUNTING = str(HOME / "counting.py")
WATCH = '{ debounce = "100ms" }'


@dataclass(frozen=True)
class Kind:
    """How one of the services takes its configuration, and what makes its file bad so that only it can tell."""

    handle: str
    app: str = "counting"
    confirm: str = ""
    bad: str = "die"
    mortal: bool = False
    """It may be killed, and promises nothing."""
    instances: int = 1


REPLACE = Kind("replace")
LOG = Kind("signal", confirm="[{ log = '^\\d+ \\d+ loaded ' }]", bad="refuse")
NOTIFY = Kind("notify", bad="refuse")
ASKED = Kind("signal", confirm='[{ http = "@URL@", expect = "{version}" }]', bad="refuse")
KINDS = (
    *(REPLACE,) * 3,
    Kind("replace", instances=2),
    Kind("replace", "plain", bad="never_ready"),
    Kind("replace", "uvicorn", bad="crash"),
    Kind("replace", "gunicorn", bad="crash"),
    *(
        LOG,
        LOG,
        Kind(LOG.handle, confirm=LOG.confirm, bad="refuse", instances=2),
        NOTIFY,
        NOTIFY,
        NOTIFY,
        ASKED,
        ASKED,
    ),
    *(Kind("replace", mortal=True), Kind("replace", mortal=True)),
    *(Kind(LOG.handle, confirm=LOG.confirm, mortal=True), Kind("notify", mortal=True)),
    Kind("restart", mortal=True),
)


@dataclass
class Service:
    name: str
    kind: Kind
    number: int
    told: Told
    port: int
    version: int = 1

    @property
    def watched(self) -> bool:
        return self.number % 2 == 0

    def definition(self, counts: Path) -> str:
        kind, file = self.kind, self.told.path
        argv = COMMANDS.get(kind.app) or (sys.executable, "-S", _COUNTING)
        how = {"signal": "log", "notify": "notify"}.get(kind.handle)
        url = f"http://127.0.0.1:{self.port}/"
        # gunicorn says READY before it has a worker.
        ready = f'{{ http = "{url}" }}' if kind.app == "gunicorn" else '"notify"'
        staged = "{staged}" if self.number % 3 else ""
        restore = kind.mortal or self.number % 4 == 0
        more = [f"confirm = {kind.confirm.replace('@URL@', url)}"] if kind.confirm else []
        return "\n".join(
            (
                f"[service.{self.name}]",
                f"command = {json.dumps([*argv, *([how] if how else [])])}",
                f'env = {{ APP_FILE = "{file}", APP_COUNTS = "{counts}" }}',
                f'inputs = ["{file}"]',
                f'version = {{ file = "{file}", path = "version" }}',
                f'sockets = [{{ name = "http", listen = "127.0.0.1:{self.port}" }}]',
                f"ready = {ready}",
                f"instances = {kind.instances}",
                'start_timeout = "4s"' if kind.bad == "never_ready" else 'start_timeout = "15s"',
                'stop_timeout = "3s"',
                'drain_timeout = "2s"',
                'backoff = { first = "100ms", max = "500ms" }',
                "start_limit = { burst = 1000 }",
                'logs = { size = "256K", keep = 1000 }',
                f"watch = {WATCH if self.watched else 'false'}",
                f"[service.{self.name}.reload]",
                f'handle = "{kind.handle}"',
                f'check = ["grep", "-q", "version", "{staged}{file}"]',
                f'on_failure = "{"restore" if restore else "keep"}"',
                'timeout = "5s"',
                *more,
                "",
            )
        )

    def edit(self, act: Act) -> None:
        self.version += 1
        match act:
            case Act.UNFIT:
                self.told(versoin=self.version)
            case Act.BAD:
                self.told(**{"version": self.version, self.kind.bad: True})
            case _:
                self.told(version=self.version)


class World:
    """Everything that is there, and what can be done to it."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.counts = directory / "counts"
        self.counts.mkdir()
        self.services = {}
        ports = _free_ports()
        self.receiver = Receiver(port=next(ports))
        self.receiver.start()
        self.nginx = Nginx(directory) if shutil.which("nginx") else None
        if self.nginx:
            self.nginx.port = next(ports)
            self.nginx.serve("1")
        for number, kind in enumerate(KINDS):
            name = f"{'mortal-' if kind.mortal else ''}{kind.handle}-{number}"
            home = directory / name
            home.mkdir()
            self.services[name] = Service(name, kind, number, Told(home), next(ports))
        self.web_version = 1
        text = f'[agent.telemetry]\nendpoint = "{self.receiver.url}"\n'
        text += "".join(s.definition(self.counts) for s in self.services.values())
        if self.nginx:
            text += self.nginx.definition + f"watch = {WATCH}\n"
        self.host = Host(directory, text, OTEL_EXPORTER_OTLP_TIMEOUT="1000")
        self.ballast = directory / "state" / "ballast"
        self.own_disk = False
        self._marks: dict[tuple[int, int], tuple[str, str] | None] = {}

    @property
    def names(self) -> list[str]:
        return [*self.services, *([WEB] if self.nginx else [])]

    @property
    def mortal(self) -> list[str]:
        return [name for name, s in self.services.items() if s.kind.mortal]

    @property
    def ports(self) -> dict[str, int]:
        found = {name: s.port for name, s in self.services.items()}
        return found | ({WEB: self.nginx.port} if self.nginx else {})

    @contextlib.contextmanager
    def disk(self) -> Iterator[None]:
        """The agent's state on a disk of its own, where that is allowed."""
        state = self.dir / "state"
        state.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "soak", str(state)]
        self.own_disk = os.geteuid() == 0 and not subprocess.run(words, check=False).returncode
        try:
            yield
        finally:
            if self.own_disk:
                subprocess.run(["umount", "-l", str(state)], check=True)

    def ask(self, method: str, path: str, seconds: float = PATIENCE) -> Any:
        """The document; None: there was no agent to answer."""
        with (
            contextlib.suppress(OSError, ValueError, IndexError),
            socket.socket(socket.AF_UNIX) as s,
        ):
            s.settimeout(seconds)
            s.connect(str(self.host.socket))
            body = b"{}" if method == "POST" else b""
            s.sendall(request(method, path, body, "Connection: close"))
            return answer(s)[2]
        return None

    def edit(self, name: str, act: Act) -> str:
        """The version that was written."""
        if name != WEB:
            self.services[name].edit(act)
            return str(self.services[name].version)
        assert self.nginx is not None
        self.web_version += 1
        broken = "" if act is Act.GOOD else "no_such_directive;"
        self.nginx.serve(str(self.web_version), broken)
        return str(self.web_version)

    def crash(self, name: str) -> str:
        """Kill the processes of a service, those that drain too."""
        pids = [
            one.pid for one in self.processes() if one.service == name and one.pid == one.session
        ]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return f"pid {', '.join(map(str, pids)) or 'none'}"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self.ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def free(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def look(self) -> Look:
        """What runs, and what the agent knows of."""
        status = self.ask("GET", "/v1/status", 5)
        known = None
        if status is not None and "services" in status:
            known = {
                i["pid"]: s["name"]
                for s in status["services"]
                for i in s["instances"]
                if i["pid"] is not None
            }
        seen = frozenset(self.processes())
        alive = frozenset(pid for pid in known or () if _stat(pid) is not None)
        return Look(time.monotonic(), seen, known, alive)

    def processes(self) -> Iterator[Seen]:
        """Of our services, workers too."""
        sessions: dict[int, tuple[str, str]] = {}
        others: list[tuple[int, int, int]] = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdecimal():
                continue
            pid = int(entry.name)
            if (found := _stat(pid)) is None:
                continue
            started, session = found
            mark = self._mark(pid, started, fresh=pid == session)
            if mark is not None:
                if pid == session:
                    sessions[session] = mark
                yield Seen(pid, started, session, *mark)
            else:
                others.append((pid, started, session))
        for pid, started, session in others:  # nginx's workers are known by their session only
            if session in sessions:
                yield Seen(pid, started, session, *sessions[session])

    def _mark(self, pid: int, started: int, *, fresh: bool) -> tuple[str, str] | None:
        """Service and generation of a process that is marked as ours; remembered, for the look costs."""
        if (known := self._marks.get((pid, started))) is not None:
            return known
        mark = None
        try:
            env = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"APP_COUNTS={self.counts}".encode() in env:
                pairs = dict(one.split(b"=", 1) for one in env if b"=" in one)
                if b"AGENTD_GENERATION" in pairs:
                    mark = pairs[b"AGENTD_SERVICE"].decode(), pairs[b"AGENTD_GENERATION"].decode()
            elif fresh and f"-p {self.dir}/".encode() in Path(
                f"/proc/{pid}/cmdline"
            ).read_bytes().replace(b"\0", b" "):
                mark = WEB, str(pid)
        except OSError:
            return None  # gone meanwhile
        if mark is not None:
            self._marks[pid, started] = mark
        return mark


def _free_ports() -> Iterator[int]:
    """Such as no outgoing connection is given: a listener that is gone for a while must find its own again."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range(lowest - 1, 1024, -1):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        yield port


def _stat(pid: int) -> tuple[int, int] | None:
    """When it started, and its session; None: it does not run."""
    try:
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if parts[0] in "ZX" else (int(parts[19]), int(parts[3]))
