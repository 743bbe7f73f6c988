"""Which listener of an SO_REUSEPORT group gets a new connection: a classic BPF program, attached to the group.

Builds and attaches the program; who is current is decided elsewhere. It returns an index into the group, in the order of
listen(2); when a member leaves, the last one takes its place. An index that is not there makes the kernel spread by hash.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_ATTACH, _DETACH = 51, 68
"""SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF of asm-generic; Python has no names for them."""
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
"""SO_ATTACH_FILTER, SO_DETACH_FILTER: for one socket alone."""
_NETWORK = 0xFFF00000
"""SKF_NET_OFF: offsets from the IP header on, since the program itself only sees what follows the TCP header."""
_RANDOM = 0xFFFFF000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM: a word drawn anew for each connection."""
_WORD, _HALF, _BYTE, _AND, _MODULO, _UNLESS, _RETURN = 0x20, 0x28, 0x30, 0x54, 0x94, 0x15, 0x06

Code = tuple[int, int, int, int]


class Aside(NamedTuple):
    """Connections from this address and port go to the index ``to``, whoever is current."""

    source: str
    port: int
    to: int


def program(current: Sequence[int], aside: Iterable[Aside] = ()) -> tuple[Code, ...]:
    """Everything to one of ``current``, drawn by chance, but what comes from the places in ``aside``."""
    code: list[Code] = []
    for one in aside:
        code += _four(one) if ":" not in one.source else _six(one)
    *others, last = current
    if others:
        code += [(_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, len(current))]
    for at, index in enumerate(others):
        code += [(_UNLESS, 0, 1, at), (_RETURN, 0, 0, index)]
    return (*code, (_RETURN, 0, 0, last))


def _four(one: Aside) -> list[Code]:
    source = int.from_bytes(socket.inet_aton(one.source), "big")
    # 0x45: version 4 and a header without options, so that the port is at 20. Our own probes have none.
    tests = [(_BYTE, 0, 0x45), (_WORD, 12, source), (_HALF, 20, one.port)]
    return _all(tests, one.to)


def _six(one: Aside) -> list[Code]:
    words = struct.unpack("!4I", socket.inet_pton(socket.AF_INET6, one.source))
    tests = [(_BYTE, 6, socket.IPPROTO_TCP), *((_WORD, 8 + 4 * i, w) for i, w in enumerate(words))]
    first = [(_BYTE, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0)]
    return _all([*tests, (_HALF, 40, one.port)], one.to, first, 0x60)


def _all(
    tests: list[tuple[int, int, int]],
    index: int,
    first: list[Code] | None = None,
    version: int = 0,
) -> list[Code]:
    """Return the index when every test holds, else go on behind."""
    steps = [*(first or ())]
    if first:
        steps.append((_UNLESS, 0, 0, version))
    for load, offset, value in tests:
        steps += [(load, 0, 0, _NETWORK + offset), (_UNLESS, 0, 0, value)]
    steps.append((_RETURN, 0, 0, index))
    last = len(steps) - 1
    return [(c, 0, last - at if c == _UNLESS else f, v) for at, (c, _, f, v) in enumerate(steps)]


def attach(member: socket.socket, code: tuple[Code, ...]) -> None:
    """From this moment the whole group obeys it. Raises OSError where this is not permitted or not known."""
    raw = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    given = struct.pack("H6xQ", len(code), ctypes.addressof(raw))
    member.setsockopt(socket.SOL_SOCKET, _ATTACH, given)


def deafen(member: socket.socket) -> None:
    """A listener that answers nobody any more: who comes is not refused, but tries again a second later. Raises OSError."""
    raw = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    given = struct.pack("H6xQ", 1, ctypes.addressof(raw))
    member.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, given)


def hear(member: socket.socket) -> None:
    """The end of ``deafen``. Raises OSError: it was not deaf."""
    member.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def detach(member: socket.socket) -> None:
    """The kernel spreads over all members again."""
    member.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
