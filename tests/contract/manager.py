"""A stand-in for the service manager's file descriptor store, which does what sd_notify(3) and sd_listen_fds(3) say."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

from agentd.system import sdnotify
from agentd.system.notify import parse

_FIRST = 700
"""Where what is handed over begins: in one process with the tests, so not at 3."""


class Manager:
    """One that listens at a path. ``store``: name, inode and descriptor of what it keeps, in the order that came."""

    def __init__(self, path: Path, most: int = 1024) -> None:
        self.path = str(path)
        self.most = most
        self.slow = 0.0
        """Seconds that a removal takes."""
        self.refused = 0
        self._kept: list[tuple[str, int, int]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def close(self) -> None:
        sdnotify.hand(self.path, "END=1")
        self._thread.join()
        self._socket.close()
        self.forget()

    def forget(self) -> None:
        """The unit has stopped."""
        while self._kept:
            os.close(self._kept.pop()[2])

    @property
    def store(self) -> list[str]:
        """The names, once everything that was sent has been worked."""
        assert sdnotify.wait(self.path, 10)
        return [name for name, _, _ in self._kept]

    def keeps(self, descriptor: int) -> bool:
        """Whether it has a copy of this one."""
        inode = os.fstat(descriptor).st_ino
        assert sdnotify.wait(self.path, 10)
        return any(inode == kept for _, kept, _ in self._kept)

    def start(self) -> dict[str, str]:
        """The environment of the next agent, for which it all is there, and at which descriptor that begins."""
        names = self.store[::-1]  # no order is promised
        for at, (_, _, fd) in enumerate(reversed(self._kept)):
            os.dup2(fd, _FIRST + at)
        told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(names))}
        told |= {"LISTEN_FDNAMES": ":".join(names)}
        return self.env | (told if names else {})

    @property
    def env(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.path, "FDSTORE": str(self.most)}

    first = _FIRST

    def _listen(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, 4096, 253)
            fields = dict(parse(data) or ())
            if "END" in fields:
                return
            if fields.get("FDSTORE") == "1":
                assert fields["FDPOLL"] == "0"
                fds = [fd for fd in fds if not self._keep(fields["FDNAME"], fd)]
            elif fields.get("FDSTOREREMOVE") == "1":
                time.sleep(self.slow)
                self._remove(fields["FDNAME"])
            for fd in fds:  # also that of a barrier
                os.close(fd)

    def _keep(self, name: str, fd: int) -> bool:
        assert name.isascii()
        assert name.isprintable()
        assert len(name) <= 255
        assert ":" not in name
        inode = os.fstat(fd).st_ino
        if any(inode == kept for _, kept, _ in self._kept):
            return False
        if len(self._kept) >= self.most:
            self.refused += 1
            return False
        self._kept.append((name, inode, fd))
        return True

    def _remove(self, name: str) -> None:
        for one in [one for one in self._kept if one[0] == name]:
            self._kept.remove(one)
            with contextlib.suppress(OSError):
                os.close(one[2])
