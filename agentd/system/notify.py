"""The notify sockets: one for each instance, so that who speaks is known from where it is heard.

Decides which datagrams are well formed (as systemd does: at most 4096 bytes, UTF-8, no NUL within) and whose count;
not what they mean. A message counts when its sender, as the kernel names it, is the allowed process, in its session or
process group, descends from it, or belongs to the instance as ``agentd.system.groups`` has it. A sender that is gone
already (``systemd-notify`` in a script) is believed when its uid is the one the socket belongs to: nobody else but root
can write to the socket. A living process outside the tree is not believed, root or not: it got the path by accident, and
root may name any pid it likes.

File descriptors that come along are closed, always; ``BARRIER=1`` is answered by closing its one descriptor after what
came before was handed on (sd_notify_barrier(3)).
"""

from __future__ import annotations

import array
import os
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.ports import AdapterError, Key, Message, Notify

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LONGEST = 4096
"""Bytes of one message: PIPE_BUF, as in systemd."""
_PATH_LIMIT = 107
"""sun_path without its NUL. The service has to reach the same path, so a detour through /proc is no help."""
_CREDENTIALS = struct.Struct("3i")
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(253 * 4)  # 253: SCM_MAX_FD
_TRUNCATED = socket.MSG_TRUNC | socket.MSG_CTRUNC
_AT_ONCE = 64
"""Datagrams taken before others get their turn."""


def parse(data: bytes) -> tuple[tuple[str, str], ...] | None:
    """The last value of each key in the order of first mention; None when the datagram as a whole is no message."""
    data = data.removesuffix(b"\0")
    if len(data) > LONGEST or b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if name and equals:
            fields[name] = value
    return tuple(fields.items())


@dataclass(slots=True)
class _Bound:
    socket: socket.socket
    path: str
    uid: int
    pid: int = 0


