"""Who may ask the agent for what.

Decides whether a caller with a uid and groups may use a level; which route needs which level is the API's
table, and who is calling is the socket's word (SO_PEERCRED). The levels are nested: who may ``admin`` may
everything below it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """What a request touches; each includes those below it."""

    READ = 0
    INSPECT = 1
    OPERATE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Anyone:
    """``"*"``: every user of this host."""


@dataclass(frozen=True, slots=True)
class User:
    """``"user:NAME"``."""

    uid: int


@dataclass(frozen=True, slots=True)
class Group:
    """``"group:NAME"``, primary or supplementary."""

    gid: int


Principal = Anyone | User | Group


@dataclass(frozen=True, slots=True)
class Access:
    """The declared rules, a list of principals for each level."""

    read: tuple[Principal, ...] = (Anyone(),)
    inspect: tuple[Principal, ...] = ()
    operate: tuple[Principal, ...] = ()
    admin: tuple[Principal, ...] = ()


def allows(access: Access, level: Level, uid: int, gids: Collection[int], agent_uid: int) -> bool:
    """Whether this caller may; root and the agent's own user always may."""
    if uid in (0, agent_uid):
        return True
    rules = (access.read, access.inspect, access.operate, access.admin)
    return any(_is(who, uid, gids) for granted in rules[level:] for who in granted)


def _is(who: Principal, uid: int, gids: Collection[int]) -> bool:
    match who:
        case Anyone():
            return True
        case User():
            return who.uid == uid
        case Group():
            return who.gid in gids
