"""Reading a service's pid file: which process it names, and whether the file can be believed.

It may be written by the service's user and by root, and by nobody else; a symbolic link, a pipe or a device in its place is
neither followed nor waited for. Whether the process is one of the service's is not decided here.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat

from agentd.ports import AdapterError

_LONGEST = 64
"""Bytes that are read: a number and a line's end."""
_PID = re.compile(rb"\s*([1-9][0-9]{0,9})\s*")
_WITHIN = 2.0
"""Seconds after which a file system that hangs is waited for no longer."""


class OsPidFiles:
    """``PidFiles`` on this host."""

    async def read(self, path: str, uid: int) -> int:
        """See ``PidFiles.read``. In a thread: the file system may hang, and nobody else is to wait for it."""
        try:
            async with asyncio.timeout(_WITHIN):
                return await asyncio.to_thread(read, path, uid)
        except TimeoutError:
            raise AdapterError(f"pid_file {path} cannot be read: its file system hangs") from None


def read(path: str, uid: int) -> int:
    """The pid in the file. Raises AdapterError: what is wrong, as a clause."""
    try:
        # Not to be blocked by a pipe that lies there instead.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(path, flags)
    except OSError as error:
        raise AdapterError(f"pid_file {path}: {os.strerror(error.errno or 0)}") from error
    try:
        if why := _doubt(os.fstat(fd), uid):
            raise AdapterError(f"pid_file {path} is not believed: {why}")
        data = os.read(fd, _LONGEST)
    except OSError as error:
        raise AdapterError(f"pid_file {path}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(fd)
    found = _PID.fullmatch(data)
    if found is None:
        raise AdapterError(f"pid_file {path} holds no pid")
    return int(found[1])


def _doubt(found: os.stat_result, uid: int) -> str:
    """Who else could have written it; empty: nobody."""
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if found.st_uid not in (0, uid):
        return f"it belongs to uid {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write it (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""
