"""The table of keys against the core's defaults, the parsed tables, and the manual."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from agentd.config.access import Access
from agentd.config.definitions import AgentSpec
from agentd.config.keys import Key
from agentd.config.loader import load
from agentd.config.schema import ACCESS, AGENT, TABLES, ReloadTable, ServiceTable
from agentd.config.shapes import BACKOFF, LOGS, START_LIMIT, WATCH
from agentd.core.spec import Backoff, LogSpec, StartLimit, WatchSpec
from agentd.handles import HANDLES
from tools.man_keys import PAGE, rendered

ROWS = dict(TABLES)


@pytest.mark.parametrize(
    ("name", "table"), [("service.NAME", ServiceTable), ("service.NAME.reload", ReloadTable)]
)
def test_the_keys_are_the_fields(name: str, table: type[ServiceTable | ReloadTable]) -> None:
    assert tuple(key.name for key in ROWS[name]) == table._fields


def test_empty_tables_are_the_defaults_of_the_values() -> None:
    assert AGENT.parse({}) == AgentSpec()
    assert ACCESS.parse({}) == Access()
    assert BACKOFF.parse({}) == Backoff()
    assert START_LIMIT.parse({}) == StartLimit()
    assert LOGS.parse({}) == LogSpec()
    assert WATCH.parse({}) == WATCH.parse(True) == WatchSpec()


def every_key(rows: tuple[Key, ...]) -> list[Key]:
    return [key for row in rows for key in (row, *every_key(row.kind.keys))]


def test_every_key_says_what_it_is_for_in_a_sentence() -> None:
    for _, rows in TABLES:
        for key in every_key(rows):
            assert key.help[0].isupper() or key.help.startswith("GET"), key.name
            assert key.help.endswith("."), key.name


def test_the_manual_has_the_keys_of_the_schema() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rendered(page) == page, "run: python -m tools.man_keys"
    for _, rows in TABLES:
        for key in every_key(rows):
            assert f"\\fB{key.name}\\fR" in page


def test_the_example_of_the_manual_loads(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    examples = re.findall(
        r"^\.nf\n(.*?)^\.fi", page.partition(".SH EXAMPLES\n")[2], re.MULTILINE | re.DOTALL
    )
    example = "".join(examples).replace("\\-", "-")
    example = example.replace("group:deploy", "*").replace('user = "app"', 'user = "root"')
    assert tomllib.loads(example)
    path = tmp_path / "agentd.toml"
    path.write_text(example)
    loaded = load(path)
    assert loaded.warnings == ()
    assert {spec.reload.handle for spec in loaded.services} == set(HANDLES), "one of each"


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_the_manual_has_no_roff_mistakes() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "error", PAGE], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
