"""What a server of the table is: how its files are written, how it is started, asked and told to reload. Runs nothing by itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from host import clean_env, free_port

VENVS = Path(__file__).parent.parent.parent / ".venv"
HOST = "127.0.0.1"


class Flaw(StrEnum):
    """What is wrong with an edit."""

    NONE = "good edit"
    FOUND = "bad, check finds it"
    UNFOUND = "bad, no check can tell"


@dataclass
class Place:
    """The directory and the ports of one server."""

    dir: Path
    port: int = field(default_factory=free_port)
    other: int = field(default_factory=free_port)
    """A second port: administration, or whatever else it needs."""
    taken: socket.socket = field(default_factory=lambda: socket.create_server((HOST, 0)))
    """Somebody else's socket: who wants this address cannot have it."""

    held: bool = False
    """agentd holds the socket and hands it on from descriptor 3 on."""

    @property
    def busy(self) -> int:
        return int(self.taken.getsockname()[1])

    def write(self, name: str, text: str) -> Path:
        """Whole or not at all, as an operator's tools do."""
        path = self.dir / name
        new = path.with_name(f".{path.name}.new")
        new.write_text(text)
        new.chmod(0o644)
        new.rename(path)
        return path


class Server:
    """One server, one file in ``known``. What is not set here is what most servers have in common."""

    name: ClassVar[str]
    recipe: ClassVar[str] = ""
    """Where it is not called as the row is."""
    program: ClassVar[str]
    """Absolute, or its name in PATH, or ``VENV/NAME``: one of the environments of the checkout."""
    first: ClassVar[bool] = False
    """One of those that run in every test of the project."""
    install: ClassVar[str]
    """What to install where it is missing."""
    version_of: ClassVar[tuple[str, ...]] = ("--version",)
    speaks: ClassVar[str] = "http"
    path: ClassVar[str] = "/"
    per_second: ClassVar[float] = 200.0
    kept: ClassVar[int] = 8
    patience: ClassVar[float] = 20.0
    """Seconds for a start, or for a bare reload to show."""
    expect: ClassVar[dict[str, set[str]]] = {}
    """Verdicts of its rows, where they are not those that every server should have."""
    allowed: ClassVar[dict[str, str]] = {}
    """By the row's name: why something is lost there although it should not be."""
    leave_out: ClassVar[dict[str, str]] = {}
    """Rows that it cannot have, with the reason."""
    own_words: ClassVar[str] = ""
    """How the bare command is called in the table."""

    def where(self) -> str:
        """The program's path; empty when it is not there."""
        venv, _, name = self.program.partition("/")
        inside = VENVS / venv / "bin" / name
        if name and venv and inside.exists():
            return str(inside)
        return shutil.which(self.program) or ""

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        return "" if self.where() else f"{self.program} is not installed: {self.install}"

    def version(self) -> str:
        """The first thing with a dot that it says of itself."""
        argv = [self.where(), *self.version_of]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=clean_env())
        words = f"{done.stdout} {done.stderr}".replace("/", " ").replace("v", " ").split()
        numbers = (w.strip("(),:") for w in words if w[:1].isdigit() and "." in w)
        return next(numbers, "?").partition("-")[0]

    def prepare(self, at: Place) -> None:
        """Once, before the first start."""

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        """Its files, such that it serves ``word``."""
        raise NotImplementedError

    def command(self, at: Place) -> list[str]:
        """How it is started."""
        raise NotImplementedError

    def runs_as(self) -> tuple[str | None, str | None]:
        """User and group of the bare server; its service says so itself."""
        return None, None

    def headers(self) -> list[str]:
        """What the load sends with each request."""
        return []

    def env(self, at: Place) -> dict[str, str]:
        """More environment."""
        return {}

    def inputs(self, at: Place) -> list[str]:
        """Its configuration."""
        raise NotImplementedError

    def service(self, at: Place) -> str:
        """More keys of [service.web], such as ready."""
        return ""

    def reload(self, at: Place) -> str:
        """Keys of [service.web.reload] that no recipe can know."""
        return ""

    def replace(self, at: Place) -> str | None:
        """The whole definition of the row in which it is replaced; None: it cannot be."""
        return None

    def own(self, at: Place, pid: int) -> list[str]:
        """Its own reload command."""
        return ["kill", "-HUP", str(pid)]

    def definition(self, at: Place, more: str = "") -> str:
        """The service as the table declares it."""
        env = ", ".join(f"{k} = {json.dumps(v)}" for k, v in self.env(at).items())
        return f"""[service.web]
recipe = "{self.recipe or self.name}"
command = {json.dumps(self.command(at))}
env = {{ {env} }}
inputs = {json.dumps(self.inputs(at))}
{self.service(at)}
{more}
[service.web.reload]
{self.reload(at)}
"""

    def get(self, at: Place) -> str:
        """What it serves now; empty when it does not."""
        return http_get(at.port, self.path)


def http_get(port: int, path: str, *headers: str) -> str:
    """A body; empty when there is none."""
    lines = "".join(f"{header}\r\n" for header in headers)
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{lines}\r\n"
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=5) as s:
        s.sendall(request.encode())
        while chunk := s.recv(65536):
            answer += chunk
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace")


def is_root() -> bool:
    return os.geteuid() == 0
