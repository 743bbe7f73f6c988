"""Reads the agent's own definitions, whole or not at all.

Decides what all files are together: includes, names and addresses declared twice, services that wait for nobody or for
each other. A correct file costs one pass of ``tomllib``; lines are looked for only when something is wrong. Every
mistake of every file is told at once, in the order of files and lines; a file that is not TOML tells its first.
Never changes anything.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os.path import join, realpath
from pathlib import Path
from typing import NamedTuple

from agentd import recipes
from agentd.config import build
from agentd.config.attributes import covered
from agentd.config.definitions import AgentSpec, Definitions
from agentd.config.graph import cycles
from agentd.config.host import forget_names
from agentd.config.kinds import GLOBS, SERVICE_NAME
from agentd.config.problems import (
    At,
    ConfigErrors,
    Problem,
    Wrong,
    describe,
    key_name,
    shown,
    unknown,
)
from agentd.config.schema import AGENT, SERVICE
from agentd.config.sockets import clashes
from agentd.config.source import Source, read
from agentd.core.spec import Spec

__all__ = ["ConfigErrors", "Definitions", "Problem", "describe", "load"]

_TOP = ("agent", "service")


def load(path: Path) -> Definitions:
    """The definitions in this file and what it includes.

    Raises:
        ConfigErrors: with every mistake.
    """
    forget_names()
    loading = _Loading()
    loading.main(path)
    loading.order()
    loading.addresses()
    if loading.problems:
        files = {name: number for number, name in enumerate(loading.files)}
        ordered = sorted(loading.problems, key=lambda p: (files.get(p.file, -1), p.line))
        raise ConfigErrors(tuple(ordered))
    if not loading.specs:
        loading.warnings.append(f"{path}: no service is declared")
    return Definitions(loading.agent, tuple(loading.specs.values()), tuple(loading.warnings))


def at_sockets(path: Path, faults: Iterable[tuple[str, int, str]]) -> tuple[Problem, ...]:
    """Where sockets of services are declared that cannot be opened, and why: the service, which one, a sentence."""
    loading = _Loading()
    loading.main(path)
    loading.problems.clear()
    for name, index, why in faults:
        at = ("service", name, "sockets", index, "listen")
        if name in loading.declared:
            loading._wrong(loading.declared[name].source, [(at, why)])  # noqa: SLF001 - of this module
        else:  # the file has changed since
            loading.problems.append(Problem(str(path), 0, key_name(at), why))
    return tuple(loading.problems)


class _Declared(NamedTuple):
    source: Source
    raw: object


@dataclass(slots=True)
class _Loading:
    """What is known while the files are read."""

    agent: AgentSpec = field(default_factory=AgentSpec)
    files: list[str] = field(default_factory=list)
    declared: dict[str, _Declared] = field(default_factory=dict)
    """Every service's name, also of those with mistakes."""
    specs: dict[str, Spec] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    incomplete: bool = False
    """A file could not be read: who is missing cannot be told."""

    def main(self, path: Path) -> None:
        """The first file, and through it the others."""
        source = self._open(path)
        if source is None:
            return
        if "agent" in source.raw:
            try:
                self.agent = AGENT.parse(source.raw["agent"])
            except Wrong as wrong:
                self._wrong(source, wrong.under("agent"))
                self._go_on(source.raw["agent"])
        self._services(source)
        seen = {realpath(path)}
        for index, pattern in enumerate(self.agent.include):
            for found in self._included(source, index, pattern):
                if realpath(found) not in seen:
                    seen.add(realpath(found))
                    self._include(Path(found))

    def _go_on(self, raw: object) -> None:
        """The other files are looked into whatever else is wrong with [agent], or their mistakes would be told a round later."""
        include = raw.get("include", []) if isinstance(raw, dict) else None
        try:
            self.agent = AgentSpec(include=GLOBS.parse(include))
        except Wrong:
            self.incomplete = True

    def _open(self, path: Path) -> Source | None:
        self.files.append(str(path))
        source = read(path)
        if isinstance(source, Problem):
            self.problems.append(source)
            self.incomplete = True
            return None
        if source.writable:
            self.warnings.append(f"{path}: everybody on this host can change it")
        for name in source.raw:
            if name not in _TOP:
                self._wrong(source, [((name,), unknown("unknown table", name, _TOP))])
        return source

    def _included(self, source: Source, index: int, pattern: str) -> list[str]:
        """The files of one pattern, by name. A glob may match nothing yet; a plain name is meant to be there."""
        folder = str(Path(source.path).parent)
        found = sorted(glob.glob(join(glob.escape(folder), pattern)))  # noqa: PTH207, PTH118
        if not found and not glob.has_magic(pattern):
            at = ("agent", "include", index)
            self._wrong(source, [(at, f"cannot read {shown(pattern)}: there is no such file")])
            self.incomplete = True
        return found

    def _include(self, path: Path) -> None:
        source = self._open(path)
        if source is None:
            return
        if "agent" in source.raw:
            self._wrong(source, [(("agent",), f"may only be in the first file, {self.files[0]}")])
        self._services(source)

    def _services(self, source: Source) -> None:
        services = source.raw.get("service", {})
        if not isinstance(services, dict):
            self._wrong(source, [(("service",), "expected tables, such as [service.web]")])
            return
        for name, raw in services.items():
            if not SERVICE_NAME.fullmatch(name):
                why = "cannot be a name: letters, digits and _ . - only, the first a letter or digit, at most 63"
                self._wrong(source, [(("service", name), why)])
            elif name in self.declared:
                first = self.declared[name].source
                line = first.line(("service", name))
                self._wrong(
                    source, [(("service", name), f"is already declared at {first.path}:{line}")]
                )
            else:
                self.declared[name] = _Declared(source, raw)
                self._service(source, name, raw)

    def _service(self, source: Source, name: str, raw: object) -> None:
        recipe, given = None, raw
        if isinstance(raw, dict) and (known := raw.get("recipe")) in recipes.names():
            recipe = recipes.load(known)
            raw = recipe.fill(raw)
        try:
            table = SERVICE.parse(raw)
        except Wrong as wrong:
            self._wrong(source, ((("service", name, *at), message) for at, message in wrong.faults))
            return
        assert isinstance(raw, dict)
        assert isinstance(given, dict)
        spec = build.spec(name, table, recipe, build.digest(raw))
        self.specs[name] = spec
        if (body := build.sent(spec)) is not None and not covered(body, spec.inputs):
            at = ("service", name, "reload", "request", "body")
            why = "is not among the inputs: what is sent would be another configuration than the one that is told"
            self._wrong(source, [(at, f"{body} {why}; add it to inputs")])
        for key, doubt in (*build.doubts(table, spec, recipe, raw), *build.idle(given, spec)):
            self.warnings.append(f"{source.path}: service.{name}.{key}: {doubt}")

    def order(self) -> None:
        """Whom services wait for: must be there, and not wait back. Asked of services with other mistakes too."""
        edges: dict[str, list[str]] = {}
        places: dict[tuple[str, str], At] = {}
        for name, at, other in self._waits():
            edges.setdefault(name, []).append(other)
            places.setdefault((name, other), at)
            if other not in self.declared and not self.incomplete:
                message = unknown(f"{shown(other)} is no service", other, self.declared)
                self._wrong(self.declared[name].source, [(at, message)])
        for circle in cycles(edges):
            message = f"services wait for each other: {' → '.join(circle)}"
            at = places[circle[0], circle[1]]
            self._wrong(self.declared[circle[0]].source, [(at, message)])

    def addresses(self) -> None:
        """No two sockets on one address: the second could never be opened."""
        for name, at, message in clashes(self.specs):
            self._wrong(self.declared[name].source, [(at, message)])

    def _waits(self) -> Iterator[tuple[str, At, str]]:
        """Who waits, where that is written, and for whom."""
        for name, (_, raw) in self.declared.items():
            for key in ("after", "requires"):
                others = raw.get(key) if isinstance(raw, dict) else None
                for index, other in enumerate(others if isinstance(others, list) else ()):
                    if isinstance(other, str) and SERVICE_NAME.fullmatch(other):
                        yield name, ("service", name, key, index), other

    def _wrong(self, source: Source, faults: Iterable[tuple[At, str]]) -> None:
        self.problems.extend(source.problem(at, message) for at, message in faults)
