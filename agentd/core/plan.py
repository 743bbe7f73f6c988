"""What a change of the definitions means: from the specs that are in force and those that were loaded to a list of changes.

Decides: which keys need a new process, and how each service gets one. When it is done, and that it waits for a reload that runs, is
``host``'s and ``service``'s. Laws: nothing changes between equal specs; what a plan names is all that differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from agentd.core.spec import ProcessSpec, Spec
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
    found = [
        change(there[spec.name], spec) if spec.name in there else Change(spec.name, Action.START)
        for spec in new
    ]
    kept = {spec.name for spec in new}
    gone = [Change(name, Action.STOP) for name in there if name not in kept]
    return tuple(c for c in (*found, *gone) if c is not None)


def change(old: Spec, new: Spec) -> Change | None:
    """None: nothing that matters differs."""
    process = (k for k in _PROCESS if getattr(old.process, k) != getattr(new.process, k))
    others = (k for k in _OTHERS if getattr(old, k) != getattr(new, k))
    keys = (*process, *others)
    if not keys:
        return None
    forced = tuple(key for key in keys if key in FORCES)
    action = Action.UPDATE
    if forced:
        kept = {socket.address for socket in new.sockets}
        let_go = any(socket.address not in kept for socket in old.sockets)
        overlaps = new.reload.steps == (Replace(),) and not let_go
        action = Action.REPLACE if overlaps else Action.RESTART
    return Change(new.name, action, keys, forced)
