"""The host's key for the hashes of secret inputs and the marks of processes: 32 random bytes in a file, made when first needed.

A bare hash of a short secret tells it to whoever can guess; with a key of the host it tells nothing. Losing the key
harms nothing but comparability: every secret input looks changed once, and a process is not known by its mark alone any more.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from agentd.ports import AdapterError

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = 32


def host_key(path: Path) -> bytes:
    """Read the key, or create it. Raises AdapterError, also when others may read it."""
    name = os.fspath(path)
    try:
        try:
            return _read(name)
        except FileNotFoundError:
            _create(name)
            return _read(name)
    except OSError as e:
        raise AdapterError(f"cannot use the host key {name}: {e.strerror}", e.errno or 0) from e


def _read(name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        key = os.read(fd, _SIZE + 1)
    finally:
        os.close(fd)
    if mode & 0o077:
        raise AdapterError(f"cannot use the host key {name}: others may read it; chmod 600 it")
    if len(key) != _SIZE:
        raise AdapterError(
            f"cannot use the host key {name}: {_SIZE} bytes expected; remove it for a new one"
        )
    return key


def _create(name: str) -> None:
    """Written whole and linked into place: when two do this at once, one key wins and both read it."""
    os.makedirs(os.path.dirname(name), 0o700, exist_ok=True)  # noqa: PTH103, PTH120
    temporary = f"{name}.{os.getpid()}-{os.urandom(4).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, os.urandom(_SIZE))
        os.fsync(fd)
        try:
            os.link(temporary, name)
        except FileExistsError:
            return
    finally:
        os.close(fd)
        os.unlink(temporary)  # noqa: PTH108
