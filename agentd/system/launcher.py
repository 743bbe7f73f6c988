"""The agent's half of the spawner: requests a child, lets the caller permit it, and says why when it did not start.

It keeps the spawner alive (started on demand; its death only means another) and turns a failed step into a sentence.
What becomes of the child afterwards is decided by whoever launched it.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import marshal
import os
import pwd
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.core.spec import GROUP_LIMITS
from agentd.ports import SpawnError
from agentd.system.reaper import Reaper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agentd.core.process import Exit
    from agentd.core.spec import ProcessSpec

_PROGRAM = Path(__file__).with_name("spawner.py")
_AT_ONCE = 64
"""Children between birth and exec; each holds a little memory, a message in the spawner's queue and two descriptors."""
_LEAVE = 1.0

Ids = tuple[int, int, list[int]]
"""User, group, all groups."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be executed, and how."""

    what: str
    """Who it is in messages: the service's name, ``check of web``."""
    argv: tuple[str, ...]
    process: ProcessSpec
    """Whose user, group, cwd, umask, nice and limits it takes; its command and env are not used."""
    env: Sequence[tuple[str, str]]
    output: int
    leaf: int | None = None
    """Descriptor of the cgroup's directory."""
    sockets: tuple[tuple[str, int], ...] = ()
    """Names and descriptors that it gets from 3 on, with the variables of the socket activation protocol."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that is ours: claimed, and the caller's to watch. In ``permit`` it has not executed anything yet."""

    pid: int
    pidfd: int
    in_leaf: bool


class _SpawnerGoneError(SpawnError):
    """The spawner died with the request in its hands; nothing was executed. Twice in a row, and it is the caller's."""


class Launcher:
    """Starts processes through the spawner. All of it runs on the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, clone: bool = True) -> None:
        """``clone`` False: by two forks, as where clone3 is forbidden."""
        self._loop = loop
        self._clone = clone
        self._requests: socket.socket | None = None
        self._spawner: subprocess.Popen[bytes] | None = None
        self._gone: dict[int, asyncio.Future[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
        """As the agent was started, not as it raises it for itself: a program that uses select(2) breaks above 1024."""
        self.reaper = Reaper(loop)

    async def launch(self, plan: Plan, permit: Callable[[Child], Awaitable[None]]) -> Child:
        """Returns once exec succeeded. Raises SpawnError, or what ``permit`` raised after the child was ended.

        When the child is killed between "go" and exec this returns too: its exit is then reported like any other.
        """
        spec = encode(plan)
        async with self._slots:
            try:
                channel, child = await self._bear(plan, spec)
            except _SpawnerGoneError:
                channel, child = await self._bear(plan, spec)
            with channel:
                executed = False
                try:
                    await permit(child)
                    with contextlib.suppress(
                        BrokenPipeError, ConnectionResetError
                    ):  # killed: said by its exit
                        channel.send(b"g", socket.MSG_NOSIGNAL)
                    said = await self._receive(channel)
                    if said[0]:
                        raise failure(plan, said[0])
                    executed = True
                finally:
                    if not executed:
                        await self.end(child)
        return child

    def kill_group(self, child: Child) -> None:
        """SIGKILL to a watched, still unreaped child and its process group, whose number it keeps from being used again."""
        if self.reaper.watches(child.pidfd):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)

    async def end(self, child: Child) -> None:
        """Kill it and wait until it is reaped; when cancelled, it is reaped all the same.

        With its group: it may have executed, and forked, before the end of its channel was seen here.
        """
        ended = self._loop.create_future()

        def reaped(_exit: Exit, _at: float) -> None:
            if not ended.done():
                ended.set_result(None)

        self.reaper.watch(child.pid, child.pidfd, reaped)
        self.kill_group(child)
        await ended

    async def close(self) -> None:
        """Let the spawner leave, and wait for it. Children live on."""
        spawner = self._spawner
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        waiting = list(self._gone.values())
        if waiting:
            await asyncio.wait(waiting, timeout=_LEAVE)
        if spawner is not None and spawner.poll() is None:
            spawner.kill()
            spawner.wait()
        self.reaper.close()

    async def _bear(self, plan: Plan, spec: bytes) -> tuple[socket.socket, Child]:
        """A child that waits for "go" on its channel. Raises SpawnError, _SpawnerGoneError."""
        with contextlib.ExitStack() as undo:
            ours = undo.enter_context(
                self._request(plan, spec)
            )  # closed: the child, if there is one, leaves
            spawner = self._requests
            said, fds = await self._receive(ours)
            if not said:
                if spawner is not None and spawner is self._requests:
                    # Its end of our socket may still be open for a moment: a second request must not go there.
                    spawner.close()
                    self._requests = None
                raise _SpawnerGoneError(
                    f"cannot start {plan.what}: the spawner was killed", 0, "spawner"
                )
            message = marshal.loads(said)  # noqa: S302 - from our own program
            if message[0] != "born":
                raise failure(plan, said)
            _, pid, inside = message
            self.reaper.claim(pid)
            undo.pop_all()
        return ours, Child(pid, fds[0], inside)

    def _request(self, plan: Plan, spec: bytes) -> socket.socket:
        """Hand the spawner all it needs; the agent's end of the child's own channel."""
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as passed:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                undo.callback(ours.close)
                passed.callback(theirs.close)
                ours.setblocking(False)
                memory = os.memfd_create("spawn", os.MFD_CLOEXEC)
                passed.callback(os.close, memory)
                os.write(memory, spec)
                fds = [theirs.fileno(), plan.output, memory, *(fd for _, fd in plan.sockets)]
                if plan.leaf is None:
                    self._send(b"s", fds)
                else:
                    self._send(b"l", [*fds, plan.leaf])
            except OSError as error:
                why = f"cannot start {plan.what}: spawner: {error.strerror}"
                raise SpawnError(why, error.errno or 0, "spawner") from error
            undo.pop_all()
        return ours

    def _send(self, what: bytes, fds: list[int]) -> None:
        """To the spawner, or to a new one when there is none any more."""
        if self._requests is not None:
            try:
                socket.send_fds(self._requests, [what], fds, socket.MSG_NOSIGNAL)
            except (BrokenPipeError, ConnectionResetError):
                self._requests.close()
                self._requests = None
            else:
                return
        self._requests = self._start()
        socket.send_fds(self._requests, [what], fds, socket.MSG_NOSIGNAL)

    def _start(self) -> socket.socket:
        """Start a spawner. In its own session: a Ctrl-C in the agent's terminal is not meant for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            spawner = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-B",
                    str(_PROGRAM),
                    *([] if self._clone else ["fork"]),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        resource.prlimit(spawner.pid, resource.RLIMIT_NOFILE, self._descriptors)
        pidfd = os.pidfd_open(spawner.pid)
        self.reaper.claim(spawner.pid)
        self._spawner = spawner
        self._gone[pidfd] = self._loop.create_future()
        self._loop.add_reader(pidfd, self._spawner_ended, pidfd, spawner)
        return ours

    def _spawner_ended(self, pidfd: int, spawner: subprocess.Popen[bytes]) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        spawner.wait()
        self.reaper.disclaim(spawner.pid)
        self._gone.pop(pidfd).set_result(None)

    async def _receive(self, channel: socket.socket) -> tuple[bytes, list[int]]:
        """The next message and the descriptors in it; empty at the end."""
        fd = channel.fileno()
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            self._loop.remove_reader(fd)
        for _ in range(2):
            try:
                data, fds, _, _ = socket.recv_fds(channel, 4096, 1)
            except ConnectionResetError:
                continue  # the other end closed with our "go" unread; what it said before is still there to read
            return data, fds
        return b"", []


