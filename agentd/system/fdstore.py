"""Listeners in the service manager's store: they outlive the agent also where no process has them (systemd.service(5), sd_notify(3)).

Decides what a listener is called there and how many are stored; which of them have to be is ``held``'s to say, and whether one
that came back is still what is wanted is asked of whoever takes it. The manager hands them to the next agent from descriptor 3
on, and keeps its own copies: so nothing is stored twice, and whatever is closed for good has to be removed there too. It keeps
them while it restarts the agent, not once the unit has stopped. Without a manager that listens nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import NamedTuple

from agentd.system import sdnotify

MOST = 500
"""What the unit of ``reloadctl unit`` allows: a manager before systemd 254 does not tell ($FDSTORE)."""
_FIRST = 3
"""SD_LISTEN_FDS_START."""
_SPARE = 12
"""Descriptors that a program has beside."""
_PATIENCE = 2.0
"""Seconds that the manager is given to have closed what was removed."""
_PAUSE = 5.0
"""Seconds in which one that did not take a message is not asked again: the agent has other things to do than to wait for it."""
_NONE: Mapping[str, int] = {}
_ABOUT = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Given(NamedTuple):
    """One that an earlier agent had stored."""

    name: str
    inode: int
    sock: socket.socket
    where: str | int
    """Its path or port."""


class FdStore:
    """What the manager keeps for the agent. All of it runs on the event loop's thread."""

    def __init__(
        self,
        env: MutableMapping[str, str],
        say: Callable[[str], None],
        first: int = _FIRST,
        kept: Mapping[str, int] = _NONE,
    ) -> None:
        """``env``: the agent's own; what was handed over by it is taken out. ``first``: the descriptor at which that begins.

        ``kept``: what other code in this process has left, as ``called`` names it.
        The next agent starts with the limit of descriptors that this one has now.
        """
        self._path = env.get("NOTIFY_SOCKET", "")
        told = env.get("FDSTORE", "")
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # While systemd puts them in their places, before exec, it may need as many numbers again below that limit: where there
        # are too few the agent is not started (status 202/FDS, seen with 960 of 1024), and is tried again with the same ones.
        self._most = min(int(told) if told.isdecimal() else MOST, soft // 2 - _SPARE)
        self._say = say
        self._full = self._stuck = self._removing = False
        self._again = 0.0
        self._owed: list[str] = []
        """What the manager is still to be told to remove."""
        self._names: dict[int, str] = {}
        """What is stored is called so, by its inode."""
        self._of: dict[str, set[int]] = {}
        """The inodes that are stored for each service."""
        self._given: list[Given] = []
        for name, fd in (*_handed_over(env, first), *kept.items()):
            self._receive(name, fd)

    def called(self, name: str, inode: int) -> str:
        """What a listener is to be called for other code in this process: as in the store, or, with a ``/`` before it, not stored."""
        return self._names.get(inode, f"/{name}")

    def has(self, inode: int) -> bool:
        """Whether it is stored."""
        return inode in self._names

    def take(
        self, service: str, where: str | int, fits: Callable[[socket.socket], bool]
    ) -> list[socket.socket]:
        """Those of the last agent's at this path or port that fit; they stay in the store, for this service from now on."""
        found = [one for one in self._given if one.where == where and fits(one.sock)]
        if found:
            self._given = [one for one in self._given if one not in found]
            inodes = {one.inode for one in found} & self._names.keys()
            self._of.setdefault(service, set()).update(inodes)
        return [one.sock for one in found]

    def discard(self) -> None:
        """What nobody took is closed here and there. It is not shut down: a process that lives on may still serve there."""
        for one in self._given:
            self._say(f"the listener that was kept as {one.name} is not wanted any more: closed")
            one.sock.close()
            if one.inode in self._names:
                self._remove(one.inode)
        self._given = []
        self.settle()

    def keep(self, service: str, wanted: Mapping[int, tuple[str, int]]) -> None:
        """These are a service's that have to be stored from now on: of each inode the socket's name and our descriptor."""
        self._pay()
        there = self._of.setdefault(service, set())
        for inode in there.difference(wanted):
            self._remove(inode)
        there.intersection_update(wanted)
        for inode, (name, fd) in wanted.items():
            if inode not in there and self._put(f"{service}/{name}/{inode}", inode, fd):
                there.add(inode)

    def settle(self) -> None:
        """Wait until the manager has let go of what was removed: until then a UDP address is not free."""
        self._pay()
        if self._removing:
            self._removing = False
            sdnotify.wait(self._path, _PATIENCE)

    def _put(self, name: str, inode: int, fd: int) -> bool:
        if not self._path or self._is_full():
            return False
        # Without FDPOLL=0 the manager drops a UDP socket at the first error that the network reports.
        stored = self._send(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", fd)
        if stored:
            self._names[inode] = name
        return stored

    def _is_full(self) -> bool:
        """Said once each time that it happens: nobody else would."""
        was, self._full = self._full, len(self._names) >= self._most
        if self._full and not was:
            how = f"the store of the service manager takes {self._most}"
            keys = "raise FileDescriptorStoreMax= of the unit, and LimitNOFILE= to more than twice that"
            self._say(f"cannot keep every listener over a restart of agentd: {how}; {keys}")
        return self._full

    def _remove(self, inode: int) -> None:
        self._owed.append(self._names.pop(inode))
        self._pay()

    def _pay(self) -> None:
        while self._owed and self._send(f"FDSTOREREMOVE=1\nFDNAME={self._owed[0]}"):
            self._removing = True
            del self._owed[0]

    def _send(self, message: str, *fds: int) -> bool:
        """What is not sent now is sent with the next change; why that is so is said once."""
        if time.monotonic() < self._again:
            return False
        was, self._stuck = self._stuck, not sdnotify.hand(self._path, message, *fds)
        if self._stuck:
            self._again = time.monotonic() + _PAUSE
        if self._stuck and not was:
            why = "the service manager does not answer; tried again with the next change"
            self._say(f"cannot keep listeners over a restart of agentd: {why}")
        return not self._stuck

    def _receive(self, name: str, fd: int) -> None:
        try:
            os.set_inheritable(fd, False)
            inode = os.fstat(fd).st_ino
            got = socket.socket(fileno=fd)
            at = got.getsockname()
            where = at[1] if isinstance(at, tuple) else at
            self._given.append(Given(name, inode, got, where))
            if not name.startswith("/"):
                self._names[inode] = name
        except OSError:  # not a socket: nothing that an agent has stored
            with contextlib.suppress(OSError):
                os.close(fd)
            self._owed.append(name)


def _handed_over(env: MutableMapping[str, str], first: int) -> Iterator[tuple[str, int]]:
    """Name and descriptor of each, as sd_listen_fds_with_names(3) has it. No later program is to find them in ``env`` again."""
    told = {name: env.pop(name, "") for name in _ABOUT}
    count = told["LISTEN_FDS"]
    if told["LISTEN_PID"] != str(os.getpid()) or not count.isdecimal():
        return
    names = told["LISTEN_FDNAMES"].split(":")
    for at in range(int(count)):
        yield names[at] if at < len(names) else "unknown", first + at
