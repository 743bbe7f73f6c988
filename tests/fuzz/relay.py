"""TCP on loopback to the agent's Unix socket, for clients that only know URLs; a connection of the agent's for each of theirs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def relay(path: Path, connected: Callable[[], None]) -> Iterator[int]:
    """The port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_accept, args=(listener, str(path), connected), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, path: str, connected: Callable[[], None]) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            connected()
            far = socket.socket(socket.AF_UNIX)
            far.connect(path)
            ways = [
                threading.Thread(target=_copy, args=pair, daemon=True)
                for pair in ((near, far), (far, near))
            ]
            for way in ways:
                way.start()
            threading.Thread(target=_close, args=(ways, near, far), daemon=True).start()


def _copy(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            to.sendall(data)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)


def _close(ways: list[threading.Thread], *ends: socket.socket) -> None:
    ways[1].join()  # once the agent has said all
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    ways[0].join()
    for end in ends:
        end.close()
