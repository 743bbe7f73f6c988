"""A real agent to be fuzzed: two services, of which one sends to its notify socket whatever it is given; and whether the agent is well.

Well is: it lives, it answers within seconds, its log tells of no mistake of its own, and it has grown in neither memory nor descriptors.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "real")]

from host import Host, clean_env, host  # noqa: E402 - found only now

__all__ = ["Agent", "Grown", "agent", "clean_env"]

SERVICES = f"""
[service.web]
command = ["sleep", "1000000"]
ready = {{ after = "0s" }}
inputs = ["@DIR@/web.conf"]
[service.web.reload]
handle = "exec"
command = ["true"]

[service.parrot]
command = ["{sys.executable}", "{HERE / "parrot.py"}", "@DIR@/parrot.sock"]
ready = "notify"
inputs = ["@DIR@/web.conf"]
[service.parrot.reload]
handle = "notify"
timeout = "1s"
"""
MISTAKES = (
    "please report",
    "Traceback",
    "internal error",
    "never retrieved",
    "Exception in callback",
)
PATIENCE = 10.0
"""Seconds for an answer that takes milliseconds: the machine may be busy."""
MOST_KIB, MOST_FDS = 12 * 1024, 8
"""Growth beyond this, once the agent was warm, is a leak: what it remembers of reloads is bounded and small."""


@dataclass(frozen=True)
class Grown:
    """What the agent holds at a moment."""

    pss_kib: int
    fds: int

    def __str__(self) -> str:
        return f"PSS {self.pss_kib / 1024:.1f} MiB, {self.fds} descriptors"


class Agent:
    """The agent, and how it is."""

    def __init__(self, running: Host) -> None:
        self._host = running
        self._log = running.dir / "agentd.log"
        self._read = 0
        self.dir = running.dir
        self.socket = running.socket

    @property
    def pid(self) -> int:
        assert self._host.agent is not None
        return self._host.agent.pid

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(self.socket))
        s.settimeout(timeout)
        return s

    def well(self) -> None:
        """Raises AssertionError with what is wrong."""
        assert self._host.agent is not None
        assert self._host.agent.poll() is None, f"the agent ended: {self._host.log()[-2000:]}"
        with self.connect() as s:
            s.sendall(b"GET /v1/status HTTP/1.1\r\nHost: agentd\r\nConnection: close\r\n\r\n")
            assert s.recv(12) == b"HTTP/1.1 200", "the agent does not tell how services stand"
        with self._log.open(errors="replace") as log:
            log.seek(self._read)
            said = log.read()
            self._read = log.tell()
        wrong = [line for line in said.splitlines() if any(m in line for m in MISTAKES)]
        assert not wrong, "\n".join(wrong)

    def settled(self) -> Grown:
        """Once nothing that was begun is held any more; what stays is growth."""
        end, last = time.monotonic() + PATIENCE, self.held()
        while time.monotonic() < end:
            time.sleep(0.5)
            now = self.held()
            if now == last:
                break
            last = now
        return last

    def held(self) -> Grown:
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        return Grown(int(pss.split()[1]), len(os.listdir(f"/proc/{self.pid}/fd")))  # noqa: PTH208


@contextmanager
def agent() -> Iterator[Agent]:
    """One that has just begun."""
    with TemporaryDirectory(prefix="agentd-fuzz-") as folder:
        (Path(folder) / "web.conf").write_text("a = 1\n")
        with host(Path(folder), SERVICES) as running:
            running.ready("web")
            running.ready("parrot")
            one = Agent(running)
            try:
                yield one
            except BaseException:
                with suppress(OSError):
                    print(running.log()[-4000:], file=sys.stderr)
                raise
