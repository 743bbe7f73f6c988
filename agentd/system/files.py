"""The inputs of a service read as one: snapshots that are consistent, hashed and kept.

A reading is consistent when the list of inputs and the stamp of each are the same before and after all were read;
otherwise it is taken again, and after a few times it is ``unstable_input``. Everything runs in a few threads of its
own, so that a file system that hangs (NFS) holds up its own service and not the loop. Files whose stamp has not changed
since a reading that was not racy are not read again.

It does not decide whether a change matters, how long to wait for quiet, or what a missing input means.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import hmac
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from agentd.core.manifest import Entry, Manifest, Missing
from agentd.core.spec import OnFailure
from agentd.ports import AdapterError, CommandResult, MovedError, PutBack
from agentd.system import document
from agentd.system.care import Overwriting
from agentd.system.expand import Expansion
from agentd.system.gitversion import Repository, commit, repository
from agentd.system.hashing import Digest, Moved, Stamp, canonical, chunks
from agentd.system.hostkey import host_key
from agentd.system.included import Lists
from agentd.system.inputs import Input, UnusableError, View, list_inputs, patterns
from agentd.system.keyversion import read_key
from agentd.system.restore import restore
from agentd.system.snapshots import Kept, Snapshots, Spool
from agentd.system.watcher import InputWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agentd.core.spec import AttributeKey, Included, Spec, VersionKey
    from agentd.system.included import Run

_TRIES = 6
_PAUSE_S = 0.01
_THREADS = 4
_MIB = 1024 * 1024


class _Context(NamedTuple):
    """All that the version's name and the attributes depend on beside the inputs."""

    key: VersionKey | None
    stamp: Stamp | None
    repo: Repository | None
    attributes: tuple[AttributeKey, ...] = ()
    unlisted: str = ""
    mark: bytes = b""


class _Read(NamedTuple):
    input: Input
    entry: Entry
    settled: bool
    asked: tuple[AttributeKey, ...] = ()
    """What was to be read out of it."""
    attributes: tuple[tuple[str, str], ...] = ()


class _Reading(NamedTuple):
    """What is remembered of a service's last consistent reading."""

    inputs: tuple[Input, ...]
    context: _Context
    manifest: Manifest
    files: dict[str, _Read]
    settled: bool
    kept: bool


