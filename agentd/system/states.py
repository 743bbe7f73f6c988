"""The state files: one for each service, replaced before its process is told to reload (``agentd.runtime.outwards`` says what is in it).

In a directory that can be passed through but not listed, each file readable by the service's user alone; a rename makes the change, so
nobody reads half of one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agentd.ports import AdapterError


class StateFiles:
    """``States`` below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o711)
        except OSError as error:
            what = f"cannot use {directory} for state files: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error

    def write(self, service: str, text: str, uid: int, gid: int) -> str:
        """See ``States.write``."""
        path = self._directory / f"{service}.json"
        new = path.with_name(f".{service}.new")
        try:
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(new, flags, 0o600)
            with os.fdopen(fd, "wb") as file:
                if (uid, gid) != (os.geteuid(), os.getegid()):
                    os.fchown(fd, uid, gid)
                file.write(text.encode())
            new.rename(path)
        except OSError as error:
            what = f"cannot write the state file {path}: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error
        return str(path)
