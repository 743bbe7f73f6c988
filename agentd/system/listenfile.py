"""The order of each service's listeners, written down: the kernel does not tell it, and the next agent must know it.

Decides nothing; what is missing or of another boot is no record.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Noted(NamedTuple):
    """One declared socket as an earlier agent left it."""

    address: str
    members: tuple[tuple[int, tuple[int, ...]], ...]
    """Inode and generations of each listener, in the kernel's order."""
    current: int
    """Inode of the one that gets new connections; of several instances that of the first."""
    places: tuple[tuple[int, int, bool], ...] = ()
    """The current one of each instance: number, inode, and whether it gets its share."""
    doubts: tuple[tuple[int, ...], ...] = ()
    """Inodes in what the order may be instead."""


class ListenFile:
    """One small file for each service below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._boot = _BOOT.read_text().strip()

    def write(self, service: str, sockets: dict[str, Noted]) -> None:
        """Whole, or not at all. Raises OSError."""
        path = self._directory / service
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")  # no service is called so
        new.write_text(json.dumps({"boot": self._boot, "sockets": sockets}))
        new.replace(path)

    def read(self, service: str) -> dict[str, Noted]:
        """Empty when there is none that can be trusted."""
        try:
            known = json.loads((self._directory / service).read_text())
            if known["boot"] != self._boot:
                return {}
            return {
                str(name): Noted(
                    str(address),
                    tuple((int(inode), tuple(map(int, users))) for inode, users in members),
                    int(current),
                    tuple((int(slot), int(inode), bool(open_)) for slot, inode, open_ in places),
                    tuple(tuple(map(int, order)) for order in doubts),
                )
                for name, (address, members, current, *rest) in known["sockets"].items()
                for places, doubts in ((*rest, (), ())[:2],)
            }
        except (
            *(OSError, ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),
        ):
            return {}

    def remove(self, service: str) -> None:
        """The service listens no more."""
        with contextlib.suppress(OSError):
            os.unlink(self._directory / service)  # noqa: PTH108 - one spelling for both paths
