"""The kinds of single values: texts, numbers, durations, paths, words, and lists and maps of them.

Each takes what TOML gave and returns the value the core wants, or raises Wrong with a sentence that shows what
to write. What depends on this host (users, signals, limits) is in ``host``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from agentd.config.durations import parse_duration, parse_size
from agentd.config.keys import Kind
from agentd.config.problems import Fault, Wrong, shown, type_name

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_ENV_NAME = re.compile(r"[^=\0\s]+")


def text(value: object) -> str:
    """Any string that a program can be given."""
    if not isinstance(value, str):
        raise Wrong.here(f"expected a string, got {type_name(value)}")
    if "\0" in value:
        raise Wrong.here("holds a NUL character, which no program can be given")
    return value


def filled(value: object) -> str:
    """A string that is not empty."""
    found = text(value)
    if not found:
        raise Wrong.here("is empty")
    return found


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong.here(f"expected true or false, got {type_name(value)}")
    return value


def _absolute(value: object) -> str:
    path = filled(value)
    if not path.startswith("/"):
        raise Wrong.here(f"{shown(path)} is relative; write the whole path, from /")
    return path


def _program(value: object) -> str:
    path = filled(value)
    if "/" in path and not path.startswith("/"):
        why = "write the whole path, or a bare name to search for in PATH"
        raise Wrong.here(f"{shown(path)} is relative; {why}")
    return path


def _argv(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise Wrong.here(f"expected a list of strings, got a string; write {_as_list(value)}")
    words = _texts(value)
    if not words:
        raise Wrong.here("is empty; the first string is the program")
    try:
        _program(words[0])
    except Wrong as wrong:
        raise Wrong(*wrong.under(0)) from None
    return words


def _as_list(command: str) -> str:
    """The list form of a command line, as a shell would split it."""
    from shlex import split  # noqa: PLC0415 - only a mistake pays for it

    try:
        words = split(command)
    except ValueError:
        words = command.split()
    return "[" + ", ".join(shown(w) for w in words[:12]) + (", ...]" if words[12:] else "]")


def list_of(kind: Kind[T], label: str) -> Kind[tuple[T, ...]]:
    """A list whose every item is of a kind; the mistakes of all items are told."""

    def parse(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Wrong.here(f"expected {label}, got {type_name(value)}")
        items: list[T] = []
        faults: list[Fault] = []
        for index, item in enumerate(value):
            try:
                items.append(kind.parse(item))
            except Wrong as wrong:
                faults.extend(wrong.under(index))
        if faults:
            raise Wrong(*faults)
        return tuple(items)

    return Kind(label, parse, kind.keys)


def pairs_of(
    kind: Kind[T], label: str, name: Callable[[str], None]
) -> Kind[tuple[tuple[str, T], ...]]:
    """A table with free names, as pairs in the order written; ``name`` raises Wrong for a name that cannot be."""

    def known(key: str) -> Kind[T]:
        name(key)
        return kind

    return pairs_by(known, label)


def pairs_by(kind: Callable[[str], Kind[T]], label: str) -> Kind[tuple[tuple[str, T], ...]]:
    """The same, where ``kind`` finds what a name stands for, or raises Wrong."""

    def parse(value: object) -> tuple[tuple[str, T], ...]:
        if not isinstance(value, dict):
            raise Wrong.here(f"expected {label}, got {type_name(value)}")
        pairs: list[tuple[str, T]] = []
        faults: list[Fault] = []
        for key, item in value.items():
            try:
                pairs.append((key, kind(key).parse(item)))
            except Wrong as wrong:
                faults.extend(wrong.under(key))
        if faults:
            raise Wrong(*faults)
        return tuple(pairs)

    return Kind(label, parse)


def one_of(values: type[E]) -> Kind[E]:
    """One of the words of an enumeration."""
    known = [str(v) for v in values]

    def parse(value: object) -> E:
        if text(value) not in known:
            what = f"{shown(value)} is unknown; known: {', '.join(known)}"
            raise Wrong.here(what)
        return values(str(value))

    return Kind(" or ".join(f'"{v}"' for v in known), parse)


def name_in(known: Callable[[], tuple[str, ...]], label: str) -> Kind[str]:
    """The name of something registered."""

    def parse(value: object) -> str:
        if text(value) not in known():
            raise Wrong.here(f"{shown(value)} is unknown; known: {', '.join(sorted(known()))}")
        return str(value)

    return Kind(label, parse)


def integer(low: int, high: int) -> Kind[int]:
    """A whole number within bounds."""

    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong.here(f"expected an integer, got {type_name(value)}")
        if not low <= value <= high:
            raise Wrong.here(f"is not within {low} and {high}")
        return value

    return Kind(f"integer, {low} to {high}", parse)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Wrong.here(f"expected a number, got {type_name(value)}")
    if not 1 <= value <= 1000:  # noqa: PLR2004 - also refuses nan
        raise Wrong.here("is not within 1 and 1000")
    return float(value)


def _measured(parse: Callable[[str], T], example: str) -> Callable[[object], T]:
    def measured(value: object) -> T:
        if not isinstance(value, str):
            raise Wrong.here(f'expected a string such as "{example}", got {type_name(value)}')
        try:
            return parse(value)
        except ValueError as error:
            raise Wrong.here(f"{shown(value)} {error}") from None

    return measured


def _positive(value: object) -> float:
    seconds = DURATION.parse(value)
    if seconds == 0:
        raise Wrong.here("must be longer than nothing")
    return seconds


def size(value: object) -> int:
    """Bytes."""
    return _measured(parse_size, "512M")(value)


def _log_size(value: object) -> int:
    size = _measured(parse_size, "10M")(value)
    if size < 1 << 12:
        raise Wrong.here("is less than 4K")
    return size


def _journal_size(value: object) -> int:
    size = _measured(parse_size, "256M")(value)
    if size < 1 << 18:
        raise Wrong.here("is less than 256K, in which hardly a reload has room")
    return size


def _umask(value: object) -> int:
    # TOML hands 0o22, 18 and 22 over as plain integers: which of them was meant cannot be seen any more
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value, re.ASCII):
        raise Wrong.here('expected octal digits in a string, such as "0022"')
    return int(value, 8)


def _mode(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value, re.ASCII):
        raise Wrong.here('expected octal digits in a string, such as "0660"')
    return int(value, 8)


def _env_name(name: str) -> None:
    if not _ENV_NAME.fullmatch(name):
        raise Wrong.here("cannot be the name of a variable")


def _service_name(value: object) -> str:
    name = text(value)
    if not SERVICE_NAME.fullmatch(name):
        raise Wrong.here(f"{shown(name)} cannot be the name of a service")
    return name


TEXT = Kind("string", text)
FILLED = Kind("string", filled)
BOOLEAN = Kind("true or false", _boolean)
PATH = Kind("absolute path", _absolute)
PATHS = list_of(PATH, "a list of absolute paths")
GLOBS = list_of(FILLED, "a list of paths")
_texts = list_of(TEXT, "a list of strings").parse
ARGV = Kind("list of strings", _argv)
NUMBER = Kind("number, 1 to 1000", _number)
DURATION = Kind("duration", _measured(parse_duration, "5s"))
POSITIVE = Kind("duration", _positive)
LOG_SIZE = Kind("size", _log_size)
JOURNAL_SIZE = Kind("size", _journal_size)
UMASK = Kind("octal digits", _umask)
MODE = Kind("octal digits", _mode)
ENV = pairs_of(TEXT, "a table of strings", _env_name)
SERVICES = list_of(Kind("service", _service_name), "a list of services")


def _one_or_more(value: object) -> tuple[str, ...]:
    return (PATH.parse(value),) if isinstance(value, str) else PATHS.parse(value)


PATH_OR_PATHS = Kind("absolute path or list of them", _one_or_more)
