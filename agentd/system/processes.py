"""The instances' processes: started, adopted, signalled, and watched until their group is empty.

Nothing is decided here but facts: whether a process is the one that was recorded, whether its group still lives. It
keeps no history; an instance is forgotten when the listener was told of its last process.
"""

from __future__ import annotations

import functools
import os
import signal as signals
import time
from dataclasses import replace
from errno import EEXIST, EPERM, ESRCH
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.core.process import Exit, Identity
from agentd.ports import AdapterError, Key, Permit, ProcessListener, SpawnError, SpawnOrder
from agentd.system import bounds, groups, proctable
from agentd.system.launcher import Child, Launcher, Plan
from agentd.system.signals import number

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class _Instance:
    """One main process and its group. ``alive`` until the main process was reaped."""

    __slots__ = ("alive", "group", "identity", "pidfd", "watched")

    def __init__(self, identity: Identity, pidfd: int, group: groups.Group) -> None:
        self.identity = identity
        self.pidfd = pidfd
        self.group = group
        self.alive = True
        self.watched: dict[tuple[int, int], int] = {}
        """The pidfds of its main processes, former ones too, that have not ended, by pid and start: however often they take turns."""

    @property
    def pid(self) -> int:
        return self.identity.pid


class OsProcesses:
    """``Processes`` on Linux. One for each agent process: it is a subreaper and takes SIGCHLD."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: ProcessListener,
        cgroup: Path | None,
        *,
        launcher: Launcher | None = None,
        mark: Callable[[Key, str], str] = lambda _, cookie: cookie,
    ) -> None:
        """``cgroup``: where leaves are made, from ``groups.find_delegated``; None: sessions only.

        ``mark`` makes of a cookie what the environment of an instance has.
        """
        self._loop = loop
        self._listener = listener
        self._cgroup = cgroup
        self._mark = mark
        self._mount = groups.find_mount()
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._instances: dict[Key, _Instance | None] = {}
        self.launcher = Launcher(loop) if launcher is None else launcher

    async def spawn(self, order: SpawnOrder, permit: Permit) -> Identity:
        """See ``Processes.spawn``. Its exit is never reported before this returned."""
        key = order.key
        order = replace(order, cookie=self._mark(key, order.cookie))
        if key in self._instances:
            raise SpawnError(
                f"cannot start {key.service}: generation {key.generation} is still there",
                EEXIST,
                "key",
            )
        self._instances[key] = None  # taken, from here on
        leaf = groups.make_leaf(self._cgroup, key.service, key.generation)
        path, directory = (None, None) if leaf is None else leaf
        bounded = self._bound(path, order)
        identity: Identity | None = None

        async def permitted(child: Child) -> None:
            nonlocal identity
            if bounded and not child.in_leaf:
                what = f"cannot start {key.service}: limits: it did not get into its control group"
                raise SpawnError(what, EPERM, "limits")
            identity = self._identify(child.pid, order)
            await permit(identity)

        env = (*order.env, (groups.COOKIE, order.cookie))
        plan = Plan(
            key.service,
            order.process.command,
            order.process,
            env,
            order.output,
            directory,
            order.sockets,
        )
        child: Child | None = None
        try:
            if isinstance(bounded, SpawnError):
                raise bounded
            child = await self.launcher.launch(plan, permitted)
        finally:
            if directory is not None:
                os.close(directory)
            if path is not None and (child is None or not child.in_leaf):
                groups.Leaf(self._loop, path).remove()
            if child is None:
                self._instances.pop(key, None)
        if identity is None:  # cannot be: launch does not return without the permit
            raise SpawnError(f"cannot start {key.service}: no permit was asked for", 0, "permit")
        inside = groups.Leaf(self._loop, path) if path is not None and child.in_leaf else None
        group = inside or self._session(identity, ours=True)
        self._track(key, identity, child.pidfd, group)
        return identity

    def adopt(self, key: Key, identity: Identity) -> bool:
        """See ``Processes.adopt``. A zombie that is still unreaped is ours too: its exit is reported next."""
        if key in self._instances or identity.boot != self._boot:
            return False
        pid = identity.pid
        try:
            pidfd = os.pidfd_open(
                pid
            )  # first: from here on the pid cannot change its holder unnoticed
        except OSError:
            return self._adopt_leftovers(key, identity)
        s = proctable.stat(pid)
        cookie = proctable.environ(pid, groups.COOKIE.encode())
        # Programs overwrite their environment (nginx's titles) and other users' cannot be read: missing is no mismatch.
        known = cookie is None or cookie == identity.cookie.encode()
        if s is None or s.started != identity.started or not known:
            os.close(pidfd)
            return self._adopt_leftovers(key, identity) if s is None else False
        leaf = (
            groups.leaf_of(pid, key.service, key.generation, self._mount)
            if self._mount is not None
            else None
        )
        inside = groups.Leaf(self._loop, leaf) if leaf is not None else None
        ours = s.ppid == os.getpid()
        group = inside or self._session(identity, ours=ours)
        self._track(key, identity, pidfd, group)
        return True

    def _adopt_leftovers(self, key: Key, identity: Identity) -> bool:
        """The main process is gone, and others of its group live on: ours to end. They are told of as after any exit.

        A pid is not given out again while it is the number of a session, so nobody else's session can have it; that they are not
        what an even later owner of the pid left behind is told by the cookie, or by the pipe that takes their output.
        """
        group = self._session(identity, ours=False)
        members = group.members()
        if not any(groups.belongs(pid, identity) for pid in members):
            return False
        leaf = self._mount and groups.leaf_of(members[0], key.service, key.generation, self._mount)
        left = groups.Leaf(self._loop, leaf) if leaf else group
        self._say_it_ended(key, _Instance(identity, -1, left))
        return True

    def signal(self, key: Key, signal: str, *, group: bool) -> float:
        """See ``Processes.signal``. After the main process ended, what is left of its group can still be reached."""
        sig = number(signal)
        instance = self._instances.get(key)
        if instance is None or not (instance.alive or group):
            raise AdapterError(f"cannot send {signal} to {key.service}: no such process", ESRCH)
        at = time.monotonic()
        try:
            if not group:
                signals.pidfd_send_signal(instance.pidfd, sig)
            elif not instance.group.kill(sig):
                self._signal_each(instance, sig)
        except OSError as error:
            raise AdapterError(
                f"cannot send {signal} to {key.service}: {error.strerror}", error.errno or 0
            ) from error
        return at

    def has(self, key: Key, pid: int) -> bool:
        """Whether a living process is of this instance."""
        instance = self._instances.get(key)
        s = proctable.stat(pid)
        return instance is not None and s is not None and s.alive and instance.group.has(pid)

    def identify(self, key: Key, pid: int) -> Identity:
        """See ``Mains.identify``. The pidfd first: from then on the pid is nobody else's while it is looked at."""
        instance = self._instances.get(key)
        if instance is None:
            raise AdapterError(f"{key.service} has no process")
        try:
            pidfd = os.pidfd_open(pid)
        except (OSError, OverflowError):  # EINVAL: a thread
            raise AdapterError(f"there is no process {pid}", ESRCH) from None
        try:
            s = proctable.stat(pid)
            if s is None or not s.alive:
                raise AdapterError(f"process {pid} has ended", ESRCH)
            if not instance.group.has(pid):
                raise AdapterError(f"process {pid} is none of its own")
            return replace(instance.identity, pid=pid, started=s.started, session=s.session)
        finally:
            os.close(pidfd)

    def follow(self, key: Key, identity: Identity) -> None:
        """See ``Mains.follow``. The former main process is reaped all the same, when it is a child."""
        instance = self._instances.get(key)
        if instance is None:  # the last of its group has gone meanwhile, this one too
            at = time.monotonic()
            told = functools.partial(self._listener.exited, key, Exit(), empty=True, at=at)
            self._loop.call_soon(functools.partial(told, pid=identity.pid))
            return
        instance.group.forget()
        instance.identity, instance.alive, instance.pidfd = identity, True, -1
        pidfd = instance.watched.get((identity.pid, identity.started)) or _open(identity)
        if pidfd is None:
            self._say_it_ended(key, instance)
            return
        instance.pidfd = pidfd
        instance.group.include(identity.pid)
        self._watch(key, instance)

    def members(self, key: Key) -> tuple[int, ...]:
        """See ``Members.members``."""
        instance = self._instances.get(key)
        return () if instance is None else tuple(instance.group.members())

    async def close(self) -> None:
        """See ``Processes.close``. Nobody is told of anything afterwards."""
        for instance in self._instances.values():
            if instance is not None:
                instance.group.close()
        self._instances.clear()
        await self.launcher.close()

    def _bound(self, leaf: Path | None, order: SpawnOrder) -> bool | SpawnError:
        """Whether its group has limits now, before anybody is in it; where they cannot be had at all that was told with its definition."""
        limits = bounds.of(order.process.limits)
        if not limits or bounds.why_not(self._cgroup, limits):
            return False
        failed = f"cannot start {order.key.service}: limits: "
        if leaf is None:
            return SpawnError(f"{failed}its control group cannot be made", EPERM, "limits")
        try:
            bounds.write(leaf, limits)
        except OSError as error:
            file = Path(error.filename).name
            return SpawnError(f"{failed}{file}: {error.strerror}", error.errno or 0, "limits")
        return True

    def _signal_each(self, instance: _Instance, sig: int) -> None:
        """Once to every member: a second TERM means "at once" to many servers.

        The process group goes first and as a whole, so that a fork in between is met; its number is only sure while
        the main process is not reaped. The others are pinned by a pidfd and looked at again before they are sent to.
        """
        reached, pgrp = False, 0
        if instance.alive and (main := proctable.stat(instance.pid)) is not None:
            pgrp = main.pgrp
            os.killpg(pgrp, sig)
            reached = True
        for pid in instance.group.members():
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                s = proctable.stat(pid)
                if s is None or not s.alive or s.pgrp == pgrp:
                    continue
                if instance.group.has(pid):
                    signals.pidfd_send_signal(pidfd, sig)
                    reached = True
            except ProcessLookupError:
                continue
            finally:
                os.close(pidfd)
        if not reached:
            raise ProcessLookupError(ESRCH, os.strerror(ESRCH))

    def _identify(self, pid: int, order: SpawnOrder) -> Identity:
        s = proctable.stat(pid)
        if s is None:  # cannot be: it is unreaped
            raise SpawnError(
                f"cannot start {order.key.service}: it is gone before exec", ESRCH, "identity"
            )
        return Identity(pid, s.started, self._boot, order.cookie, os.fstat(order.output).st_ino)

    def _session(self, identity: Identity, *, ours: bool) -> groups.Session:
        pid, cookie, session = identity.pid, identity.cookie, identity.session
        reaper = self.launcher.reaper
        return groups.Session(self._loop, reaper, pid, cookie, ours=ours, session=session)

    def _track(self, key: Key, identity: Identity, pidfd: int, group: groups.Group) -> None:
        instance = _Instance(identity, pidfd, group)
        self._instances[key] = instance
        self._watch(key, instance)

    def _watch(self, key: Key, instance: _Instance) -> None:
        place = instance.pid, instance.identity.started
        if place not in instance.watched:
            instance.watched[place] = instance.pidfd
            ended = functools.partial(self._ended, key, instance, place)
            self.launcher.reaper.watch(instance.pid, instance.pidfd, ended)

    def _say_it_ended(self, key: Key, instance: _Instance) -> None:
        """Its main process is gone, and nobody saw how: told as after any exit, and not from within a call."""
        self._instances[key] = instance
        at = time.monotonic()
        place = instance.pid, instance.identity.started
        self._loop.call_soon(self._ended, key, instance, place, Exit(), at)

    def _ended(
        self,
        key: Key,
        instance: _Instance,
        place: tuple[int, int],
        exit: Exit,  # noqa: A002 - the port's word
        at: float,
    ) -> None:
        instance.watched.pop(place, None)
        if self._instances.get(key) is not instance:
            return  # closed meanwhile
        pid = instance.pid
        if place != (pid, instance.identity.started):
            return  # another one is the main process by now
        instance.alive = False
        exit = replace(exit, killed=instance.group.killed())  # noqa: A001 - the port's word
        empty = instance.group.empty()
        if empty:
            del self._instances[key]
        else:
            instance.group.watch(lambda: self._emptied(key, instance))
        self._listener.exited(key, exit, empty=empty, at=at, pid=pid)
        if empty:
            instance.group.remove()  # last: the next start waits for the call above

    def _emptied(self, key: Key, instance: _Instance) -> None:
        if self._instances.get(key) is not instance:
            return  # closed meanwhile
        del self._instances[key]
        self._listener.emptied(key, time.monotonic())
        instance.group.remove()


def _open(identity: Identity) -> int | None:
    """A pidfd of this very process; None: it is gone."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    s = proctable.stat(identity.pid)
    if s is None or s.started != identity.started:
        os.close(pidfd)
        return None
    return pidfd
