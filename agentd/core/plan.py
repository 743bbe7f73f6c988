"""What a change of the definitions means: from the specs that are in force and those that were loaded to a list of changes.

Decides: which keys need a new process, and how each service gets one. When it is done, and that it waits for a reload that runs, is
``host``'s and ``service``'s. Laws: nothing changes between equal specs; what a plan names is all that differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from agentd.core.spec import ProcessSpec, SocketSpec, Spec
from agentd.core.steps import Replace


class Action(StrEnum):
    """What a changed definition does to its service."""

    START = "start"
    """It is new."""
    STOP = "stop"
    """It is declared no more."""
    RESTART = "restart"
    REPLACE = "replace"
    UPDATE = "update"
    """Taken as it is; the processes need not know."""


@dataclass(frozen=True, slots=True)
class Change:
    """One service whose definition differs."""

    service: str
    action: Action
    keys: tuple[str, ...] = ()
    """The keys that differ, as they are written in the file."""
    forced_by: tuple[str, ...] = ()
    """Those of them that need a new process."""


_PROCESS = tuple(field.name for field in fields(ProcessSpec))
_OTHERS = tuple(
    field.name
    for field in fields(Spec)
    if field.name not in ("name", "process", "digest", "removed")
)
FORCES = frozenset({*_PROCESS, "sockets"})
"""What a process is given once, at its start."""


def plan(now: Mapping[str, Spec], new: Sequence[Spec]) -> tuple[Change, ...]:
    """The changes, in the order of the new definitions; those that are gone come last."""
    there = {name: spec for name, spec in now.items() if not spec.removed}
    claimed = claims(new)
    found = [
        change(there[spec.name], spec, claimed)
        if spec.name in there
        else Change(spec.name, Action.START)
        for spec in new
    ]
    kept = {spec.name for spec in new}
    gone = [Change(name, Action.STOP) for name in there if name not in kept]
    return tuple(c for c in (*found, *gone) if c is not None)


def claims(new: Sequence[Spec]) -> tuple[SocketSpec, ...]:
    """All that is to be listened on."""
    return tuple(socket for spec in new for socket in spec.sockets)


def change(old: Spec, new: Spec, claimed: Sequence[SocketSpec] = ()) -> Change | None:
    """None: nothing that matters differs. ``claimed``: what it lets go and somebody wants is let go at once."""
    process = (k for k in _PROCESS if getattr(old.process, k) != getattr(new.process, k))
    others = (k for k in _OTHERS if getattr(old, k) != getattr(new, k))
    keys = (*process, *others)
    if not keys:
        return None
    forced = tuple(key for key in keys if key in FORCES)
    if not forced:
        return Change(new.name, Action.UPDATE, keys)
    if new.reload.steps != (Replace(),):
        return Change(new.name, Action.RESTART, keys, forced)
    if _must_end_first(old, new, claimed):
        return Change(new.name, Action.RESTART, keys, ("sockets",))
    return Change(new.name, Action.REPLACE, keys, forced)


def _must_end_first(old: Spec, new: Spec, claimed: Sequence[SocketSpec]) -> bool:
    """An address that it lets go is wanted at once: by another socket, or perhaps by the service itself, which then binds it."""
    kept, names = ({one.address for one in new.sockets}, {one.name for one in new.sockets})
    let_go = (one for one in old.sockets if one.address not in kept)
    wanted = (*claimed, *new.sockets)
    return any(
        one.name not in names or any(clash(one, other) for other in wanted) for one in let_go
    )


def to_open(now: Sequence[Spec], new: Sequence[Spec]) -> Iterator[tuple[Spec, int]]:
    """Which sockets of which definitions can be opened before anything is touched.

    Not those that are there, nor what a service of ours has, which lets it go first.
    """
    there = claims(now)
    for spec in new:
        for index, one in enumerate(spec.sockets):
            if not any(clash(one, other) for other in there):
                yield spec, index


def clash(a: SocketSpec, b: SocketSpec) -> bool:
    """Whether both cannot be open at once, or may not: the kernel has the last word."""
    return (a.kind, a.path, a.port) == (b.kind, b.path, b.port)
