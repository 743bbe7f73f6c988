"""What the kernel tells of sockets by sock_diag(7): queues, connections and the other end of one.

It decides nothing. Asked with the port as a filter, because a host with many connections makes /proc/net/tcp slow
(4,000 of them: 14 ms instead of 2.4 ms for those of one port, 0.07 ms for the listeners alone).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST, _DUMP = 1, 0x300
_ERROR, _DONE = 2, 3
_NO_COOKIE = b"\xff" * 8
_SHOW_NAME, _SHOW_FILE, _SHOW_PEER, _SHOW_QUEUE = 1, 2, 4, 16
_NAME, _FILE, _PEER, _QUEUE = 0, 1, 2, 4
_LISTEN = 10
_SYN_RECEIVED = 12
"""TCP_NEW_SYN_RECV; asked for as SYN_RECV, 3."""
_OPEN = 1 << 1 | 1 << 8 | 1 << 4 | 1 << 5
"""Established, and closed by one side only (CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2)."""
_TALKING = frozenset({1, 8, 4, 5, 3, _SYN_RECEIVED})
_SOCKET = struct.Struct("=BBBB")
_COUNTS = struct.Struct("=IIIII")


class Row(NamedTuple):
    """One TCP or UDP socket. ``inode`` 0: no process has it (not accepted yet, or closed)."""

    state: int
    retries: int
    local: bytes
    expires: int
    """Milliseconds until the timer of a handshake."""
    queued: int
    """Of a listener: connections that wait to be accepted."""
    inode: int

    @property
    def talking(self) -> bool:
        """Both sides may still say something."""
        return self.state in _TALKING


def listening(family: int, port: int, kind: int = socket.IPPROTO_TCP) -> list[Row]:
    """Every listener of a port; for UDP every socket bound to it."""
    states = 1 << _LISTEN if kind == socket.IPPROTO_TCP else 0xFFFFFFFF
    return list(_inet(family, kind, states, _identity(port)))


def connections(family: int, port: int) -> list[Row]:
    """The open connections of a local port that a process has."""
    return [r for r in _inet(family, socket.IPPROTO_TCP, _OPEN, _identity(port)) if r.inode]


def handshakes(family: int, port: int) -> list[float]:
    """The ages in seconds of the handshakes of a local port that have not ended yet."""
    rows = _inet(family, socket.IPPROTO_TCP, 1 << 3, _identity(port))
    # The n-th repetition is due 2**n seconds after the one before it (net.ipv4, TCP_TIMEOUT_INIT).
    return [(1 << r.retries) * 2 - 1 - r.expires / 1000 for r in rows]


def other_end(connected: socket.socket) -> Row | None:
    """The server's side of a TCP connection that we made; None: it is not on this host, or gone."""
    name, peer = connected.getsockname(), connected.getpeername()
    packed = [socket.inet_pton(connected.family, a[0].partition("%")[0]) for a in (peer, name)]
    identity = _identity(peer[1], name[1], *packed)
    try:
        found = _inet(connected.family, socket.IPPROTO_TCP, 0xFFFFFFFF, identity, dump=False)
        return next(found, None)
    except FileNotFoundError:
        return None


def unix_queue(inode: int) -> int:
    """How many connections wait at a Unix listener; 0 when there is none."""
    for _, attributes in _unix(inode, _SHOW_QUEUE):
        return int.from_bytes(attributes.get(_QUEUE, b"")[:4], sys.byteorder)
    return 0


def unix_peer(inode: int) -> int:
    """The inode of the other end of a connected Unix socket; 0: nobody has accepted it, or it is gone."""
    for _, attributes in _unix(inode, _SHOW_PEER):
        return int.from_bytes(attributes.get(_PEER, b"")[:4], sys.byteorder)
    return 0


def unix_file(inode: int) -> int:
    """The lower 32 bits of the inode of the file that a Unix socket is bound to; 0: none that can be told."""
    for _, attributes in _unix(inode, _SHOW_FILE):
        return int.from_bytes(attributes.get(_FILE, b"")[:4], sys.byteorder)
    return 0


def unix_named(path: str) -> Iterator[tuple[int, bool]]:
    """Inode, and whether it listens, of every Unix socket with this path; connections that were accepted there have it too."""
    name = os.fsencode(path)
    for (state, inode), attributes in _unix(0, _SHOW_NAME):
        if attributes.get(_NAME, b"").rstrip(b"\0") == name:
            yield inode, state == _LISTEN


def _identity(port: int, remote_port: int = 0, local: bytes = b"", remote: bytes = b"") -> bytes:
    """``struct inet_diag_sockid``."""
    ports = struct.pack("!HH", port, remote_port)
    return ports + local.ljust(16, b"\0") + remote.ljust(16, b"\0") + bytes(4) + _NO_COOKIE


def _inet(
    family: int, kind: int, states: int, identity: bytes, *, dump: bool = True
) -> Iterator[Row]:
    ask = struct.pack("=BBBBI", family, kind, 0, 0, states) + identity
    length = 4 if family == socket.AF_INET else 16
    for data in _answers(ask, dump=dump):
        _, state, _, retries = _SOCKET.unpack_from(data)
        expires, queued, _, _, inode = _COUNTS.unpack_from(data, 52)
        yield Row(state, retries, data[8 : 8 + length], expires, queued, inode)


def _unix(inode: int, show: int) -> Iterator[tuple[tuple[int, int], dict[int, bytes]]]:
    """State and inode with the attributes asked for: of one socket, or of all when ``inode`` is 0."""
    ask = struct.pack("=BBHIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, show) + _NO_COOKIE
    try:
        for data in _answers(ask, dump=inode == 0):
            _, _, state, _, found = struct.unpack_from("=BBBBI", data)
            yield (state, found), dict(_attributes(data[16:]))
    except FileNotFoundError:
        return


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:  # noqa: PLR2004 - its own head
            return
        yield kind, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _answers(ask: bytes, *, dump: bool) -> Iterator[bytes]:
    """The body of each answer. Raises OSError: ENOENT when the one asked for is not there."""
    flags = _REQUEST | (_DUMP if dump else 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as s:
        s.settimeout(5)
        s.send(struct.pack("=IHHII", 16 + len(ask), _BY_FAMILY, flags, 1, 0) + ask)
        while True:
            data, at = s.recv(1 << 17), 0
            while at + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", data, at + 16)[0]
                    raise OSError(number, os.strerror(number))
                yield data[at + 16 : at + length]
                at += (length + 3) & ~3
            if not dump:
                return
