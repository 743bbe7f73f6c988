"""The commit that the inputs are, when all of them are tracked and clean in one git work tree.

It never decides what the configuration is (the hash does), only offers a name for it. Git is asked rarely, and with
care: an agent that runs as root must not run what a stranger's repository names in its configuration
(``core.fsmonitor``, filters, hooks), so both the work tree and its ``.git`` must belong to root or to the agent's own
user, git's own ``safe.directory`` check stays in force, and neither the caller's environment nor other configuration
files count.
"""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TIMEOUT = 2.0
_MAX_PATHS = 500
_ENV = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}
_MOVES = ("HEAD", "index", "logs/HEAD")
"""Files of a git directory one of which changes with every commit, checkout and add."""


class Repository(NamedTuple):
    """A work tree that may be asked; ``stamps`` differ when the answer may."""

    top: str
    stamps: tuple[tuple[str, int, int], ...]


def repository(paths: Iterable[str]) -> Repository | None:
    """The one trusted work tree that all these files lie in, by their physical place; None when there is none such."""
    directories = {os.path.dirname(os.path.realpath(p)) for p in paths}  # noqa: PTH120
    tops = {work_tree(directory) for directory in directories}
    top = tops.pop() if len(tops) == 1 else None
    if top is None:
        return None
    git = _git_directory(f"{top}/.git")
    if git is None or not all(_trusted(p) for p in (top, f"{top}/.git", git)):
        return None
    return Repository(top, tuple(_stamp(f"{git}/{name}") for name in _MOVES))


def commit(repo: Repository, paths: Sequence[str]) -> str | None:
    """The first 12 hex digits of HEAD; None when one of the files is untracked, ignored or changed, or git cannot say.

    Blocks for up to two seconds. One command answers all: the branch header, then a line for each file not clean.
    """
    if len(paths) > _MAX_PATHS:
        return None
    options = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignored=matching")
    try:
        said = asked(repo, "status", *options, "--", *(os.path.realpath(p) for p in paths))
    except (OSError, subprocess.SubprocessError):  # no git, a refusal, a hung file system
        return None
    lines = [line for line in said if line]
    if any(not line.startswith("# ") for line in lines):
        return None
    oid = next((line[13:] for line in lines if line.startswith("# branch.oid ")), "")
    return oid[:12] if len(oid) >= 40 else None  # noqa: PLR2004 - "(initial)" before the first commit


def asked(repo: Repository, *words: str) -> list[str]:
    """What git answers, at its zero bytes. Raises OSError and subprocess.SubprocessError."""
    done = subprocess.run(
        ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", repo.top, *words],
        env=_ENV,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_TIMEOUT,
        start_new_session=True,
        check=True,
    )
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")


def work_tree(directory: str) -> str | None:
    """The nearest directory upwards with a ``.git``."""
    while not os.path.lexists(f"{directory}/.git"):
        if directory in ("/", ""):
            return None
        directory = os.path.dirname(directory)  # noqa: PTH120
    return directory


def _git_directory(path: str) -> str | None:
    """``.git`` itself, or where the file of that name points (a linked work tree, a submodule)."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            return path
        with open(path, "rb") as file:  # noqa: PTH123
            line = file.read(4096).decode("utf-8", "surrogateescape").strip()
    except OSError:
        return None
    if not line.startswith("gitdir: ") or "\0" in line:
        return None
    return os.path.normpath(os.path.join(os.path.dirname(path), line[8:]))  # noqa: PTH118, PTH120


def _trusted(path: str) -> bool:
    try:
        return os.lstat(path).st_uid in (0, os.geteuid())
    except OSError:
        return False


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        st = os.stat(path)  # noqa: PTH116
    except OSError:
        return (path, 0, 0)
    return (path, st.st_ino, st.st_mtime_ns)
