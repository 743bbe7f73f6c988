"""What every family is given: the programs, and directories that go away with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bell import ENV
from servers import Agent, Service, Supervisor


class Place:
    """Where a family runs: the programs, and directories that go away with it."""

    def __init__(self, bin_: Path) -> None:
        self.bin = bin_
        self._supervisor: Path | None = None
        self._stack = contextlib.ExitStack()

    @property
    def python(self) -> str:
        """The Python that agentd runs on."""
        return str(self.bin / "python")

    def directory(self) -> Path:
        """A new one."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))

    def agent(self, services: list[Service]) -> Agent:
        """One that is not started yet."""
        return Agent(self.bin, self.directory(), services)

    def supervisor(self, services: list[Service]) -> Supervisor:
        """One that is not started yet."""
        self._supervisor = self._supervisor or _install(self)
        return Supervisor(self._supervisor, self.directory(), services)

    def environment(self) -> Path:
        """An environment beside ours, of the same Python, where peers are installed. Raises CalledProcessError."""
        home = self.bin.parent.parent / "bench"
        if not (home / "bin" / "python").exists():
            print(f"preparing {home} (once) ...", file=sys.stderr)
            base = os.path.realpath(self.bin / "python")
            subprocess.run([base, "-m", "venv", str(home)], check=True, env=ENV)
        return home

    def close(self) -> None:
        """Remove the directories."""
        self._stack.close()


def _install(place: Place) -> Path:
    """A supervisord beside ours, compiled like ours.

    Where no index of packages can be reached, the host's own will do. Raises RuntimeError when there is none.
    """
    try:
        bin_ = place.environment() / "bin"
        if not (bin_ / "supervisord").exists():
            pip = [str(bin_ / "python"), "-m", "pip", "install", "--quiet", "--compile"]
            argv = [*pip, "--disable-pip-version-check", "supervisor"]
            subprocess.run(argv, check=True, env=ENV)
    except subprocess.CalledProcessError as error:
        if own := shutil.which("supervisord"):
            return Path(own).parent
        raise RuntimeError("supervisord can neither be installed nor found") from error
    return bin_


@contextlib.contextmanager
def both(place: Place, services: list[Service]) -> Iterator[tuple[Agent, Supervisor]]:
    """The two side by side with the same services."""
    agent, supervisor = place.agent(services), place.supervisor(services)
    with agent, supervisor:
        yield agent, supervisor
