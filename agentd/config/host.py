"""The kinds of values that this host knows or does not: users, groups, signals, resource limits.

They are looked up when the definitions are loaded, so that a missing one is a mistake with a line and not a failed
start.
"""

from __future__ import annotations

import grp
import pwd
import resource
import signal
from collections.abc import Callable
from functools import cache

from agentd.config.access import Anyone, Group, Principal, User
from agentd.config.keys import Kind
from agentd.config.kinds import filled, integer, list_of, pairs_by, size, text
from agentd.config.problems import Wrong, shown, unknown
from agentd.core.spec import GROUP_LIMITS

_SIGNALS = frozenset(s.name.removeprefix("SIG") for s in signal.Signals)
_UNCATCHABLE = frozenset({"KILL", "STOP"})
_LIMITS = {
    name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")
}


def _signal(value: object) -> str:
    name = text(value).removeprefix("SIG")
    if name not in _SIGNALS:
        what = f"{shown(value)} is not a signal of this host"
        raise Wrong.here(unknown(what, name, _SIGNALS) if name else what)
    return name


def _handled_signal(value: object) -> str:
    name = _signal(value)
    if name in _UNCATCHABLE:
        raise Wrong.here(
            f"SIG{name} cannot be handled by any program, so it cannot ask for a reload"
        )
    return name


@cache
def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


@cache
def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def forget_names() -> None:
    """Users and groups are looked up once per load: with a directory service behind them each costs a round trip."""
    _uid.cache_clear()
    _gid.cache_clear()


def _user(value: object) -> str:
    return _looked_up(value, "user", _uid)[0]


def _group(value: object) -> str:
    return _looked_up(value, "group", _gid)[0]


def _looked_up(value: object, what: str, find: Callable[[str], int]) -> tuple[str, int]:
    """The name and its number. A string of digits is the number itself and may be nobody's."""
    name = filled(value)
    if name.isascii() and name.isdigit():
        if len(name) > 10 or int(name) >= 2**32 - 1:  # noqa: PLR2004 - (uid_t) -1 means "leave it" to the kernel
            raise Wrong.here(f"{shown(name)} is no {what} number")
        return name, int(name)
    try:
        return name, find(name)
    except (KeyError, UnicodeError):
        raise Wrong.here(f"{what} {shown(name)} does not exist on this host") from None


def _principal(value: object) -> Principal:
    word, _, name = text(value).partition(":")
    if value == "*":
        return Anyone()
    if word == "user" and name:
        return User(_looked_up(name, "user", _uid)[1])
    if word == "group" and name:
        return Group(_looked_up(name, "group", _gid)[1])
    raise Wrong.here(f'{shown(value)} is nobody; write "*", "user:NAME" or "group:NAME"')


def _limit(value: object) -> int:
    if value == "unlimited":
        return -1
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise Wrong.here('expected an integer from 0, or "unlimited"')
    return value


def _limit_of(name: str) -> Kind[int]:
    if name not in _LIMITS and name not in GROUP_LIMITS:
        raise Wrong.here(unknown("unknown limit", name, {*_LIMITS, *GROUP_LIMITS}))
    if GROUP_LIMITS.get(name) == "memory":
        return _MEMORY
    if name == "cpu_weight":
        return integer(1, 10_000)
    return _COUNT if name in GROUP_LIMITS else _OWN


def _memory(value: object) -> int:
    return -1 if value == "unlimited" else size(value)


def _count(value: object) -> int:
    return -1 if value == "unlimited" else integer(1, 1 << 22).parse(value)


_OWN = Kind("limit", _limit)
_MEMORY = Kind("size", _memory)
_COUNT = Kind("integer", _count)


SIGNAL = Kind("signal", _signal)
HANDLED_SIGNAL = Kind("signal", _handled_signal)
USER = Kind("user", _user)
GROUP = Kind("group", _group)
PRINCIPALS = list_of(Kind("principal", _principal), "a list of principals")
LIMITS = pairs_by(_limit_of, "a table of limits")
