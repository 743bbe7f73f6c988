"""What earlier agents left is found and taken over: by the journal, by birth files where that has nothing, by the processes' own signs.

Acts, once, before an agent's first step. Which of these sources counts is decided in ``core.found``, what becomes of whom in ``core.boot``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from agentd.core.boot import removed
from agentd.core.found import Found, Seen, find
from agentd.core.memory import Memory, Other, Place
from agentd.core.process import Identity
from agentd.core.spec import Spec
from agentd.ports import AdapterError, Key
from agentd.runtime.births import hears
from agentd.runtime.environment import owner
from agentd.runtime.machine import Machine
from agentd.system import proctable
from agentd.system.groups import base_name, find_mount
from agentd.system.hostkey import host_key
from agentd.system.marks import mark
from agentd.system.sightings import Signs, look


class Marks:
    """The marks of this host's agent. Without a key a mark proves nothing, and that is said once."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.key: bytes | None = None
        try:
            self.key = host_key(path)
        except AdapterError as error:
            say(f"{error.what}; until then no process can be known by its environment alone")

    def __call__(self, key: Key, cookie: str) -> str:
        """What the environment of this instance has."""
        return cookie if self.key is None else mark(self.key, key.service, key.generation, cookie)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Who is under this agent now, and by what."""

    memories: dict[str, Memory]
    found: frozenset[str]
    """The services whose serving generation is there."""
    beside: frozenset[tuple[str, int]]
    """The other generations that are."""
    unknown: frozenset[str]
    notices: tuple[str, ...]
    """What the operator should know, as sentences."""


def take_over(
    machine: Machine,
    specs: tuple[Spec, ...],
    memories: Iterable[Memory],
    *,
    signs: Signs | None,
    boot: str,
    say: Callable[[str], None],
) -> TakenOver:
    """Have every process again that is there. ``signs``: all processes of the host are looked at; None: the journal tells of all."""
    by_name = {spec.name: spec for spec in specs}
    seen: tuple[Seen, ...] = ()
    notices: tuple[str, ...] = ()
    if signs is not None:
        looked = look(by_name, lambda name: _uid(by_name[name]), signs)
        seen, notices = looked.seen, looked.refused
    declared = {spec.name: spec.instances for spec in specs}
    there = find(declared, memories, machine.births.read(), boot, seen)
    found, beside = _adopt(machine, by_name, there, say)
    left = (one for one in there.leftover if proctable.is_there(one.process))
    notices = (*notices, *(_left(one) for one in left))
    return TakenOver(dict(there.memories), found, beside, there.unknown, notices)


def signs_of(runtime_dir: Path, key: bytes | None, boot: str) -> Signs:
    """By what the processes of agents with this runtime directory are known."""
    return Signs(boot, key, base_name(runtime_dir), find_mount())


def _uid(spec: Spec) -> int | None:
    try:
        return owner(spec.process, os.getuid(), os.getgid())[0]
    except AdapterError:
        return None


def _left(one: Seen) -> str:
    pid, name = one.process.pid, one.service
    what = f"pid {pid} is left over of {name}, which neither the definitions nor the journal know"
    return f"{what}: it is left alone; define {name} and start agentd again, or end it: kill {pid}"


def _adopt(
    machine: Machine, by_name: dict[str, Spec], there: Found, say: Callable[[str], None]
) -> tuple[frozenset[str], frozenset[tuple[str, int]]]:
    """Take over every process an earlier agent started that is still there."""
    found, beside = set(), set()
    for memory in there.memories.values():
        spec = by_name.get(memory.service) or removed(memory.service)
        key = Key(memory.service, memory.generation)
        if memory.process is not None and _adopt_one(machine, spec, key, memory.process, say):
            found.add(memory.service)
        beside_it: tuple[Place | Other, ...] = (*memory.places, *memory.others)
        for other in beside_it:
            key = Key(memory.service, other.generation)
            if other.process is not None and _adopt_one(machine, spec, key, other.process, say):
                beside.add((memory.service, other.generation))
    return frozenset(found), frozenset(beside)


def _adopt_one(
    machine: Machine, spec: Spec, key: Key, process: Identity, say: Callable[[str], None]
) -> bool:
    if not machine.processes.adopt(key, process):
        return False
    try:
        machine.output.adopt(key, spec, process.pid, process.output)
        machine.held.adopt(key, spec, process.pid)
        if hears(spec):
            machine.notify.bind(key, *owner(spec.process, os.getuid(), os.getgid()))
            machine.notify.allow(key, process.pid)
    except AdapterError as error:  # it runs, and that matters more than hearing from it
        say(f"{key.service}: taken over, but {error.what}")
    return True
