"""Which processes of this host show that an agent on these directories started them: asked when nothing else tells.

By the control group that they are in, which is the kernel's word, or by a mark in their environment that only such an agent can have
made. Of each generation the main process is found: the one that nobody of its own started, a session's leader before others, the
oldest of those. It must run as its service does; whatever its environment says, a process of another user is a stranger. What
becomes of those that were found is decided in ``core.found``.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agentd.core.found import Seen
from agentd.core.process import Identity
from agentd.system import proctable
from agentd.system.groups import COOKIE, leaf_name
from agentd.system.marks import proven

_NUMBER = b"AGENTD_INSTANCE_NUMBER"
_TAKEOVERS = b"AGENTD_TAKEOVERS"


@dataclass(frozen=True, slots=True)
class Signs:
    """By what an agent's own processes are known."""

    boot: str
    key: bytes | None
    """The host key; None: marks prove nothing."""
    base: str
    """What the group above the leaves is called (``groups.base_name``)."""
    mount: Path | None
    """Where cgroup v2 is mounted; None: nowhere."""


@dataclass(slots=True)
class _Member:
    inside: bool
    """It is in the leaf: a mark can be copied by whoever runs as the same user, a place in the leaf cannot be had."""
    stat: proctable.Stat
    cookie: str
    slot: int | None
    takeovers: int


@dataclass(frozen=True, slots=True)
class Sightings:
    """What was found, in the order of service and generation."""

    seen: tuple[Seen, ...]
    refused: tuple[str, ...] = ()
    """Sentences about processes that have a mark and are strangers all the same."""


def look(services: Iterable[str], uid_of: Callable[[str], int | None], signs: Signs) -> Sightings:
    """``uid_of``: the user a declared service runs as; None: that is not known, and its processes are strangers."""
    declared = {leaf_name(name, 0).removesuffix(".0"): name for name in services}
    seen: list[Seen] = []
    refused: list[str] = []
    for (service, generation), members in sorted(_generations(declared, signs).items()):
        first, *more = sorted(members, key=partial(_before_others, members))
        mains = [first]
        if service in declared.values():
            wanted = uid_of(service)
            theirs = (one for one in (first, *more) if proctable.real_uid(one) == wanted)
            mains = [] if wanted is None else list(theirs)
            if not mains:
                refused.append(_stranger(first, service, wanted))
        seen += [_seen(service, generation, pid, members[pid], signs.boot) for pid in mains[:1]]
    return Sightings(tuple(seen), tuple(refused))


def _generations(
    declared: dict[str, str], signs: Signs
) -> dict[tuple[str, int], dict[int, _Member]]:
    """Every process that shows of which generation it is."""
    found: dict[tuple[str, int], dict[int, _Member]] = {}
    for pid in proctable.pids():
        before = proctable.stat(pid)
        if before is None or not before.alive or pid == os.getpid():
            continue
        env = proctable.environment(pid)
        inside = _leaf(pid, declared, signs)
        place = inside or _marked(env, signs)
        after = proctable.stat(pid)
        if place is None or after is None or after.started != before.started:
            continue
        # One whose environment cannot be read has no mark: nobody else must be taken for it by an empty one.
        cookie = env.get(COOKIE.encode(), b"").decode(errors="replace") or os.urandom(12).hex()
        slot, takeovers = _number(env.get(_NUMBER)), _number(env.get(_TAKEOVERS)) or 0
        member = _Member(bool(inside), after, cookie, slot, takeovers)
        found.setdefault(place, {})[pid] = member
    return found


def _number(text: bytes | None) -> int | None:
    return int(text) if text and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004


def _seen(service: str, generation: int, pid: int, one: _Member, boot: str) -> Seen:
    session = 0 if one.stat.session == pid else one.stat.session
    identity = Identity(pid, one.stat.started, boot, one.cookie, _output(pid), session=session)
    return Seen(service, generation, identity, one.slot, one.takeovers)


def _before_others(members: dict[int, _Member], pid: int) -> tuple[bool, bool, bool, int, int]:
    one = members[pid]
    s = one.stat
    return not one.inside, s.ppid in members, s.session != pid, s.started, pid


def _stranger(pid: int, service: str, wanted: int | None) -> str:
    real = proctable.real_uid(pid)
    why = "that user is not known" if wanted is None else f"it runs as uid {real}, not as {wanted}"
    return f"pid {pid} shows the mark of {service} and is not taken over: {why}"


def _marked(env: dict[bytes, bytes], signs: Signs) -> tuple[str, int] | None:
    """The generation whose mark it has."""
    said = env.get(COOKIE.encode(), b"").decode(errors="replace")
    service = env.get(b"AGENTD_SERVICE", b"").decode(errors="replace")
    number = env.get(b"AGENTD_GENERATION", b"")
    if signs.key is None or not said or not number.isdigit() or len(number) > 18:  # noqa: PLR2004
        return None
    generation = int(number)
    return (service, generation) if proven(signs.key, service, generation, said) else None


def _leaf(pid: int, declared: dict[str, str], signs: Signs) -> tuple[str, int] | None:
    """The generation in whose leaf it is. Others can make groups of the same name, but not such as belong to us."""
    if signs.mount is None:
        return None
    for line in proctable.read(f"/proc/{pid}/cgroup").decode(errors="replace").splitlines():
        found = re.match(rf"0::(.*/{signs.base}/([^/]+)\.(\d{{1,18}}))(?:/|$)", line)
        if found is None:
            continue
        try:
            theirs = (signs.mount / found[1][1:]).stat().st_uid != os.geteuid()
        except OSError:
            continue
        if not theirs:
            return declared.get(found[2], found[2]), int(found[3])
    return None


def _output(pid: int) -> int:
    """The pipe that takes its output; 0: none that could be taken over."""
    try:
        found = os.stat(f"/proc/{pid}/fd/1")  # noqa: PTH116 - one string for a path of /proc
    except OSError:
        return 0
    return found.st_ino if stat.S_ISFIFO(found.st_mode) else 0
