"""LiteLLM: reads its file when it starts, which takes it ten seconds and more; ends of HUP."""

import json
import secrets
from typing import ClassVar

from kit import HOST, VENVS, Flaw, Place, Server

KEY = f"sk-{secrets.token_hex(32)}"
SLOW = "it starts for many seconds; the row that is replaced shows the same"


class LiteLLM(Server):
    """On a socket that agentd holds, by the ASGI server that it is itself run by."""

    name = "litellm"
    program = "litellm/litellm"
    first = True
    install = "make tests/servers"
    path = "/v1/models"
    per_second = 20.0
    kept = 4
    patience = 90.0
    edits = 1
    leave_out: ClassVar = {Flaw.FOUND: "it has no check", "edit by watch": SLOW}

    def version(self) -> str:
        """From what is installed: to ask it takes as long as a start."""
        found = VENVS.glob("litellm/lib/*/site-packages/litellm-*.dist-info")
        names = [path.name for path in found if path.name.startswith("litellm-1")]
        return names[0].removesuffix(".dist-info").partition("-")[2] if names else "?"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        """A key that everybody knows is refused when it starts."""
        model = {"model": "openai/fake", "api_key": "x", "mock_response": word}
        key = "sk-1234" if flaw is Flaw.UNFOUND else "os.environ/LITELLM_MASTER_KEY"
        at.write(
            "config.yaml",
            json.dumps(
                {
                    "model_list": [{"model_name": word, "litellm_params": model}],
                    "general_settings": {"master_key": key},
                }
            ),
        )

    def command(self, at: Place) -> list[str]:
        uvicorn = str(VENVS / "litellm/bin/uvicorn")
        words = ["--fd", "3", "--log-level", "warning", "litellm.proxy.proxy_server:app"]
        return [uvicorn, *words]

    def env(self, at: Place) -> dict[str, str]:
        return {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MASTER_KEY": KEY,
            "CONFIG_FILE_PATH": f"{at.dir}/config.yaml",
        }

    def headers(self) -> list[str]:
        return [f"Authorization: Bearer {KEY}"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/config.yaml"]

    def service(self, at: Place) -> str:
        return f"""sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]
ready = {{ http = "http://{HOST}:{at.port}/health/liveliness" }}"""


class LiteLLMAlone(LiteLLM):
    """As most people run it."""

    name = "litellm-plain"
    recipe = "litellm"
    own_words = "kill -HUP"
    leave_out: ClassVar = {**LiteLLM.leave_out, Flaw.UNFOUND: SLOW}
    allowed: ClassVar = {Flaw.NONE: "it binds by itself and is restarted: nobody answers meanwhile"}

    def command(self, at: Place) -> list[str]:
        where = ["--config", f"{at.dir}/config.yaml", "--host", HOST, "--port", str(at.port)]
        return [self.where(), *where]

    def service(self, at: Place) -> str:
        return f'ready = {{ http = "http://{HOST}:{at.port}/health/liveliness" }}'


class LiteLLMGunicorn(LiteLLM):
    """By its own command on a socket that agentd holds: gunicorn finds that by itself."""

    name = "litellm-gunicorn"
    recipe = "litellm"
    first = False
    own_words = "kill -HUP"
    lingers = 20.0

    def command(self, at: Place) -> list[str]:
        where = ["--config", f"{at.dir}/config.yaml", "--host", HOST, "--port", str(at.port)]
        return [self.where(), *where, "--run_gunicorn"]
