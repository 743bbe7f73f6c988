"""What belongs to an instance beside its main process: a cgroup leaf where one is delegated, else its session.

It decides who is a member and tells when the last one is gone; zombies are not members. What is covered: with a leaf,
everything that was ever started inside, unless it moved itself out. Without one, the session of the main process and
processes that still carry the instance's cookie in their environment (a daemon that called setsid); not covered is a
process that did setsid *and* cleared its environment, or whose environment we may not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agentd.system import controllers, proctable
from agentd.system.ooms import Ooms

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from agentd.core.process import Identity
    from agentd.system.reaper import Reaper

COOKIE = "AGENTD_INSTANCE"


class Group(Protocol):
    """The members of one instance."""

    def members(self) -> list[int]:
        """The living processes, the main one too while it lives."""

    def has(self, pid: int) -> bool:
        """Whether this process is one of them."""

    def include(self, pid: int) -> None:
        """This process is the main one from now on: what it starts belongs to the instance, too."""

    def empty(self) -> bool:
        """Whether nothing is alive once the main process was reaped."""

    def kill(self, number: int) -> bool:
        """All at once by the kernel, if it can; False: send to each."""

    def watch(self, emptied: Callable[[], None]) -> None:
        """Call once, when nothing is alive any more. Only after ``empty`` said no."""

    def forget(self) -> None:
        """Stop watching and keep everything as it is."""

    def remove(self) -> None:
        """It is empty: clean up."""

    def killed(self) -> int:
        """How many of its processes the kernel ended lately because memory ran out; 0 also where that is not counted."""

    def close(self) -> None:
        """Nobody asks about it any more; what it has stays."""


class Session:
    """Members by session number and cookie."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reaper: Reaper,
        pid: int,
        cookie: str,
        *,
        ours: bool,
        session: int = 0,
    ) -> None:
        """``ours``: the main process is a child of this agent, so what it leaves behind falls to us.

        ``session``: the one that it is in; 0: its own.
        """
        self._loop = loop
        self._reaper = reaper
        self._roots = [pid]
        self._sessions = {session or pid}
        self._cookie = cookie.encode()
        self._ours = ours
        self._pidfd: int | None = None

    def members(self) -> list[int]:
        """A child's descendants and the strays; of an adopted process, whose orphans fall to another, all of /proc."""
        if self._ours:
            return [
                p
                for p in proctable.descendants([*self._roots, *self._reaper.strays()])
                if self.has(p)
            ]
        return [p for p in proctable.pids() if self.has(p)]

    def include(self, pid: int) -> None:
        """With its session: a daemon has one of its own, and may have overwritten its environment."""
        s = proctable.stat(pid)
        if s is not None and s.session != os.getsid(0):
            self._sessions.add(s.session)
        self._roots = [self._roots[0], pid]

    def empty(self) -> bool:
        """Mostly without a scan: with no stray and no process group there is nobody.

        Both are asked, because the list of children may miss one while a sibling exits.
        """
        if self._ours and not self._reaper.strays():
            if not any(map(_group_is_there, self._sessions)):
                return True
            return not any(self.has(p) for p in proctable.pids())
        return not self.members()

    def kill(self, number: int) -> bool:  # noqa: ARG002 - a session has no such call
        """Never."""
        return False

    def watch(self, emptied: Callable[[], None]) -> None:
        """Wait for any one member to end, then look again: whoever was forked meanwhile is found then."""
        for pid in self.members():
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            if not self.has(pid):  # the pid was used again between the look and the open
                os.close(pidfd)
                continue
            self._pidfd = pidfd
            self._loop.add_reader(pidfd, self._one_ended, emptied)
            return
        # Everybody went between the two looks. Through the loop, so that nothing is reported from within a call.
        self._loop.call_soon(emptied)

    def _one_ended(self, emptied: Callable[[], None]) -> None:
        self.forget()
        self.watch(emptied)

    def forget(self) -> None:
        """Stop watching."""
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def remove(self) -> None:
        """Nothing to clean up."""

    def killed(self) -> int:
        """Nobody counts them by sessions."""
        return 0

    def close(self) -> None:
        """Stop watching."""
        self.forget()

    def has(self, pid: int) -> bool:
        """By session, else by cookie; a zombie is nobody."""
        s = proctable.stat(pid)
        if s is None or not s.alive:
            return False
        return (
            s.session in self._sessions or proctable.environ(pid, COOKIE.encode()) == self._cookie
        )


