"""The version's name when the operator says where it is written: one key of a JSON or TOML file.

It decides only whether what is there can serve as a name: one short printable line.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentd.core.spec import VersionKey

_MAX_BYTES = 1024 * 1024
_MAX_NAME = 64
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def read_key(key: VersionKey) -> str | None:
    """The value at a dotted path, list items as ``[n]``; None when it cannot be read or is no name. Blocks."""
    try:
        fd = os.open(key.file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123
            text = file.read(_MAX_BYTES + 1).decode()
        value = _parse(key.file, text)
        for name, index in _PART.findall(key.path):
            value = value[name] if name else value[int(index)]  # type: ignore[index]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if isinstance(value, bool | dict | list) or value is None:
        return None
    found = str(value)
    return found if 0 < len(found) <= _MAX_NAME and found.isprintable() else None


def _parse(name: str, text: str) -> object:
    """Both raise ValueError. Loaded here: few services name a key."""
    if len(text) > _MAX_BYTES:
        raise ValueError
    if name.endswith(".toml"):
        import tomllib  # noqa: PLC0415

        return tomllib.loads(text)
    import json  # noqa: PLC0415

    return json.loads(text)
