"""What a caller sends, parsed: the JSON object of a POST and the query of a GET, every mistake named at once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from agentd.api.message import Request
from agentd.api.problem import malformed, printable

_T = TypeVar("_T")
_LONGEST_S = 10 * 366 * 86400.0
_MOST_ATTRIBUTES = 16
_CALLERS = ("cicd.", "vcs.")
"""Span attributes that a caller may state of itself; others are ours, and passed over."""


class Body:
    """The members of a JSON object, each asked for by name and kind. Without a body, every member has its default."""

    def __init__(self, request: Request) -> None:
        """Raises Problem 400, 415."""
        self._wrong: list[str] = []
        self._asked: list[str] = []
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if (request.body or kind) and kind != "application/json":
            raise malformed("cannot read the body: send Content-Type: application/json", 415)
        self._given = _object(request.body)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(name)
        if isinstance(value, bool):
            return value
        return default if value is None else self._not(name, "true or false", default)

    def text(self, name: str) -> str:
        """One printable line."""
        value = self._take(name)
        if isinstance(value, str):
            return printable(value)
        return "" if value is None else self._not(name, "a string", "")

    def seconds(self, name: str) -> float | None:
        """A duration; None when it was not given."""
        value = self._take(name)
        if value is None:
            return None
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 < value < _LONGEST_S
        ):
            return float(value)
        return self._not(name, "a positive number of seconds", None)

    def count(self, name: str, default: int, most: int) -> int:
        """A whole number from 1."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        return self._not(name, f"a whole number from 1 to {most}", default)

    def names(self, name: str) -> tuple[str, ...]:
        """Strings; each counts once."""
        value = self._take(name)
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return tuple(dict.fromkeys(value))
        return () if value is None else self._not(name, "a list of strings", ())

    def attributes(self, name: str) -> tuple[tuple[str, str], ...]:
        """Strings by name, of the names that a caller may use."""
        value = self._take(name)
        if isinstance(value, dict):
            plain = {k: v for k, v in value.items() if k.startswith(_CALLERS) and k.isprintable()}
            if all(isinstance(v, str) for v in plain.values()):
                pairs = [(printable(k), printable(v)) for k, v in plain.items()]
                return tuple(pairs[:_MOST_ATTRIBUTES])
        return () if value is None else self._not(name, "an object of strings", ())

    def finish(self) -> None:
        """Everything was asked for. Raises Problem 400 with all mistakes."""
        for name in self._given:
            if name not in self._asked:
                known = ", ".join(self._asked) or "none"
                self._wrong.append(f"{printable(name, 64)} is unknown; known: {known}")
        if self._wrong:
            raise malformed(f"cannot read the body: {'; '.join(self._wrong[:20])}")

    def _take(self, name: str) -> Any:
        self._asked.append(name)
        return self._given.get(name)

    def _not(self, name: str, what: str, default: _T) -> _T:
        self._wrong.append(f"{name} must be {what}")
        return default


def _object(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError is one of the former
        raise malformed("cannot read the body: it is not JSON") from None
    if not isinstance(value, dict):
        raise malformed("cannot read the body: it is not a JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def query(request: Request, known: Iterable[str]) -> dict[str, list[str]]:
    """The query by name. Raises Problem 400 for a name that means nothing here: a filter misspelt must not show everything."""
    found: dict[str, list[str]] = {name: [] for name in known}
    for name, value in request.query:
        if name not in found:
            listed = ", ".join(found) or "none"
            raise malformed(f"the query {printable(name, 64)} is unknown; known: {listed}")
        found[name].append(value)
    return found


def seconds(values: list[str], name: str) -> float | None:
    """A duration of the query; None when it was not given. Raises Problem 400."""
    if not values:
        return None
    text = values[-1]
    number = text.replace(".", "", 1)
    if number.isascii() and number.isdigit() and len(number) < 19 and 0 < float(text) < _LONGEST_S:  # noqa: PLR2004
        return float(text)
    raise malformed(f"the query {name} must be a positive number of seconds")


def whole(values: list[str], name: str, default: int, most: int, least: int = 1) -> int:
    """A whole number of the query. Raises Problem 400."""
    if not values:
        return default
    text = values[-1]
    if text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most:  # noqa: PLR2004
        return int(text)
    raise malformed(f"the query {name} must be a whole number from {least} to {most}")