class OsFiles:
    """The inputs on disk (port ``Files``)."""

    def __init__(
        self,
        snapshots: Path,
        host_key: Path,
        *,
        rejected: Path | None = None,
        included: Path | None = None,
        run: Run | None = None,
        file_limit: int = 64 * _MIB,
        total_limit: int = 256 * _MIB,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is created before it is needed. ``rejected``: where overwritten edits are kept, ``included``: lists of files.

        ``run`` runs the commands that list included files; without it none are known.
        Limits are bytes, of one input and of a service's inputs together.
        """
        self.snapshots = Snapshots(snapshots)
        self._rejected = rejected or snapshots.parent / "rejected"
        self._host_key = host_key
        self._file_limit = file_limit
        self._total_limit = total_limit
        self._wall_ns = wall_ns
        self._pool = ThreadPoolExecutor(_THREADS, "files")
        self.lists = Lists(
            included or snapshots.parent / "included", run or _nobody, self._pool, wall_ns
        )
        self._last: dict[str, _Reading] = {}
        self._nothing: dict[bool, Manifest] = {}
        """The reading of no inputs, by whether it is kept: the same for all, and it needs no disk."""

    async def snapshot(self, spec: Spec, *, keep: bool, anew: bool = False) -> Manifest | Missing:
        """One consistent reading. Raises AdapterError when it cannot be kept or the host key cannot be used."""
        keep = keep and spec.snapshot
        if spec.included is None:
            return await self._snapshot(spec, View(), keep=keep)

        async def read(view: View) -> Manifest | Missing:
            return await self._snapshot(spec, view, keep=keep)

        return await self.lists.settled(spec, spec.included, read, anew=anew)

    async def _snapshot(self, spec: Spec, view: View, *, keep: bool) -> Manifest | Missing:
        nothing = not patterns(spec) and spec.version is None and view == View()
        if nothing and keep in self._nothing:
            return self._nothing[keep]
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._pool, self._take, spec, view, keep, stop)
        finally:
            stop.set()  # cancelled: the thread ends at its next chunk
        if nothing and isinstance(found, Manifest):
            self._nothing[keep] = found
        return found

    def watched(self, spec: Spec) -> tuple[str, ...]:
        """The directories and files whose change may change the inputs; blocks on the disk."""
        known = self.lists.known(spec).paths
        return tuple(sorted(Expansion(patterns(spec), known, places=True).places))

    def written(self, service: str) -> str | None:
        """See ``Files.written``."""
        path = self.lists.written(service)
        if not path:
            return None
        try:
            there = os.stat(path)  # noqa: PTH116 - as everywhere here
        except OSError:
            return ""
        return f"{there.st_ino}:{there.st_mtime_ns}"

    async def version(self, spec: Spec, manifest: Manifest) -> str:
        """The short human name of these bytes, while they are what is on disk."""
        loop = asyncio.get_running_loop()
        paths = [e.path for e in manifest.entries]
        return await loop.run_in_executor(
            self._pool, lambda: _name(_context(spec, paths, View()), paths, manifest.hash)
        )

    async def restore(self, spec: Spec, digest: str, over: str = "") -> PutBack:
        """See ``Files.restore``. What is there now is kept before it is overwritten, where it can be read."""
        now = await self.snapshot(spec, keep=True)
        there = now if isinstance(now, Manifest) else Manifest(now.message, "")
        if over and there.hash not in (over, digest):
            raise MovedError("the inputs changed since they were found bad, and were left alone")
        done = await asyncio.to_thread(self._put_back, spec, digest, there, unasked=bool(over))
        if spec.included is None:
            return done
        after = await self.snapshot(spec, keep=True, anew=True)
        if not isinstance(after, Manifest) or after.hash == digest or after.unlisted:
            return done
        more = await asyncio.to_thread(
            self._put_back, spec, digest, after, unasked=bool(over), whole=True
        )
        return PutBack(done.files + more.files, more.kept or done.kept)

    def _put_back(
        self, spec: Spec, digest: str, now: Manifest, *, unasked: bool, whole: bool = False
    ) -> PutBack:
        """Where nobody asked for it: with care, unless the definition says otherwise.

        A file that is only included is not removed at first (it may have been there before, and nothing included it); what still is
        when the others were put back (``whole``) was not there then.
        """
        present = [e.path for e in now.entries]
        if spec.included is not None and not whole:
            declared = Expansion(patterns(spec)).files
            present = [path for path in present if path in declared]
        if not unasked:
            return PutBack(restore(self.snapshots, digest, present))
        force = spec.reload.on_failure is OnFailure.FORCE
        care = Overwriting(self.snapshots, self._rejected, spec.name, now, through=force)
        return PutBack(restore(self.snapshots, digest, present, care), care.kept)

    def watcher(self) -> InputWatcher:
        """What ``FileWatch`` is built on; it surveys in the threads of these files."""
        return InputWatcher(self._pool, listed=self.lists.known)

    def close(self) -> None:
        """Let the threads end; one that hangs in the kernel is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take(
        self,
        spec: Spec,
        view: View,
        keep: bool,  # noqa: FBT001
        stop: threading.Event,
    ) -> Manifest | Missing:
        limits = self._file_limit, self._total_limit
        moved = ""
        for attempt in range(_TRIES):
            if stop.wait(_PAUSE_S * attempt) if attempt else stop.is_set():
                break
            try:
                inputs = list_inputs(spec, *limits, view.listed)
                last = self._last.get(spec.name)
                context = _context(spec, [i.path for i in inputs], view)
                if last and self._stands(last, inputs, context, keep=keep):
                    return last.manifest
                reading = self._read(inputs, context, last, stop, keep=keep)
                moved = _difference(inputs, list_inputs(spec, *limits, view.listed))
            except UnusableError as e:
                return e.missing
            except Moved as e:
                moved = str(e)
                continue
            if not moved and not stop.is_set():
                if keep and not (last and self._same(last, reading)):
                    kept = [*map(_kept, reading.files.values())]
                    with _Keeping():
                        self.snapshots.put(reading.manifest, kept, view.mark)
                self._last[spec.name] = reading
                return reading.manifest
        why = f"it or the list of inputs changed while it was read, {_TRIES} times"
        return UnusableError("unstable_input", moved, why).missing

    def _stands(
        self, last: _Reading, inputs: tuple[Input, ...], context: _Context, *, keep: bool
    ) -> bool:
        """Whether the last reading is still true, and stored when it has to be."""
        return (
            last.settled
            and last.inputs == inputs
            and last.context == context
            and (not keep or (last.kept and self._stored(last)))
        )

    def _same(self, last: _Reading, new: _Reading) -> bool:
        """Whether storing the new manifest would write what is there."""
        there = last.kept and last.manifest == new.manifest and last.inputs == new.inputs
        return there and self.snapshots.holds(new.manifest.hash)

    def _stored(self, reading: _Reading) -> bool:
        entries = (r.entry for r in reading.files.values() if not r.input.secret)
        return all(map(self.snapshots.has, entries)) and self.snapshots.holds(reading.manifest.hash)

    def _read(
        self,
        inputs: tuple[Input, ...],
        context: _Context,
        last: _Reading | None,
        stop: threading.Event,
        *,
        keep: bool,
    ) -> _Reading:
        """Read what changed since the last reading. Raises UnusableError, Moved, AdapterError."""
        files = {}
        for one in inputs:
            known = last.files.get(one.path) if last else None
            asked = tuple(key for key in context.attributes if key.file == one.path)
            files[one.path] = self._one(one, known, stop, asked, store=keep and not one.secret)
        entries = tuple(f.entry for f in files.values())
        whole = canonical(entries, context.mark)
        if last and last.manifest.hash == whole and last.context == context:
            name = last.manifest.version
        else:
            name = _name(context, list(files), whole)
        said = tuple(pair for f in files.values() for pair in f.attributes)
        manifest = Manifest(whole, name, entries, said, context.unlisted)
        settled = all(f.settled for f in files.values())
        return _Reading(inputs, context, manifest, files, settled, keep)

    def _one(
        self,
        one: Input,
        known: _Read | None,
        stop: threading.Event,
        asked: tuple[AttributeKey, ...],
        *,
        store: bool,
    ) -> _Read:
        """One input: from memory when it is settled, else read; stored unless the same bytes are there already."""
        there = False
        if known and known.input == one and known.asked == asked:
            there = not store or self.snapshots.has(known.entry)
            if there and known.settled:
                return known
        began = self._wall_ns()
        text = bytearray() if asked else None
        digest = self._digest(one, stop, text, store=store and not there)
        if store and there and known and digest != known.entry.hash:
            text = bytearray() if asked else None
            digest = self._digest(one, stop, text, store=True)  # other bytes under the same stamp
        said = () if text is None else document.attributes(bytes(text), asked)
        entry = Entry(one.path, digest, one.stamp.size)
        return _Read(one, entry, one.stamp.settled(began), asked, said)

    def _digest(
        self, one: Input, stop: threading.Event, text: bytearray | None, *, store: bool
    ) -> str:
        """Hash one input, and store its bytes on the way; ``text`` gets those that may be a document."""
        digest = self._hasher(one)
        spool: Spool | None = None
        try:
            if store:
                with _Keeping():
                    spool = self.snapshots.spool()
            for chunk in chunks(one.path, one.stamp, stop.is_set):
                digest.update(chunk)
                if text is not None and len(text) <= document.MAX_BYTES:
                    text += chunk
                if spool:
                    with _Keeping():
                        spool.write(chunk)
            if spool and not stop.is_set():
                with _Keeping():
                    self.snapshots.store(spool, digest.hexdigest())
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
                raise Moved(one.path) from e
            raise UnusableError("unreadable_input", one.path, str(e.strerror)) from e
        except Moved:
            raise Moved(one.path) from None
        finally:
            if spool:
                spool.discard()
        return digest.hexdigest()

    def _hasher(self, one: Input) -> Digest:
        """A bare hash of a short secret could be tried out, so those are hashed with this host's key."""
        if one.secret:
            return hmac.new(host_key(self._host_key), digestmod="sha256")
        return hashlib.sha256()


async def _nobody(_spec: Spec, _of: Included) -> CommandResult:
    """What runs commands where there is nothing that does."""
    return CommandResult(None, timed_out=False, error="no command can be run here", output=())


class _Keeping:
    """What fails in the store is the machine's fault, not the input's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise AdapterError(
                f"cannot keep a snapshot: {error.strerror}", error.errno or 0
            ) from error


def _difference(before: Sequence[Input], after: Sequence[Input]) -> str:
    """A path that differs; empty when none does."""
    return min((i.path for i in {*before} ^ {*after}), default="")


def _context(spec: Spec, paths: Sequence[str], view: View) -> _Context:
    more = (spec.attributes, view.unlisted, view.mark)
    if spec.version is None:
        return _Context(None, None, repository(paths), *more)
    try:
        return _Context(spec.version, Stamp.of(os.stat(spec.version.file)), None, *more)  # noqa: PTH116
    except OSError:
        return _Context(spec.version, None, None, *more)


def _name(context: _Context, paths: Sequence[str], whole: str) -> str:
    name = read_key(context.key) if context.key else None
    if context.repo:
        name = commit(context.repo, paths)
    return name or whole.removeprefix("sha256:")[:12]


def _kept(read: _Read) -> Kept:
    stamp = read.input.stamp
    mode = stat.S_IMODE(stamp.mode)
    return Kept(read.entry, mode, stamp.uid, stamp.gid, stored=not read.input.secret)