class NotifySockets(Notify):
    """The port over ``directory`` (0711: a service finds its own socket and cannot list the others')."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        directory: Path,
        listener: Callable[[Key, Message], None],
        member: Callable[[Key, int], bool],
    ) -> None:
        """``member``: whether a living process belongs to an instance, whatever became of its main process."""
        self._loop = loop
        self._directory = directory
        self._listener = listener
        self._member = member
        self._bound: dict[Key, _Bound] = {}
        self.dropped: Counter[str] = Counter()
        """How many datagrams were not handed on, by reason: malformed, truncated, anonymous, stranger."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o711)
        except OSError as error:
            what = f"cannot use {directory} for notify sockets: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error

    def bind(self, key: Key, uid: int, gid: int) -> str:
        """The path, mode 0600 and the service's own. What is sent before ``allow`` waits in the socket."""
        path = str(self._directory / f"{key.service}.{key.generation}.sock")
        if (length := len(os.fsencode(path))) > _PATH_LIMIT:
            raise AdapterError(
                f"cannot bind notify socket {path}: the path has {length} bytes, sockets take {_PATH_LIMIT};"
                " use a shorter --runtime-dir or service name"
            )
        if uid and (closed := _closed(Path(path), uid)):
            raise AdapterError(
                f"cannot bind notify socket {path}: the service's user (uid {uid}) cannot pass {closed};"
                f" try: chmod o+x {closed}"
            )
        self.unbind(key)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            # Before bind: no message may arrive without its sender's credentials (unix(7)), and bind takes the mode
            # of the socket, so that there is no moment at which others may write to it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            os.fchmod(sock.fileno(), 0o600)
            Path(path).unlink(missing_ok=True)
            sock.bind(path)
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.chown(path, uid, gid, follow_symlinks=False)
        except OSError as error:
            sock.close()
            what = f"cannot bind notify socket {path}: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error
        self._bound[key] = _Bound(sock, path, uid)
        return path

    def allow(self, key: Key, pid: int) -> None:
        """Whose messages count; also for the messages that wait already. Replaces the former pid."""
        if (bound := self._bound.get(key)) is None:
            return
        if not bound.pid:
            self._loop.add_reader(bound.socket, self._readable, key)
        bound.pid = pid

    def drain(self, key: Key) -> None:
        """Hand on what was sent so far: call it when the process exited, its last message may still wait here."""
        if (bound := self._bound.get(key)) is not None and bound.pid:
            for _ in range(_AT_ONCE):  # whoever floods the socket does not get the loop for it
                if not self._receive(key, bound):
                    break

    def unbind(self, key: Key) -> None:
        """Close and unlink; what nobody heard is gone. Does nothing for a key that is not bound."""
        if (bound := self._bound.pop(key, None)) is not None:
            self._loop.remove_reader(bound.socket)
            bound.socket.close()
            Path(bound.path).unlink(missing_ok=True)

    def close(self) -> None:
        """The agent ends and the services live on: stop listening, leave the paths for the next agent."""
        for bound in self._bound.values():
            self._loop.remove_reader(bound.socket)
            bound.socket.close()
        self._bound.clear()

    def _readable(self, key: Key) -> None:
        bound = self._bound[key]
        for _ in range(_AT_ONCE):
            if self._bound.get(key) is not bound or not self._receive(key, bound):
                return

    def _receive(self, key: Key, bound: _Bound) -> bool:
        """Take one datagram; False when there is none."""
        try:
            data, ancillary, flags, _ = bound.socket.recvmsg(
                LONGEST + 2, _ANCILLARY, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        at = time.monotonic()
        sender, fds = _unpack(ancillary)
        try:
            fields = parse(data)
            member = self._of(key, bound, sender[0])
            if why := _refusal(bound, fields, flags, sender, member):
                self.dropped[why] += 1
            elif fields == (("BARRIER", "1"),):
                # After the callbacks that the messages before it have scheduled.
                for fd in fds[:1] if len(fds) == 1 else ():
                    self._loop.call_soon(os.close, fd)
                    fds = []
            elif fields:
                self._listener(key, Message(fields, sender[0], at, member=bool(member)))
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _of(self, key: Key, bound: _Bound, pid: int) -> bool | None:
        """Whether the sender is one of the instance's processes; None when it is gone.

        The way up from it to the main process is short; but a daemon that went into the background has left that way.
        """
        ours = _belongs(pid, bound.pid)
        return self._member(key, pid) if ours is False else ours


def _refusal(
    bound: _Bound,
    fields: tuple[tuple[str, str], ...] | None,
    flags: int,
    sender: tuple[int, int],
    member: bool | None,  # noqa: FBT001
) -> str:
    """Why a datagram does not count; empty when it does."""
    pid, uid = sender
    if flags & _TRUNCATED:
        return "truncated"
    if fields is None:
        return "malformed"
    if pid <= 0:
        return "anonymous"  # another pid namespace
    return "" if member or (member is None and uid == bound.uid) else "stranger"


def _closed(path: Path, uid: int) -> Path | None:
    """A directory on the way that surely stops this user; one that lets its group pass may let them pass too."""
    for above in reversed(path.parents):
        found = above.stat()
        passes = 0o100 if found.st_uid == uid else 0o011
        if not found.st_mode & passes:
            return above
    return None


def _unpack(ancillary: list[tuple[int, int, bytes]]) -> tuple[tuple[int, int], list[int]]:
    """((pid, uid) of the sender, descriptors that came along)."""
    sender, fds = (0, -1), array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
            sender = (pid, uid)
        elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return sender, fds.tolist()


def _belongs(pid: int, main: int) -> bool | None:
    """Whether a process is the main one or of its session, group or descendants; None when it is gone."""
    first = pid
    while pid > 1:
        if pid == main:
            return True
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (asked for each message)
                parent, group, session = map(int, file.read().rpartition(b")")[2].split()[1:4])
        except (FileNotFoundError, ProcessLookupError):
            return None if pid == first else False
        if main in (group, session):
            return True
        pid = parent
    return False
