"""One file of definitions: read, decoded, parsed as TOML, and asked for lines when something in it is wrong.

Decides what a file must be to be looked into at all. What is in it is the loader's business.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG, S_IWOTH

from agentd.config.locate import Lines
from agentd.config.problems import At, Problem, key_name

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(slots=True)
class Source:
    """A file that could be parsed."""

    path: str
    text: str
    raw: dict[str, object]
    writable: bool
    """By everybody on this host."""
    _lines: Lines | None = field(default=None, init=False)

    def line(self, at: At) -> int:
        """Where a key stands; the file is parsed a second time when it is first asked."""
        if self._lines is None:
            self._lines = Lines(self.text)
        return self._lines.of(at)

    def problem(self, at: At, message: str) -> Problem:
        """A mistake, with its place."""
        return Problem(self.path, self.line(at), key_name(at), message)


def read(path: Path) -> Source | Problem:
    """The file, or its first syntax error, or why it cannot be read."""
    name = str(path)
    try:
        mode = path.stat().st_mode
        if not S_ISREG(mode) and not S_ISDIR(
            mode
        ):  # a pipe that nobody writes to would be waited for, a device has no end
            return Problem(name, 0, "", "cannot be read: it is no regular file")
        data = path.read_bytes()
        writable = bool(mode & S_IWOTH)
        text = data.decode()
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        return Problem(name, line, "", f"is not UTF-8: byte 0x{error.object[error.start]:02x}")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        return Problem(name, 0, "", f"cannot be read: {why}")
    try:
        return Source(name, text, tomllib.loads(text), writable)
    except RecursionError:
        return Problem(name, 0, "", "is nested too deeply")
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits
        return _syntax(name, text, str(error))


def _syntax(name: str, text: str, said: str) -> Problem:
    found = _PLACE.search(said)
    if found is None:
        return Problem(name, 0, "", f"is not TOML: {said}")
    what = said[: found.start()]
    if found[1] is None:
        return Problem(
            name,
            1 + text.rstrip("\n").count("\n"),
            "",
            f"is not TOML: {what}, at the end of the file",
        )
    return Problem(name, int(found[1]), "", f"is not TOML: {what}, column {found[2]}")
