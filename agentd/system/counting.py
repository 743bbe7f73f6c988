"""Counts what a generation still has to do: connections that wait for it, and those its processes have.

Decides what belongs to whom. A generation whose listener gets nothing any more can only lose connections: then the
descriptors of its processes need not be read again, which is what costs (2,000 connections: 12 ms against 2).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from agentd.core.spec import SocketKind
from agentd.ports import Key, Load
from agentd.system import holders, sockdiag
from agentd.system.held import Held, Member

_BLUR = 0.02
"""The kernel's clock for handshakes has a few milliseconds between two ticks."""


class Counting:
    """Remembers the connections of generations that get no new ones."""

    def __init__(self) -> None:
        self._last: dict[Key, frozenset[int]] = {}

    def count(self, key: Key, held: Sequence[Held], pids: Collection[int]) -> Load:
        """Raises OSError where the kernel does not tell."""
        mine = [(one, found) for one in held if (found := one.of(key.generation)) is not None]
        queued = sum(_queued(one, found, key.generation) for one, found in mine)
        handshakes = sum(_handshakes(one, found) for one, found in mine)
        alive = {inode for one, _ in mine for inode in _connections(one)}
        final = self._last.get(key)
        had = alive & final if final is not None else alive & _owned(alive, pids)
        closed_to_new = all(
            found not in one.places.values() and len(found.users) == 1 for one, found in mine
        )
        if mine and closed_to_new and queued == handshakes == 0:
            self._last[key] = frozenset(had)
        return Load(queued, len(had), handshakes)

    def forget(self, key: Key) -> None:
        """The generation is gone."""
        self._last.pop(key, None)


def _owned(alive: Collection[int], pids: Collection[int]) -> set[int]:
    return holders.inodes(pids) if alive else set()


def _queued(held: Held, found: Member, generation: int) -> int:
    """What waits at a shared listener waits for the newest that has it."""
    if found.users and generation != max(found.users):
        return 0
    if held.spec.kind is SocketKind.UNIX:
        return sockdiag.unix_queue(found.inode)
    if held.spec.kind is SocketKind.UDP:
        return 0
    rows = sockdiag.listening(held.family, held.spec.port)
    return sum(row.queued for row in rows if row.inode == found.inode)


def _handshakes(held: Held, found: Member) -> int:
    """The kernel does not tell whose a handshake is, but when it began: before the switch it was for the former one."""
    if held.spec.kind is not SocketKind.TCP:
        return 0
    ages = sockdiag.handshakes(held.family, held.spec.port)
    if len(held.members) == 1:
        return len(ages)
    now = time.monotonic()
    former, until = held.before.get(found.slot, (None, 0.0))
    early = sum(now - age < until + _BLUR for age in ages)
    if found in held.places.values():
        return len(ages) - early
    return early if former is found else 0


def _connections(held: Held) -> set[int]:
    match held.spec.kind:
        case SocketKind.TCP:
            return {r.inode for r in sockdiag.connections(held.family, held.spec.port)}
        case SocketKind.UNIX:
            return {i for i, listens in sockdiag.unix_named(held.spec.path) if i and not listens}
        case SocketKind.UDP:
            return set()
