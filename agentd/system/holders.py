"""Which process has a socket open, from the links in /proc.

Decides nothing. A process that cannot be read, or is gone, has nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from agentd.system import proctable


def sockets(pid: int) -> Iterator[tuple[int, int]]:
    """Descriptor and inode of every socket a process has open."""
    try:
        directory = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        for name in sorted(os.listdir(directory), key=int):  # noqa: PTH208 - of a descriptor
            try:
                target = os.readlink(name, dir_fd=directory)
            except OSError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                yield int(name), int(target[8:-1])
    except OSError:
        return
    finally:
        os.close(directory)


def inodes(pids: Iterable[int]) -> set[int]:
    """The sockets that these processes have open."""
    return {inode for pid in pids for _, inode in sockets(pid)}


def holds(pids: Iterable[int], inode: int) -> bool:
    """Whether one of them has it."""
    return any(inode == found for pid in pids for _, found in sockets(pid))


def holder(inode: int, likely: Iterable[int] = ()) -> int | None:
    """Some process that has it, other than this one; ``likely`` are looked at first."""
    own = os.getpid()
    for pid in (*likely, *proctable.pids()):
        if pid != own and holds((pid,), inode):
            return pid
    return None


def named(pid: int) -> str:
    """A process as a message shows it."""
    name = proctable.read(f"/proc/{pid}/comm", 64).decode(errors="replace").strip()
    return f"pid {pid}, {name}" if name else f"pid {pid}"
