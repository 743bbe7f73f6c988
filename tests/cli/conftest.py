"""An agent that says what a test wants, and the command run in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reloadctl.__main__ import main
from tests.cli.canned import Canned


@pytest.fixture
def agent() -> Iterator[Callable[..., Canned]]:
    """``agent(answer, …)``; not in tmp_path, whose length can pass the 107 bytes of a socket's path."""
    started: list[Canned] = []
    with tempfile.TemporaryDirectory(prefix="ctl") as directory:

        def start(*answers: bytes) -> Canned:
            started.append(Canned(Path(directory) / f"{len(started)}.sock", *answers))
            return started[-1]

        yield start
        for server in started:
            server.close()


@pytest.fixture
def ctl(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """``ctl(agent, "status", …)`` → exit code, stdout, stderr; with nothing of the surrounding environment."""
    ours = ("TRACEPARENT", "TRACESTATE", "BAGGAGE", "NO_COLOR", "RELOADCTL_DEBUG", "AGENTD_SOCKET")
    ci = ("GITHUB_RUN_ID", "CI_PIPELINE_ID", "BUILD_URL")
    for name in (*ours, *ci):
        monkeypatch.delenv(name, raising=False)

    def run(server: Canned | str, *argv: str) -> tuple[int, str, str]:
        path = server if isinstance(server, str) else server.path
        code = main(["--socket", path, *argv])
        out, err = capsys.readouterr()
        return code, out, err

    return run
