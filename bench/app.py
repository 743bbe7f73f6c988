"""What every peer of the graceful restarts is given: the small app, its file, a port, and environments with the peers' packages.

The apps are those of ``tests/real/apps``, so that what is measured is what is tested. Decides nothing about restarts.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bell import ENV, until
from servers import Server

if TYPE_CHECKING:
    from kit import Place

TOP = Path(__file__).parent.parent
APPS = TOP / "tests" / "real" / "apps"
IN_A_ROW = 10


class Unavailable(Exception):  # noqa: N818 - a row of the table, not a failure
    """Why a peer cannot be measured here."""


class Peer(Protocol):
    """One way to restart the app gracefully."""

    def start(self) -> float:
        """Returns once it serves."""

    def restart(self) -> None:
        """Restart as the tool's manual says; returns when the tool does. Raises RuntimeError."""

    def stop(self) -> float:
        """End everything it started."""


class Site:
    """One peer's place: a directory, a port that is free, and the file that its app reads at the start."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.dir = place.directory()
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.port: int = s.getsockname()[1]
        self.file = self.dir / "app.json"
        self.say(0)
        self.env = ENV | {"APP_FILE": str(self.file), "PORT": str(self.port)}

    def say(self, version: int) -> None:
        """The next start of the app answers with it."""
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"version": str(version)}))
        new.rename(self.file)

    def version(self) -> str:
        """What a new connection is answered; empty when it is not."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: s.recv(4096), b""))
        except OSError:
            return ""
        return answer.partition(b"\r\n\r\n")[2].decode()

    def changed(self, version: int) -> None:
        """Wait until so many new connections in a row are answered by it: of several processes the last one has changed, too."""
        said = str(version)
        until(
            lambda: all(self.version() == said for _ in range(IN_A_ROW)),
            f"version {version} answers",
        )

    def uvicorn(self, *where: str) -> list[str]:
        """The app under uvicorn."""
        python = environment(self.place, "uvicorn")
        words = ("-m", "uvicorn", "--app-dir", str(APPS), "--log-level", "warning")
        return [python, *words, *where, "asgi:app"]

    def gunicorn(self, *where: str) -> list[str]:
        """The app under gunicorn: one worker with threads, as kept-alive connections need."""
        python = environment(self.place, "gunicorn")
        words = ("-m", "gunicorn", "--threads", "16", "--keep-alive", "5", "--chdir", str(APPS))
        return [python, *words, "--log-level", "warning", *where, "wsgi:app"]

    def run(self, *words: str) -> None:
        """One command of a tool. Raises RuntimeError with its last line."""
        got = subprocess.run(
            words, capture_output=True, text=True, env=self.env, cwd=self.dir, timeout=120,
            check=False,
        )  # fmt: skip
        if got.returncode:
            raise RuntimeError(f"{Path(words[0]).name} exits {got.returncode}: {_last(got)}")


class Daemon(Server):
    """A peer that runs in the foreground: up when the app answers."""

    def __init__(self, site: Site, command: list[str]) -> None:
        super().__init__(site.dir, [])
        self.site = site
        self._command = command

    def command(self) -> list[str]:  # noqa: D102 - explained where it is declared
        env = shutil.which("env") or "/usr/bin/env"
        return [env, f"APP_FILE={self.site.file}", *self._command]

    def up(self) -> bool:  # noqa: D102 - explained where it is declared
        return self.site.version() == "0"


def environment(place: Place, package: str) -> str:
    """The Python of an environment beside ours that has the package. Raises Unavailable."""
    home = place.environment()
    python = str(home / "bin" / "python")
    have = [python, "-c", f"import {package}"]
    if subprocess.run(have, env=ENV, capture_output=True, check=False).returncode:
        pip = [python, "-m", "pip", "install", "--quiet", "--compile"]
        got = subprocess.run(
            [*pip, "--disable-pip-version-check", package],
            env=ENV, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if got.returncode:
            raise Unavailable(f"{package} cannot be installed: {_last(got)}")
    return python


def node_modules(place: Place, package: str) -> Path:
    """The programs of an npm package, in a folder beside ours. Raises Unavailable."""
    home = place.environment().with_name("node")
    programs = home / "node_modules" / ".bin"
    if not (programs / package).exists():
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            raise Unavailable("node and npm are not installed")
        home.mkdir(exist_ok=True)
        (home / "package.json").write_text('{"private": true}\n')
        words = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", package]
        got = subprocess.run(
            words, cwd=home, env=ENV, capture_output=True, text=True, check=False
        )  # fmt: skip
        if got.returncode:
            raise Unavailable(f"{package} cannot be installed: {_last(got)}")
    return programs


def _last(got: subprocess.CompletedProcess[str]) -> str:
    """The last line that it said."""
    return next(iter((got.stdout + got.stderr).strip().splitlines()[::-1]), "nothing was said")
