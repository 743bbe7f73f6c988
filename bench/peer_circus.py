"""circus with a socket of its own, which its watchers inherit: ``circusctl reload`` and ``circusctl restart``."""

from __future__ import annotations

from app import Daemon, Site, environment


class Circus(Daemon):
    """circusd with one watcher of one uvicorn."""

    def __init__(self, site: Site, verb: str) -> None:
        self.python = environment(site.place, "circus")
        self.verb = verb
        self.endpoint = f"ipc://{site.dir}/endpoint"
        file = site.dir / "circus.ini"
        command = " ".join(site.uvicorn("--fd", "$(circus.sockets.http)"))
        file.write_text(f"""[circus]
endpoint = {self.endpoint}
pubsub_endpoint = ipc://{site.dir}/pubsub
[watcher:app]
cmd = {command}
use_sockets = True
copy_env = True
[socket:http]
host = 127.0.0.1
port = {site.port}
""")
        super().__init__(site, [self.python, "-m", "circus.circusd", str(file)])

    def restart(self) -> None:
        """``--waiting``: returns when it is done."""
        ctl = (self.python, "-m", "circus.circusctl", "--endpoint", self.endpoint)
        self.site.run(*ctl, self.verb, "app", "--waiting")


def reload(site: Site) -> Circus:
    """The new one is spawned first, then the oldest is stopped."""
    return Circus(site, "reload")


def restart(site: Site) -> Circus:
    """Stop, then start; the socket stays."""
    return Circus(site, "restart")
