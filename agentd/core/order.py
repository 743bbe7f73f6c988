"""Who may start, and who may stop, given what the others are doing. Order only: nothing here starts anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentd.core.spec import Spec


def start_order(specs: Sequence[Spec]) -> tuple[str, ...]:
    """The names, dependencies first, otherwise as written. The loader has refused cycles."""
    by_name = {spec.name: spec for spec in specs}
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done or name not in by_name:
            return
        for other in (*by_name[name].requires, *by_name[name].after):
            visit(other)
        done[name] = None

    for spec in specs:
        visit(spec.name)
    return tuple(done)


def dependents(specs: Sequence[Spec]) -> Mapping[str, tuple[str, ...]]:
    """For each service, who names it in ``after`` or ``requires``."""
    found: dict[str, list[str]] = {spec.name: [] for spec in specs}
    for spec in specs:
        for other in dict.fromkeys((*spec.after, *spec.requires)):
            if other in found:
                found[other].append(spec.name)
    return {name: tuple(names) for name, names in found.items()}
