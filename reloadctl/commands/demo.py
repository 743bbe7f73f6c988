"""``reloadctl demo``: a private agentd, a service under load, a good edit, a bad edit, and what the trace shows.

Everything lives in a temporary directory and ends with the demo; nothing of the host is touched.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from reloadctl.demo.load import Load
from reloadctl.demo.stage import Stage, build

REQUESTS_PER_SECOND = 300
PATIENCE = 20.0


class _DemoError(Exception):
    """What should have happened did not."""


def run(options: object) -> int:
    """Play the demo; 0 when everything happened as told."""
    del options
    directory = Path(tempfile.mkdtemp(prefix="agentd-demo-"))
    try:
        return _play(directory)
    except _DemoError as error:
        sys.stderr.write(f"reloadctl: the demo failed: {error}\n")
        sys.stderr.write((directory / "agentd.log").read_text()[-2000:])
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _play(directory: Path) -> int:
    stage = build(directory)
    _say(
        f"agentd starts {stage.title}; {REQUESTS_PER_SECOND} requests a second, each on a new connection."
    )
    stage.greet("hello")
    with _agent(directory, stage) as ctl, Load(stage.port, REQUESTS_PER_SECOND) as load:
        ctl("status")
        _say('The file is edited: "hello" becomes "good morning".')
        stage.greet("good morning")
        ctl("reload", "web", "--reason", "a friendlier greeting")
        _until(lambda: _serves(stage, "good morning"), "the edit is live")
        _say("The same reload as a trace: each phase, its time, the evidence.")
        ctl("show", "web")
        _say("Now a mistake in the file, and the same command.")
        stage.spoil()
        ctl("reload", "web")
        ctl("status")
        if not _serves(stage, "good morning"):
            raise _DemoError("the bad edit reached the service")
        time.sleep(0.2)  # a little more traffic over what is live now, for the count below
    _say("What the clients saw:")
    for answer, count in load.answers.items():
        out(f'  {count:5} times "{answer}"')
    out(f"  {sum(load.failed.values()):5} failed")
    return 1 if load.failed else 0


@contextlib.contextmanager
def _agent(directory: Path, stage: Stage) -> Iterator[_Ctl]:
    """A private agentd; ends it, and with it the service."""
    config, socket = directory / "agentd.toml", directory / "agentd.sock"
    config.write_text(stage.definition)
    state: list[str | Path] = [
        "--state-dir",
        directory / "state",
        "--runtime-dir",
        directory / "run",
    ]
    with (directory / "agentd.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "agentd", "--config", config, "--socket", socket, *state],
            stdout=log,
            stderr=log,
        )
    ctl = _Ctl(socket)
    try:
        _until(lambda: _serves(stage, "hello"), "the service answers")
        _until(lambda: " ready" in ctl("status", quiet=True), "the service is ready")
        yield ctl
    finally:
        agent.terminate()
        agent.wait()


class _Ctl:
    """Runs reloadctl and shows what was typed and what it said."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def __call__(self, *words: str, quiet: bool = False) -> str:
        command = [sys.executable, "-m", "reloadctl", "--socket", str(self._socket)]
        if quiet:
            return subprocess.run(
                [*command, *words], capture_output=True, text=True, check=False
            ).stdout
        out(f"\n$ reloadctl {shlex.join(words)}")
        code = subprocess.run([*command, *words], check=False, env={**os.environ}).returncode
        if code:
            out(f"(exit code {code})")
        return ""


def out(text: str) -> None:
    """One line for the person who watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    out(f"\n* {text}")


def _serves(stage: Stage, greeting: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode() == greeting
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise _DemoError(f"{what}: not within {PATIENCE:g} s")
        time.sleep(0.02)