def _group_is_there(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody is there
    return True


class Leaf:
    """Members of a cgroup v2 directory of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._loop = loop
        self.path = path
        self._events: int | None = None
        self._poll: select.epoll | None = None
        self._ooms = Ooms(loop, path)

    def members(self) -> list[int]:
        """Those of groups that the service made inside are members too."""
        found: list[int] = []
        for directory, _, _ in os.walk(self.path):
            found += map(int, proctable.read(f"{directory}/cgroup.procs", 1 << 20).split())
        return found

    def has(self, pid: int) -> bool:
        """By its own word, which is the kernel's."""
        inside = f"/{self.path.parent.name}/{self.path.name}/".encode()
        return any(
            inside in line + b"/" for line in proctable.read(f"/proc/{pid}/cgroup").split(b"\n")
        )

    def include(self, pid: int) -> None:
        """It is inside already."""

    def empty(self) -> bool:
        """The kernel's own word, for the whole subtree; a leaf that is gone has nobody in it."""
        return b"populated 1" not in proctable.read(f"{self.path}/cgroup.events")

    def kill(self, number: int) -> bool:
        """SIGKILL through ``cgroup.kill`` (Linux 5.14): also what is forked at this very moment."""
        if number != signal.SIGKILL:
            return False
        try:
            fd = os.open(self.path / "cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.write(fd, b"1")
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def watch(self, emptied: Callable[[], None]) -> None:
        """``cgroup.events`` raises POLLPRI on change. It is always readable as well, hence an epoll of its own around it."""
        try:
            self._events = os.open(self.path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # removed by hand: the kernel allows that only when nobody is left
            self._loop.call_soon(emptied)
            return
        self._poll = select.epoll()
        self._poll.register(self._events, select.EPOLLPRI)
        self._loop.add_reader(self._poll.fileno(), self._changed, emptied)
        self._changed(emptied, soon=True)

    def _changed(self, emptied: Callable[[], None], *, soon: bool = False) -> None:
        if self._events is None or b"populated 1" in os.pread(self._events, 256, 0):
            return
        self.forget()
        if soon:
            self._loop.call_soon(emptied)
        else:
            emptied()

    def forget(self) -> None:
        """Stop watching."""
        if self._poll is not None and self._events is not None:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            os.close(self._events)
            self._poll = self._events = None

    def killed(self) -> int:
        """As the kernel counts them, where the memory controller is enabled."""
        return self._ooms.recent()

    def close(self) -> None:
        """Stop watching and counting."""
        self.forget()
        self._ooms.close()

    def remove(self) -> None:
        """Remove the leaf and what the service made below; what is still in use stays and is swept by a later agent."""
        self._ooms.close()
        prune(self.path)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def prune(base: Path) -> None:
    """Remove every group below ``base`` that nobody is in. The kernel refuses the others."""
    for directory, _, _ in os.walk(base, topdown=False):
        if directory != str(base):
            with contextlib.suppress(OSError):
                os.rmdir(directory)  # noqa: PTH106


def leaf_name(service: str, generation: int) -> str:
    """The leaf's directory: one level, whatever the service is called."""
    return f"{service.replace('/', '_')}.{generation}"


def make_leaf(base: Path | None, service: str, generation: int) -> tuple[Path, int] | None:
    """A new leaf and its open directory; None where there is none to be had, for any reason."""
    if base is None:
        return None
    path = base / leaf_name(service, generation)
    try:
        path.mkdir(mode=0o755, exist_ok=True)
        return path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


def belongs(pid: int, identity: Identity) -> bool:
    """Whether a process of this group shows that it was started for this instance."""
    if proctable.environ(pid, COOKIE.encode()) == identity.cookie.encode():
        return True
    for fd in (1, 2):
        with contextlib.suppress(OSError):
            if identity.output and Path(f"/proc/{pid}/fd/{fd}").stat().st_ino == identity.output:
                return True
    return False


def leaf_of(pid: int, service: str, generation: int, mount: Path) -> Path | None:
    """The leaf that an earlier agent put the process in, which need not be below this agent's own group."""
    for line in proctable.read(f"/proc/{pid}/cgroup").decode(errors="replace").splitlines():
        if line.startswith("0::"):
            path = mount / line[4:]
            for candidate in (path, *path.parents):  # it may have moved itself further down
                parent = candidate.parent.name
                if candidate.name == leaf_name(service, generation) and parent.startswith(
                    "agentd-"
                ):
                    return candidate
    return None


def find_mount() -> Path | None:
    """Where cgroup v2 is mounted, by type: on hybrid hosts it is not ``/sys/fs/cgroup``."""
    for line in (
        proctable.read("/proc/self/mountinfo", 1 << 20).decode(errors="replace").splitlines()
    ):
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            return Path(left.split()[4].encode().decode("unicode_escape"))
    return None


def base_name(runtime_dir: Path) -> str:
    """What the group above the leaves is called, of every agent with this runtime directory."""
    return f"agentd-{hashlib.sha256(os.fsencode(runtime_dir.absolute())).hexdigest()[:8]}"


def find_delegated(runtime_dir: Path) -> Path | None:
    """A group below the agent's own that leaves can be made in, named after the runtime directory; None: use sessions.

    Two agents in one group have two runtime directories; the next agent of one has the same. Of the controllers the one for
    memory is enabled where it can be: it counts whom the kernel ends. Empty leaves of earlier agents are removed.
    """
    mount = find_mount()
    if mount is None:
        return None
    own = next(
        (x[4:] for x in Path("/proc/self/cgroup").read_text().splitlines() if x.startswith("0::/")),
        None,
    )
    if own is None or own.startswith(".."):  # our own group is outside of what this namespace sees
        return None
    # An agent that was itself started by an agent, or adopted, stays in the group it is in.
    host = controllers.place(mount, mount / own.lstrip("/"))
    base = host / base_name(runtime_dir)
    try:
        base.mkdir(mode=0o755, exist_ok=True)
        prune(base)
        # Entering asks for write access to the common ancestor's list too (cgroups(7), delegation containment).
        if not os.access(base / "cgroup.procs", os.W_OK) or not os.access(
            host / "cgroup.procs", os.W_OK
        ):
            base.rmdir()
            return None
    except OSError:
        return None
    if controllers.delegated(host) or "memory" in controllers.enabled(base):
        controllers.enable(base, ("memory",))
    return base
