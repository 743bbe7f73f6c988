"""pm2 in cluster mode, two processes: ``pm2 reload`` replaces them in turn, each once it said that it is ready."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from app import Site, node_modules
from bell import until

APP = Path(__file__).with_name("graceful_app.js")


class Pm2:
    """The daemon has a home of its own, so that nobody else's is touched."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.home = site.dir / "pm2"
        site.env |= {"PM2_HOME": str(self.home)}
        self.pm2 = str(node_modules(site.place, "pm2") / "pm2")

    def start(self) -> float:
        """Seconds until it answers."""
        began = time.monotonic()
        options = ("-i", "2", "--name", "app", "--wait-ready", "--kill-timeout", "5000")
        try:
            self.site.run(self.pm2, "start", str(APP), *options)
            until(lambda: self.site.version() == "0", "the app answers under pm2")
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - began

    def restart(self) -> None:
        """As its manual says."""
        self.site.run(self.pm2, "reload", "app")

    def stop(self) -> float:
        """The daemon, too."""
        began = time.monotonic()
        daemon = self.home / "pm2.pid"
        pid = int(daemon.read_text()) if daemon.exists() else None
        with contextlib.suppress(RuntimeError):
            self.site.run(self.pm2, "kill")
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return time.monotonic() - began
