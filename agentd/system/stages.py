"""Private copies of configurations that were kept, so that what is checked is what was read.

Decides how a copy looks: a directory of 0700 of the service's user, in which each input has its whole path; nothing else is there, so that
a check which reads further files by absolute paths reads the host's. What was never kept (secrets) cannot be copied.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from typing import TYPE_CHECKING

from agentd.ports import AdapterError, Stages

if TYPE_CHECKING:
    from pathlib import Path

    from agentd.core.spec import Spec
    from agentd.ports import Archive


class StagedCopies(Stages):
    """``Stages`` below one directory; what an earlier agent left there is removed."""

    def __init__(self, directory: Path, archive: Archive) -> None:
        """``archive`` has the bytes."""
        self._directory = directory
        self._archive = archive
        self._serials = itertools.count(1)
        shutil.rmtree(directory, ignore_errors=True)

    async def make(self, spec: Spec, digest: str, uid: int, gid: int) -> str:
        """See ``Stages.make``."""
        return await asyncio.to_thread(self._make, spec, digest, uid, gid)

    async def discard(self, directory: str) -> None:
        """See ``Stages.discard``."""
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _make(self, spec: Spec, digest: str, uid: int, gid: int) -> str:
        kept = self._archive.kept(digest)
        if kept is None:
            raise AdapterError("cannot stage a copy for the check: what was read is not kept")
        made = ""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._directory.chmod(0o711)
            made = f"{self._directory}/{spec.name}-{next(self._serials)}"
            os.mkdir(made, 0o700)  # noqa: PTH102
            for one in kept:
                _write(f"{made}{one.entry.path}", self._archive.read(one.entry))
            _give(made, uid, gid)
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            what = f"cannot stage a copy for the check: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error
        except AdapterError:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return made


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)  # noqa: PTH103, PTH120
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def _give(directory: str, uid: int, gid: int) -> None:
    """All of it to the service's user, who alone can enter."""
    own = (os.geteuid(), os.getegid()) == (uid, gid)
    for where, _, names in os.walk(directory):
        os.chmod(where, 0o700)  # noqa: PTH101
        if not own:
            for path in (where, *(f"{where}/{name}" for name in names)):
                os.chown(path, uid, gid)
