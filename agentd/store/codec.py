"""Facts and memories as JSON text: one object per value, keys are the dataclass's field names.

Only the frozen dataclasses reachable from ``Fact`` and ``Memory`` are known. Reading is strict: an unknown key, a
missing one without a default or a value of another type is refused. A field added with a default reads older rows as
they are; any other change of a field needs a new ``VERSION`` (``tests/store/test_codec.py`` holds the shapes to it).
Where the text is kept, and what happens to a row that cannot be read, is ``agentd.store.sqlite``'s business.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from json.encoder import encode_basestring_ascii
from math import isfinite
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from agentd.core.facts import Fact
from agentd.core.memory import Memory

VERSION = 2
"""Of the shapes below and of the tables; kept in ``PRAGMA user_version``. Every step up has its migration in ``schema``."""

_Decode = Callable[[Any], Any]
_Encode = Callable[[Any], str]


class CodecError(ValueError):
    """The text is not a value of the class it should be."""


KINDS: dict[str, type[Fact]] = {cls.__name__: cls for cls in get_args(Fact)}
"""The name a fact's class has in the journal."""


def encode(value: Fact | Memory) -> str:
    """Compact ASCII JSON: output of a checker may hold lone surrogates, which SQLite's UTF-8 would refuse.

    Raises:
        CodecError: a field holds what its type does not allow, or JSON has no word for.
    """
    cls = type(value)
    if cls is not Memory and KINDS.get(cls.__name__) is not cls:
        raise CodecError(f"cannot encode {cls.__name__}: it is no fact and no memory")
    try:
        return _encoder(cls)(value)
    except (TypeError, ValueError, AttributeError) as why:
        raise CodecError(f"cannot encode {cls.__name__}: {why}") from why


def decode_fact(kind: str, text: str) -> Fact:
    """Raises CodecError."""
    cls = KINDS.get(kind)
    if cls is None:
        raise CodecError(f'fact "{kind}" is unknown')
    fact: Fact = _decode(cls, text)
    return fact


def decode_memory(text: str) -> Memory:
    """Raises CodecError."""
    memory: Memory = _decode(Memory, text)
    return memory


def _decode(cls: type, text: str) -> Any:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as why:
        raise CodecError(f"{cls.__name__}: {why}") from why
    return _decoder(cls)(plain)


_ENCODERS: dict[Any, _Encode] = {}


def _encoder(hint: Any) -> _Encode:
    """The encoder of a type, made when it is first met. Text from a template: half the time of json.dumps with a hook."""
    made = _ENCODERS.get(hint)
    if made is None:
        made = _ENCODERS[hint] = _make_encoder(hint)
    return made


def _make_encoder(hint: Any) -> _Encode:
    if get_origin(hint) in (Union, UnionType):
        inner = _encoder(_only(hint))
        return lambda value: "null" if value is None else inner(value)
    if get_origin(hint) is tuple:
        return _encode_tuple(hint)
    if is_dataclass(hint):
        return _encode_dataclass(hint)
    if issubclass(hint, str):
        return encode_basestring_ascii
    return _SCALARS[hint]


def _finite(value: float) -> str:
    if not isfinite(value):
        raise ValueError(f"{value} has no JSON")
    return float.__repr__(float(value))


_SCALARS: dict[Any, _Encode] = {
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    float: _finite,
}


def _encode_tuple(hint: Any) -> _Encode:
    args = get_args(hint)
    if args[-1] is Ellipsis:
        one = _encoder(args[0])
        return lambda value: f"[{','.join(map(one, value))}]" if value else "[]"
    each = tuple(_encoder(arg) for arg in args)
    return lambda value: f"[{','.join([f(x) for f, x in zip(each, value, strict=True)])}]"


def _encode_dataclass(cls: Any) -> _Encode:
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]
    each = tuple(_encoder(hints[name]) for name in names)
    template = "{" + ",".join(f'"{name}":%s' for name in names) + "}"
    if len(names) == 1:
        (one,), (name,) = each, names
        return lambda value: template % one(getattr(value, name))
    get = attrgetter(*names)
    return lambda value: template % tuple([f(x) for f, x in zip(each, get(value))])  # noqa: B905 -- same length


_DECODERS: dict[Any, _Decode] = {}


def _decoder(hint: Any) -> _Decode:
    """The decoder of a type, made when it is first met: an agent that starts anew reads no facts at all."""
    made = _DECODERS.get(hint)
    if made is None:
        made = _DECODERS[hint] = _make(hint)
    return made


def _make(hint: Any) -> _Decode:
    if get_origin(hint) in (Union, UnionType):
        return _optional(hint)
    if get_origin(hint) is tuple:
        return _tuple(hint)
    if is_dataclass(hint):
        return _dataclass(hint)
    if issubclass(hint, StrEnum):
        return _enum(hint)
    return _scalar(hint)


def _scalar(cls: type) -> _Decode:
    def read(value: Any) -> Any:
        if type(value) is cls:
            return value
        if cls is float and type(value) is int:
            with suppress(OverflowError):  # refused below
                return float(value)
        raise CodecError(f"{value!r:.80} is no {cls.__name__}")

    return read


def _enum(cls: type[StrEnum]) -> _Decode:
    members = {member.value: member for member in cls}

    def read(value: Any) -> Any:
        if type(value) is not str or value not in members:
            raise CodecError(f"{value!r:.80} is no {cls.__name__}")
        return members[value]

    return read


def _optional(hint: Any) -> _Decode:
    read = _decoder(_only(hint))
    return lambda value: None if value is None else read(value)


def _only(hint: Any) -> Any:
    inner = [arg for arg in get_args(hint) if arg is not NoneType]
    if len(inner) != 1 or len(get_args(hint)) != len(inner) + 1:
        raise TypeError(f"{hint} cannot be told apart in JSON: only X | None is supported")
    return inner[0]


def _tuple(hint: Any) -> _Decode:
    args = get_args(hint)
    if args[-1] is Ellipsis:
        read = _decoder(args[0])
        return lambda value: tuple(map(read, _list(value)))
    reads = tuple(_decoder(arg) for arg in args)

    def fixed(value: Any) -> Any:
        if len(_list(value)) != len(reads):
            raise CodecError(f"{value!r:.80} has not {len(reads)} elements")
        return tuple(read(item) for read, item in zip(reads, value, strict=True))

    return fixed


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise CodecError(f"{value!r:.80} is no list")
    return list(value)


def _dataclass(cls: Any) -> _Decode:
    hints = get_type_hints(cls)
    reads = {f.name: _decoder(hints[f.name]) for f in fields(cls)}
    required = {
        f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
    }

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise CodecError(f"{value!r:.80} is no {cls.__name__}")
        if missing := required - value.keys():
            raise CodecError(f"{cls.__name__} lacks {', '.join(sorted(missing))}")
        if unknown := value.keys() - reads.keys():
            raise CodecError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
        try:
            return cls(**{name: reads[name](item) for name, item in value.items()})
        except CodecError as why:
            raise CodecError(f"{cls.__name__}: {why}") from why

    return read
