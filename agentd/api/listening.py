"""The listening socket at its path: never taken from an agent that lives, always from one that is dead."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from agentd.config.access import Access
from agentd.ports import AdapterError

BACKLOG = 128


def listen(path: Path, access: Access, held: int | None = None) -> socket.socket:
    """Whoever connects from now on waits until somebody accepts. Raises AdapterError: another agent listens, or nobody can.

    ``held``: a descriptor by which this very process may listen there already; those who wait there are answered.
    """
    if held is not None:
        sock = socket.socket(fileno=held)
        if sock.family == socket.AF_UNIX and sock.getsockname() == str(path) and path.is_socket():
            path.chmod(_mode(access))
            return sock
        sock.close()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _make_way(path)
        sock.bind(str(path))
        path.chmod(_mode(access))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        why = error.strerror or str(error)
        raise AdapterError(f"cannot listen on {path}: {why}", error.errno or 0) from error
    except AdapterError:
        sock.close()
        raise
    return sock


def _make_way(path: Path) -> None:
    """Remove what a dead agent left. Raises AdapterError when somebody answers there, or it is no socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AdapterError(f"cannot listen on {path}: it is there and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its backlog is full: busy or stopped, but there
    raise AdapterError(f"cannot listen on {path}: an agent already listens there")


def _mode(access: Access) -> int:
    """Connecting takes write permission, and one mode cannot name several groups: let in whoever may read; routes decide."""
    return 0o666 if any((access.read, access.inspect, access.operate, access.admin)) else 0o600
