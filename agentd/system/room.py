"""Room on the disk before it is written to, so that no write ends in the middle. Writes nothing; the file stays as long as it is."""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import Any

_KEEP_SIZE = 1
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINTR})
"""A file system that knows no such thing, or not now: then the write itself has to tell."""


def make_room(fd: int, offset: int, count: int) -> None:
    """Have the blocks of these bytes, more than none. Raises OSError when there are not as many."""
    if _fallocate()(fd, _KEEP_SIZE, offset, count) == 0:
        return
    import ctypes  # noqa: PLC0415 - loaded by then

    code = ctypes.get_errno()
    if code not in _CANNOT:
        raise OSError(code, os.strerror(code))


@cache
def _fallocate() -> Any:
    import ctypes  # noqa: PLC0415 - for this call, which os has only in the form that makes the file longer

    libc = ctypes.CDLL(None, use_errno=True)
    # With glibc only this one takes offsets of 64 bits everywhere; musl has no other than those.
    call = getattr(libc, "fallocate64", None) or libc.fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return call
