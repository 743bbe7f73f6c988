"""The line of every key, against documents in which every value is the number of its own line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config.locate import Lines

KEY = st.sampled_from(["a", "b", "c", '"d e"', "f.g", "a.h", "f.i", '"j.k".l'])
LINES = st.one_of(
    KEY.map(lambda k: [f"{k} = N"]),
    KEY.map(lambda k: [f"  {k}=N # x = 1"]),
    KEY.map(lambda k: [f"{k} = [N,  # one", "", "# two, [", "  N, {z = N, y.x = [", "N]},", "]"]),
    KEY.map(lambda k: [f"{k} = {{ m = [N,", "N], n = N, o = [[N,", " [N", "]]] }"]),
    KEY.map(lambda k: [f'{k} = ["""', "[q]", '""", \'\'\'# "', "''', N]"]),
    KEY.map(lambda k: [f"[{k}]"]),
    KEY.map(lambda k: [f"[t.{k}]  # header"]),
    KEY.map(lambda k: [f"[[s.{k}]]"]),
    st.sampled_from([[""], ["# comment = 1"], ["   "]]),
)


def numbered(blocks: list[list[str]], newline: str) -> str:
    lines = [line for block in blocks for line in block]
    return newline.join(line.replace("N", str(n)) for n, line in enumerate(lines, 1))


def leaves(
    value: object, at: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*at, index))
    elif isinstance(value, int):
        yield at, value


@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=150, deadline=None)
def test_every_value_is_found_on_its_own_line(blocks: list[list[str]], newline: str) -> None:
    text = numbered(blocks, newline)
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = Lines(text)
    found = {at: lines.of(at) for at, _ in leaves(parsed)}
    if any(found.values()):  # where the two parsers disagree about a file, no line is told at all
        assert found == dict(leaves(parsed))


@pytest.mark.parametrize(
    "blocks",
    [
        [["a = N"], ["b = { c = N, d = [N,", "N] }"], ["e.f = N"]],
        [
            ["[s.x.y]"],
            ["a = N"],
            ["[s]"],
            ["b = N"],
            ["[q]"],
            [""],
            ["[s.x]"],
            ["c.d = [", "# no", "N]"],
        ],
        [["[[s.r]]"], ["a = N"], ["[s.r.t]"], ["b = N"], ["[[s.r]]"], ["a = N"]],
        [["a.b = N"], ["c = N"], ["a.d = N"]],
    ],
)
def test_the_usual_shapes_do_have_lines(blocks: list[list[str]]) -> None:
    text = numbered(blocks, "\n")
    lines = Lines(text)
    for at, line in leaves(tomllib.loads(text)):
        assert lines.of(at) == line


def test_a_key_that_is_not_there_has_the_line_of_what_would_hold_it() -> None:
    lines = Lines("\n[service.web]\ncommand = []\n[service.web.reload]\n")
    assert lines.of(("service", "web", "inputs")) == 2
    assert lines.of(("service", "web", "reload", "signal")) == 4
    assert lines.of(("other",)) == 0


def test_a_table_has_the_line_of_its_header_even_below_its_parts() -> None:
    assert Lines("[a.b]\n[c]\n[a]\n").of(("a",)) == 3


def test_an_array_of_tables_that_goes_on_further_down_tells_no_wrong_line() -> None:
    text = "[[s.a]]\n[a]\n[[s.a.h]]\na = 4\n"
    assert Lines(text).of(("s", "a", 0, "h", 0, "a")) in (0, 4)
