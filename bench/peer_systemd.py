"""systemd with socket activation: ``systemctl restart`` of a service whose socket systemd holds. In a box of its own, as root."""

from __future__ import annotations

import time

from app import APPS, Site
from bell import until
from box import Box

TARGET = """[Unit]
DefaultDependencies=no
Requires=app.socket
"""


class Systemd:
    """A socket, a service of ``Type=notify``, and nothing else."""

    def __init__(self, site: Site) -> None:
        self.site = site
        command = " ".join(site.uvicorn("--fd", "3"))
        units = {
            "bench.target": TARGET,
            "app.socket": f"""[Unit]
DefaultDependencies=no
[Socket]
ListenStream=127.0.0.1:{site.port}
""",
            "app.service": f"""[Unit]
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
Type=notify
Environment=APP_FILE={site.file}
ExecStart={command}
StandardOutput=null
StandardError=null
""",
        }
        seen = (APPS, site.dir, site.place.environment())
        self.box = Box(site.place.directory(), units, seen)

    def start(self) -> float:
        """Seconds until the app answers, woken by the first connection."""
        began = time.monotonic()
        try:
            self.box.up()
            until(lambda: self.box.alive() and self.site.version() == "0", "the boxed app answers")
        except BaseException:
            self.box.down()
            raise
        return time.monotonic() - began

    def restart(self) -> None:
        """As every unit is restarted."""
        self.site.run(*self.box.inside("systemctl", "restart", "app.service"))

    def stop(self) -> float:
        """The whole box."""
        began = time.monotonic()
        self.box.down()
        return time.monotonic() - began
