"""By hand, the plainest way that loses little: one listener, the next process beside the old one, SIGTERM once it says READY.

The floor of what an overlap takes, and what a shared listener alone loses: with it no tool can do better for this app.
"""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING

from bell import ENV, PATIENCE

if TYPE_CHECKING:
    from app import Site

_GATE = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"


class Hand:
    """The listener and the notify socket are ours."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.command = site.uvicorn("--fd", "3")
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.settimeout(PATIENCE)
        self._notified.bind(str(site.dir / "notify"))

    def start(self) -> float:
        """Seconds until it says READY."""
        began = time.monotonic()
        self._listener = socket.create_server(("127.0.0.1", self.site.port), backlog=2048)
        self._process = self._next()
        return time.monotonic() - began

    def restart(self) -> None:
        """Returns when the old one has ended."""
        old, self._process = self._process, self._next()
        if old is not None:
            old.terminate()
            old.wait(PATIENCE)

    def stop(self) -> float:
        """The process and both sockets."""
        began = time.monotonic()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._listener is not None:
            self._listener.close()
        self._notified.close()
        return time.monotonic() - began

    def _next(self) -> subprocess.Popen[bytes]:
        assert self._listener is not None
        at = self._listener.fileno()
        process = subprocess.Popen(
            [self.command[0], "-c", _GATE, str(at), *self.command],
            pass_fds=[at],
            env=ENV
            | {"APP_FILE": str(self.site.file), "NOTIFY_SOCKET": str(self.site.dir / "notify")},
        )
        try:
            self._notified.recv(4096)
        except TimeoutError:
            process.kill()
            process.wait()
            raise
        return process
