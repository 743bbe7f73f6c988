"""Who is at the other end of a connection: the kernel's word (SO_PEERCRED, SO_PEERGROUPS), never the request's.

Both are of the moment of connect(2), so a caller cannot change them by becoming somebody else. What a caller may do is
decided by ``agentd.config.access``.
"""

from __future__ import annotations

import pwd
import socket
import struct
from dataclasses import dataclass

_SO_PEERGROUPS = 59
"""asm-generic/socket.h, Linux 4.13; the socket module has no name for it."""
_MOST_GROUPS = 256
"""What getsockopt() of Python can take in. Who is in more counts as in none: denied at worst, never let in."""
_MOST_NAMES = 256


@dataclass(frozen=True, slots=True)
class Peer:
    """A caller."""

    pid: int
    uid: int
    gids: frozenset[int]
    """Primary and supplementary groups."""


def peer_of(sock: socket.socket) -> Peer:
    """Who connected."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("3i", raw)
    try:
        more = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError:  # ERANGE: in more groups than fit
        more = b""
    gids = struct.unpack(f"{len(more) // 4}I", more)
    return Peer(pid, uid & 0xFFFFFFFF, frozenset((gid & 0xFFFFFFFF, *gids)))


class Names:
    """User names by uid, asked for once: the user database may be a directory server."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, uid: int) -> str:
        """The name, or the number when there is none."""
        if uid not in self._known:
            if len(self._known) >= _MOST_NAMES:
                self._known.clear()
            try:
                self._known[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._known[uid] = str(uid)
        return self._known[uid]
