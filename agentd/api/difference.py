"""How one input differs between two configurations: a unified diff of what may be shown of it.

Pure. Decides what is compared line by line (text of a moderate size), how much is shown, and how a change of something
hidden is told: its line is there on both sides, and on the new one the mask says that it differs. What is hidden is
``masking``'s to say, and which inputs are secret as a whole the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import takewhile

from agentd.api.masking import MASK, Line, masked

SHOWN = 1 << 20
"""Bytes of an input; a larger one is not compared line by line."""
MOST_LINES = 2000
"""Of one input's diff."""
MOST_CHARACTERS = 256 * 1024
DIFFERS = "«masked, differs»"
_CONTEXT = 3
_MOST_PAIRS = 4_000_000
"""Lines of one side times lines of the other: beyond, finding out what moved where would take seconds."""
_NO_NEWLINE = "\\ No newline at end of file"


class Kind(StrEnum):
    """How an input's difference is told."""

    TEXT = "text"
    BINARY = "binary"
    SECRET = "secret"  # noqa: S105
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Difference:
    """``lines``: a unified diff without its two first lines; ``more``: lines of it that are left out."""

    kind: Kind
    lines: tuple[str, ...] = ()
    more: int = 0
    masked: bool = False
    """Something in these lines is hidden."""


def difference(before: bytes | None, after: bytes | None) -> Difference:
    """Of the bytes of one input; None: it is not there on this side."""
    old, new = before or b"", after or b""
    if max(len(old), len(new)) > SHOWN:
        return Difference(Kind.LARGE)
    if b"\0" in old or b"\0" in new:
        return Difference(Kind.BINARY)
    lines: list[str] = []
    size = more = 0
    for line in _unified(_lines(old), _lines(new)):
        size += len(line)
        if len(lines) < MOST_LINES and size <= MOST_CHARACTERS:
            lines.append(line)
        else:
            more += 1
    hidden = any(MASK in line or DIFFERS in line for line in lines)
    return Difference(Kind.TEXT, tuple(lines), more, hidden)


def _lines(data: bytes) -> tuple[Line, ...]:
    """Undecodable bytes are spelled, so that no two of them look the same."""
    return masked(data.decode("utf-8", "backslashreplace"))


def _unified(old: Sequence[Line], new: Sequence[Line]) -> Iterator[str]:
    for group in _groups(old, new):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                for line in old[i1:i2]:
                    yield from _said(" ", line)
                continue
            for line in old[i1:i2]:
                yield from _said("-", line)
            there = set(old[i1:i2])
            shown = {line.text for line in there if line.hidden}
            for line in new[j1:j2]:
                changed = line.text in shown and line not in there
                yield from _said("+", line, DIFFERS if changed else MASK)


Group = list[tuple[str, int, int, int, int]]


def _groups(old: Sequence[Line], new: Sequence[Line]) -> Iterator[Group]:
    """What differs with some lines around it, as ``SequenceMatcher.get_grouped_opcodes``; the same ends cost nothing."""
    least = min(len(old), len(new))
    head = sum(1 for _ in takewhile(lambda n: old[n] == new[n], range(least)))
    tail = sum(1 for _ in takewhile(lambda n: old[~n] == new[~n], range(least - head)))
    if head == len(old) == len(new):
        return
    head, tail = max(0, head - _CONTEXT), max(0, tail - _CONTEXT)
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(a) * len(b) > _MOST_PAIRS:
        yield [("replace", head, head + len(a), head, head + len(b))]
        return
    for group in SequenceMatcher(None, a, b).get_grouped_opcodes(_CONTEXT):
        yield [(tag, i1 + head, i2 + head, j1 + head, j2 + head) for tag, i1, i2, j1, j2 in group]


def _range(start: int, stop: int) -> str:
    """As POSIX wants it: lines count from 1; of no lines, the one before."""
    length = stop - start
    if length == 1:
        return f"{start + 1}"
    return f"{start + 1 if length else start},{length}"


def _said(mark: str, line: Line, mask: str = MASK) -> Iterator[str]:
    text = line.text.replace(MASK, mask) if line.hidden and mask is not MASK else line.text
    yield f"{mark}{text}"
    if not line.newline:
        yield _NO_NEWLINE
