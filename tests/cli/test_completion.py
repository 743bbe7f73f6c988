"""The completion scripts: they are what the table says, and real shells offer what can be typed."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from reloadctl import declare
from reloadctl.commands.completion import SHELLS
from tests.cli import shells
from tests.cli.canned import HOLD, ROOT, Canned, environment, problem, reply
from tests.cli.documents import reload, service, status

FILES = {
    "bash": ROOT / "completions" / "reloadctl.bash",
    "zsh": ROOT / "completions" / "_reloadctl",
    "fish": ROOT / "completions" / "reloadctl.fish",
}
SERVICES = reply(status(service("web"), service("db.main")))
Ask = Callable[..., list[str]]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_files_are_what_the_table_says(shell: str) -> None:
    made = import_module(f"reloadctl.shells.{shell}").script()
    how = f"reloadctl completion {shell} > {FILES[shell].relative_to(ROOT)}"
    assert FILES[shell].read_text() == made, f"print it anew: {how}"


def test_nothing_else_is_in_the_folder() -> None:
    assert sorted((ROOT / "completions").iterdir()) == sorted(FILES.values())


@pytest.fixture(params=SHELLS)
def offered(request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    """``offered("reloadctl hist", agent)``: what this shell offers there."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed; on Debian: apt-get install {shell}")
    program = tmp_path / "bin" / "reloadctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reloadctl "$@"\n')
    program.chmod(0o755)

    def ask(line: str, agent: Canned | None = None, **env: str) -> list[str]:
        path = f"{program.parent}:{environment()['PATH']}"
        socket = agent.path if agent else str(tmp_path / "none.sock")
        around = environment(PATH=path, AGENTD_SOCKET=socket, HOME=str(tmp_path), **env)
        if shell == "bash":
            words = [word for word in re.split(r"(=)|\s", line) if word is not None]
            return shells.bash(FILES[shell], _unsplit(words), around)
        if shell == "fish":
            return shells.fish(FILES[shell], line, around)
        return shells.zsh(FILES[shell], line, around, tmp_path)

    return ask


def _unsplit(words: list[str]) -> list[str]:
    """Without the empty words between two separators; the last one may be empty, it is being typed."""
    return [word for n, word in enumerate(words) if word or n + 1 == len(words)]


def test_verbs(offered: Ask) -> None:
    assert set(offered("reloadctl ")) >= set(declare.VERBS)
    assert set(offered("reloadctl re")) == {"reload", "restart", "release"}
    assert set(offered("reloadctl --color always sto")) == {"stop"}


def test_options_of_a_verb_and_of_no_other(offered: Ask) -> None:
    found = set(offered("reloadctl history --"))
    assert {"--number", "--verdict", "--json"} <= {word.rstrip("=") for word in found}
    assert "--all" not in found
    assert "--if-changed" in offered("reloadctl reload web --if")


@pytest.mark.parametrize("line", ["reloadctl --color a", "reloadctl status --color a"])
def test_the_words_an_option_takes(offered: Ask, line: str) -> None:
    assert set(offered(line)) == {"auto", "always"}


def test_the_words_of_a_joined_option(offered: Ask) -> None:
    found = offered("reloadctl history --verdict=re")
    assert {word.removeprefix("--verdict=") for word in found} == {"rejected", "refused"}


def test_nothing_is_guessed_for_a_number(offered: Ask) -> None:
    assert offered("reloadctl history -n ") == []


def test_services_come_from_the_agent(offered: Ask, agent: Callable[..., Canned]) -> None:
    asked = agent(SERVICES)
    assert set(offered("reloadctl reload ", asked)) == {"web", "db.main"}
    assert set(offered("reloadctl reload web d", asked)) == {"db.main"}
    assert {request.path for request in asked.requests} == {"/v1/status"}


def test_the_socket_on_the_line_is_asked(offered: Ask, agent: Callable[..., Canned]) -> None:
    asked = agent(SERVICES)
    assert set(offered(f"reloadctl --socket {asked.path} logs ")) == {"web", "db.main"}


def test_one_argument_is_not_two(offered: Ask, agent: Callable[..., Canned]) -> None:
    found = offered("reloadctl logs web ", agent(SERVICES))
    assert not set(found) & {"web", "db.main"}  # zsh then offers the options


def test_a_reference_is_a_service_or_a_reload(offered: Ask, agent: Callable[..., Canned]) -> None:
    asked = agent(SERVICES, reply({"reloads": [reload()]}))
    assert set(offered("reloadctl show ", asked)) == {"web", "db.main", reload()["reload_id"]}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_a_zsh_that_evaluates_the_script(tmp_path: Path) -> None:
    env = environment(HOME=str(tmp_path))
    found = shells.zsh(FILES["zsh"], "reloadctl resta", env, tmp_path, evaluated=True)
    assert set(found) == {"restart"}


def test_shells(offered: Ask) -> None:
    assert set(offered("reloadctl completion ")) == set(SHELLS)


def test_without_an_agent_nothing_is_offered_or_said(offered: Ask) -> None:
    begun = time.monotonic()
    assert offered("reloadctl reload ") == []
    assert time.monotonic() - begun < 5


Ctl = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("answer", [HOLD, problem("no", code=77, status=403), reply(b"{"), b""])
def test_an_agent_that_cannot_say_is_no_news(
    agent: Callable[..., Canned], ctl: Ctl, answer: Any
) -> None:
    begun = time.monotonic()
    assert ctl(agent(answer), "completion", "services") == (0, "", "")
    assert time.monotonic() - begun < 10


def test_as_json(agent: Callable[..., Canned], ctl: Ctl) -> None:
    code, out, _ = ctl(agent(SERVICES), "--json", "completion", "services")
    assert (code, json.loads(out)) == (0, {"services": ["web", "db.main"]})
    code, out, _ = ctl("/nonexistent", "--json", "completion", "fish")
    assert (code, json.loads(out)["script"]) == (0, FILES["fish"].read_text())


def test_a_shell_that_is_not_known(ctl: Ctl) -> None:
    code, out, err = ctl("/nonexistent", "completion", "tcsh")
    assert (code, out) == (2, "")
    assert "bash, zsh, fish" in err
