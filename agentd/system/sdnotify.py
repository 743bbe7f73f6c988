"""What the agent itself tells systemd: sd_notify(3) as a sender. Silent when nobody listens."""

from __future__ import annotations

import contextlib
import os
import socket


def tell(state: str) -> None:
    """Send one message, such as ``READY=1``, to NOTIFY_SOCKET; without one, or when it is gone, nothing happens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.sendto(state.encode(), address)
