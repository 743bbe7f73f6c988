"""Whatever is in the files, loading them ends in definitions or in ConfigErrors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config.loader import ConfigErrors, load
from agentd.config.schema import TABLES

NAMES = sorted(
    {key.name for _, keys in TABLES for key in keys} | {"http", "tcp", "log", "web", "db"}
)
WORDS = [
    "5s",
    "nginx",
    "TERM",
    "/etc/*",
    "notify",
    "workers",
    "delivered",
    "signal",
    "always",
    "0022",
    "*",
]
NAME = st.one_of(st.sampled_from(NAMES), st.text(max_size=4))
SCALAR = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=5),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
VALUE = st.recursive(
    SCALAR,
    lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(NAME, v, max_size=4)),
    max_leaves=8,
)
SERVICE = st.dictionaries(st.sampled_from([*NAMES, "command"]), VALUE, max_size=8)
DOCUMENT = st.fixed_dictionaries(
    {
        "service": st.dictionaries(
            st.sampled_from(["web", "db", "x y"]), st.one_of(SERVICE, VALUE), max_size=2
        )
    },
    optional={"agent": st.one_of(st.dictionaries(NAME, VALUE, max_size=3), VALUE), "more": VALUE},
)


def load_or_refuse(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agentd.toml"
        path.write_bytes(content)
        try:
            load(path)
        except ConfigErrors as errors:
            refused = errors
        else:
            return
    lines = content.count(b"\n") + 1
    assert refused.errors
    assert all(0 <= e.line <= lines and e.message for e in refused.errors)
    assert str(refused).count("\n") == len(refused.errors) - 1


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_bytes(content: bytes) -> None:
    load_or_refuse(content)


@given(
    st.lists(
        st.sampled_from([*"[]{}=\".,#\n\r \\'1a-", "service", "agent", "[service.web]\n"]),
        max_size=30,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_marks(marks: list[str]) -> None:
    load_or_refuse("".join(marks).encode())


@given(DOCUMENT)
@settings(max_examples=150, deadline=None)
def test_any_tables(document: dict[str, object]) -> None:
    load_or_refuse(tomlkit.dumps(document).encode())
