"""What every ``Listeners`` keeps, the real one and the fake. A rig connects as a client would, and accepts as a service."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from agentd.core.spec import Spec
from agentd.ports import Key, Listeners, Openings

G1, G2, G3 = (Key("web", n) for n in (1, 2, 3))


class Rig(Protocol):
    listeners: Listeners
    openings: Openings
    spec: Spec
    """With one TCP socket, named http."""

    def connect(self) -> bool:
        """One client more, whose connection waits to be accepted; False: refused."""

    def accept(self, descriptor: int) -> int:
        """How many wait at this listener; they are accepted and closed."""


Make = Callable[[], AbstractContextManager[Rig]]
Check = Callable[[Make], None]


def lend(rig: Rig, key: Key, *, beside: bool = False, slot: int = 0) -> int:
    ((name, descriptor),) = rig.listeners.lend(key, rig.spec, beside=beside, slot=slot)
    assert name == "http"
    return descriptor


def check_connections_go_to_the_only_one(make: Make) -> None:
    with make() as rig:
        assert not rig.connect()
        first = lend(rig, G1)
        assert rig.connect()
        assert rig.accept(first) == 1
        assert rig.accept(first) == 0


def check_the_switch_is_an_instant(make: Make) -> None:
    with make() as rig:
        first = lend(rig, G1)
        second = lend(rig, G2, beside=True)
        for _ in range(20):
            rig.connect()
        assert (rig.accept(first), rig.accept(second)) == (20, 0)
        assert rig.listeners.switch(G2)
        for _ in range(20):
            rig.connect()
        assert (rig.accept(first), rig.accept(second)) == (0, 20)


def check_what_was_not_switched_to_leaves_nothing(make: Make) -> None:
    with make() as rig:
        first = lend(rig, G1)
        lend(rig, G2, beside=True)
        rig.listeners.release(G2)
        for _ in range(20):
            rig.connect()
        assert rig.accept(first) == 20


def check_clients_wait_for_the_next_one(make: Make) -> None:
    with make() as rig:
        lend(rig, G1)
        rig.listeners.release(G1)
        assert rig.connect()
        assert rig.accept(lend(rig, G2)) == 1


def check_what_waits_at_the_current_one_is_served_though_a_former_one_lives(make: Make) -> None:
    with make() as rig:
        lend(rig, G1)
        lend(rig, G2, beside=True)
        rig.listeners.switch(G2)
        rig.listeners.release(G2)
        rig.connect()
        assert rig.accept(lend(rig, G3, beside=True)) == 1


def check_generation_after_generation(make: Make) -> None:
    with make() as rig:
        before = lend(rig, Key("web", 1))
        for n in range(2, 12):
            after = lend(rig, Key("web", n), beside=True)
            rig.connect()
            assert (rig.accept(before), rig.accept(after)) == (1, 0)
            rig.listeners.switch(Key("web", n))
            rig.listeners.release(Key("web", n - 1))
            for _ in range(5):
                rig.connect()
            assert rig.accept(after) == 5
            before = after


def check_three_alive_and_the_first_two_end_in_either_order(make: Make) -> None:
    for ends in ((G1, G2), (G2, G1)):
        with make() as rig:
            lend(rig, G1)
            lend(rig, G2, beside=True)
            rig.listeners.switch(G2)
            third = lend(rig, G3, beside=True)
            rig.listeners.switch(G3)
            for key in ends:
                rig.listeners.release(key)
                for _ in range(20):
                    assert rig.connect()
                assert rig.accept(third) == 20


def crowd(rig: Rig, *descriptors: int) -> list[int]:
    """How many of many clients come to each."""
    for _ in range(60):
        assert rig.connect()
    found = [rig.accept(one) for one in descriptors]
    assert sum(found) == 60
    return found


def check_another_instance_gets_its_share_when_it_is_ready(make: Make) -> None:
    with make() as rig:
        first = lend(rig, G1)
        second = lend(rig, G2, slot=1)
        assert crowd(rig, first, second) == [60, 0]
        assert rig.listeners.switch(G2)
        assert all(crowd(rig, first, second))
        assert rig.listeners.switch(G1)
        third = lend(rig, G3, slot=2)
        assert crowd(rig, first, second, third)[2] == 0
        assert rig.listeners.switch(G3)
        assert all(crowd(rig, first, second, third))


def check_one_instance_is_replaced_and_the_others_keep_their_share(make: Make) -> None:
    with make() as rig:
        first = lend(rig, G1)
        second = lend(rig, G2, slot=1)
        rig.listeners.switch(G2)
        third = lend(rig, G3, beside=True, slot=0)
        assert crowd(rig, first, second, third)[2] == 0
        assert rig.listeners.switch(G3)
        one, two, three = crowd(rig, first, second, third)
        assert one == 0
        assert two
        assert three
        rig.listeners.release(G1)
        assert all(crowd(rig, second, third))


def check_one_that_crashed_gets_nothing_until_it_is_back(make: Make) -> None:
    with make() as rig:
        first = lend(rig, G1)
        second = lend(rig, G2, slot=1)
        rig.listeners.switch(G2)
        for _ in range(60):
            rig.connect()
        rig.listeners.release(G1)
        waited = rig.accept(second)
        assert waited < 60
        assert crowd(rig, second) == [60]
        back = lend(rig, G3, slot=0)
        assert back == first
        assert rig.accept(back) == 60 - waited
        assert crowd(rig, back, second) == [0, 60]
        rig.listeners.switch(G3)
        assert all(crowd(rig, back, second))


def check_where_all_have_crashed_clients_wait(make: Make) -> None:
    with make() as rig:
        lend(rig, G1)
        lend(rig, G2, slot=1)
        rig.listeners.switch(G2)
        rig.listeners.release(G1)
        rig.listeners.release(G2)
        for _ in range(20):
            assert rig.connect()
        assert rig.accept(lend(rig, G3, slot=1)) == 20


def check_an_instance_that_is_withdrawn_leaves_its_share(make: Make) -> None:
    with make() as rig:
        first = lend(rig, G1)
        second = lend(rig, G2, slot=1)
        rig.listeners.switch(G2)
        rig.listeners.withdraw(G2)
        assert crowd(rig, first, second) == [60, 0]
        rig.listeners.release(G2)
        assert crowd(rig, first) == [60]
        third = lend(rig, G3, slot=1)
        assert crowd(rig, first, third) == [60, 0]
        rig.listeners.switch(G3)
        assert all(crowd(rig, first, third))
        rig.listeners.withdraw(Key("web", 9))


def check_the_first_that_starts_may_be_any_instance(make: Make) -> None:
    with make() as rig:
        second = lend(rig, G1, slot=1)
        assert crowd(rig, second) == [60]
        first = lend(rig, G2, slot=0)
        assert crowd(rig, first, second) == [0, 60]
        rig.listeners.switch(G2)
        assert all(crowd(rig, first, second))


def check_dropped_is_refused(make: Make) -> None:
    with make() as rig:
        lend(rig, G1)
        lend(rig, G2, beside=True)
        rig.listeners.drop("web")
        assert not rig.connect()
        assert not rig.listeners.switch(G2)
        rig.listeners.release(G1)
        rig.listeners.drop("web")


def check_what_is_prepared_waits_for_a_generation(make: Make) -> None:
    with make() as rig:
        rig.openings.prepare(rig.spec, rig.spec.sockets[0])
        rig.openings.prepare(rig.spec, rig.spec.sockets[0])
        assert rig.connect(), "it is open"
        assert rig.accept(lend(rig, G1)) == 1


def check_what_is_not_in_force_is_closed(make: Make) -> None:
    with make() as rig:
        rig.openings.declare(rig.spec)  # of one that has nothing there is nothing to keep
        rig.openings.prepare(rig.spec, rig.spec.sockets[0])
        rig.openings.declare(replace(rig.spec, sockets=()))
        assert not rig.connect()
        first = lend(rig, G1)
        rig.openings.declare(replace(rig.spec, sockets=()))
        assert rig.connect(), "not before the last who has it is gone"
        assert rig.accept(first) == 1
        rig.openings.declare(rig.spec)  # and back
        rig.listeners.release(G1)
        assert rig.connect(), "clients wait"


CHECKS: list[Check] = [
    check for name, check in sorted(globals().items()) if name.startswith("check_")
]
