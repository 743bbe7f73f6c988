"""rotel, a collector for OTLP: takes its configuration when it starts, and ends of HUP."""

import json
from typing import ClassVar

from kit import HOST, VENVS, Flaw, Place, Server, ask
from speech import Http

CHECK = """timeout 1 env ROTEL_OTLP_GRPC_ENDPOINT=127.0.0.2:$1 ROTEL_OTLP_HTTP_ENDPOINT=127.0.0.2:$2 "$0" start
test $? = 124"""


class Rotel(Server):
    name = "rotel"
    env_file = "rotel.env"
    program = "servers/rotel"
    first = True
    install = "make tests/servers"
    version_of = ("version",)
    path = "POST /v1/metrics"
    expect: ClassVar = {Flaw.UNFOUND: {"rolled_back"}}
    allowed: ClassVar = dict.fromkeys(
        (*Flaw, "edit by watch"),
        "it binds by itself and is restarted: clients are refused meanwhile",
    )
    own_words = "kill -HUP"

    def where(self) -> str:
        """The wheel's own rotel is a module around it."""
        found = list(VENVS.glob("servers/lib/*/site-packages/rotel/rotel-agent"))
        return str(found[0]) if found else ""

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        port = at.busy if flaw is Flaw.UNFOUND else at.port
        exporter = "nonsense" if flaw is Flaw.FOUND else "blackhole"
        at.write(
            "rotel.env",
            f"""ROTEL_OTLP_HTTP_ENDPOINT={HOST}:{port}
ROTEL_OTLP_GRPC_ENDPOINT={HOST}:{at.other}
ROTEL_EXPORTER={exporter}
ROTEL_OTLP_RECEIVER_TRACES_HTTP_PATH=/{word}
""",
        )

    def command(self, at: Place) -> list[str]:
        return [self.where(), "start"]

    def definition(self, at: Place, more: str = "") -> str:
        return f"""[service.web]
recipe = "rotel"
command = {json.dumps(self.command(at))}
env_file = "{at.dir}/rotel.env"
inputs = {json.dumps(self.inputs(at))}
ready = {{ tcp = "{HOST}:{at.port}" }}
{more}
[service.web.reload]
on_failure = "restore"
check = {json.dumps(["sh", "-c", CHECK, self.where(), str(at.port), str(at.other)])}
"""

    def headers(self) -> list[str]:
        return ["Content-Type: application/x-protobuf"]

    def get(self, at: Place) -> str:
        """Which of the paths it takes traces on."""
        words = (f"word{n}" for n in range(9, 0, -1))
        found = (
            w for w in words if ask(at.port, Http(HOST, f"POST /{w}", self.headers())).status == 200
        )
        return next(found, "")
