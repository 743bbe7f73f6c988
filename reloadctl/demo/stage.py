"""The stage of the demo: which service plays, its file and its definition. Decides nothing about reloads; agentd does."""

from __future__ import annotations

import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stage:
    """One service in a directory of its own."""

    title: str
    file: Path
    port: int
    definition: str
    good: str
    """The file with ``@`` where the greeting goes."""
    bad: str

    def greet(self, greeting: str) -> None:
        """Write the file as an editor that knows its trade does: beside it, then renamed over it."""
        self._put(self.good.replace("@", greeting))

    def spoil(self) -> None:
        """Write what the service would not survive a restart with."""
        self._put(self.bad)

    def _put(self, text: str) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self.file)


def build(directory: Path) -> Stage:
    """Take nginx when the machine has it, else a small Python service."""
    port = _free_port()
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    return _nginx(directory, port, nginx) if nginx else _python(directory, port)


def _nginx(directory: Path, port: int, nginx: str) -> Stage:
    file = directory / "nginx.conf"
    temporary = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    good = f"""pid {directory}/nginx.pid;
error_log {directory}/error.log notice;
worker_processes 2;
events {{ worker_connections 256; }}
http {{
  access_log off;
{temporary}
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "@"; }} }}
}}
"""
    definition = f"""[service.web]
command = ["{nginx}", "-g", "daemon off;", "-p", "{directory}/", "-c", "{file}"]
recipe = "nginx"
inputs = ["{file}"]
"""
    bad = good.replace("location /", "locatoin /")
    return Stage("nginx", file, port, definition, good, bad)


def _python(directory: Path, port: int) -> Stage:
    file = directory / "greeting.json"
    program = f'"{sys.executable}", "{Path(__file__).with_name("service.py")}"'
    definition = f"""[service.web]
command = [{program}, "{file}", "{port}"]
inputs = ["{file}"]
ready = {{ tcp = "127.0.0.1:{port}" }}
[service.web.reload]
handle = "signal"
signal = "HUP"
check = [{program}, "--check", "{file}"]
confirm = [{{ log = "^configuration loaded" }}]
"""
    return Stage(
        "a small Python service (nginx is not installed)",
        file,
        port,
        definition,
        '{"greeting": "@"}\n',
        '{"greeting": "oops\n',
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        port: int = s.getsockname()[1]
        return port
