"""What is wrong with a definition, and how that is said: place, key, sentence.

Decides the wording around a mistake; which things are mistakes is decided where they are met.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

At = tuple[str | int, ...]
"""Where in a document: keys, and indexes of lists."""

Fault = tuple[At, str]
"""A mistake whose file and line are not known yet."""

_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_LONGEST = 60
_TYPES = {
    bool: "true or false",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "a list",
    dict: "a table",
}


class Wrong(Exception):  # noqa: N818 - it never leaves agentd.config; the error that does is ConfigErrors
    """A value cannot be taken; holds every mistake in it, relative to the value."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults)
        self.faults = faults

    @classmethod
    def here(cls, message: str) -> Wrong:
        """The value itself is wrong."""
        return cls(((), message))

    def under(self, step: str | int) -> tuple[Fault, ...]:
        """The same mistakes, seen from one level above."""
        return tuple(((step, *at), message) for at, message in self.faults)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake with its place. ``line`` 0: it belongs to the file as a whole, or no line could be told."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigErrors(Exception):  # noqa: N818 - the plural says that it holds all of them
    """The definitions cannot be used. Nothing of them has taken effect."""

    def __init__(self, errors: tuple[Problem, ...]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(e) for e in self.errors)


def describe(errors: ConfigErrors) -> str:
    """What ``agentd --check`` and a refused start print: a heading that counts, then every mistake on its own line."""
    count = len(errors.errors)
    what = "1 mistake" if count == 1 else f"{count} mistakes"
    return f"cannot load the definitions: {what}, nothing was changed\n{errors}"


def key_name(at: At) -> str:
    """The place as it is written in TOML: ``service.web.confirm[1].log``, odd names quoted."""
    out = ""
    for step in at:
        if isinstance(step, int):
            out += f"[{step}]"
        else:
            name = step if step and set(step) <= _BARE else shown(step)
            out += f".{name}" if out else name
    return out


def shown(value: object) -> str:
    """A value as a message shows it: strings quoted and made printable, long ones cut, the rest by their type."""
    if not isinstance(value, str):
        return type_name(value)
    text = value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."
    safe = (c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text)
    return '"' + "".join(safe) + '"'


def _escaped(char: str) -> str:
    return f"\\{char}" if char in '"\\' else f"\\u{ord(char):04x}"


def type_name(value: object) -> str:
    """What TOML calls the type of a value."""
    return _TYPES.get(type(value), "a date or time")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name nobody knows: the nearest one when there is one, else all of them."""
    names = sorted(known)
    near = nearest(name, names)
    if near is not None:
        return f"{what}; did you mean {near}?"
    return f"{what}; known: {', '.join(names)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake pays for it

    folded = {word.lower(): word for word in known}
    found = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None
