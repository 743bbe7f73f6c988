"""Which files a service's inputs are just now, and which places decide that.

One walk answers both, so that what is watched is what was expanded. Files are named as the operator reaches them: a
symbolic link is followed for its bytes and never replaced by its target, or each swap of a Kubernetes volume
(``..data`` → ``..2026_11_22``) would look like other files. It reads no contents and decides nothing about errors.

- A path without wildcards is an input, present or not; when it is a directory, so is every file below it, except names
  that begin with ``..`` (the atomic writer's own), version control, and what editors leave lying about.
- A file that a command named (``listed``) is one as it is written, without wildcards; like what a wildcard found, it is
  none when it is not there. Beside it others may be included: every name that comes or goes there may matter.
- ``*``, ``?`` and ``[…]`` match as in a shell: never a ``/``, nor a leading dot that is not written. ``**`` is any
  number of directories, symbolic links among them not entered. A wildcard never yields a directory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_FILES = 10_000
_MAX_DEPTH = 64
_MAX_LINKS = 40
_MAGIC = re.compile(r"[*?[]")
_JUNK = re.compile(r"\.\..*|\.git|\.hg|\.svn|.*~|#.*#|\.#.*|\..*\.sw[a-z]|4913")
"""``..``: Kubernetes' atomic writer; 4913: vim tries a directory's permissions with it."""


class TooManyError(Exception):
    """More than ``MAX_FILES`` inputs: ``/`` instead of a directory of configuration."""


@dataclass(slots=True)
class Interest:
    """What about a place matters. With nothing set: only that the directory itself goes or is renamed."""

    names: set[str] = field(default_factory=set)
    patterns: set[str] = field(default_factory=set)
    tree: bool = False
    """Every name but junk: an input that is a directory."""
    dirs: bool = False
    """Every directory: below ``**``."""
    others: bool = False
    """Every name but junk that comes or goes: beside a file that was listed another may be included."""
    written: bool = False
    """And every one that somebody has written: there may be such a file already, and nobody can name it."""
    content: bool = False
    """The place is a file."""

    @property
    def entries(self) -> bool:
        """Whether anything inside the directory matters."""
        return bool(self.names or self.patterns or self.tree or self.dirs or self.others)

    def wants(self, name: str, *, is_dir: bool, named: bool = False, content: bool = False) -> bool:
        """Whether something that happened to this name may change the inputs; an empty name is the place itself.

        ``named``: it came or went. ``content``: it was written to, and that is not over.
        """
        return (
            not name
            or name in self.names
            or (self.dirs and is_dir)
            or (self.tree and not _JUNK.fullmatch(name))
            or (
                ((self.others and named) or (self.written and not content))
                and not _JUNK.fullmatch(name)
            )
            or any(matches(name, p) for p in self.patterns)
        )


def matches(name: str, pattern: str) -> bool:
    """As a shell does: a leading dot must be written."""
    return (name[0] != "." or pattern[0] == ".") and fnmatchcase(name, pattern)


class Expansion:
    """The result of one walk: ``files`` in the order found, ``places`` when asked for, ``errors`` met on the way."""

    def __init__(
        self,
        patterns: Iterable[str],
        listed: Iterable[str] = (),
        *,
        places: bool = False,
        doubtful: bool = False,
    ) -> None:
        """Walk now; blocks on slow file systems. Raises TooManyError.

        ``doubtful``: more files may be included than are listed.
        """
        self.files: dict[str, bool] = {}
        """Path, and whether the operator wrote that very path."""
        self.errors: list[tuple[str, int]] = []
        self.places: dict[str, Interest] = {}
        self._watching = places
        for pattern in patterns:
            parts = [p for p in pattern.split("/") if p not in ("", ".")]
            fixed = next((i for i, p in enumerate(parts) if _MAGIC.search(p)), len(parts))
            base = "/" + "/".join(parts[:fixed])
            real = self._follow(base)
            if fixed < len(parts):
                self._glob(base, real, parts[fixed:], 0)
            elif os.path.isdir(base):  # noqa: PTH112 - str paths throughout, a Path per file costs
                self._tree(base, real, ())
            else:
                self._add(base, named=True)
        for path in listed:
            whole = "/" + "/".join(p for p in path.split("/") if p not in ("", "."))
            self._listed(whole, doubtful=doubtful)

    def _add(self, path: str, *, named: bool) -> None:
        self.files[path] = self.files.get(path, False) or named
        if len(self.files) > MAX_FILES:
            raise TooManyError

    def _listed(self, path: str, *, doubtful: bool) -> None:
        """What is not there any more is no input: whoever listed it reads it no more."""
        self._follow(path)
        if self._watching:
            around = self._place(self._follow(os.path.dirname(path)))  # noqa: PTH120
            around.others, around.written = True, around.written or doubtful
        try:
            os.stat(path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError:
            pass  # there, and whoever reads it finds out why it cannot be
        self._add(path, named=False)

    def _place(self, path: str) -> Interest:
        return self.places.setdefault(path, Interest())

    def _scan(self, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda e: os.fsencode(e.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            self.errors.append((path, e.errno or 0))
            return []

    def _tree(self, path: str, real: str, above: tuple[tuple[int, int], ...]) -> None:
        """Every file below a directory. A link back to a directory above adds nothing and is not entered."""
        try:
            st = os.stat(path)  # noqa: PTH116
        except OSError as e:
            self.errors.append((path, e.errno or 0))
            return
        here = (st.st_dev, st.st_ino)
        if here in above:
            return
        if len(above) >= _MAX_DEPTH:
            self.errors.append((path, errno.ELOOP))
            return
        if self._watching:
            self._place(real).tree = True
        entries = [e for e in self._scan(path) if not _JUNK.fullmatch(e.name)]
        self._may_vanish(real, empty=not entries)
        for entry in entries:
            inner = self._follow(entry.path) if entry.is_symlink() else _under(real, entry.name)
            if _is_dir(entry):
                self._tree(entry.path, inner, (*above, here))
            else:
                self._add(entry.path, named=False)

    def _glob(self, path: str, real: str, parts: Sequence[str], depth: int) -> None:
        """Match ``parts`` below a directory."""
        head, rest = parts[0], parts[1:]
        if depth >= _MAX_DEPTH:
            self.errors.append((path, errno.ELOOP))
            return
        if head == "**":
            if self._watching:
                self._place(real).dirs = True
            self._glob(path, real, rest or ("*",), depth)
            for entry in self._scan(path):
                if entry.name[0] != "." and entry.is_dir(follow_symlinks=False):
                    self._glob(entry.path, _under(real, entry.name), parts, depth + 1)
            return
        if self._watching:
            self._place(real).patterns.add(head)
        found = [e for e in self._scan(path) if matches(e.name, head)]
        self._may_vanish(real, empty=not found)
        for entry in found:
            inner = self._follow(entry.path) if entry.is_symlink() else _under(real, entry.name)
            if rest and _is_dir(entry):
                self._glob(entry.path, inner, rest, depth + 1)
            elif not rest and not _is_dir(entry):
                self._add(entry.path, named=False)

    def _may_vanish(self, real: str, *, empty: bool) -> None:
        """Watch the parent of a directory with nothing in it: it may be about to be removed.

        The kernel tells the removal of a directory by its own watch only when its last user lets go, which a service
        that has it as working directory never does; the parent hears of it at once.
        """
        if self._watching and empty and real != "/":
            parent, name = os.path.split(real)
            self._place(parent).names.add(name)

    def _follow(self, path: str) -> str:
        """Note every place that decides what a path means; its physical name, as far as it exists.

        Directories on the way are noted for themselves alone, which costs nothing while they stay, whatever happens in
        them; links and the last name by the directory that holds them.
        """
        if not self._watching:
            return path
        todo = path.split("/")[::-1]
        here, links = "/", 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = os.path.dirname(here)  # noqa: PTH120
                continue
            full = _under(here, name)
            try:
                mode = os.lstat(full).st_mode
                target = os.readlink(full) if stat.S_ISLNK(mode) else ""  # noqa: PTH115
            except OSError:
                self._place(here).names.add(name)
                self._may_vanish(here, empty=True)
                return "/".join([full, *todo[::-1]])
            if target:
                self._place(here).names.add(name)
                links += 1
                if links > _MAX_LINKS:
                    return full
                todo += target.split("/")[::-1]
                here = "/" if target[0] == "/" else here
                continue
            if stat.S_ISDIR(mode):
                self._place(full)
            else:
                self._place(here).names.add(name)
                self._place(full).content = True
            here = full
        return here


def beside(listed: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Every name but junk in the directories that hold these files, and its stamp; of what cannot be looked at, the error's number."""
    found: dict[str, tuple[int, ...]] = {}
    for directory in sorted({os.path.dirname(path) for path in listed}):  # noqa: PTH120
        try:
            with os.scandir(directory) as entries:
                names = sorted(e.name for e in entries if not _JUNK.fullmatch(e.name))
        except OSError as e:
            found[directory] = (e.errno or 0,)
            continue
        for name in names:
            path = _under(directory, name)
            found[path] = _written(path)
    return found


def digest(things: Iterable[object]) -> bytes:
    """Differs when these do, or their order."""
    whole = hashlib.blake2b(digest_size=16)
    for thing in things:
        whole.update(repr(thing).encode("utf-8", "surrogateescape"))
    return whole.digest()


def _written(path: str) -> tuple[int, ...]:
    try:
        st = os.stat(path)  # noqa: PTH116
    except OSError as e:
        return (e.errno or 0,)
    return (st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)


def _under(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory != "/" else f"/{name}"


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """A directory or a link to one; what cannot be told is a file and fails when it is read."""
    try:
        return entry.is_dir()
    except OSError:
        return False
