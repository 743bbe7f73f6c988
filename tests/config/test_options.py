"""The command line of agentd, and its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.config.definitions import OnTerminate
from agentd.options import parse, parser

PAGE = (Path(__file__).parents[2] / "man" / "agentd.8").read_text()


def test_every_option_is_in_the_page_and_no_other() -> None:
    known = {
        option.removeprefix("--")
        for action in parser()._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    told = {
        line.split()[2].removeprefix("-")
        for line in PAGE.splitlines()
        if line.startswith((".Op Fl -", ".It Fl -"))
    }
    assert told == known


def test_root_has_the_places_of_the_host() -> None:
    found = parse([], {}, 0)
    assert str(found.config) == "/etc/agentd/agentd.toml"
    assert str(found.state_dir) == "/var/lib/agentd"
    assert str(found.socket) == "/run/agentd/agentd.sock"


def test_an_ordinary_user_has_the_xdg_places() -> None:
    env = {"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/1000", "XDG_STATE_HOME": "/s"}
    found = parse(["--runtime-dir", "/elsewhere"], env, 1000)
    assert str(found.config) == "/home/ann/.config/agentd/agentd.toml"
    assert str(found.state_dir) == "/s/agentd"
    assert str(found.runtime_dir) == "/elsewhere"
    assert str(found.socket) == "/run/user/1000/agentd/agentd.sock"


def test_what_sigterm_does_when_the_definitions_do_not_say() -> None:
    assert parse([], {}, 0).on_terminate is OnTerminate.STOP
    assert parse(["--on-terminate", "leave"], {}, 0).on_terminate is OnTerminate.LEAVE
    with pytest.raises(SystemExit):
        parse(["--on-terminate", "explode"], {}, 0)


def test_what_cannot_be_understood_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--sock", "x"], {}, 0)
    assert ended.value.code == 2
    assert "unrecognized arguments: --sock" in capsys.readouterr().err
