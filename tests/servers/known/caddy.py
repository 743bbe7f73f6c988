"""Caddy: starts the new before it stops the old, and answers when that is done."""

import json
from typing import ClassVar

from kit import HOST, Flaw, Place, Server


class Caddy(Server):
    name = "caddy"
    program = "servers/caddy"
    install = "make tests/servers"
    version_of = ("version",)
    allowed: ClassVar = dict.fromkeys(
        (*Flaw, "edit by watch"),
        "what it has accepted and not yet read it may close when it reloads, by itself too; replaced it loses none",
    )
    own_words = "caddy reload"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        handler = "no_such_handler" if flaw is Flaw.FOUND else "static_response"
        listen = [
            "fd/3" if at.held else f"{HOST}:{at.port}",
            *([f"{HOST}:{at.busy}"] if flaw is Flaw.UNFOUND else []),
        ]
        site = {
            "listen": listen,
            "routes": [{"handle": [{"handler": handler, "body": word}]}],
            "automatic_https": {"disable": True},
        }
        admin = {"listen": f"{HOST}:{at.other}", "disabled": at.held, "config": {"persist": False}}
        apps = {"http": {"servers": {"site": site}}}
        at.write("caddy.json", json.dumps({"admin": admin, "apps": apps}))

    def command(self, at: Place) -> list[str]:
        return [self.where(), "run", "--config", f"{at.dir}/caddy.json"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/caddy.json"]

    def env(self, at: Place) -> dict[str, str]:
        return dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(at.dir))

    def service(self, at: Place) -> str:
        return f'ready = {{ http = "http://{HOST}:{at.other}/config/" }}'

    def replace(self, at: Place) -> str | None:
        """By its recipe, when agentd holds the socket. Two generations cannot have the same administration."""
        return self.definition(at).replace(
            self.service(at),
            f"""sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]
ready = {{ http = "http://{HOST}:{at.port}/" }}""",
        )

    def own(self, at: Place, pid: int) -> list[str]:
        return [self.where(), "reload", "--config", f"{at.dir}/caddy.json"]
