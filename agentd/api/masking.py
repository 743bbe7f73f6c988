"""Configuration as it may be shown: what looks like a secret is replaced, line by line, whatever the file's format.

Pure. Files of every kind come through here and none is parsed, so it errs towards hiding: after a key that sounds like a
secret everything is hidden up to where the value must have ended: a quote that closes, the end of the line, and of the
lines that follow all that are indented deeper, or lie inside a bracket, a quote or an element that was opened. Hidden too
are PEM blocks, passwords in URLs, hashes of crypt(3) and tokens that can be told by their first letters.

It does not decide which files are secret as a whole (``secret`` inputs), nor how a change of something hidden is told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from agentd.api.telltales import PEM, PEM_END, alone, keys

MASK = "«masked»"
LONGEST = 16 * 1024
"""Characters of a line; a longer one is hidden whole."""

_COUNTS = re.compile(
    r"""["']?\s*[:=\s]\s*["']?(?:[0-9][0-9_]{0,8}|on|off|true|false)["']?\s*[,;}]*\s*$"""
)
"""``max_tokens = 4096``, ``server_tokens off;``."""
_SEPARATOR = re.compile(
    r"""["'`\])}]*(?:\[[^\]]{0,64}\])?\s*(?:=>|[+?:!=]?=|[:,>(]|(?<=\s)(?=\S))\s*"""
)
_VALUE_NAMES = re.compile(r"""(?<![\w-])value(?:From)?(?=["']?\s*[:=>])""", re.IGNORECASE)
_GOES_ON = re.compile(
    r"""\s*(?:$|[;}\])]|,\s*(?:$|"[\w.\-$ ]*"\s*:|'[\w.\-$ ]*'\s*:|[\w.\-$]+\s*=\s))"""
)
"""After a closing quote: the value has ended, and what follows is another one's."""
_ANOTHER_KEY = re.compile(
    r"""\s*(?:(?:"[^"]*"|'[^']*'|[\w.\-$]+)\s*(?::(?=\s|$)|=)|\[[^\]"']*\]\s*$|[}\])]|</)"""
)
_ITEM = re.compile(r"(\s*)-(?:\s|$)")
_INDENT = re.compile(r"\s*(?:-\s+)*")
_HERE = re.compile(r"""<<[-~]?\s*["']?(\w{1,64})""")
"""A document that follows (shell, HCL), up to a line with this word."""
_OPENING, _CLOSING = "([{", ")]}"


class Line(NamedTuple):
    """One line; two are the same when what is hidden in them is the same as well."""

    text: str
    """As it may be shown, without its newline."""
    hidden: tuple[str, ...] = ()
    """What was replaced, in order: to be compared, never to be shown."""
    newline: bool = True
    """False: the file ends here without one."""


def masked(text: str) -> tuple[Line, ...]:
    """The lines of a file."""
    raw = text.split("\n")
    ended = raw[-1] == ""
    if ended:
        raw.pop()
    values = _told_by_a_neighbour(raw)
    scan = _Scan()
    lines = [scan.line(one, value=n in values) for n, one in enumerate(raw)]
    if lines and not ended:
        lines[-1] = lines[-1]._replace(newline=False)
    return tuple(lines)


def _told_by_a_neighbour(lines: list[str]) -> set[int]:
    """Lines whose ``value`` is a secret because the ``name`` beside it says so (Kubernetes, Compose)."""
    found: set[int] = set()
    for n, one in enumerate(lines):
        for _, start, _ in keys(one) if len(one) <= LONGEST else ():
            if one[max(0, start - 64) : start].rstrip(" \t\"'").endswith((":", "=", ">")):
                found |= {n - 1, n, n + 1}
    return found


