"""The controllers of cgroup v2 for the groups that the agent makes: where these may be, and which work in them.

It decides which group the agent's own ones are made in, and says why a controller is not to be had. The kernel lets no controller
work below a group that has processes itself, and the agent's own group has one: the agent. It does not move itself elsewhere, because
the service manager could not start the next agent in a group below which controllers work. It is for the manager to start it in a
group of its own inside of what it delegates (systemd 254: ``DelegateSubgroup=``).
"""

from __future__ import annotations

import os
from errno import EBUSY
from typing import TYPE_CHECKING

from agentd.system import proctable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MARKS = ("user.delegate", "trusted.delegate")
"""What systemd writes on a group that it has given away whole; the second one is for root's eyes."""


def delegated(group: Path) -> bool:
    """Whether the service manager says that everything below this group is somebody else's."""
    for mark in _MARKS:
        try:
            if os.getxattr(group, mark) == b"1":
                return True
        except OSError:
            continue
    return False


def place(mount: Path, own: Path) -> Path:
    """The group that the agent makes its own ones in: its own, or the one above when that is delegated and it was put below for this."""
    return own.parent if own != mount and delegated(own.parent) else own


def enabled(base: Path) -> frozenset[str]:
    """The controllers that work in ``base``, and can be made to work below."""
    return _words(base, "cgroup.controllers")


def enable(base: Path, wanted: Iterable[str]) -> str:
    """Have these work in the groups below ``base``, which has no processes itself. Why one of them cannot; empty: they do."""
    for name in wanted:
        for group in (base.parent, base):
            if name in _words(group, "cgroup.subtree_control"):
                continue
            if name not in enabled(group):
                return f"no controller {name!r} in {group}, the agent's part of cgroup v2"
            if error := _write(group / "cgroup.subtree_control", f"+{name}"):
                return _cannot(name, group, error)
    return ""


def _cannot(name: str, group: Path, error: OSError) -> str:
    if error.errno == EBUSY:
        return (
            f"the agent itself is in {group}, below which the kernel lets no controller work then;"
            " systemd (254 or newer) starts it elsewhere: DelegateSubgroup=agent"
        )
    return f"controller {name!r} cannot be enabled in {group}: {error.strerror}"


def _write(path: Path, text: str) -> OSError | None:
    try:
        path.write_text(text)
    except OSError as error:
        return error
    return None


def _words(group: Path, file: str) -> frozenset[str]:
    return frozenset(proctable.read(f"{group}/{file}").decode().split())
