"""One declared socket and its listeners: one for all generations, or for TCP one for each; each instance has a current one.

Decides which listener a generation gets, which of them get new connections, and where the kernel's index of them is. The order of
a group is known, or else it is not steered: the kernel then spreads over all of it, and generations share. When generations come and
go is decided in the core.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from agentd.core.spec import Family, ProcessSpec, SocketKind, SocketSpec
from agentd.system import sockopen, steer

_TOLD_APART = 4
"""So many members that vanished at once are put in every order; more cannot be followed."""
_DOUBTS = 24
"""So many orders are thought possible at once."""

Attach = Callable[[socket.socket, tuple[steer.Code, ...]], None]


@dataclass(slots=True, eq=False)
class Member:
    """One listener. ``sock`` None: a process of an earlier agent has it, and we could not take it back."""

    inode: int
    sock: socket.socket | None = None
    users: set[int] = field(default_factory=set)
    """The generations it was lent to that are not gone."""
    slot: int = 0
    """The instance whose generations have it, or had it last."""


def member(sock: socket.socket) -> Member:
    """A socket that we have."""
    return Member(os.fstat(sock.fileno()).st_ino, sock)


class Held:
    """One declared socket. ``members`` are in the kernel's order, as long as ``ordered``."""

    def __init__(
        self,
        service: str,
        spec: SocketSpec,
        members: list[Member],
        say: Callable[[str], None],
        attach: Attach = steer.attach,
    ) -> None:
        """``members``: what is there already, at least one, in order."""
        self._attach = attach
        self._service = service
        self._say = say
        self.spec = spec
        self.members = members
        self.places: dict[int, Member] = {0: members[-1]}
        """The current one of each instance, by its number."""
        self.open: set[int] = set()
        """The instances that get their share; the others start, or have crashed while others serve."""
        self.doubts: list[list[Member]] = []
        """What the order may be instead: harmless while those that get connections have the same places in all of them."""
        self.ordered = spec.kind is SocketKind.TCP
        self.before: dict[int, tuple[Member, float]] = {}
        """Who was current of each instance before its current one, and until when, in seconds of CLOCK_MONOTONIC."""
        self._aside: list[tuple[str, int, Member]] = []

    @property
    def current(self) -> Member:
        """Of one instance the one that gets new connections."""
        return self.places[min(self.places)]

    @current.setter
    def current(self, one: Member) -> None:
        one.slot = min(self.places, default=0)
        self.places[one.slot] = one

    @property
    def served(self) -> list[Member]:
        """Those that get new connections: of the instances that somebody serves; where nobody is left, clients wait."""
        there = [self.places[slot] for slot in sorted(self.open & set(self.places))]
        return [m for m in there if m.users] or there or [self.current]

    def lend(self, generation: int, *, beside: bool, slot: int = 0) -> Member:
        """The listener of this generation. Raises AdapterError."""
        self.look()
        if not self.members:  # a process shut it down, and it was the only one
            opened = sockopen.open_first(self._service, self.spec, ProcessSpec(()))
            self.members, self.doubts, self.ordered = [member(opened)], [], True
            self.places, self.open = {slot: self.members[0]}, {slot}
        found = self.of(generation)
        if found is None or found.sock is None:
            self._prepare(slot)
            found = self._lendable(slot, beside=beside)
            if found.sock is not None and found is self.places.get(slot):
                with contextlib.suppress(OSError):  # ENOENT: it hears
                    steer.hear(
                        found.sock
                    )  # who had it before had been told to stop, and nobody else was left
            if found.sock is not None and not found.users:
                # Who had it before may have said otherwise; never while somebody has it: its accept would block.
                found.sock.setblocking(True)
            found.users.add(generation)
            found.slot = slot
            self.places.setdefault(slot, found)
            self._shut(found)
        return found

    def _prepare(self, slot: int) -> None:
        """One that starts while others serve gets nothing before it is ready; with nobody there, clients wait for it."""
        others = [s for s in self.open - {slot} if s in self.places and self.places[s].users]
        if not others:
            self.open.add(slot)
            self.open &= {slot, *self.places}
        elif slot in self.places and not self.places[slot].users and slot in self.open:
            self.open.discard(slot)
            self.point()

    def redeclare(self, spec: SocketSpec, process: ProcessSpec) -> None:
        """The same address is declared with another name, backlog, owner or mode. Raises AdapterError."""
        for one in self.members:
            if one.sock is not None:
                sockopen.redeclared(self._service, one.sock, spec, process)
        self.spec = spec

    @property
    def stored(self) -> list[Member]:
        """Those that outlive the agent also where no process has them: the current one of each instance, and no others.

        Clients wait there for a next start. Its place in the group is kept with it, so that the program stays true. Of the others
        nobody is left to want one when its process is gone: stored, it would stay in the group, and where the kernel spreads over
        all of that, clients would come to a queue that nobody serves. Without it they come to those that are there.
        """
        current = dict.fromkeys(self.places.values())
        return [m for m in self.members if m in current and m.sock is not None]

    @property
    def family(self) -> socket.AddressFamily:
        """Of the sockets that are open; where nothing is, as declared."""
        found = next((m.sock.family for m in self.members if m.sock is not None), None)
        if found is not None:
            return socket.AddressFamily(found)
        return socket.AF_INET if self.spec.family is Family.INET else socket.AF_INET6

    def of(self, generation: int) -> Member | None:
        """The listener that a generation has."""
        return next((m for m in self.members if generation in m.users), None)

    def place(self, noted: Iterable[tuple[int, int, bool]]) -> None:
        """As an earlier agent noted it: of each instance its number, its inode, and whether it gets its share."""
        known = {m.inode: m for m in self.members}
        found = [(slot, known[inode], share) for slot, inode, share in noted if inode in known]
        if found:
            self.places = {slot: one for slot, one, _ in found}
            self.open = {slot for slot, _, share in found if share}
        for slot, one in self.places.items():
            one.slot = slot

    def doubt(self, noted: Iterable[tuple[int, ...]]) -> None:
        """Other orders that an earlier agent had thought possible."""
        known = {m.inode: m for m in self.members}
        self.doubts = [
            [known[inode] for inode in order] for order in noted if set(order) == set(known)
        ]

    def found(self, got: socket.socket, generation: int) -> None:
        """Taken back from a process of this generation."""
        self.regain(got).users.add(generation)

    def lent(self, inodes: Collection[int], generation: int) -> bool:
        """This generation has one of these; False: we have none of them, so it has to be taken back."""
        for one in self.members:
            if one.inode in inodes and one.sock is not None:
                one.users.add(generation)
                return True
        return False

    def regain(self, got: socket.socket) -> Member:
        """We have this listener of an earlier agent again."""
        inode = os.fstat(got.fileno()).st_ino
        one = next((m for m in self.members if m.inode == inode), None)
        if one is None:  # the note is older than the listener
            one = Member(inode)
            for order in (self.members, *self.doubts):
                order.append(one)
        if one.sock is None:
            one.sock = got
        else:
            got.close()
        if not self.ordered:
            self.spread()
        return one

    def switch(self, generation: int) -> bool:
        """Every new connection goes to this generation from now on; False: it shares its listener."""
        self.look()
        mine = self.of(generation)
        if mine is None or mine.users != {generation} or self.spec.kind is not SocketKind.TCP:
            return False
        self._hear(mine)
        was_open = mine.slot in self.open
        former = self.places.get(mine.slot, mine)
        self.open.add(mine.slot)
        if mine is former:  # an agent that died in between may have left another program
            self.places[mine.slot] = mine
            return self.point() or len(self.members) == 1
        self.places[mine.slot] = mine
        if not self.point():
            self.places[mine.slot] = former
            if not was_open:
                self.open.discard(mine.slot)
            return False
        self.before[mine.slot] = (former, time.monotonic())
        return True

    def release(self, generation: int) -> None:
        """The generation is gone. What only it had is closed, unless clients wait there for the next one."""
        self.look()
        mine = self.of(generation)
        if mine is None:
            return
        mine.users.discard(generation)
        if not mine.users:
            self._left(mine)

    def settle(self) -> bool:
        """All that live have been adopted: what has no user then has lost it while no agent was there; whether any has."""
        if all(m.users or m.sock is None for m in self.members):
            return False
        self.look()
        for one in tuple(self.members):
            if one.sock is not None and not one.users:
                self._left(one)
        return True

    def _left(self, mine: Member) -> None:
        """Its last user is gone."""
        others = [m for m in self.members if m.users]
        if self.places.get(mine.slot) is mine and not self.ordered and others:
            self.places[mine.slot] = others[
                -1
            ]  # the kernel spreads: who came here would wait although others serve
        if mine not in self.places.values():
            self._retire(mine)
        elif others:
            self._close_off(mine.slot)
        self._clear_doubts()

    def withdraw(self, generation: int) -> None:
        """The instance of this generation is no more: it gets nothing new, and the listener goes with it."""
        self.look()
        mine = self.of(generation)
        if mine is not None and len(self.places) > 1 and self.places.get(mine.slot) is mine:
            del self.places[mine.slot]
            self.open.discard(mine.slot)
            self.before[mine.slot] = (mine, time.monotonic())
            self.point()

    def _close_off(self, slot: int) -> None:
        """While other instances serve, this one gets nothing until its next start is ready; what waits there is kept for that."""
        if any(s in self.places and self.places[s].users for s in self.open - {slot}):
            self.open.discard(slot)
            self.point()

    def leave(self, generation: int) -> None:
        """It is told to stop, and is not current: nobody is to come to a queue that is not served any more.

        Where it is current and other instances serve, new connections go to those.

        While no agent lives nobody tells the kernel of a group that has changed. When then a member leaves, the last one takes its
        place, the program's index is not there, and connections go anywhere for as long as that lasts: also to this one.
        """
        mine = self.of(generation)
        if mine is None or mine.users != {generation} or mine.sock is None:
            return
        if mine in self.places.values():
            self._close_off(mine.slot)
            return
        if self.spec.kind is SocketKind.TCP:
            with contextlib.suppress(OSError):  # not permitted: it stays as it was
                steer.deafen(mine.sock)

    def close(self) -> None:
        """Nobody is to listen here any more, also no process that was forgotten with a copy."""
        for one in self.members:
            if one.sock is not None:
                with contextlib.suppress(OSError):
                    one.sock.shutdown(socket.SHUT_RDWR)
                one.sock.close()
        self.members = []

    def look(self) -> None:
        """Compare with the kernel: who has left the group since, and is its order still known?"""
        if self.spec.kind is not SocketKind.TCP:
            return
        with contextlib.suppress(OSError):
            self._compare(sockopen.there(self.spec))

    def point(self) -> bool:
        """Tell the kernel who is current, and which probes go elsewhere; False: it does not let us."""
        through = next((m.sock for m in self.members if m.sock is not None), None)
        if not self.ordered or through is None:
            return False
        aside = [
            steer.Aside(a, p, at) for a, p, m in self._aside if (at := self._at(m)) is not None
        ]
        current = self._certain()
        if not current:
            return False
        try:
            self._attach(through, steer.program(current, aside))
        except OSError:
            return False
        return True

    def _shut(self, one: Member) -> None:
        """Who is not to get connections yet hears of none, also when no agent lives and the group has changed.

        One that is not born yet would die with what had come to it.
        """
        several = len(self.members) > 1 and self.spec.kind is SocketKind.TCP and self.ordered
        if several and one not in self.served and len(one.users) == 1 and one.sock is not None:
            with contextlib.suppress(OSError):  # not permitted: it stays as it was
                steer.deafen(one.sock)

    def _hear(self, one: Member) -> None:
        if one.sock is not None:
            with contextlib.suppress(OSError):  # ENOENT: it hears
                steer.hear(one.sock)

    def _certain(self, orders: Sequence[list[Member]] = ()) -> list[int]:
        """The places that somebody who is to get connections has in every order: of these, or of those thought possible."""
        wanted = {id(m) for m in self.served}
        orders = orders or (self.members, *self.doubts)
        each = [{at for at, m in enumerate(order) if id(m) in wanted} for order in orders]
        return sorted(set.intersection(*each))

    def _at(self, one: Member) -> int | None:
        """Its place, where that is known."""
        places = {order.index(one) for order in (self.members, *self.doubts) if one in order}
        return places.pop() if len(places) == 1 else None

    @contextlib.contextmanager
    def aside(self, source: str, port: int, to: Member) -> Iterator[bool]:
        """While it lasts, connections from this place go to a member that is not current; whether they do."""
        entry = (source, port, to)
        self._aside.append(entry)
        self._hear(to)
        try:
            yield self.point() and self._at(to) is not None
        finally:
            self._aside.remove(entry)
            self.point()
            if not any(other is to for _, _, other in self._aside):
                self._shut(to)

    def lose_order(self) -> None:
        """Nothing can be steered until one listener is left; that is said."""
        self.ordered, self.doubts = False, []
        what = "the order of its listeners is not known, so the kernel spreads connections over all of them"
        self._say(f"{self._service}: {self.spec.address}: {what} until one is left")

    def spread(self) -> None:
        """Let the kernel spread over all members, so that nobody waits in a queue that is not served."""
        self.ordered, self.doubts = False, []
        for one in self.members:
            if one.sock is not None:
                with contextlib.suppress(OSError):  # ENOENT: nothing was attached
                    steer.detach(one.sock)
                return

    def _lendable(self, slot: int, *, beside: bool) -> Member:
        """A current one that nobody serves is handed on with what waits in it, whoever else is alive."""
        current = self.places.get(slot)
        if current is None and not any(m.users for m in self.places.values()):
            current = self._unserved(slot)
        shared = current or self.current
        if shared.sock is None:
            return self._join()
        if current is not None and (not beside or not current.users):
            return current
        if not self.ordered:
            return shared
        known = list(self.places.values())
        spare = next((m for m in self.members if not m.users and m not in known), None)
        if spare is not None and spare.sock is not None:
            return spare
        # Before it joins: with no program the kernel would give it connections at once.
        return self._join() if self.point() else shared

    def _unserved(self, slot: int) -> Member | None:
        """Before anybody was there: the first listener is that of whoever starts first."""
        if len(self.places) != 1:
            return None
        first = self.places.popitem()[1]
        self.places, self.open = {slot: first}, {slot}
        return first

    def _join(self) -> Member:
        """A listener more, the last of the group."""
        made = member(sockopen.open_beside(self._service, self.spec))
        for order in (self.members, *self.doubts):
            order.append(made)
        return made

    def _retire(self, one: Member) -> None:
        """Out of the group at once, even if somebody kept a copy. The last member takes its place.

        The current one must not be moved while the program points at it, or for a moment connections would go anywhere: with
        a fresh listener behind it, that is moved instead, and the next generation gets it. Of two it may be: one is left.
        """
        last = {id(order[-1]) for order in (self.members, *self.doubts)}
        moves = any(id(m) in last for m in self.served if m is not one)
        if self.ordered and moves and len(self.members) > 2:  # noqa: PLR2004
            self._join()
        if one.sock is not None:
            with contextlib.suppress(OSError):
                one.sock.shutdown(socket.SHUT_RDWR)
            one.sock.close()
        self._think([_without(order, one) for order in (self.members, *self.doubts)])
        self.ordered = self.ordered or len(self.members) == 1
        if not self.ordered:
            self._recover()
        self.point()

    def _clear_doubts(self) -> None:
        """Nobody's listeners whose places are in doubt go: where all that are left are served, the order does not matter.

        The last member takes the place of one that goes. So the program for afterwards is right before too, but for that place: who
        comes there meanwhile meets a deaf listener, and tries again a second later.
        """
        while (spare := self._doubtful()) is not None and spare.sock is not None:
            orders = [_without(order, spare) for order in (self.members, *self.doubts)]
            try:
                steer.deafen(spare.sock)
                if _somebody_waits(spare.sock):
                    self._hear(spare)  # somebody came before: whoever is lent it next serves them
                    return
                self._attach(spare.sock, steer.program(self._certain(orders)))
            except OSError:
                return
            spare.sock.shutdown(socket.SHUT_RDWR)
            spare.sock.close()
            self._think(orders)
            self.point()

    def _doubtful(self) -> Member | None:
        """The next listener that nobody has, whose place is in doubt, and without which somebody can be steered to."""
        places = [*self.places.values()]
        for one in self.members if self.doubts and self.ordered else ():
            lost = one.users or one in places or one.sock is None or self._at(one) is not None
            orders = [_without(order, one) for order in (self.members, *self.doubts)]
            if not lost and self._certain(orders):
                return one
        return None

    def _think(self, orders: list[list[Member]]) -> None:
        """These are the orders that are possible from now on."""
        different: list[list[Member]] = []
        for order in orders:
            if order not in different:
                different.append(order)
        self.members, *self.doubts = different

    def _recover(self) -> None:
        """Where all that listen are to get connections, their order does not matter: any is possible, and all are steered to."""
        if len(self.members) > _TOLD_APART or len(self.members) != len(self.served):
            return
        self._think([list(order) for order in itertools.permutations(self.members)])
        self.ordered = bool(self._certain())

    def _compare(self, there: set[int]) -> None:
        inodes = {m.inode for m in self.members}
        gone = [m for m in self.members if m.inode not in there]
        strangers = there - inodes
        if not gone and not strangers and (self.ordered or len(self.members) > 1):
            return
        orders = [made for order in (self.members, *self.doubts) for made in _orders(order, gone)]
        known = self.ordered and bool(orders) and not strangers
        self._think(orders if known else [[m for m in self.members if m not in gone]])
        for one in gone:
            if one.sock is not None:
                one.sock.close()
        self.members += [Member(inode) for inode in sorted(strangers)]
        if not self.members:
            return
        self._replace_lost()
        if len(self.members) == 1:
            self.ordered = True
        elif self.ordered and not (known and self._certain() and len(self.doubts) < _DOUBTS):
            self.lose_order()
        if not self.ordered and not strangers:
            self._recover()
        if not self.ordered or not self.point():
            self.spread()

    def _replace_lost(self) -> None:
        """An instance whose listener is gone gets another one with its next start; the only one, what is left."""
        for slot in [slot for slot, m in self.places.items() if m not in self.members]:
            if len(self.places) > 1:
                del self.places[slot]
            else:
                found = next((m for m in self.members[::-1] if m.sock), self.members[-1])
                self.places[slot], found.slot = found, slot


def _somebody_waits(listener: socket.socket) -> bool:
    """Whether there is a connection to accept."""
    asked = select.poll()
    asked.register(listener, select.POLLIN)
    return bool(asked.poll(0))


def _without(order: list[Member], one: Member) -> list[Member]:
    """What the kernel does when a member leaves: the last one takes its place."""
    at = order.index(one)
    left = order[:-1]
    if at < len(left):
        left[at] = order[-1]
    return left


def _orders(order: list[Member], gone: list[Member]) -> list[list[Member]]:
    """What the order can be after these left, in whatever sequence they did; more than one: it cannot be told."""
    if len(gone) > _TOLD_APART:
        return []
    found: list[list[Member]] = []
    for sequence in itertools.permutations(gone):
        left = order
        for one in sequence:
            left = _without(left, one)
        if left not in found:
            found.append(left)
    return found
