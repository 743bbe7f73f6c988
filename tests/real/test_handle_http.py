"""Handle ``http``: Caddy by its administration, and a service that answers as it is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from apps_run import HOME, Told, get
from host import HERE, Host, free_port, host
from seen import spans

CADDY = HERE.parent.parent / ".venv/servers/bin/caddy"
has_caddy = pytest.mark.skipif(not CADDY.exists(), reason="make tests/servers installs caddy")


class Caddy:
    """A real Caddy that reads no file after its start: it is given its configuration by a request."""

    def __init__(self, directory: Path) -> None:
        self.port, self.admin = free_port(), free_port()
        self.path = directory / "caddy.json"
        self.serve("one")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.admin}"

    def serve(self, word: str, handler: str = "static_response") -> None:
        route = {"handle": [{"handler": handler, "body": word}]}
        site = {"listen": [f"127.0.0.1:{self.port}"], "routes": [route]}
        site["automatic_https"] = {"disable": True}
        admin = {"listen": f"127.0.0.1:{self.admin}", "config": {"persist": False}}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"admin": admin, "apps": {"http": {"servers": {"s": site}}}}))
        new.rename(self.path)

    def definition(self, request: str) -> str:
        return f"""[service.web]
command = ["{CADDY}", "run", "--config", "@DIR@/caddy.json"]
env = {{ HOME = "@DIR@", XDG_CONFIG_HOME = "@DIR@", XDG_DATA_HOME = "@DIR@" }}
inputs = ["@DIR@/caddy.json"]
ready = {{ http = "{self.url}/config/" }}
[service.web.reload]
handle = "http"
request = {{ headers = {{ Content-Type = "application/json" }}, body = "@DIR@/caddy.json", {request} }}
confirm = ["reply"]
"""

    def etag(self) -> str:
        there = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        with contextlib.closing(there):
            there.request("GET", "/config/")
            return str(there.getresponse().headers["Etag"])


@has_caddy
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param('url = "@URL@/load"', id="load"),
        pytest.param(
            'url = "@URL@/config/", method = "PATCH", match = "@URL@/config/"', id="patch if match"
        ),
    ],
)
def test_caddy_is_given_its_configuration_and_its_reason_is_told(
    request_: str, tmp_path: Path
) -> None:
    caddy = Caddy(tmp_path)
    definition = caddy.definition(request_.replace("@URL@", caddy.url))
    with host(tmp_path, definition) as running:
        before = running.ready("web")["instances"][0]["pid"]
        assert get(caddy.port) == "one"
        first = caddy.etag()
        for word in ("two", "three"):
            caddy.serve(word)
            code, reload = running.ctl("reload", "web")
            assert (code, reload["verdict"]) == (0, "applied"), reload
            assert (reload["handle"], reload["confirmation"]) == ("http", "reply")
            assert reload["confirmation_grade"] == "observed", "no recipe vouches for its yes"
            assert get(caddy.port) == word
        assert caddy.etag() != first
        live = running.service("web")["config"]["live"]
        caddy.serve("four", handler="no_such_handler")
        code, reload = running.ctl("reload", "web")
        assert code == 151, reload
        assert (reload["verdict"], reload["error"]) in (("refused", "400"), ("refused", "500"))
        assert any("no_such_handler" in line for line in reload["output"]), reload
        assert get(caddy.port) == "three"
        found = running.service("web")
        assert (found["config"]["live"], found["instances"][0]["pid"]) == (live, before)


class Admin:
    """The service of ``apps/admin.py``."""

    def __init__(self, directory: Path) -> None:
        self.told = Told(directory)
        self.port = free_port()
        self.asked = self.told.path.with_suffix(".asked")
        self.where = f"--port={self.port}"
        self.url = f"http://127.0.0.1:{self.port}/-/reload"

    def definition(self, *more: str, timeout: str = "5s", tls: str = "") -> str:
        words = [sys.executable, "-S", f"{HOME}/admin.py", self.where, *([tls] if tls else [])]
        return "\n".join(
            (
                "[service.app]",
                f"command = {json.dumps(words)}",
                'env = { APP_FILE = "@DIR@/app.json" }',
                'inputs = ["@DIR@/app.json"]',
                'ready = "notify"',
                "[service.app.reload]",
                'handle = "http"',
                f'timeout = "{timeout}"',
                'confirm = ["reply"]',
                "request = { " + ", ".join((f'url = "{self.url}"', *more)) + " }",
                "",
            )
        )


@contextlib.contextmanager
def serving(directory: Path, *more: str, timeout: str = "5s") -> Iterator[tuple[Host, Admin]]:
    server = Admin(directory)
    with host(directory, server.definition(*more, timeout=timeout)) as running:
        running.ready("app")
        yield running, server


def reloaded(running: Host, server: Admin, **said: Any) -> tuple[int, Any]:
    server.told(version=2, **said)
    return running.ctl("reload", "app")


def test_a_reload_endpoint_is_asked_once_with_our_context(tmp_path: Path) -> None:
    with serving(tmp_path, 'headers = { X-Token = "open sesame" }') as (running, server):
        code, reload = reloaded(running, server)
        assert (code, reload["verdict"], reload["confirmation"]) == (0, "applied", "reply"), reload
        asked = json.loads(server.asked.read_text())
        step = spans(running, reload["reload_id"])["POST"]
        expected = f"00-{reload['trace_id']}-{step['spanId']}-01"
        assert asked["headers"]["traceparent"] == expected
        assert asked["headers"]["x-token"] == "open sesame"
        assert asked["path"] == "/-/reload"
        assert "sesame" not in json.dumps(step)


def test_an_answer_that_is_no_yes_is_refused_with_its_body(tmp_path: Path) -> None:
    with serving(tmp_path) as (running, server):
        before = running.service("app")
        code, reload = reloaded(running, server, status=500, body="rule 7: no such metric")
        assert (code, reload["verdict"], reload["error"]) == (151, "refused", "500"), reload
        assert reload["output"] == ["rule 7: no such metric"]
        assert running.service("app")["config"]["live"] == before["config"]["live"]
        assert spans(running, reload["reload_id"])["POST"]["said"]["error.type"] == "500"


def test_the_status_that_was_declared_is_the_yes_and_others_are_none(tmp_path: Path) -> None:
    with serving(tmp_path, "expect = [202]") as (running, server):
        code, reload = reloaded(running, server, status=202)
        assert (code, reload["verdict"]) == (0, "applied"), reload
        code, reload = reloaded(running, server, status=200)
        assert (code, reload["verdict"], reload["error"]) == (151, "refused", "200"), reload


@pytest.mark.parametrize(
    "said",
    [pytest.param({"hang": True}, id="hangs"), pytest.param({"close": True}, id="closes")],
)
def test_no_answer_is_no_proof(said: dict[str, Any], tmp_path: Path) -> None:
    with serving(tmp_path, timeout="500ms") as (running, server):
        before = running.pid("app")
        code, reload = reloaded(running, server, **said)
        assert (code, reload["verdict"]) == (153, "timed_out"), reload
        assert 500 <= reload["duration_ms"] < 5000
        found = running.service("app")
        assert (found["phase"], found["instances"][0]["pid"]) == ("ready", before)
        assert found["config"]["live"] is None, "what it runs is not known"


def test_where_nobody_listens_nothing_was_touched(tmp_path: Path) -> None:
    server = Admin(tmp_path)
    server.url = f"http://127.0.0.1:{free_port()}/-/reload"
    with host(tmp_path, server.definition()) as running:
        before = running.ready("app")
        code, reload = reloaded(running, server)
        assert (code, reload["verdict"]) == (150, "rejected"), reload
        assert reload["error"] == "connect_failed"
        assert "connection refused" in reload["message"]
        assert running.service("app")["config"]["live"] == before["config"]["live"]


def test_a_body_goes_along_only_on_what_was_there_before(tmp_path: Path) -> None:
    server = Admin(tmp_path)
    config = f"http://127.0.0.1:{server.port}/config"
    server.url = config
    more = ('method = "PUT"', f'match = "{config}"', 'body = "@DIR@/app.json"')
    with host(tmp_path, server.definition(*more)) as running:
        running.ready("app")
        code, reload = reloaded(running, server)
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert json.loads(server.asked.read_text())["body"] == server.told.path.read_text()
        assert get(server.port, "/config") == server.told.path.read_text()
        code, reload = reloaded(running, server, stirred=True)
        assert (code, reload["verdict"], reload["error"]) == (151, "refused", "412"), reload
        assert reload["output"] == ["it is another one by now"]


def test_a_unix_socket(tmp_path: Path) -> None:
    server = Admin(tmp_path)
    path = tmp_path / "admin.sock"
    server.where = f"--unix={path}"
    server.url = f"http+unix://{quote(str(path), safe='')}/-/reload"
    with host(tmp_path, server.definition()) as running:
        running.ready("app")
        code, reload = reloaded(running, server)
        assert (code, reload["verdict"]) == (0, "applied"), reload
        assert json.loads(server.asked.read_text())["headers"]["host"] == "localhost"


def test_https_to_whom_the_host_trusts_and_to_nobody_else(tmp_path: Path) -> None:
    server = Admin(tmp_path)
    server.url = server.url.replace("http:", "https:")
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN=x -addext subjectAltName=IP:127.0.0.1 -keyout {tmp_path}/key -out {tmp_path}/crt "
        f"&& cat {tmp_path}/key {tmp_path}/crt > {tmp_path}/both",
        shell=True,
        check=True,
        capture_output=True,
    )
    definition = server.definition(tls=f"--tls={tmp_path}/both")
    with host(tmp_path, definition) as running:
        before = running.ready("app")
        code, reload = reloaded(running, server)
        assert (code, reload["verdict"]) == (150, "rejected"), reload
        assert "self-signed certificate" in reload["message"]
        assert running.service("app")["config"]["live"] == before["config"]["live"]
        assert not server.asked.exists()
    with host(tmp_path, definition, SSL_CERT_FILE=str(tmp_path / "crt")) as running:
        running.ready("app")
        code, reload = reloaded(running, server)
        assert (code, reload["verdict"]) == (0, "applied"), reload
