"""Whether inputs may have changed since they were read: by the stamps of the files and directories they come from.

A full reading of a service's inputs takes half a millisecond, a stamp a few microseconds; with a hundred services that nobody
watches it is the stamps that make ``status`` quick. A stamp that is younger than the clock's grain when it is taken proves
nothing, so it is not kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from agentd.core.manifest import Manifest
from agentd.core.spec import Spec
from agentd.ports import Files

Stamp = tuple[tuple[int, int, int, int, int] | None, ...]
Places = tuple[str, ...]
_WILD = frozenset("*?[")
_GRAIN_NS = 1_000_000_000
"""Coarser than any file system's time stamps but FAT's."""


def stand(files: Files, spec: Spec, manifest: Manifest | None) -> tuple[Places, Stamp | None]:
    """What the inputs depend on (they themselves, and where others may appear) and how that stands; blocks on the disk.

    ``manifest`` is of an earlier reading. No stamp when the last change is too fresh to be told from the next.
    """
    bases = [_base(p) for p in (*spec.inputs, *spec.process.env_file, *spec.secret)]
    entries = manifest.entries if manifest is not None else ()
    watched = [place for place in files.watched(spec) if not _only_above(place, bases)]
    inputs = [e.path for e in entries]
    # Beside a file another may be that it is included with, wherever that directory lies.
    around = {os.path.dirname(path) for path in inputs} if spec.included else ()  # noqa: PTH120
    places = tuple(dict.fromkeys((*bases, *watched, *inputs, *around)))
    found = _stamp(places)
    settled = time.time_ns() - _GRAIN_NS
    fresh = any(one is not None and max(one[2], one[3]) > settled for one in found)
    return places, None if fresh else found


def moved(known: Sequence[tuple[str, Places, Stamp]]) -> list[str]:
    """The names whose places do not stand as they did. Blocks on the disk."""
    return [name for name, paths, before in known if _stamp(paths) != before]


def _base(pattern: str) -> str:
    """The part of a path before its first wildcard."""
    parts = [part for part in pattern.split("/") if part]
    fixed = next((i for i, part in enumerate(parts) if _WILD.intersection(part)), len(parts))
    return "/" + "/".join(parts[:fixed])


def _only_above(place: str, bases: Sequence[str]) -> bool:
    """A directory that is merely on the way says nothing: others' files come and go in /tmp, and a stamp follows the whole path."""
    below = place.rstrip("/") + "/"
    above = any(base.startswith(below) for base in bases)
    return above and not any(place == base or place.startswith(f"{base}/") for base in bases)


def _stamp(paths: Places) -> Stamp:
    return tuple(map(_one, paths))


def _one(path: str) -> tuple[int, int, int, int, int] | None:
    try:
        s = os.stat(path)  # noqa: PTH116 - hot
    except OSError:
        return None
    return s.st_dev, s.st_ino, s.st_mtime_ns, s.st_ctime_ns, s.st_size
