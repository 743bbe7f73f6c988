"""What a table of keys is: names, kinds, defaults and help in rows; reading a TOML table is walking them.

Decides unknown keys, missing keys and defaults, the same for every table. Which keys exist is ``schema``; what a value
may be is ``kinds`` and ``shapes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from agentd.config.problems import Fault, Wrong, type_name, unknown

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a value may be: the name an operator reads, and the function that takes it or raises Wrong."""

    label: str
    parse: Callable[[object], T]
    keys: tuple[Key, ...] = ()
    """The keys of the table that the value may be, if any."""


@dataclass(frozen=True, slots=True)
class Key:
    """One row: a key that an operator may write."""

    name: str
    kind: Kind[Any]
    help: str
    default: object = None
    """As it would be written in the file, parsed like it; None: unset."""
    when_unset: str = ""
    """What the manual says in place of the default, where that depends on something."""
    required: str = ""
    """Not empty: there is no default, and this is what to write."""
    value: Any = field(init=False, repr=False, compare=False)
    """The default, parsed."""

    def __post_init__(self) -> None:
        parsed = None if self.default is None else self.kind.parse(self.default)
        object.__setattr__(self, "value", parsed)


def table(label: str, make: Callable[..., T], *rows: Key) -> Kind[T]:
    """A table of these keys, handed to ``make`` by name. ``make`` may raise Wrong about what they are together."""
    by_name = {key.name: key for key in rows}
    defaults = {key.name: key.value for key in rows}
    required = tuple(key for key in rows if key.required)

    def parse(raw: object) -> T:
        if not isinstance(raw, dict):
            raise Wrong.here(f"expected {label}, got {type_name(raw)}")
        return make(**read(raw, by_name, defaults, required))

    return Kind(label, parse, rows)


def read(
    raw: Mapping[str, object],
    by_name: Mapping[str, Key],
    defaults: Mapping[str, Any],
    required: tuple[Key, ...],
) -> dict[str, Any]:
    """The values of a table, defaults filled in. Raises Wrong with every mistake."""
    faults: list[Fault] = []
    out = dict(defaults)
    for name, value in raw.items():
        key = by_name.get(name)
        if key is None:
            faults.append(((name,), unknown("unknown key", name, by_name)))
            continue
        try:
            out[name] = key.kind.parse(value)
        except Wrong as wrong:
            faults.extend(wrong.under(name))
    faults.extend(
        ((k.name,), f"is missing; write {k.required}") for k in required if k.name not in raw
    )
    if faults:
        raise Wrong(*faults)
    return out
