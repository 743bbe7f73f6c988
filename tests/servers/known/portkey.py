"""The Portkey gateway: a program for Node, which ends of HUP."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import ClassVar

from kit import HOST, VENVS, Flaw, Place, Server

WHY = "it binds by itself and is restarted: clients are refused meanwhile"


class Portkey(Server):
    name = "portkey"
    env_file = "gateway.env"
    program = "node"
    install = "make servers-all, where there is npm"
    own_words = "kill -HUP"
    expect: ClassVar = {Flaw.UNFOUND: {"rolled_back"}}
    allowed: ClassVar = dict.fromkeys((*Flaw, "edit by watch"), WHY)
    leave_out: ClassVar = {Flaw.FOUND: "it has no check"}

    def where(self) -> str:
        script = VENVS / "node/node_modules/@portkey-ai/gateway/build/start-server.js"
        return str(script) if script.exists() and shutil.which("node") else ""

    def version(self) -> str:
        told = json.loads((Path(self.where()).parent.parent / "package.json").read_text())
        return str(told["version"])

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        more = "NODE_OPTIONS=--nonsense\n" if flaw is Flaw.UNFOUND else ""
        at.write("gateway.env", f"GATEWAY_WORD={word}\n{more}")

    def command(self, at: Place) -> list[str]:
        node = shutil.which("node") or "node"
        return [node, self.where(), f"--port={at.port}", "--headless"]

    def definition(self, at: Place, more: str = "") -> str:
        return f"""[service.web]
recipe = "portkey"
command = {json.dumps(self.command(at))}
env_file = "{at.dir}/gateway.env"
inputs = {json.dumps(self.inputs(at))}
ready = {{ http = "http://{HOST}:{at.port}/" }}
{more}
[service.web.reload]
on_failure = "restore"
"""

    def get(self, at: Place) -> str:
        """It does not say; what it was started with is in its environment."""
        if not super().get(at):
            return ""
        mark = f"--port={at.port}\0".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "cmdline").read_bytes():
                    environment = (process / "environ").read_bytes().decode().split("\0")
                    return next((v for v in environment if v.startswith("GATEWAY_WORD=")), "")
        return ""
