"""The diff of one input: right for any two texts, silent about what is hidden, and bounded."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.api.difference import DIFFERS, MOST_LINES, SHOWN, Difference, Kind, difference
from agentd.api.masking import MASK


def lines(before: bytes | None, after: bytes | None) -> list[str]:
    found = difference(before, after)
    assert (found.kind, found.more) == (Kind.TEXT, 0)
    return list(found.lines)


def test_one_line() -> None:
    before = b"".join(b"%d\n" % n for n in range(1, 21))
    assert lines(before, before.replace(b"\n10\n", b"\nten\n")) == [
        "@@ -7,7 +7,7 @@", " 7", " 8", " 9", "-10", "+ten", " 11", " 12", " 13",
    ]  # fmt: skip


def test_added_and_removed() -> None:
    assert lines(None, b"a\nb\n") == ["@@ -0,0 +1,2 @@", "+a", "+b"]
    assert lines(b"a\n", None) == ["@@ -1 +0,0 @@", "-a"]
    assert lines(None, b"") == []


def test_the_last_newline() -> None:
    said = "\\ No newline at end of file"
    assert lines(b"a\n", b"a") == ["@@ -1 +1 @@", "-a", "+a", said]
    assert lines(b"a", b"a\nb") == ["@@ -1 +1,2 @@", "-a", said, "+a", "+b", said]


def test_a_change_of_something_hidden_is_told_and_not_shown() -> None:
    before, after = b"a: 1\npassword: old\nb: 2\n", b"a: 1\npassword: new\nb: 3\n"
    found = difference(before, after)
    assert found.lines == (
        "@@ -1,3 +1,3 @@",
        " a: 1",
        f"-password: {MASK}",
        "-b: 2",
        f"+password: {DIFFERS}",
        "+b: 3",
    )
    assert found.masked
    assert lines(b"password: x\na\n", b"password: x\nb\n") == [
        "@@ -1,2 +1,2 @@",
        f" password: {MASK}",
        "-a",
        "+b",
    ]
    assert lines(b"a\n", b"password: x\n")[-1] == f"+password: {MASK}"
    assert not difference(b"a\n", b"b\n").masked


def test_what_is_not_compared_line_by_line() -> None:
    assert difference(b"a\0b", b"a") == Difference(Kind.BINARY)
    assert difference(None, b"\0") == Difference(Kind.BINARY)
    assert difference(b"", b"x" * (SHOWN + 1)) == Difference(Kind.LARGE)
    assert lines(b"\xff\n", b"\xfe\n")[1:] == ["-\\xff", "+\\xfe"]


def test_what_is_long_is_cut_and_counted() -> None:
    found = difference(b"", b"x\n" * 5000)
    assert (len(found.lines), found.more) == (MOST_LINES, 5001 - MOST_LINES)
    wide = difference(b"", (b"x" * 10_000 + b"\n") * 100)
    assert len(wide.lines) + wide.more == 101
    assert sum(map(len, wide.lines)) < 300_000


@pytest.mark.parametrize("unit", ["%d\n", "\n", "a\n"])
def test_large_files_that_differ_everywhere_do_not_take_long(unit: str) -> None:
    count = SHOWN // 8
    before = "".join(unit % n if "%" in unit else unit for n in range(count))
    after = "".join(f"-{n}\n" if n % 2 else unit.replace("%d", "9") for n in range(count))
    began = time.monotonic()
    difference(before.encode(), after.encode()[:SHOWN])
    assert time.monotonic() - began < 20


TEXT = st.lists(st.sampled_from(["a", "b", "c", "d = 1", "", "{", "x: y", "\r", "é"]), max_size=25)


def joined(parts: list[str], *, ended: bool) -> bytes:
    return ("\n".join(parts) + ("\n" if ended and parts else "")).encode()


@given(TEXT, TEXT, st.booleans(), st.booleans())
def test_applying_it_gives_the_other(
    before: list[str], after: list[str], one: object, two: object
) -> None:
    old, new = joined(before, ended=bool(one)), joined(after, ended=bool(two))
    assert applied(old, lines(old, new)) == new
    assert (lines(old, new) == []) == (old == new)


def applied(old: bytes, diff: list[str]) -> bytes:
    """What patch(1) does, for one file."""
    source = old.decode().split("\n")
    made: list[str] = []
    at = 0
    cut_old = cut_new = False
    last = ""
    for line in diff:
        if line.startswith("@@"):
            where, _, length = line.split()[1][1:].partition(",")
            start = int(where) - (length != "0")
            made += source[at:start]
            at = start
        elif line[0] in " -":
            assert source[at] == line[1:]
            at += 1
            if line[0] == " ":
                made.append(line[1:])
            cut_old = False
        elif line[0] == "+":
            made.append(line[1:])
            cut_new = False
        elif line[0] == "\\":
            cut_old, cut_new = cut_old or last in " -", cut_new or last in " +"
            continue
        last = line[0]
    rest = source[at:]
    if rest not in ([], [""]):
        return "\n".join([*made, *rest]).encode()
    if not made:
        return b""
    ended = (not cut_new) if last else old.endswith(b"\n")
    return ("\n".join(made) + ("\n" if ended else "")).encode()


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes(before: bytes, after: bytes) -> None:
    found = difference(before, after)
    assert bool(found.lines) == (found.kind is Kind.TEXT and before != after)


@given(TEXT, st.sampled_from(["password: ", "token = ", "secret="]), TEXT)
def test_a_canary_never_gets_through_on_either_side(
    head: list[str], key: str, tail: list[str]
) -> None:
    def text(canary: str) -> bytes:
        return "\n".join([*head, key + canary, *tail]).encode()

    one, two = text("ZqCANARYone"), text("ZqCANARYtwo")
    for before, after in ((one, two), (two, one), (None, one), (one, None), (one, b"x")):
        assert "CANARY" not in "\n".join(difference(before, after).lines)
    assert any(DIFFERS in line for line in difference(one, two).lines)


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
def test_patch_takes_it(tmp_path: Path) -> None:
    before = "".join(f"line {n}\n" for n in range(200))
    after = before.replace("line 3\n", "").replace("line 100\n", "new\nlines\n") + "end"
    (tmp_path / "f").write_text(before)
    diff = "\n".join(["--- f", "+++ f", *lines(before.encode(), after.encode()), ""])
    subprocess.run(["patch", "-s", "f"], input=diff.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "f").read_text() == after
