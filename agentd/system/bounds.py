"""What a service's control group may take: memory, processes, and its share of the processors.

It decides which of a service's limits are its group's and not each process's own (setrlimit(2)), says why such ones cannot be had on
this host, and writes them before the service executes. Where they cannot be had the service runs without, which is told when its
definition is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.core.spec import GROUP_LIMITS
from agentd.system import controllers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from agentd.core.spec import Spec

Limits = tuple[tuple[str, int], ...]


def of(limits: Limits) -> Limits:
    """Those of the group."""
    return tuple((name, value) for name, value in limits if name in GROUP_LIMITS)


def why_not(base: Path | None, limits: Limits) -> str:
    """Why some of them cannot work in leaves below ``base``, as a clause; empty: all do. Enables what they need."""
    needed = dict.fromkeys(GROUP_LIMITS[name] for name, _ in of(limits))
    if not needed:
        return ""
    if base is None:
        return "agentd has no part of cgroup v2 that it may make groups in"
    return controllers.enable(base, needed)


def doubts(base: Path | None, specs: Sequence[Spec]) -> Iterable[str]:
    """A sentence for each service whose group cannot be bounded as declared."""
    for spec in specs:
        bounded = of(spec.process.limits)
        if why := why_not(base, bounded):
            names = ", ".join(name for name, _ in bounded)
            yield f"service.{spec.name}.limits: {names} cannot be set, it runs without: {why}"


def write(leaf: Path, limits: Limits) -> None:
    """Bound a group that nobody is in yet. Raises OSError, with the name of the file."""
    for name, value in of(limits):
        (leaf / name.replace("_", ".")).write_text("max" if value < 0 else str(value))