class _Scan:
    """Where one is while reading down a file."""

    def __init__(self) -> None:
        self._until = ""
        """What ends that which was opened: a quote, or the begin of a closing tag."""
        self._pem = False
        self._depth = 0
        self._quote = ""
        """Inside brackets: the quote that is open."""
        self._joined = False
        """The line before ends in a backslash."""
        self._below: int | None = None
        """What is indented deeper belongs to the key above."""
        self._owed = False
        """The key above has no value yet."""

    def line(self, raw: str, *, value: bool) -> Line:
        """``value``: what is called so in it is a secret."""
        if self._inside(raw):
            return _whole(raw)
        if len(raw) > LONGEST:
            return Line(MASK, (raw,))
        spans = [*self._keys(raw, value=value), *self._alone(raw)]
        self._joined = bool(spans) and raw.rstrip().endswith("\\")
        return _without(raw, spans)

    def _inside(self, raw: str) -> bool:
        """Whether the line belongs to a secret above it."""
        if self._pem:
            self._pem = PEM_END not in raw
            return True
        if self._until:
            self._until = "" if self._ends(raw) else self._until
            self._owed = False
            return True
        if self._depth:
            self._count(raw)
            return True
        if self._joined:
            self._joined = raw.rstrip().endswith("\\")
            return True
        if self._below is None or not raw.strip():
            return False
        return self._belongs(raw, self._below)

    def _ends(self, raw: str) -> bool:
        """Whether that which is open is closed in this line."""
        if self._until in ("'", '"', "`"):
            return bool(_closing(self._until + raw))
        return self._until in raw.replace('\\"', "")

    def _belongs(self, raw: str, below: int) -> bool:
        """Whether it is a value, or more of one, by where it stands."""
        stripped = raw.strip()
        column = _column(raw)
        item = _ITEM.match(raw)
        mine = column > below or (item is not None and self._owed and column >= below)
        if not mine and (not self._owed or _ANOTHER_KEY.match(raw)):
            self._below, self._owed = None, False
            return False
        if not mine or item is None:
            self._owed = False
        self._opens(stripped.removeprefix("- ").lstrip())
        return True

    def _keys(self, raw: str, *, value: bool) -> list[tuple[int, int]]:
        """What the keys of a line hide; and what they open."""
        words = list(keys(raw))
        if value:
            words += [(w.start(), *w.span()) for w in _VALUE_NAMES.finditer(raw)]
        found: list[tuple[int, int]] = []
        done = 0
        for at, start, end in sorted(words):
            if at < done:
                continue
            hides = self._value_of(raw, start, end)
            if hides is not None:
                found.append(hides)
                done = hides[1]
        return found

    def _value_of(self, raw: str, start: int, end: int) -> tuple[int, int] | None:
        """The value of a key that stands there; None: it is no key, or its value is not in this line."""
        key, rest = raw[start:end], raw[end:]
        if key.lower().endswith("tokens") and _COUNTS.match(rest):
            return None
        separator = _SEPARATOR.match(rest)
        if separator is None:
            if not rest.strip("\"'`,;:) \t\r") and not raw[:start].strip("\"'`-# \t"):
                self._below, self._owed = (
                    _column(raw),
                    True,
                )  # alone in its line: the value may be in the next
            return None
        if not separator.group().strip() and start and raw[start - 1] == "/":
            return None  # a path, and then something else
        begin = end + separator.end()
        self._below = _column(raw)
        self._owed = not raw[begin:].strip()
        if self._owed:
            if separator.group().strip() == ">" and "</" not in raw[end:]:
                self._until = "</"
            return None
        return begin, begin + self._length(raw[begin:], tag=">" in separator.group())

    def _length(self, value: str, *, tag: bool) -> int:
        """How much of the line a value takes; it may take more lines."""
        closed = self._opens(value)
        if closed and _GOES_ON.match(value, closed):
            return closed
        if tag and "</" not in value and not self._until:
            self._until = "</"
        return len(value)

    def _opens(self, value: str) -> int:
        """Take note of what a value opens and does not close; where its quote closes, 0 when it has none."""
        if PEM.search(value):
            self._pem = PEM_END not in value
        for quotes in ('"""', "'''"):
            if value.startswith(quotes):
                self._until = "" if quotes in value[3:] else quotes
                return 0
        if value[:1] in ("'", '"', "`"):
            at = _closing(value)
            self._until = "" if at else value[0]
            return at
        if here := _HERE.search(value):
            self._until = here.group(1)
        elif value[:1] and (value[0] in _OPENING or value.startswith("$(")):
            self._quote = ""
            self._count(value)
        return 0

    def _count(self, text: str) -> None:
        """Brackets outside of quotes; a quote that does not close leaves them open."""
        escaped = False
        for c in text:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif self._quote:
                self._quote = "" if c == self._quote else self._quote
            elif c in "\"'":
                self._quote = c
            elif c in _OPENING:
                self._depth += 1
            elif c in _CLOSING:
                self._depth = max(0, self._depth - 1)
                if not self._depth:
                    return  # what follows in this line is hidden with it

    def _alone(self, raw: str) -> list[tuple[int, int]]:
        """What is secret whatever it is called."""
        found = list(alone(raw))
        if begin := PEM.search(raw):
            end = raw.find(PEM_END, begin.end())
            self._pem = end < 0
            found.append((begin.start(), len(raw)))
        return found


def _closing(value: str) -> int:
    """Behind the quote that closes the first one; 0: it is open. A doubled quote is one inside (YAML, SQL)."""
    quote, at = value[0], 1
    while at < len(value):
        if value[at] == "\\" and quote != "'":
            at += 2
        elif value[at] != quote:
            at += 1
        elif value[at : at + 2] == quote * 2:
            at += 2
        else:
            return at + 1
    return 0


def _column(raw: str) -> int:
    """Where the text of a line begins, the dashes of a YAML list not counted."""
    indent = _INDENT.match(raw)
    assert indent is not None
    return len(indent.group().expandtabs())


def _whole(raw: str) -> Line:
    stripped = raw.strip()
    if not stripped:
        return Line(raw)
    return Line(raw[: raw.index(stripped)] + MASK, (stripped,))


def _without(raw: str, spans: list[tuple[int, int]]) -> Line:
    """The line with a mask in place of each span; overlapping ones are one."""
    if not spans:
        return Line(raw)
    text, hidden, at = "", [], 0
    for start, end in _merged(spans):
        text += raw[at:start] + MASK
        hidden.append(raw[start:end])
        at = end
    return Line(text + raw[at:], tuple(hidden))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return found
