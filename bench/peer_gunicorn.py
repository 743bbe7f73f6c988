"""gunicorn by itself: HUP to its master starts new workers on the same listener and ends the old ones."""

from __future__ import annotations

import signal

from app import Daemon, Site


class Gunicorn(Daemon):
    """The master runs in the foreground."""

    def __init__(self, site: Site) -> None:
        super().__init__(site, site.gunicorn("--bind", f"127.0.0.1:{site.port}"))

    def restart(self) -> None:
        """Nobody says when it is done: the new version does."""
        self.process.send_signal(signal.SIGHUP)
