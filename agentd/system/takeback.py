"""Takes a socket back from a living process: the next agent's way to the listeners of the one that was killed.

Decides whether what was found is the socket that was meant. The process keeps its own descriptor; nothing in it changes.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Collection

from agentd.core.spec import SocketSpec
from agentd.system import holders, proctable, sockopen

_PIDFD_GETFD = 438  # the same on every architecture; Linux 5.6
_libc = ctypes.CDLL(None, use_errno=True)


def take(spec: SocketSpec, pid: int, inodes: Collection[int]) -> socket.socket | None:
    """A copy of the socket at this address with one of the inodes, from the process or one below it.

    By its inode, not its number: servers move what they are given. None: nobody there has it. Raises OSError: it is there,
    and we may not have it (EPERM: another user's, or kernel.yama.ptrace_scope).
    """
    for owner in proctable.descendants([pid]):
        for fd, inode in holders.sockets(owner):
            if inode in inodes and (got := _copy(owner, fd)) is not None:
                if os.fstat(got.fileno()).st_ino == inode and sockopen.is_at(got, spec):
                    return got
                got.close()
    return None


def _copy(pid: int, fd: int) -> socket.socket | None:
    """The descriptor of another process; None when either is gone by now."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        got = _libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
        if got < 0:
            number = ctypes.get_errno()
            if number in (3, 9):  # ESRCH, EBADF
                return None
            raise OSError(number, os.strerror(number))
    finally:
        os.close(pidfd)
    return socket.socket(fileno=got)
