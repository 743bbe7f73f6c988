"""An AI gateway under load: which model and which prompt template ran before and after is on the reload's spans."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

import pytest
from apps_run import HOME, get
from host import free_port, host, load, until

CONFIG = """
model_list:
- model_name: fast
  litellm_params: {{model: {model}, api_key: not-to-be-told}}
prompt: {{id: triage, version: {prompt}}}
"""
LITELLM = Path(__file__).parent.parent.parent / ".venv/litellm/bin/uvicorn"
FIRST, SWAPPED, REWORDED = (
    ("openai/small-1", "v6"),
    ("openai/small-2", "v6"),
    ("openai/small-2", "v7"),
)


def definition(port: int) -> str:
    return f"""[service.llm]
command = ["{sys.executable}", "{HOME}/gateway.py", "{port}", "@DIR@/llm.yaml"]
inputs = ["@DIR@/llm.yaml"]
ready = "notify"
[service.llm.reload]
handle = "notify"
[service.llm.attributes]
"model.version" = {{ file = "@DIR@/llm.yaml", path = "model_list[?model_name=='fast'].litellm_params.model | [0]" }}
"prompt.template.id" = {{ file = "@DIR@/llm.yaml", path = "prompt.id" }}
"prompt.template.version" = {{ file = "@DIR@/llm.yaml", path = "prompt.version" }}
"""


def write(directory: Path, model: str, prompt: str) -> None:
    new = directory / "llm.new"
    new.write_text(CONFIG.format(model=model, prompt=prompt))
    new.rename(directory / "llm.yaml")


def spans(document: Any) -> dict[str, dict[str, Any]]:
    """The attributes of each span, by its name, whichever resource it belongs to."""
    return {
        span["name"]: {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
        for whole in document["resourceSpans"]
        for scope in whole["scopeSpans"]
        for span in scope["spans"]
    }


def test_a_model_is_swapped_and_a_prompt_reworded_under_load(tmp_path: Path) -> None:
    port = free_port()
    write(tmp_path, *FIRST)
    with host(tmp_path, definition(port)) as running:
        running.ready("llm")
        with load(port, 200, "--keep", "5", "--pause", "20") as counts:
            for before, after in ((FIRST, SWAPPED), (SWAPPED, REWORDED)):
                write(tmp_path, *after)
                code, reload = running.ctl("reload", "llm")
                assert (code, reload["verdict"]) == (0, "applied"), reload
                assert get(port) == " ".join(after)
                said = {a["name"]: (a["before"], a["after"]) for a in reload["attributes"]}
                assert said["model.version"] == (before[0], after[0])
                assert said["prompt.template.version"] == (before[1], after[1])
                made = spans(json.loads(running.text("show", reload["reload_id"], "--otlp").stdout))
                for name in ("reload llm", "reload.instance"):
                    assert made[name]["model.version"] == made[name]["gen_ai.request.model"]
                    assert made[name]["model.version"] == after[0]
                    assert made[name]["model.previous_version"] == before[0]
                    assert made[name]["gen_ai.prompt.version"] == after[1]
                    assert made[name]["prompt.template.previous_version"] == before[1]
                    assert made[name]["gen_ai.prompt.name"] == "triage"
        bodies = counts.pop("bodies")
        assert counts["bad"] == counts["kept"]["bad"] == {}
        assert set(bodies) == {" ".join(one) for one in (FIRST, SWAPPED, REWORDED)}
        running.kill()
        running.start()
        write(tmp_path, "]", "v8")
        code, reload = running.ctl("reload", "llm")
        assert (code, reload["verdict"]) == (151, "refused"), reload
        said = {a["name"]: (a["before"], a["after"]) for a in reload["attributes"]}
        assert said["model.version"] == (REWORDED[0], None), "known over the agent's own death"
        made = spans(json.loads(running.text("show", reload["reload_id"], "--otlp").stdout))
        assert made["reload llm"]["model.version"] == REWORDED[0], "the old one is live"
        assert "not-to-be-told" not in running.text("export").stdout


@pytest.mark.skipif(not LITELLM.exists(), reason="LiteLLM is not installed: make tests/servers")
def test_a_model_behind_litellm_is_swapped_under_load(tmp_path: Path) -> None:
    """It reads its file when it starts, for ten seconds: the next generation does, and nobody waits for it."""
    port, key = free_port(), f"sk-{secrets.token_hex(32)}"

    def models(name: str) -> None:
        """LiteLLM lists a model by the name that clients use; what is behind it only its file says."""
        params = {"model": f"openai/{name}", "api_key": key, "mock_response": "hello"}
        told = {
            "model_list": [{"model_name": name, "litellm_params": params}],
            "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
        }
        new = tmp_path / "config.new"
        new.write_text(json.dumps(told))
        new.rename(tmp_path / "config.yaml")

    models("small-1")
    gateway = f"""[service.gateway]
command = ["{LITELLM}", "--fd", "3", "--log-level", "warning", "litellm.proxy.proxy_server:app"]
recipe = "litellm"
inputs = ["@DIR@/config.yaml"]
env = {{ CONFIG_FILE_PATH = "@DIR@/config.yaml", LITELLM_MASTER_KEY = "{key}", LITELLM_LOCAL_MODEL_COST_MAP = "True" }}
sockets = [{{ name = "http", listen = "127.0.0.1:{port}" }}]
ready = {{ http = "http://127.0.0.1:{port}/health/liveliness" }}
[service.gateway.attributes]
"model.version" = {{ file = "@DIR@/config.yaml", path = "model_list[0].litellm_params.model" }}
"""
    with host(tmp_path, gateway) as running:
        until(lambda: running.service("gateway")["config"]["live"], "it is ready", 120)
        asking = ("--keep", "4", "--path", "/v1/models", "--header", f"Authorization: Bearer {key}")
        with load(port, 20, *asking) as counts:
            models("small-2")
            code, reload = running.ctl("reload", "gateway")
            assert (code, reload["verdict"]) == (0, "applied"), reload
        bodies = counts.pop("bodies")
        assert counts["bad"] == counts["kept"]["bad"] == {}
        assert {name for name in ("small-1", "small-2") if any(name in b for b in bodies)} == {
            "small-1",
            "small-2",
        }
        made = spans(json.loads(running.text("show", reload["reload_id"], "--otlp").stdout))
        told = made["reload gateway"]
        assert (told["model.previous_version"], told["model.version"]) == (
            "openai/small-1",
            "openai/small-2",
        )
        assert told["gen_ai.request.model"] == "openai/small-2"
        assert key not in running.text("export").stdout
