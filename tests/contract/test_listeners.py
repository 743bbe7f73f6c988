"""The real listeners: the shared checks, and what only Linux has."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentd.core.spec import Family, ProcessSpec, SocketKind, SocketSpec, Spec
from agentd.ports import AdapterError, Key
from agentd.system import sockopen
from agentd.system.listeners import OsListeners
from tests.contract import checks_listeners
from tests.contract.checks_listeners import G1, G2, G3, lend

TCP, UDP, UNIX = SocketKind.TCP, SocketKind.UDP, SocketKind.UNIX


def free_port(family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> int:
    with socket.socket(family) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def web(*sockets: SocketSpec) -> Spec:
    return Spec("web", ProcessSpec(("web",)), sockets=sockets)


class RealRig:
    def __init__(self, directory: Path, host: str, family: Family) -> None:
        v6 = ":" in host
        self.host = host
        self.port = free_port(socket.AF_INET6 if v6 else socket.AF_INET, host)
        bound = "::" if family is Family.DUAL else host
        self.spec = web(SocketSpec("http", TCP, bound, self.port, family=family))
        self.said: list[str] = []
        self.directory = directory
        self.listeners = OsListeners(directory, self.said.append)
        self.clients = contextlib.ExitStack()

    def connect(self) -> bool:
        try:
            client = socket.create_connection((self.host, self.port), 5)
        except ConnectionRefusedError:
            return False
        self.clients.enter_context(client)
        return True

    def accept(self, descriptor: int) -> int:
        return len(self.accepted(descriptor))

    def accepted(self, descriptor: int) -> list[bool]:
        """For each that waits, whether it sends small answers at once."""
        found = []
        with socket.socket(fileno=os.dup(descriptor)) as listener:
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    with listener.accept()[0] as one:
                        found.append(bool(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            listener.setblocking(True)
        return found


FAMILIES = {
    "v4": ("127.0.0.1", Family.INET),
    "v6": ("::1", Family.INET6),
    "both, asked by v4": ("127.0.0.1", Family.DUAL),
    "both, asked by v6": ("::1", Family.DUAL),
}


@contextlib.contextmanager
def rig(directory: Path, family: str = "v4") -> Iterator[RealRig]:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    made = RealRig(directory, *FAMILIES[family])
    try:
        yield made
    finally:
        made.clients.close()
        made.listeners.close()
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor was left open"  # noqa: PTH208


@pytest.mark.parametrize("check", checks_listeners.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_contract(check: checks_listeners.Check, tmp_path: Path, family: str) -> None:
    check(lambda: rig(tmp_path, family))
