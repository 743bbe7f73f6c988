"""Traefik: takes its files route by route, and by itself."""

import contextlib
import json
import re
import socket
from typing import ClassVar

from kit import HOST, Flaw, Place, Server

SECOND = "/metrics"
"""A route that a bad edit takes away."""
PUBLISH = """cp "$1" "$2/.new" && mv "$2/.new" "$2/site.yml" """


class Traefik(Server):
    name = "traefik"
    program = "servers/traefik"
    install = "make servers-all"
    version_of = ("version",)
    path = "/ping"
    expect: ClassVar = {Flaw.UNFOUND: {"partial"}}
    leave_out: ClassVar = {Flaw.FOUND: "it has no check"}
    own_words = "mv site.yml"

    def prepare(self, at: Place) -> None:
        """What it serves it gets from its own administration."""
        (at.dir / "dynamic").mkdir()
        static = {
            "entryPoints": {
                "web": {"address": f"{HOST}:{at.port}"},
                "admin": {"address": f"{HOST}:{at.other}"},
            },
            "providers": {
                "file": {"directory": f"{at.dir}/dynamic", "watch": True},
                "providersThrottleDuration": "200ms",
            },
            "metrics": {"prometheus": {"entryPoint": "admin"}},
            "ping": {"entryPoint": "admin"},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        }
        at.write("traefik.json.yml", json.dumps(static))

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        routers = {
            "main": {
                "rule": "PathPrefix(`/ping`)",
                "entryPoints": ["web"],
                "service": "back",
                "middlewares": ["word"],
            }
        }
        kind = "Nonsense" if flaw is Flaw.UNFOUND else "PathPrefix"
        routers["second"] = routers["main"] | {"rule": f"{kind}(`{SECOND}`)"}
        said = {"headers": {"customResponseHeaders": {"X-Word": word}}}
        back = {"loadBalancer": {"servers": [{"url": f"http://{HOST}:{at.other}"}]}}
        http = {"routers": routers, "middlewares": {"word": said}, "services": {"back": back}}
        text = at.write("site.yml", json.dumps({"http": http}))
        first = at.dir / "dynamic/site.yml"
        if not first.exists():
            first.write_text(text.read_text())

    def command(self, at: Place) -> list[str]:
        return [self.where(), f"--configFile={at.dir}/traefik.json.yml"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/site.yml"]

    def service(self, at: Place) -> str:
        return f'ready = {{ http = "http://{HOST}:{at.port}/ping" }}'

    def reload(self, at: Place) -> str:
        metric = "traefik_config_reloads_total"
        asked = (
            f'{{ http = "http://{HOST}:{at.other}/metrics", metric = "{metric}", changes = true }}'
        )
        return f'command = {json.dumps(self.own(at, 0))}\nconfirm = [{asked}, "delivered"]'

    def own(self, at: Place, pid: int) -> list[str]:
        return ["sh", "-c", PUBLISH, "publish", f"{at.dir}/site.yml", f"{at.dir}/dynamic"]

    def get(self, at: Place) -> str:
        """The word is in a header."""
        answer = b""
        with contextlib.suppress(OSError), socket.create_connection((HOST, at.port), 5) as s:
            s.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while chunk := s.recv(65536):
                answer += chunk
        found = re.search(rb"X-Word: (\w+)", answer)
        return found[1].decode() if found else ""


class TraefikVerified(Traefik):
    """The route that a bad edit takes away matters, so what was before is put back."""

    name = "traefik-verify"
    recipe = "traefik"
    own_words = ""
    restore = True
    expect: ClassVar = {Flaw.UNFOUND: {"rolled_back"}}

    def reload(self, at: Place) -> str:
        verify = f'verify = {{ http = "http://{HOST}:{at.port}{SECOND}", for = "500ms" }}'
        return f"{super().reload(at)}\n{verify}"
