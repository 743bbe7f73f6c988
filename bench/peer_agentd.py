"""agentd, handle ``replace``: the next generation is started beside the old one, and new connections move at one instant."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from app import APPS, Site, Unavailable
from bell import ENV
from servers import Agent, Service

DRAIN = "300ms"
"""The kept-alive clients of the load never leave by themselves; the peers tell the old process to end at once."""


@dataclass(frozen=True, slots=True)
class _Replaced(Service):
    """The app as a service that holds a socket."""

    def toml(self) -> str:
        """The service in agentd's file."""
        return f"[service.{self.name}]\ncommand = {json.dumps(self.command)}\n{self.agentd}"


class Replace(Agent):
    """One app under agentd."""

    def __init__(self, site: Site, command: list[str], ready: str) -> None:
        more = f"""env = {{ APP_FILE = "{site.file}" }}
inputs = ["{site.file}"]
sockets = [{{ name = "http", listen = "127.0.0.1:{site.port}" }}]
ready = {ready}
drain_timeout = "{DRAIN}"
[service.app.reload]
handle = "replace"
"""
        super().__init__(site.place.bin, site.dir, [_Replaced("app", tuple(command), more)])
        self.site = site
        check = [*self.command(), "--check"]
        got = subprocess.run(check, env=ENV, capture_output=True, text=True, check=False)
        if got.returncode:
            last = (got.stdout + got.stderr).strip().splitlines()[-1]
            raise Unavailable(last.partition(": ")[2])

    def restart(self) -> None:
        """As an operator would."""
        self.site.run(*self.ctl("reload", "app"))


def plain(site: Site) -> Replace:
    """The threaded Python server; it says READY itself."""
    return Replace(site, [site.place.python, str(APPS / "plain.py")], '"notify"')


def uvicorn(site: Site) -> Replace:
    """The app says READY as its lifespan begins."""
    return Replace(site, site.uvicorn("--fd", "3"), '"notify"')


def gunicorn(site: Site) -> Replace:
    """Asked by HTTP: gunicorn says READY before it has a worker."""
    ready = f'{{ http = "http://127.0.0.1:{site.port}/" }}'
    return Replace(site, site.gunicorn(), ready)
