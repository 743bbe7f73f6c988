"""Takes a socket back from a living process, or from what the service manager kept: the next agent's way to the last one's listeners.

Decides whether what was found is the socket that was meant. The process keeps its own descriptor; nothing in it changes.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
from collections.abc import Collection

from agentd.core.spec import Family, SocketKind, SocketSpec
from agentd.system import holders, proctable, sockdiag, sockopen

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


def fits(kept: socket.socket, spec: SocketSpec) -> bool:
    """Whether clients of this address come to a socket that was kept while no agent was there."""
    try:
        if not sockopen.is_at(kept, spec):
            return False
        if spec.kind is SocketKind.UNIX:
            return _has_its_path(os.fstat(kept.fileno()).st_ino, spec)
        if kept.family == socket.AF_INET6:  # declared for both families, it may have been for one
            only = kept.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            return bool(only) is (spec.family is not Family.DUAL)
    except OSError:
        return False
    return True


def _has_its_path(inode: int, spec: SocketSpec) -> bool:
    """Its file may be gone, or be another's by now."""
    file = os.lstat(spec.path)
    if not stat.S_ISSOCK(file.st_mode):
        return False
    if sockdiag.unix_file(inode) == file.st_ino & 0xFFFFFFFF:
        return True
    return sockopen.there(spec) == {
        inode
    }  # where a file system tells two numbers, who listens there


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
