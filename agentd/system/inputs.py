"""The inputs of a service as they stand: each with its stamp, and whether it is secret; nothing is read.

It decides what cannot be an input (absent, unreadable, not a plain file, too large) and says so in a sentence. It does not
decide whether two such lists a moment apart belong together (``files``).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from agentd.core.manifest import Missing
from agentd.system.expand import MAX_FILES, Expansion, TooManyError
from agentd.system.hashing import Moved, Stamp

if TYPE_CHECKING:
    from agentd.core.spec import Spec

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


class UnusableError(Exception):
    """The inputs cannot be read as a whole, and trying again at once would not help."""

    def __init__(self, error_type: str, path: str, why: str) -> None:
        super().__init__(why)
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        self.missing = Missing(error_type, f"cannot read input {shown}: {why}")


class Input(NamedTuple):
    """One input as it stands."""

    path: str
    stamp: Stamp
    secret: bool


class View(NamedTuple):
    """What a reading takes beside what is declared: the files that a command has listed (``included``)."""

    listed: tuple[str, ...] = ()
    unlisted: str = ""
    """Why they may not be all."""
    mark: bytes = b""
    """What then tells this state from another."""


def patterns(spec: Spec) -> tuple[str, ...]:
    """Everything whose bytes are the service's configuration, secret ones included."""
    return (*spec.inputs, *spec.process.env_file, *spec.secret)


def list_inputs(
    spec: Spec, file_limit: int, total_limit: int, listed: tuple[str, ...] = ()
) -> tuple[Input, ...]:
    """The inputs in byte order of their paths, ``listed`` ones among them; limits are bytes, of one and of all.

    Raises UnusableError, Moved.
    """
    try:
        found = Expansion(patterns(spec), listed)
        secret = Expansion(spec.secret)
    except TooManyError:
        why = f"with it the inputs are more than {MAX_FILES} files"
        raise UnusableError("oversized_input", (*patterns(spec), *listed)[0], why) from None
    for path, number in found.errors:
        raise UnusableError("unreadable_input", path, os.strerror(number))
    inputs = []
    total = 0
    hidden_below = spec.secret if listed else ()
    for path in sorted(found.files, key=os.fsencode):
        stamp = _stamp(path, named=found.files[path])
        total += stamp.size
        _fits(path, stamp, total, file_limit, total_limit)
        inputs.append(Input(path, stamp, path in secret.files or _below(path, hidden_below)))
    # The same file under another name is as secret.
    hidden = {(i.stamp.dev, i.stamp.ino) for i in inputs if i.secret}
    return tuple(i._replace(secret=(i.stamp.dev, i.stamp.ino) in hidden) for i in inputs)


def _below(path: str, secret: tuple[str, ...]) -> bool:
    """A secret directory leaves out what editors leave lying about; who includes such a file makes it no less secret."""
    return any(path.startswith(f"{one.rstrip('/')}/") for one in secret)


def _fits(path: str, stamp: Stamp, total: int, file_limit: int, total_limit: int) -> None:
    if not stamp.regular:
        kind = _KINDS.get(stat.S_IFMT(stamp.mode), "something else")
        raise UnusableError("unreadable_input", path, f"it is {kind}, not a regular file")
    if stamp.size > file_limit:
        why = f"it has {stamp.size} bytes, more than {file_limit}"
        raise UnusableError("oversized_input", path, why)
    if total > total_limit:
        why = f"with it the inputs have more than {total_limit} bytes"
        raise UnusableError("oversized_input", path, why)


def _stamp(path: str, *, named: bool) -> Stamp:
    """The stamp of what the path leads to. Raises UnusableError, Moved."""
    try:
        return Stamp.of(os.stat(path))  # noqa: PTH116
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise UnusableError("unreadable_input", path, str(e.strerror)) from e
        if os.path.islink(path):  # noqa: PTH114
            why = "it is a symbolic link to something that does not exist"
            raise UnusableError("missing_input", path, why) from e
        if named:
            raise UnusableError("missing_input", path, "it does not exist") from e
        raise Moved(path) from e  # it was there when the wildcard was expanded
