"""What the agent itself tells systemd: sd_notify(3) as a sender. Silent when nobody listens."""

from __future__ import annotations

import array
import os
import select
import socket

_PATIENCE = 1.0
"""Seconds that a message waits for its place in a full queue."""


def tell(state: str) -> None:
    """Send one message, such as ``READY=1``, to NOTIFY_SOCKET; without one, or when it is gone, nothing happens."""
    hand(os.environ.get("NOTIFY_SOCKET", ""), state, patience=None)


def hand(path: str, state: str, *fds: int, patience: float | None = _PATIENCE) -> bool:
    """Send one message with copies of descriptors to the socket at ``path``; whether it is on its way. None: as long as it takes."""
    if not path.startswith(("/", "@")):
        return False
    address = "\0" + path[1:] if path[0] == "@" else path
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(patience)
        try:
            sender.sendmsg([state.encode()], rights, 0, address)
        except OSError:  # nobody is there, or it is stuck
            return False
    return True


def wait(path: str, seconds: float) -> bool:
    """Until everything that was sent before has been worked (sd_notify_barrier(3)); False: it has not been within that time."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        sent = hand(path, "BARRIER=1", theirs)
    finally:
        os.close(theirs)
    asked = select.poll()
    asked.register(ours, 0)  # POLLHUP, when the last copy of the other end is closed
    try:
        return sent and bool(asked.poll(seconds * 1000))
    finally:
        os.close(ours)
