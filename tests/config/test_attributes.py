"""The table ``attributes``: what can be named, what an expression is, and what must not leave the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.config.attributes import ATTRIBUTES
from agentd.config.loader import ConfigErrors, load
from agentd.config.problems import Wrong
from agentd.core.spec import AttributeKey

PLACE = {"file": "/etc/llm.yaml", "path": "a[0].b"}


def mistake(value: object) -> str:
    with pytest.raises(Wrong) as caught:
        ATTRIBUTES.parse(value)
    ((_, message),) = caught.value.faults
    return message


def test_names_files_and_expressions() -> None:
    assert ATTRIBUTES.parse({"model.version": PLACE}) == (
        AttributeKey("model.version", "/etc/llm.yaml", "a[0].b"),
    )


@pytest.mark.parametrize("name", ["model", "Model.version", "a..b", "a.b c", "", ".a"])
def test_what_cannot_be_a_name(name: str) -> None:
    assert "cannot be an attribute; expected lower case words" in mistake({name: PLACE})


@pytest.mark.parametrize("name", ["config.version", "reload.verdict", "service.name"])
def test_the_agents_own_words_are_its_own(name: str) -> None:
    assert mistake({name: PLACE}).endswith("choose another name")


def test_what_cannot_be_read() -> None:
    assert "is none of .json, .toml" in mistake({"a.b": {**PLACE, "file": "/etc/llm.conf"}})
    assert "is no JMESPath expression" in mistake({"a.b": {**PLACE, "path": "a["}})
    many = {f"a.b{n}": PLACE for n in range(17)}
    assert mistake(many) == "are 17; at most 16"


def definitions(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "agentd.toml"
    service = ["[service.llm]", 'command = ["/bin/true"]', 'ready = { after = "1s" }']
    reload = ["[service.llm.reload]", 'confirm = ["delivered"]']
    named = ["[service.llm.attributes]", '"a.b" = { file = "/etc/llm/c.yaml", path = "a" }']
    file.write_text("\n".join([*service, *lines, *reload, *named]))
    return file


def test_a_secret_does_not_become_an_attribute(tmp_path: Path) -> None:
    file = definitions(tmp_path, 'inputs = ["/etc/llm"]', 'secret = ["/etc/llm/*.yaml"]')
    with pytest.raises(ConfigErrors) as caught:
        load(file)
    (problem,) = caught.value.errors
    assert problem.key == 'service.llm.attributes."a.b"'
    assert problem.line
    assert problem.message == '"/etc/llm/c.yaml" is secret; its values do not leave this host'


@pytest.mark.parametrize(
    ("inputs", "warned"),
    [("/etc/llm", 0), ("/etc/llm/*.yaml", 0), ("/etc/llm/c.yaml", 0), ("/etc/x", 1)],
)
def test_a_file_that_is_no_input_is_warned_of(tmp_path: Path, inputs: str, warned: int) -> None:
    found = load(definitions(tmp_path, f'inputs = ["{inputs}"]'))
    said = [w for w in found.warnings if "is not among the inputs; no reload will have it" in w]
    assert len(said) == warned
