r"""What the hash of a configuration is, and how one file is read for it without being fooled.

Canonical form, hashed with sha256 and written ``sha256:<64 hex digits>``::

    b"agentd inputs 1\0"  then, for each input in byte order of its path:
    length of the path (8 bytes, big endian) · the path's bytes · 32 bytes of the input's own digest

Lengths make it unambiguous whatever bytes a name holds; the leading tag lets a later form differ from this one.
Where it is not known which files these include, ``unlisted\0`` and 16 bytes follow: what is hashed is not all, and a digest of the
names beside them tells one such state from another.
An input's digest is sha256 of its bytes, of a secret one HMAC-sha256 with the host's key. No inputs: the tag's hash.

It does not decide which files are inputs (``expand``), nor what a changed file means (``files`` tries again).
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agentd.core.manifest import Entry

_TAG = b"agentd inputs 1\0"
_CHUNK = 256 * 1024
_FRESH_NS = 2_000_000_000


class Moved(Exception):  # noqa: N818 - not an error: the reading is taken again
    """The file changed while it was read."""


class Digest(Protocol):
    """A hash object of the standard library, plain or keyed."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """The digest so far."""


class Stamp(NamedTuple):
    """What stat(2) tells of a file: two equal stamps mean the same bytes, unless the file was ``fresh``."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    uid: int
    gid: int

    @classmethod
    def of(cls, st: os.stat_result) -> Stamp:
        """The stamp in a stat result."""
        return cls(
            st.st_dev,
            st.st_ino,
            st.st_size,
            st.st_mtime_ns,
            st.st_ctime_ns,
            st.st_mode,
            st.st_uid,
            st.st_gid,
        )

    @property
    def regular(self) -> bool:
        """A plain file: the only thing that is ever opened."""
        return stat.S_ISREG(self.mode)

    def settled(self, read_ns: int) -> bool:
        """Whether a reading begun at ``read_ns`` (Unix ns) can stand for this stamp later.

        Kernel timestamps move in ticks of up to 10 ms, on some file systems 1 s or 2 s: a file written again in the
        tick of its stamp looks unchanged. Git's index has the same problem and calls such an entry racy (racy-git.txt).
        """
        return max(self.mtime_ns, self.ctime_ns) < read_ns - _FRESH_NS


def canonical(entries: Iterable[Entry], unlisted: bytes = b"") -> str:
    """The hash over the inputs; the order of ``entries`` does not matter. ``unlisted``: they are not all, see above."""
    whole = hashlib.sha256(_TAG)
    for name, digest in sorted((os.fsencode(e.path), e.hash) for e in entries):
        whole.update(len(name).to_bytes(8, "big"))
        whole.update(name)
        whole.update(bytes.fromhex(digest))
    if unlisted:
        whole.update(b"unlisted\0" + unlisted)
    return f"sha256:{whole.hexdigest()}"


def chunks(path: str, expected: Stamp, stopped: Callable[[], bool]) -> Iterator[bytes]:
    """The bytes of a regular file that is, before and after, what ``expected`` says; nothing more once ``stopped``.

    Raises:
        Moved: it is another file, or was written to meanwhile.
        OSError: it cannot be opened or read.
    """
    # O_NONBLOCK: the name may have become a FIFO since it was stamped, whose open would wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if Stamp.of(os.fstat(fd)) != expected:
            raise Moved
        left = expected.size
        # One byte more than expected: a file that grows is noticed at once instead of being read for ever.
        while not stopped() and (chunk := os.read(fd, min(_CHUNK, left + 1))):
            left -= len(chunk)
            if left < 0:
                raise Moved
            yield chunk
        if left and not stopped():
            raise Moved
        if Stamp.of(os.fstat(fd)) != expected:
            raise Moved
    finally:
        os.close(fd)
