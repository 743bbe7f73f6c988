"""The version's name when the operator says where it is written: one key of a JSON, TOML or YAML file.

It decides only whether what is there can serve as a name: one short printable line.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from agentd.system.document import MAX_BYTES, parse, plain

if TYPE_CHECKING:
    from agentd.core.spec import VersionKey

_MAX_NAME = 64
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def read_key(key: VersionKey) -> str | None:
    """The value at a dotted path, list items as ``[n]``; None when it cannot be read or is no name. Blocks."""
    try:
        fd = os.open(key.file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123
            value = parse(key.file, file.read(MAX_BYTES + 1))
        for name, index in _PART.findall(key.path):
            value = value[name] if name else value[int(index)]  # type: ignore[index]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return plain(value, _MAX_NAME)
