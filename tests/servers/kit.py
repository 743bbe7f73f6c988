"""What a server of the table is: how its files are written, how it is started, asked and told to reload. Runs nothing by itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from answers import Garbled
from host import clean_env, free_port
from speech import Http, Postgres, Redis, Speech, Whole

VENVS = Path(__file__).parent.parent.parent / ".venv"
HOST = "127.0.0.1"


class Flaw(StrEnum):
    """What is wrong with an edit."""

    NONE = "good edit"
    FOUND = "bad, check finds it"
    UNFOUND = "bad, no check can tell"
    PART = "good, but needs a restart"


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


def _pairs(path: Path) -> dict[str, str]:
    """Of NAME=VALUE lines."""
    return dict(line.split("=", 1) for line in path.read_text().split())


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
    env_file: ClassVar[str] = ""
    """Where its environment is its configuration, the file of it."""
    version_of: ClassVar[tuple[str, ...]] = ("--version",)
    speaks: ClassVar[str] = "http"
    path: ClassVar[str] = "/"
    per_second: ClassVar[float] = 200.0
    kept: ClassVar[int] = 8
    lingers: ClassVar[float] = 3.0
    """Seconds after a bad edit by its own command, within which it may end."""
    edits: ClassVar[int] = 3
    """How many good edits its first row makes."""
    patience: ClassVar[float] = 20.0
    """Seconds for a start, or for a bare reload to show."""
    expect: ClassVar[dict[str, set[str]]] = {}
    """Verdicts of its rows, where they are not those that every server should have."""
    allowed: ClassVar[dict[str, str]] = {}
    """By the row's name: why something is lost there although it should not be."""
    leave_out: ClassVar[dict[str, str]] = {}
    """Rows that it cannot have, with the reason."""
    restore: ClassVar[bool] = False
    """What it was before a bad file is put back."""
    named: ClassVar[dict[str, list[str]]] = {}
    """By the row's name: what it says that it did not take."""
    parts: ClassVar[bool] = False
    """It takes an edit setting by setting, and some need a restart."""
    holds: ClassVar[bool] = False
    """agentd holds its socket in every row; its own command finds it on a socket of its own."""
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
        told = f"{done.stdout} {done.stderr}"
        found = re.search(r"\d+\.\d+\.\d+", told) or re.search(r"\d+\.\d+", told)
        return found[0] if found else "?"

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
        """Of HTTP: what the load sends with each request."""
        return []

    def env(self, at: Place) -> dict[str, str]:
        """More environment; that of ``env_file`` is for the bare one, since agentd reads the file anew for each start."""
        return _pairs(at.dir / self.env_file) if self.env_file else {}

    def inputs(self, at: Place) -> list[str]:
        """Its configuration."""
        if not self.env_file:
            raise NotImplementedError
        return [f"{at.dir}/{self.env_file}"]

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
{'on_failure = "restore"' if self.restore else ""}
{self.reload(at)}
"""

    def get(self, at: Place) -> str:
        """What it serves now; empty when it does not."""
        return ask(at.port, self.speech()).body.decode(errors="replace")

    def speech(self) -> Speech:
        """What it is asked."""
        match self.speaks:
            case "postgres":
                return Postgres("postgres", self.path)
            case "redis":
                return Redis(self.path)
            case _:
                return Http(HOST, self.path, self.headers())


def ask(port: int, speech: Speech) -> Whole:
    """One answer on a new connection; without status when there is none."""
    answer = speech.answer(first=True)
    with contextlib.suppress(OSError, Garbled), socket.create_connection((HOST, port), 5) as s:
        s.sendall(speech.question(first=True, last=True))
        while chunk := s.recv(65536):
            if answer.feed(chunk):
                break
        else:
            answer.ended(orderly=True)
    return answer


def is_root() -> bool:
    return os.geteuid() == 0
