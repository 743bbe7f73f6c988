"""A part of cgroup v2 that is given to one agent whole, as a unit with ``Delegate=yes`` and ``DelegateSubgroup=agent`` is by systemd."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentd.system import groups
from tests.real.host import Host

WANTED = ("memory", "pids", "cpu")


def lacking() -> str:
    """Why there is no such part to be had here; empty: there is."""
    mount = groups.find_mount()
    if os.geteuid() != 0 or mount is None:
        return "only root can give away a part of cgroup v2, where that is mounted"
    own = _own(mount)
    there = (own / "cgroup.controllers").read_text().split()
    if missing := [name for name in WANTED if name not in there]:
        return f"cgroup v2 has no controllers {', '.join(missing)} here (they are on version 1)"
    try:
        for name in WANTED:
            (own / "cgroup.subtree_control").write_text(f"+{name}")
    except OSError as error:
        return f"no controllers can work below {own}: {error.strerror}"
    return ""


@contextlib.contextmanager
def delegated(directory: Path, definitions: str, **env: str) -> Iterator[Host]:
    """A host whose agent has such a part; skips where there is none."""
    if why := lacking():
        pytest.skip(why)
    mount = groups.find_mount()
    assert mount is not None
    unit = _own(mount) / f"agentd-test-{os.getpid()}"
    (unit / "agent").mkdir(parents=True)
    os.setxattr(unit, "trusted.delegate", b"1")
    python = directory / "python"
    enter = f"echo 0 > {shlex.quote(str(unit / 'agent/cgroup.procs'))}"
    python.write_text(f'#!/bin/sh\n{enter}\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    running = Host(directory, definitions, **env)
    running.python = str(python)
    try:
        running.start()
        yield running
    finally:
        if running.agent is not None:
            running.stop()
        _remove(unit)


def leaf(pid: int) -> Path:
    """The group that a service's process is in."""
    mount = groups.find_mount()
    assert mount is not None
    line = next(x for x in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if x[:3] == "0::")
    return mount / line[4:]


def _own(mount: Path) -> Path:
    return leaf(os.getpid()) if mount else mount


def _remove(unit: Path) -> None:
    end = time.monotonic() + 5
    while True:
        groups.prune(unit)
        try:
            unit.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
        else:
            return
