"""The snapshots of configurations: content-addressed, private, enough to put any of them back.

``objects/ab/cdef…`` hold bytes under their sha256, ``manifests/<hash>.json`` which paths they were, with mode and
owner. All files are 0600 in directories of 0700, written under another name and renamed: no reader meets half of one.

Nothing is fsynced: a configuration that changes should not wait for the disk. After a power cut the snapshots of the
last seconds may be missing or torn; that is noticed, because what is read is hashed again, and the next reading stores
it anew.

It does not decide what is kept (the caller's ``keep``, and never secret inputs) nor for how long (``prune``).
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentd.core.manifest import Entry, Manifest
from agentd.ports import AdapterError
from agentd.system.hashing import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_YOUNG_S = 3600.0
"""What a snapshot under way may just have written or found is not garbage yet."""
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Kept:
    """One input of a stored manifest, with what is needed to restore it. ``stored`` is false for secret inputs."""

    entry: Entry
    mode: int
    uid: int
    gid: int
    stored: bool


class Spool:
    """Bytes on their way into the store: ``write``, then ``Snapshots.store`` or ``discard``."""

    def __init__(self, path: str) -> None:
        """Creates the file, which must not exist."""
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Append."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def rename(self, path: str) -> None:
        """Give the bytes their name; what had it before was the same or damaged."""
        self._close()
        _private(os.path.dirname(path))  # noqa: PTH120
        os.replace(self.path, path)  # noqa: PTH105

    def discard(self) -> None:
        """Forget them; harmless after ``rename``."""
        self._close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Snapshots:
    """The store below one directory, created on first use. Every method may block on the disk."""

    def __init__(self, root: Path) -> None:
        """``root`` is private to the agent's user."""
        self._root = os.fspath(root)

    def spool(self) -> Spool:
        """Somewhere to write bytes whose hash is not known yet. Raises OSError, as writing to it does."""
        path = f"{self._root}/new-{os.getpid()}-{next(_serial)}"
        try:
            return Spool(path)
        except FileNotFoundError:
            _private(self._root)
            return Spool(path)

    def store(self, spool: Spool, digest: str) -> None:
        """Keep what was written under its sha256, 64 hex digits. Raises OSError."""
        spool.rename(self._object(digest))

    def has(self, entry: Entry) -> bool:
        """Whether these bytes are stored, as far as their size tells; they count as used just now."""
        path = self._object(entry.hash)
        try:
            if os.stat(path).st_size != entry.size:  # noqa: PTH116
                return False
            os.utime(path)
        except OSError:
            return False
        return True

    def holds(self, digest: str) -> bool:
        """Whether there is a manifest of this hash."""
        return os.path.exists(self._manifest(digest))  # noqa: PTH110

    def put(self, manifest: Manifest, kept: Sequence[Kept], unlisted: bytes = b"") -> None:
        """Store the manifest, whose objects are there already; ``unlisted`` is in its hash. Raises OSError."""
        document = {
            "hash": manifest.hash,
            "unlisted": unlisted.hex(),
            "version": manifest.version,
            "entries": [
                {
                    "path": k.entry.path,
                    "hash": k.entry.hash,
                    "size": k.entry.size,
                    "mode": k.mode,
                    "uid": k.uid,
                    "gid": k.gid,
                    "stored": k.stored,
                }
                for k in kept
            ],
        }
        spool = self.spool()
        try:
            spool.write(json.dumps(document).encode())
            spool.rename(self._manifest(manifest.hash))
        finally:
            spool.discard()

    def load(self, digest: str) -> Manifest | None:
        """The manifest of this hash; None when there is none, or what there is cannot be used."""
        found = self._document(digest)
        return found and Manifest(digest, found[0], tuple(k.entry for k in found[1]))

    def kept(self, digest: str) -> tuple[Kept, ...] | None:
        """What is needed to put the manifest of this hash back; None as in ``load``."""
        found = self._document(digest)
        return found and found[1]

    def read(self, entry: Entry) -> bytes:
        """The bytes of an input, proven by their hash.

        Raises:
            AdapterError: they were never kept, are pruned, or damaged; the damaged are removed.
        """
        path = self._object(entry.hash)
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                data = file.read()
        except OSError as e:
            why = "it was never kept or is pruned" if e.errno == errno.ENOENT else e.strerror
            raise AdapterError(
                f"cannot read the snapshot of {entry.path}: {why}", e.errno or 0
            ) from e
        if hashlib.sha256(data).hexdigest() != entry.hash:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108
            raise AdapterError(
                f"cannot read the snapshot of {entry.path}: it is damaged", errno.EIO
            )
        return data

    def prune(self, keep: set[str]) -> int:
        """Remove all manifests but those of these hashes, and objects that none names; how many files went.

        What was written or used within the last hour stays: a snapshot may be under way, its manifest comes last.
        Raises AdapterError.
        """
        before = time.time() - _YOUNG_S
        gone = 0
        try:
            used = set()
            for path in _files(f"{self._root}/manifests"):
                digest = f"sha256:{os.path.basename(path).removesuffix('.json')}"  # noqa: PTH119
                if digest in keep or not _older(path, before):
                    used |= {self._object(k.entry.hash) for k in self.kept(digest) or ()}
                else:
                    os.unlink(path)  # noqa: PTH108
                    gone += 1
            for path in (*_files(f"{self._root}/objects"), *_files(self._root, deep=False)):
                if path not in used and _older(path, before):
                    os.unlink(path)  # noqa: PTH108
                    gone += 1
        except OSError as e:
            raise AdapterError(f"cannot prune the snapshots: {e.strerror}", e.errno or 0) from e
        return gone

    def _document(self, digest: str) -> tuple[str, tuple[Kept, ...]] | None:
        try:
            with open(self._manifest(digest), "rb") as file:  # noqa: PTH123
                document = json.loads(file.read())
            kept = tuple(
                Kept(
                    Entry(str(e["path"]), str(e["hash"]), int(e["size"])),
                    int(e["mode"]),
                    int(e["uid"]),
                    int(e["gid"]),
                    bool(e["stored"]),
                )
                for e in document["entries"]
            )
            version = str(document["version"])
            unlisted = bytes.fromhex(document.get("unlisted", ""))
            if canonical((k.entry for k in kept), unlisted) != digest:
                return None
        except (
            *(OSError, ValueError, KeyError, TypeError),
            *(OverflowError, RecursionError),
        ):  # absent, torn by a power cut, or a stranger's
            return None
        return version, kept

    def _object(self, digest: str) -> str:
        return f"{self._root}/objects/{digest[:2]}/{digest[2:]}"

    def _manifest(self, digest: str) -> str:
        return f"{self._root}/manifests/{digest.removeprefix('sha256:')}.json"


def _private(directory: str) -> None:
    """Create it and what is missing above; ``os.makedirs`` gives its mode to the last one only."""
    try:
        os.mkdir(directory, 0o700)  # noqa: PTH102
    except FileExistsError:
        return
    except FileNotFoundError:
        _private(os.path.dirname(directory))  # noqa: PTH120
        _private(directory)


def _files(directory: str, *, deep: bool = True) -> Iterator[str]:
    for where, inner, names in os.walk(directory):
        yield from (f"{where}/{name}" for name in names)
        if not deep:
            inner.clear()


def _older(path: str, moment: float) -> bool:
    return os.stat(path).st_mtime < moment  # noqa: PTH116
