"""Stopwatches: a FIFO that rings when a child writes, and waiting for what rings no bell."""

from __future__ import annotations

import contextlib
import os
import select
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PATIENCE = 60.0


def clean_env() -> dict[str, str]:
    """The caller's environment without what would change a start of Python, a trace or a socket's path."""
    odd = ("PYTHON", "OTEL_", "TRACE", "BAGGAGE", "AGENTD_", "NOTIFY_", "LISTEN_", "COLUMNS")
    return {k: v for k, v in os.environ.items() if not k.startswith(odd)}


ENV = clean_env()


def until(found: Callable[[], Any], what: str) -> Any:
    """Ask until it is so. Raises TimeoutError.

    Rests five times as long as asking took, so that a thousand services are not slowed by who counts them.
    """
    end = time.monotonic() + PATIENCE
    while True:
        asked = time.monotonic()
        if got := found():
            return got
        now = time.monotonic()
        if now > end:
            raise TimeoutError(f"{what}: not within {PATIENCE:g} s")
        time.sleep(5 * (now - asked) + 0.001)


def milliseconds(since: int) -> float:
    """From a reading of ``monotonic_ns`` to now."""
    return (time.monotonic_ns() - since) / 1e6


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


class Bell:
    """A FIFO that children write into; reading takes the moment first and looks at the bytes afterwards."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"bell-{os.urandom(3).hex()}"
        os.mkfifo(self.path)
        # Open for both: a FIFO whose last writer left would look readable for ever.
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def wait(self, seconds: float = PATIENCE) -> tuple[int, bytes]:
        """The moment (``monotonic_ns``) and what was written. Raises TimeoutError."""
        if not self._poll.poll(seconds * 1000):
            raise TimeoutError(f"no child wrote to {self.path} within {seconds:g} s")
        at = time.monotonic_ns()
        return at, os.read(self._fd, 1 << 16)

    def clear(self) -> None:
        """Forget what was written so far."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 1 << 16):
                pass
