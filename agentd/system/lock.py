"""One agent for one state directory: a lock that the kernel lets go when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from agentd.ports import AdapterError

_ABOVE = 0o755
"""The mode of the directories above, where they are made too."""


def take(state_dir: Path, held: int | None = None) -> int:
    """Hold the directory; the descriptor must stay open. Raises AdapterError when another agent holds it.

    ``held``: a descriptor by which this very process may hold it already, from before it executed other code.
    """
    path = state_dir / "agentd.lock"
    try:
        if held is not None and os.path.samestat(os.fstat(held), os.lstat(path)):
            return held
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise AdapterError(f"cannot use {state_dir}: {error.strerror}", error.errno or 0) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        what = f"cannot use {state_dir}: another agentd (pid {holder}) holds it"
        raise AdapterError(what) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def directory(path: Path, mode: int) -> None:
    """Make a directory of our own, or see that the one that is there is ours. Raises AdapterError.

    What is made has its mode whatever the umask: services that run as other users pass through it to what is theirs.
    """
    try:
        missing = [one for one in (path, *path.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            one.chmod(mode if one == path else _ABOVE)
        found = path.stat()
    except OSError as error:
        raise AdapterError(f"cannot make {path}: {error.strerror}", error.errno or 0) from error
    if found.st_uid not in (0, os.getuid()):
        raise AdapterError(f"cannot use {path}: it belongs to another user (uid {found.st_uid})")
    # In a directory such as /tmp others can add names but not take ours away: enough for a socket, which is bound anew.
    sticky = found.st_mode & stat.S_ISVTX and mode & stat.S_IROTH
    if found.st_mode & stat.S_IWOTH and not sticky:
        how = f"everybody on this host can replace what is in it; try: chmod o-w {path}"
        raise AdapterError(f"cannot use {path}: {how}")
