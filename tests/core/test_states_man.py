"""agentd-states(7) is what the tables say."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from agentd.core import instance, reload
from tools.states_man import PAGE, page


def test_the_page_is_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "print it anew: python -m tools.states_man"


def test_every_row_is_on_the_page() -> None:
    assert page().count("\\(->") == len(instance.TABLE) + len(reload.TABLE)


@pytest.mark.skipif(shutil.which("man") is None, reason="no man here")
def test_the_page_can_be_read() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(PAGE)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "STARTING" in done.stdout.upper()
