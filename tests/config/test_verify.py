"""``verify`` and ``on_failure`` as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.config.loader import ConfigErrors, Definitions, load
from agentd.core.spec import ExecProbe, HttpProbe, OnFailure, TcpProbe, Verify

URL = "http://127.0.0.1:8080/healthz"


def loaded(folder: Path, *lines: str, service: str = 'inputs = ["/etc/web.conf"]') -> Definitions:
    head = ("[service.web]", 'command = ["/bin/web"]', 'ready = "notify"', service)
    main = folder / "agentd.toml"
    main.write_text("\n".join((*head, "[service.web.reload]", *lines, "")))
    return load(main)


def mistake(folder: Path, line: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        loaded(folder, line)
    return str(caught.value).partition("agentd.toml:6: service.web.reload.")[2]


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        (f'{{ http = "{URL}" }}', Verify(HttpProbe(URL))),
        ('{ tcp = "[::1]:80", for = "1m" }', Verify(TcpProbe("::1", 80), 60.0)),
        (
            '{ exec = ["well"], for = "5s", interval = "1s", timeout = "3s", threshold = 1 }',
            Verify(ExecProbe(("well",), 3.0), 5.0, 1.0, 1),
        ),
    ],
)
def test_what_is_asked_and_for_how_long(tmp_path: Path, text: str, declared: Verify) -> None:
    (web,) = loaded(tmp_path, f"verify = {text}").services
    assert web.reload.verify == declared


def test_a_soak_is_seldom_and_may_be_long(tmp_path: Path) -> None:
    (web,) = loaded(tmp_path, f'soak = {{ http = "{URL}" }}').services
    assert (web.reload.soak, web.reload.verify) == (Verify(HttpProbe(URL), 600.0, 5.0, 3), None)
    (web,) = loaded(tmp_path, 'soak = { tcp = "h:1", for = "3d", threshold = 1 }').services
    assert web.reload.soak == Verify(TcpProbe("h", 1), 3 * 86400.0, 5.0, 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("verify = {}", "verify: expected exactly one of http, tcp, exec; got none"),
        (
            f'verify = {{ http = "{URL}", tcp = "h:1" }}',
            "verify: expected exactly one of http, tcp, exec; got http and tcp",
        ),
        (
            f'verify = {{ http = "{URL}", for = "61s" }}',
            "verify.for: is more than 60s; a reload is not held open longer, ask on with: soak = { ... }",
        ),
        (f'verify = {{ http = "{URL}", threshold = 0 }}', "verify.threshold: "),
        ("soak = {}", "soak: expected exactly one of http, tcp, exec; got none"),
        ('verify = { after = "1s" }', "verify.after: "),
        ('on_failure = "rollback"', "on_failure: "),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, line: str, said: str) -> None:
    assert mistake(tmp_path, line).startswith(said)


@pytest.mark.parametrize("word", ["keep", "restore", "force"])
def test_what_becomes_of_a_failure(tmp_path: Path, word: str) -> None:
    (web,) = loaded(tmp_path, f'on_failure = "{word}"').services
    assert web.reload.on_failure is OnFailure(word)
    assert web.reload.on_failure.restores == (word != "keep")


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("snapshot = false\ninputs = ['/etc/a']", "snapshot = false keeps no bytes"),
        ("", "inputs is empty"),
    ],
)
def test_nothing_to_put_back_is_said_when_it_is_loaded(
    tmp_path: Path, service: str, why: str
) -> None:
    found = loaded(tmp_path, 'on_failure = "restore"', service=service)
    assert any(why in str(warning) for warning in found.warnings)
    assert not any(why in str(w) for w in loaded(tmp_path, service=service).warnings)
