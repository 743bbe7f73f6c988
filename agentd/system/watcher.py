"""Where to listen for changes of a service's inputs: the watches that its expansion needs, set in a thread.

A survey walks the inputs, watches every place that decides them, and walks again until nothing new appeared between the
walk and the watch. It decides which kernel events a place needs; when to survey and what to tell is the trigger's
decision (``agentd.triggers.watch``).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from agentd.core.included import Listed
from agentd.system.expand import MAX_FILES, Expansion, Interest, TooManyError, beside, digest
from agentd.system.hashing import Stamp
from agentd.system.inotify import Event, Inotify, Mask
from agentd.system.inputs import patterns

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from agentd.core.spec import Spec

_ROUNDS = 5
_SELF = Mask.DELETE_SELF | Mask.MOVE_SELF
_CONTENT = _SELF | Mask.MODIFY | Mask.CLOSE_WRITE | Mask.ATTRIB
"""ATTRIB: permissions that let the service, or the agent, read an input again; also the last link's removal."""
_ENTRIES = _CONTENT | Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.EXCL_UNLINK
_LIMITS = {
    errno.EMFILE: "fs.inotify.max_user_instances",
    errno.ENOSPC: "fs.inotify.max_user_watches",
}


class Survey(NamedTuple):
    """How a service's inputs are listened to just now."""

    points: tuple[tuple[int, Interest], ...]
    """Watch number and what of its events matters; a number may come twice (a directory with two names)."""
    signature: bytes
    """Differs when the list of inputs or the stamp of one does."""
    problem: str
    """Why some changes will only be found by the rescan; empty: none."""


class InputWatcher:
    """The one inotify instance of the agent; surveys run in the given threads, everything else on the loop."""

    def __init__(
        self,
        pool: Executor,
        kernel: Callable[[], Inotify] = Inotify,
        listed: Callable[[Spec], Listed] = lambda _: Listed(),
    ) -> None:
        """Does not fail: without inotify there are surveys with signatures and a problem.

        ``listed`` tells in any thread which files the inputs of a service include.
        """
        self._pool = pool
        self._listed = listed
        self._inotify: Inotify | None = None
        self._refused = ""
        try:
            self._inotify = kernel()
        except OSError as e:
            self._refused = f"cannot watch any inputs: {_why(e)}"

    @property
    def fd(self) -> int:
        """Readable when there are events; -1 when there can be none."""
        return self._inotify.fd if self._inotify else -1

    def survey(self, spec: Spec) -> asyncio.Future[Survey]:
        """Watch what decides the inputs of a service now; watches of earlier surveys stay."""
        return asyncio.get_running_loop().run_in_executor(self._pool, self._survey, spec)

    def read(self) -> tuple[Event, ...]:
        """What happened since."""
        return self._inotify.read() if self._inotify else ()

    def forget(self, wd: int) -> None:
        """No survey in force names this watch."""
        if self._inotify:
            self._inotify.remove(wd)

    def close(self) -> None:
        """Only when no survey is under way: it would use a descriptor that is no more."""
        if self._inotify:
            self._inotify.close()

    def _survey(self, spec: Spec) -> Survey:
        points: tuple[tuple[int, Interest], ...] = ()
        problem = self._refused
        armed: dict[str, Interest] = {}
        try:
            listed = self._listed(spec)
            doubtful = bool(listed.why)
            walk = Expansion(patterns(spec), listed.paths, places=True, doubtful=doubtful)
            for _ in range(_ROUNDS):
                if self._inotify is None or walk.places == armed:
                    break
                armed = walk.places
                points, problem = _arm(self._inotify, armed)
                # What appeared between the walk and the watch made no event: look again.
                walk = Expansion(patterns(spec), listed.paths, places=True, doubtful=doubtful)
        except TooManyError:
            return Survey((), b"", f"cannot watch {spec.name}: more than {MAX_FILES} inputs")
        return Survey(points, _signature(walk) + _beside(listed), problem)


def _arm(
    inotify: Inotify, places: dict[str, Interest]
) -> tuple[tuple[tuple[int, Interest], ...], str]:
    points = []
    problem = ""
    for path, interest in places.items():
        mask = _ENTRIES if interest.entries else _CONTENT if interest.content else _SELF
        try:
            points.append((inotify.add(path, mask), interest))
        except OSError as e:
            # A directory that only leads to the inputs may be closed to the agent: it is not what changes.
            if e.errno not in (errno.ENOENT, errno.ENOTDIR) and mask is not _SELF:
                problem = f"cannot watch {_shown(path)}: {_why(e)}"
    return tuple(points), problem


def _why(error: OSError) -> str:
    limit = _LIMITS.get(error.errno or 0)
    return f"the limit {limit} is reached" if limit else str(error.strerror).lower()


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _beside(listed: Listed) -> bytes:
    """Differs when a name came or went where another file may be included, or one was written that may be."""
    there = beside(listed.paths)
    return digest(there.items() if listed.why else there) if there else b""


def _signature(walk: Expansion) -> bytes:
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(walk.files, key=os.fsencode):
        try:
            stamp: object = tuple(Stamp.of(os.stat(path)))  # noqa: PTH116
        except OSError as e:
            stamp = e.errno
        whole.update(repr((path, stamp)).encode("utf-8", "surrogateescape"))
    whole.update(repr(walk.errors).encode("utf-8", "surrogateescape"))
    return whole.digest()