def failure(plan: Plan, said: bytes) -> SpawnError:
    """The sentence for what the spawner or the child reported."""
    _, errno, step, detail = marshal.loads(said)  # noqa: S302 - from our own program
    name = os.fsdecode(detail)
    why = os.strerror(errno)
    if step == "exec" and "/" not in name:
        path = dict(plan.env).get("PATH")
        why += " in PATH" + (f" {path}" if path else "")
    elif step == "exec" and errno == 2 and os.path.exists(name):  # noqa: PLR2004, PTH110 - ENOENT
        why = "its interpreter does not exist"
    where = f"{step}: {name}: {why}" if name else f"{step}: {why}"
    return SpawnError(f"cannot start {plan.what}: {where}", errno, step)


def encode(plan: Plan) -> bytes:
    """The request as bytes; names become numbers here, so that the child needs no database. Raises SpawnError."""
    process = plan.process
    argv = [os.fsencode(a) for a in plan.argv]
    env = {os.fsencode(k): os.fsencode(v) for k, v in plan.env}
    if plan.sockets:  # the child itself adds LISTEN_PID, which nobody can know before it is born
        env[b"LISTEN_FDS"] = b"%d" % len(plan.sockets)
        env[b"LISTEN_FDNAMES"] = b":".join(os.fsencode(name) for name, _ in plan.sockets)
    cwd = None if process.cwd is None else os.fsencode(process.cwd)
    own = (pair for pair in process.limits if pair[0] not in GROUP_LIMITS)
    limits = [(name, _limit(plan, name), value) for name, value in own]
    return marshal.dumps((argv, env, cwd, process.umask, process.nice, limits, identify(plan)))


def _limit(plan: Plan, name: str) -> int:

    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if not isinstance(number, int):
        step = f"rlimit {name}"
        raise SpawnError(f"cannot start {plan.what}: {step}: no such limit", 0, step)
    return number


def identify(plan: Plan) -> Ids | None:
    """Whom it runs as; None: as the agent. Blocks for as long as the host's user database does. Raises SpawnError."""
    user, group = plan.process.user, plan.process.group
    if user is None and group is None:
        return None
    uid, gid = os.geteuid(), os.getegid()
    name = None
    if user is not None:
        try:
            entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
            uid, gid, name = entry.pw_uid, entry.pw_gid, entry.pw_name
        except KeyError:
            if not user.isdecimal():
                raise _unknown(plan, "user", f'no user "{user}"') from None
            if group is None:
                raise _unknown(
                    plan, "user", f"user {user} has no entry, so its group must be set"
                ) from None
            uid = int(user)
    if group is not None:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise _unknown(plan, "group", f'no group "{group}"') from None
    if os.geteuid() != 0 and (uid, gid) == (os.geteuid(), os.getegid()):
        return None  # an ordinary user that names itself needs no rights
    groups = os.getgrouplist(name, gid) if name is not None else [gid]
    return uid, gid, groups


def _unknown(plan: Plan, step: str, why: str) -> SpawnError:
    return SpawnError(f"cannot start {plan.what}: {step}: {why}", 0, step)
