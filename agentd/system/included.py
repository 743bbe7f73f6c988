"""Which files the inputs of a service include: asked of the command that the service declares, and remembered.

Decides when it is asked. Its answer depends on the bytes of the files that are known and on the names beside them, so it is asked when
one of these changed since the last answer, when somebody wants to know anew, and once in an agent's life. An answer counts when what it
depends on was the same before it and after. One that names other files is asked for once more when these are looked at, too, unless
all that is there then is older than the question.

Where there is no answer (a file that the server cannot parse, a command that hangs) the files of the last one stay, and it is said that
they may not be all (``core.included``). They are kept in a small file for each service, so that the next agent has them.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from agentd.core.included import Answered, Listed, listed
from agentd.core.manifest import Manifest, Missing
from agentd.system.expand import beside, digest
from agentd.system.inputs import UnusableError, View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from agentd.core.spec import Included, Spec
    from agentd.ports import CommandResult

    Run = Callable[[Spec, Included], Awaitable[CommandResult]]
    Read = Callable[[View], Awaitable[Manifest | Missing]]

T = TypeVar("T")
_ROUNDS = 4
_GRAIN_NS = 2_000_000_000
"""Coarser than the time stamps of any file system."""


class _Look(NamedTuple):
    """What an answer depends on, as it was seen."""

    found: Manifest | Missing
    known: Listed
    beside: Mapping[str, tuple[int, ...]]
    """Every name in the directories of the files that were named, and how it stands."""

    @property
    def held(self) -> object:
        """The bytes, of all inputs."""
        return self.found.message if isinstance(self.found, Missing) else self.found.entries

    def moved(self, before: _Look) -> frozenset[str]:
        """The names that came or went; where there is no answer also those that were written to: it may fail of one that nobody named."""
        names = self.beside.keys() ^ before.beside.keys()
        if self.known.why:
            names |= {n for n, stamp in self.beside.items() if before.beside.get(n) != stamp}
        return frozenset(names)

    def stands(self, before: _Look, noise: frozenset[str]) -> bool:
        """Whether an answer of then would be the same now."""
        same = (self.known.paths, self.held) == (before.known.paths, before.held)
        return same and self.moved(before) <= noise


class _Known(NamedTuple):
    of: Included
    listed: Listed
    answered: _Look | None = None
    """For what this was the answer."""
    noise: frozenset[str] = frozenset()
    """What the command itself writes whenever it is run: a log that lies beside the files, say."""


class Lists:
    """The lists of all services. ``known`` may be asked in any thread, everything else on the loop's."""

    def __init__(
        self, place: Path, run: Run, pool: Executor, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """``place``: the directory in which they are kept; made when it is needed."""
        self._place = os.fspath(place)
        self._run = run
        self._pool = pool
        self._wall_ns = wall_ns
        self._services: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self.changed: Callable[[str], None] = lambda _: None
        """Called when other files of a service are known, or it is or is no longer known whether they are all."""

    def known(self, spec: Spec) -> Listed:
        """What is known now; the first time it may block on the disk."""
        return Listed() if spec.included is None else self._of(spec, spec.included).listed

    def written(self, service: str) -> str:
        """The file that it writes when it has taken its configuration; empty: none is known."""
        known = self._services.get(service)
        return known.listed.written if known else ""

    async def settled(
        self, spec: Spec, of: Included, read: Read, *, anew: bool
    ) -> Manifest | Missing:
        """A reading of what is declared and of what that includes. ``read`` takes one of what it is given."""
        async with self._asking.setdefault(spec.name, asyncio.Lock()):
            look = await self._look(spec, of, read)
            known = self._of(spec, of)
            if known.answered and look.stands(known.answered, known.noise) and not anew:
                return look.found
            return await self._asked(spec, of, read, look)

    async def _asked(self, spec: Spec, of: Included, read: Read, look: _Look) -> Manifest | Missing:
        """Ask until the answer is one for what is there after it."""
        touched: frozenset[str] = frozenset()
        for _ in range(_ROUNDS):
            before, began = look, self._wall_ns() - _GRAIN_NS
            answer = await self._ask(spec, of, before.known)
            await self._learn(spec, of, before.known, answer)
            look = await self._look(spec, of, read)
            known, moved = self._of(spec, of), look.moved(before)
            known = known._replace(noise=known.noise | (moved & touched))
            touched = moved
            grown = answer.paths != before.known.paths
            aged = grown and await self._pooled(_older, look, began)
            if aged or look.stands(before, known.noise):
                self._services[spec.name] = known._replace(answered=look)
                return look.found
        if look.known.why:
            return look.found
        why = f"what it includes changed while that was listed, {_ROUNDS} times"
        return UnusableError("unstable_input", min(look.known.paths, default=""), why).missing

    async def _look(self, spec: Spec, of: Included, read: Read) -> _Look:
        known = (await self._pooled(self._of, spec, of)).listed
        there = await self._pooled(beside, known.paths)
        mark = digest(there) if known.why else b""
        return _Look(await read(View(known.paths, known.why, mark)), known, there)

    async def _ask(self, spec: Spec, of: Included, before: Listed) -> Listed:
        result = await self._run(spec, of)
        found, written, *_ = (*result.found, (), ())
        answered = Answered(result.exit_code, result.timed_out, result.error, found, written)
        return listed(of, before, answered, spec.process.cwd or os.getcwd())  # noqa: PTH109

    async def _learn(self, spec: Spec, of: Included, before: Listed, answer: Listed) -> None:
        if answer == before:
            return
        self._services[spec.name] = self._of(spec, of)._replace(listed=answer)
        if (answer.paths, answer.written) != (before.paths, before.written):
            await self._pooled(self._save, spec.name, of, answer)
        self.changed(spec.name)

    async def _pooled(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    # What outlives the agent. Without it the next one knows less until there is an answer, and says so.

    def _of(self, spec: Spec, of: Included) -> _Known:
        there = self._services.get(spec.name)
        if (
            there is None
        ):  # two threads may come here at once: the first wins, for the loop may know more by then
            kept = _Known(of, self._load(spec.name, of))
            there = self._services.setdefault(spec.name, kept)
        if there.of != of:
            there = self._services[spec.name] = _Known(of, self._load(spec.name, of))
        return there

    def _load(self, name: str, of: Included) -> Listed:
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            with open(f"{self._place}/{name}.json", "rb") as file:  # noqa: PTH123
                kept = json.loads(file.read())
            if kept["asked"] == [list(of.argv), of.pattern, of.written]:
                return Listed(tuple(map(str, kept["paths"])), written=str(kept["written"]))
        return Listed()

    def _save(self, name: str, of: Included, answer: Listed) -> None:
        asked = of.argv, of.pattern, of.written
        kept = {"asked": asked, "paths": answer.paths, "written": answer.written}
        path = f"{self._place}/{name}.json"
        with suppress(OSError):
            os.makedirs(self._place, 0o700, exist_ok=True)  # noqa: PTH103
            fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(json.dumps(kept).encode())
            os.replace(f"{path}.new", path)  # noqa: PTH105


def _older(look: _Look, moment_ns: int) -> bool:
    """Whether all that was read, and the directories that hold it, changed last before then."""
    paths = [e.path for e in look.found.entries] if isinstance(look.found, Manifest) else []
    try:
        there = [os.stat(place) for place in {*paths, *map(os.path.dirname, paths)}]  # noqa: PTH116
    except OSError:
        return False
    return all(max(st.st_mtime_ns, st.st_ctime_ns) < moment_ns for st in there)
