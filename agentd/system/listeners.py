"""The sockets that services declare: opened by the agent, kept over generations and agents, lent to each generation.

Decides which service has which sockets and what is written down for the next agent. What happens inside one address is
``held``'s work; when generations come, take over and end is the core's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agentd.core.plan import clash
from agentd.core.spec import ProcessSpec, SocketKind, SocketSpec, Spec
from agentd.ports import AdapterError, Key, LetGoError, Load, Own
from agentd.system import holders, proctable, sockopen, steer, takeback
from agentd.system.counting import Counting
from agentd.system.fdstore import FdStore
from agentd.system.held import Attach, Held, Member, member
from agentd.system.listenfile import ListenFile, Noted


@dataclass(slots=True)
class _Service:
    held: dict[str, Held] = field(default_factory=dict)
    """By the socket's name."""
    former: list[Held] = field(default_factory=list)
    """Declared otherwise by now; closed when the last generation that has it is gone."""
    prepared: list[Held] = field(default_factory=list)
    """Open, and no generation has them yet."""

    @property
    def all(self) -> list[Held]:
        """Every address that it has open."""
        return [*self.held.values(), *self.former, *self.prepared]


class OsListeners:
    """``Listeners``, ``Openings`` and ``HeldSockets`` on Linux. All of it runs on the event loop's thread."""

    def __init__(
        self,
        directory: Path,
        say: Callable[[str], None],
        attach: Attach = steer.attach,
        store: FdStore | None = None,
    ) -> None:
        """``directory``: where the order of listeners is written for the next agent. ``attach``: what steers a group.

        ``store``: what outlives the agent where no process has a listener; None: nothing does.
        """
        self._attach = attach
        self._store = store or FdStore({}, say)
        self._file = ListenFile(directory)
        self._say = say
        self._services: dict[str, _Service] = {}
        self._counting = Counting()
        self._lost: set[tuple[str, str]] = set()
        """Service and path of Unix listeners of ours that could not be taken back."""
        self._waiting: list[asyncio.Future[None]] = []
        """Who waits for an address to be closed."""

    def lend(
        self, key: Key, spec: Spec, *, beside: bool, slot: int = 0
    ) -> tuple[tuple[str, int], ...]:
        """See ``Listeners.lend``. When one of them cannot be had, none was lent."""
        if not spec.sockets and key.service not in self._services:
            return ()
        service = self._services.setdefault(key.service, _Service())
        self._retire_undeclared(service, spec)
        lent: list[tuple[str, int]] = []
        try:
            for one in spec.sockets:
                self._take_up(service, one, spec.process)
                if one.name not in service.held:
                    service.held[one.name] = self._opened(key.service, one, spec.process)
                found = service.held[one.name].lend(key.generation, beside=beside, slot=slot)
                assert found.sock is not None
                lent.append((one.name, found.sock.fileno()))
        except BaseException:
            self.release(key)
            raise
        self._note(key.service)
        return tuple(lent)

    def switch(self, key: Key) -> bool:
        """See ``Listeners.switch``. True when at least one address could be moved, and of several as many as can."""
        held = self._held(key.service)
        moved = [one.switch(key.generation) for one in held]
        self._note(key.service)
        return any(moved)

    def release(self, key: Key) -> None:
        """See ``Listeners.release``."""
        self._counting.forget(key)
        service = self._services.get(key.service)
        if service is None:
            return
        for one in (*service.held.values(), *service.former):
            one.release(key.generation)
        for one in tuple(service.former):
            if not any(m.users for m in one.members):
                self._close(one)
                service.former.remove(one)
        self._note(key.service)

    def withdraw(self, key: Key) -> None:
        """See ``Listeners.withdraw``."""
        for one in self._held(key.service):
            one.withdraw(key.generation)
        self._note(key.service)

    def drop(self, service: str) -> None:
        """See ``Listeners.drop``."""
        known = self._services.pop(service, None)
        if known is not None:
            for one in known.all:
                self._close(one)
        self._file.remove(service)
        self._keep(service)

    def keep(self) -> dict[str, int]:
        """Copies for other code in this process: of what nobody else has, and of what is stored, by what it is called there."""
        found: dict[str, int] = {}
        for service, known in self._services.items():
            for name, held in known.held.items():
                for one in held.stored:
                    if one.sock is not None and (not one.users or self._store.has(one.inode)):
                        called = self._store.called(f"{service}/{name}/{one.inode}", one.inode)
                        found[called] = one.sock.dup().detach()
        return found

    def take_back(self, specs: Iterable[Spec]) -> None:
        """Have what was stored for these services again: before their processes are adopted. The rest is given up."""
        for spec in specs:
            for one in spec.sockets:
                self._regain(spec, one)
        self._store.discard()

    def settle(self) -> None:
        """After all processes that live were adopted: who has died meanwhile has lost its listeners, and what is served is stored."""
        for name, service in self._services.items():
            lost = [one.settle() for one in service.held.values()]
            if any(lost):
                self._note(name)
            else:
                self._keep(name)

    def prepare(self, spec: Spec, one: SocketSpec) -> None:
        """See ``Openings.prepare``."""
        known = self._services.get(spec.name)
        if known is not None and any(held.spec.address == one.address for held in known.all):
            return
        opened = self._open(spec.name, one, spec.process)
        self._services.setdefault(spec.name, _Service()).prepared.append(opened)

    def declare(self, spec: Spec) -> None:
        """See ``Openings.declare``. What cannot be as it is declared is said."""
        service = self._services.get(spec.name)
        if service is None:
            return
        self._retire_undeclared(service, spec)
        for one in spec.sockets:
            try:
                self._take_up(service, one, spec.process)
            except AdapterError as error:
                self._say(error.what)
        for unused in service.prepared:
            self._close(unused)
        service.prepared.clear()
        self._note(spec.name)

    async def freed(self) -> None:
        """See ``Openings.freed``."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def adopt(self, key: Key, spec: Spec, pid: int) -> bool:
        """See ``HeldSockets.adopt``. What could not be had back is said.

        TCP that was surely ours is joined by the next generation's listener, a Unix path is bound anew; UDP has to wait.
        """
        noted = self._file.read(key.service)
        service = self._services.setdefault(key.service, _Service())
        whole = True
        for one in spec.sockets:
            why = self._take(service, key, one, pid, noted.get(one.name))
            if why:
                whole = False
                self._say(f"{key.service}: cannot take back {one.address} from pid {pid}: {why}")
        return whole

    def count(self, key: Key, pids: Collection[int]) -> Load:
        """See ``HeldSockets.count``."""
        try:
            return self._counting.count(key, self._held(key.service), pids)
        except OSError as error:
            what = f"cannot count the connections of {key.service}: {error.strerror}"
            raise AdapterError(what, error.errno or 0) from error

    def own(self, key: Key, pid: int) -> Own:
        """See ``HeldSockets.own``."""
        return _Own(self._held(key.service), key.generation, pid)

    def leave(self, key: Key) -> None:
        """See ``HeldSockets.leave``."""
        for one in self._held(key.service):
            one.leave(key.generation)

    def close(self) -> None:
        """Let go of our copies; services that live on keep theirs, and the paths stay."""
        for service in self._services.values():
            for one in service.all:
                for each in one.members:
                    if each.sock is not None:
                        each.sock.close()
        self._services.clear()

    def _held(self, service: str) -> list[Held]:
        known = self._services.get(service)
        return [] if known is None else [*known.held.values(), *known.former]

    def _regain(self, spec: Spec, one: SocketSpec) -> None:
        """What was stored for this address, whatever its service and name were then, in the order that was noted."""
        where = one.path or one.port
        kept = self._store.take(spec.name, where, partial(takeback.fits, spec=one))
        if not kept:
            return
        there = {os.fstat(sock.fileno()).st_ino for sock in kept}
        if one.kind is SocketKind.TCP:  # processes may have others of its group
            with contextlib.suppress(OSError):  # a kernel without sock_diag
                there |= sockopen.there(one)
        noted = (n for n in self._file.read(spec.name).values() if n.address == one.address)
        service = self._services.setdefault(spec.name, _Service())
        held = self._as_noted(spec.name, one, next(noted, None), there)
        service.held[one.name] = held
        for sock in kept:
            held.regain(sock)
        try:
            held.redeclare(one, spec.process)
        except AdapterError as error:  # it listens, and that matters more
            self._say(f"{spec.name}: kept over the restart, but {error.what}")

    def _open(self, service: str, spec: SocketSpec, process: ProcessSpec) -> Held:
        if spec.kind is SocketKind.UDP:
            self._store.settle()
        lost = (service, spec.path) in self._lost
        opened = sockopen.open_first(service, spec, process, instead=lost)
        self._lost.discard((service, spec.path))
        return Held(service, spec, [member(opened)], self._say, self._attach)

    def _opened(self, service: str, spec: SocketSpec, process: ProcessSpec) -> Held:
        """Raises LetGoError where another definition of ours has it to the end of a process."""
        try:
            return self._open(service, spec, process)
        except AdapterError as error:
            leaving = [one.spec for known in self._services.values() for one in known.former]
            if error.errno == errno.EADDRINUSE and any(clash(one, spec) for one in leaving):
                raise LetGoError(error.what, error.errno) from error
            raise

    def _retire_undeclared(self, service: _Service, spec: Spec) -> None:
        """Addresses that are declared no more, or otherwise: they stay with the generations that have them."""
        declared = {one.name: one for one in spec.sockets}
        for name, one in tuple(service.held.items()):
            if declared.get(name) != one.spec:
                service.former.append(service.held.pop(name))
        again = {one.address for one in spec.sockets}
        for one in tuple(service.former):
            if one.spec.address not in again and not any(m.users for m in one.members):
                self._close(one)
                service.former.remove(one)

    def _take_up(self, service: _Service, spec: SocketSpec, process: ProcessSpec) -> None:
        """What listens at the same address already: opened anew it would be in the way of itself."""
        there = (*service.former, *service.prepared)
        same = (one for one in there if one.spec.address == spec.address)
        if spec.name not in service.held and (one := next(same, None)) is not None:
            one.redeclare(spec, process)
            (service.former if one in service.former else service.prepared).remove(one)
            service.held[spec.name] = one

    def _close(self, held: Held) -> None:
        held.close()
        if held.spec.kind is SocketKind.UNIX:
            with contextlib.suppress(OSError):
                os.unlink(held.spec.path)  # noqa: PTH108 - a plain path
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def _note(self, service: str) -> None:
        """A failed note costs the next agent the order, not this one its service."""
        known = self._services.get(service)
        if known is None or not known.held:
            self._file.remove(service)
            self._keep(service)
            return
        notes = {
            name: Noted(
                one.spec.address,
                tuple((m.inode, tuple(m.users)) for m in one.members),
                one.current.inode,
                tuple((slot, m.inode, slot in one.open) for slot, m in one.places.items()),
                tuple(tuple(m.inode for m in order) for order in one.doubts),
            )
            for name, one in known.held.items()
        }
        try:
            self._file.write(service, notes)
        except OSError as error:
            self._say(f"{service}: cannot write down its listeners: {error.strerror}")
        self._keep(service)

    def _keep(self, service: str) -> None:
        """After the note, so that what comes back is found in it."""
        known = self._services.get(service)
        stored = (
            (name, m) for name, one in (known.held if known else {}).items() for m in one.stored
        )
        self._store.keep(
            service, {m.inode: (name, m.sock.fileno()) for name, m in stored if m.sock is not None}
        )

    def _take(
        self, service: _Service, key: Key, spec: SocketSpec, pid: int, noted: Noted | None
    ) -> str | None:
        """Take one back; why not, in a few words."""
        if noted is not None and noted.address != spec.address:
            noted = None
        held = service.held.get(spec.name)
        users = noted.members if noted is not None else ()
        lent = [inode for inode, generations in users if key.generation in generations]
        if held is not None and held.lent(lent, key.generation):
            return None
        try:
            there = sockopen.there(spec)
            known = {i for i, _ in noted.members} if noted else set()
            # That of this generation, if it is known; a group has others at the same address.
            mine = {i for i, users in noted.members if key.generation in users} if noted else set()
            got = takeback.take(spec, pid, mine & there or there)
        except OSError as error:
            got, why = None, (error.strerror or str(error)).lower()
        else:
            why = "none of its processes has it"
        if got is None and (spec.kind is not SocketKind.TCP or not there & known):
            if there & known:
                self._lost.add((key.service, spec.path))
            return why
        if held is None:
            held = service.held[spec.name] = self._as_noted(key.service, spec, noted, there)
        if got is None:
            return why
        held.found(got, key.generation)
        return None

    def _as_noted(
        self, service: str, spec: SocketSpec, noted: Noted | None, there: set[int]
    ) -> Held:
        """An address as the earlier agent left it; without its note the order is only sure when there is one listener."""
        order = [i for i, _ in noted.members] if noted else sorted(there)
        held = Held(service, spec, [Member(i) for i in order], self._say, self._attach)
        current = noted.current if noted else 0
        held.current = next((m for m in held.members if m.inode == current), held.current)
        if noted is not None:
            held.place(noted.places)
            held.doubt(noted.doubts)
        if held.ordered and noted is None and len(order) > 1:
            held.lose_order()
        return held


class _Own:
    """``Own``: one generation's listeners and processes."""

    def __init__(self, held: list[Held], generation: int, pid: int) -> None:
        self._held = held
        self._generation = generation
        self._pid = pid

    async def connect(self, host: str, port: int) -> socket.socket | None:
        """See ``Own.connect``: a listener that is not current is reached from one source port, which the group's program knows."""
        for one in self._held:
            mine = one.of(self._generation)
            if mine is not None and one.served != [mine] and _reaches(one.spec, host, port):
                return await _connect_aside(one, mine, host, port)
        return None

    def holds(self, inode: int) -> bool:
        """See ``Own.holds``."""
        return holders.holds(proctable.descendants([self._pid]), inode)


def _reaches(spec: SocketSpec, host: str, port: int) -> bool:
    return (
        spec.kind is SocketKind.TCP and spec.port == port and (spec.host in ("::", "0.0.0.0", host))  # noqa: S104 - compared, not bound
    )


async def _connect_aside(held: Held, to: Member, host: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as undo:
        made = undo.enter_context(socket.socket(family))
        made.setblocking(False)
        made.bind((_source(family, host, port), 0))
        source = made.getsockname()
        with held.aside(source[0], source[1], to) as steered:
            if not steered:
                return None
            await asyncio.get_running_loop().sock_connect(made, (host, port))
        undo.pop_all()
    return made


def _source(family: socket.AddressFamily, host: str, port: int) -> str:
    """The address that a connection to there would come from."""
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.connect((host, port))
        return str(asked.getsockname()[0])
