"""The service manager's store: what is kept there, what comes back, and what becomes of what nobody wants."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.core.spec import Family, SocketKind, SocketSpec, Spec
from agentd.ports import Key
from agentd.system import sdnotify
from agentd.system.fdstore import FdStore
from agentd.system.listeners import OsListeners
from tests.contract.checks_listeners import G1, G2, G3
from tests.contract.manager import Manager
from tests.contract.test_listeners import RealRig, free_port, web

TCP, UDP, UNIX = SocketKind.TCP, SocketKind.UDP, SocketKind.UNIX


class Host:
    """One agent's listeners after the other, and the manager that outlives them."""

    def __init__(self, directory: Path, most: int) -> None:
        self.directory = directory
        self.manager = Manager(directory / "notify", most)
        self.said: list[str] = []
        self.port = free_port()
        self.tcp = SocketSpec("http", TCP, "127.0.0.1", self.port)
        self.clients = contextlib.ExitStack()
        self.agent = self.begin()

    def begin(self, *specs: Spec, alive: tuple[tuple[Key, int], ...] = ()) -> OsListeners:
        """The next agent. ``alive``: generations whose process is this one, or another one's pid."""
        store = FdStore(self.manager.start(), self.said.append, self.manager.first)
        self.agent = OsListeners(self.directory / "run", self.said.append, store=store)
        self.agent.take_back(specs)
        for key, pid in alive:
            assert self.agent.adopt(key, specs[0], pid), self.said
        self.agent.settle()
        return self.agent

    def upgrade(self, *specs: Spec, manager: bool = True) -> OsListeners:
        """Other code in the same process: nothing is handed over by the manager."""
        kept = self.agent.keep()
        self.agent.close()
        env = self.manager.env if manager else {}
        self.agent = OsListeners(
            self.directory / "run",
            self.said.append,
            store=FdStore(env, self.said.append, kept=kept),
        )
        self.agent.take_back(specs)
        self.agent.settle()
        return self.agent

    def die(self) -> None:
        """As far as listeners are concerned a kill -9 does no more than this."""
        self.agent.close()

    def lend(self, key: Key, spec: Spec, *, beside: bool = False, slot: int = 0) -> list[int]:
        return [fd for _, fd in self.agent.lend(key, spec, beside=beside, slot=slot)]

    def connect(self) -> bool:
        try:
            client = socket.create_connection(("127.0.0.1", self.port), 5)
        except ConnectionRefusedError:
            return False
        self.clients.enter_context(client)
        return True


@contextlib.contextmanager
def host(directory: Path, most: int = 1024) -> Iterator[Host]:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    made = Host(directory, most)
    try:
        yield made
    finally:
        made.clients.close()
        made.agent.close()
        made.manager.close()
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor was left open"  # noqa: PTH208


def waiting(descriptor: int) -> int:
    return len(RealRig.accepted(descriptor))


def test_who_comes_while_nobody_is_there_is_served_by_the_next_start(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(made.tcp)
        made.lend(G1, spec)
        made.agent.release(G1)  # backoff
        assert made.connect()
        for _ in range(3):
            made.die()
            assert made.connect()
            made.begin(spec)
        (fd,) = made.lend(G2, spec)
        assert not os.get_inheritable(fd)
        assert waiting(fd) == 4
        assert len(made.manager.store) == 1
        assert made.said == []


def test_a_stop_by_hand_empties_the_store(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(made.tcp, SocketSpec("d", UDP, "127.0.0.1", made.port))
        for life in range(3):
            made.lend(Key("web", life + 1), spec)
            assert len(made.manager.store) == 2
            made.agent.drop("web")
            assert not made.connect()
            if life:  # in the first the UDP address is to be free before the manager was asked
                assert made.manager.store == []
        made.die()
        made.begin(spec)
        assert made.lend(G2, spec), "neither address is in use"
        assert made.said == []


def test_an_address_without_connections_is_waited_for_until_the_manager_has_let_go(
    tmp_path: Path,
) -> None:
    with host(tmp_path) as made:
        spec = web(SocketSpec("d", UDP, "127.0.0.1", made.port))
        made.lend(G1, spec)
        made.manager.slow = 0.2
        made.agent.drop("web")
        assert made.lend(G2, spec)


def test_only_where_clients_wait_is_stored(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(made.tcp)
        (first,) = made.lend(G1, spec)
        (second,) = made.lend(G2, spec, beside=True)
        assert (made.manager.keeps(first), made.manager.keeps(second)) == (True, False)
        assert made.agent.switch(G2)
        assert (made.manager.keeps(first), made.manager.keeps(second)) == (False, True)
        (other,) = made.lend(G3, spec, slot=1)
        assert made.manager.keeps(other)
        made.agent.withdraw(G3)
        assert not made.manager.keeps(other)
        assert len(made.manager.store) == 1


def test_the_group_is_the_same_when_the_current_one_dies_with_the_agent(tmp_path: Path) -> None:
    """New connections go where they went: not to the former one, which is about to end."""
    with host(tmp_path) as made:
        spec = web(made.tcp)
        drains = os.dup(made.lend(G1, spec)[0])
        made.lend(G2, spec, beside=True)
        assert made.agent.switch(G2)
        made.die()
        assert all(made.connect() for _ in range(30))
        made.begin(spec, alive=((G1, os.getpid()),))
        (third,) = made.lend(G3, spec, beside=True)
        assert all(made.connect() for _ in range(30))
        assert (waiting(third), waiting(drains)) == (60, 0)
        assert made.agent.switch(G3)
        os.close(drains)
        assert made.said == []


def test_an_instance_that_dies_with_the_agent_gets_nothing_until_it_is_back(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(made.tcp)
        lives = os.dup(made.lend(G1, spec)[0])
        made.lend(G2, spec, slot=1)
        assert made.agent.switch(G2)
        made.die()
        assert all(made.connect() for _ in range(60))
        served = waiting(lives)
        assert 0 < served < 60
        made.begin(spec, alive=((G1, os.getpid()),))
        assert all(made.connect() for _ in range(60))
        assert waiting(lives) == 60
        (back,) = made.lend(G3, spec, slot=1)
        assert waiting(back) == 60 - served
        assert made.agent.switch(G3)
        assert all(made.connect() for _ in range(60))
        assert waiting(lives) + waiting(back) == 60
        os.close(lives)
        assert made.said == []


def test_where_nothing_can_be_steered_nobody_waits_for_who_has_died(tmp_path: Path) -> None:
    """Without the note the kernel spreads over all of the group: a listener that nobody serves has to leave it."""
    with host(tmp_path) as made:
        spec = web(made.tcp)
        lives = os.dup(made.lend(G1, spec)[0])
        made.lend(G2, spec, beside=True)
        assert made.agent.switch(G2)
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lives])  # has that one alone
        made.die()
        (tmp_path / "run" / "web").unlink()
        made.begin(spec, alive=((G1, child.pid),))
        assert len(made.said) == 1
        assert "order of its listeners is not known" in made.said[0]
        assert all(made.connect() for _ in range(60))
        assert waiting(lives) == 60
        assert made.manager.keeps(lives)
        os.close(lives)
        child.kill()
        child.wait()


def test_a_note_that_is_older_than_the_store(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec, note = web(made.tcp), tmp_path / "run" / "web"
        first = os.dup(made.lend(G1, spec)[0])
        second = os.dup(made.lend(G2, spec, beside=True)[0])
        before = note.read_text()
        assert made.agent.switch(G2)
        made.die()
        note.write_text(before)
        made.begin(spec, alive=((G1, os.getpid()), (G2, os.getpid())))
        assert made.agent.switch(G1)
        assert all(made.connect() for _ in range(30))
        assert (waiting(first), waiting(second)) == (30, 0)
        assert made.manager.keeps(first)
        assert len(made.manager.store) == 1
        os.close(first)
        os.close(second)


def test_a_process_that_may_not_be_looked_into(tmp_path: Path) -> None:
    """The store has what it has: neither its descriptors nor the right to copy them is needed."""
    with host(tmp_path) as made:
        spec = web(made.tcp)
        first = os.dup(made.lend(G1, spec)[0])
        child = subprocess.Popen(["sleep", "60"])  # and it has moved what it was given somewhere
        made.die()
        made.begin(spec, alive=((G1, child.pid),))
        child.kill()
        child.wait()
        (second,) = made.lend(G2, spec, beside=True)
        assert made.agent.switch(G2)
        assert made.connect()
        assert (waiting(first), waiting(second)) == (0, 1)
        os.close(first)


@pytest.mark.parametrize("most", [0, 1, 1024])
def test_other_code_in_the_same_process_has_what_was_stored_and_what_was_not(
    tmp_path: Path, most: int
) -> None:
    with host(tmp_path, most) as made:
        spec = web(made.tcp, SocketSpec("d", UDP, "127.0.0.1", made.port))
        made.lend(G1, spec)
        made.agent.release(G1)
        assert made.connect()
        before = made.manager.store
        for _ in range(2):
            made.upgrade(spec)
            assert made.connect()
        assert made.manager.store == before
        fd, _ = made.lend(G2, spec)
        assert waiting(fd) == 3
        made.upgrade()
        assert made.manager.store == []
        assert not made.connect()


def test_other_code_finds_by_itself_what_processes_have(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        made.upgrade(manager=False)
        made.lend(G1, web(made.tcp))
        assert made.agent.keep() == {}


def test_what_was_served_by_an_agent_without_a_store_is_stored_by_the_next(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(made.tcp)
        fd = os.dup(made.lend(G1, spec)[0])
        made.die()
        made.manager.forget()
        made.begin(spec, alive=((G1, os.getpid()),))
        assert made.manager.keeps(fd)
        os.close(fd)


def test_unix_sockets_come_back_as_they_are_declared_now(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        one = SocketSpec("u", UNIX, path=str(tmp_path / "x.sock"), mode=0o600)
        made.lend(G1, web(one))
        made.agent.release(G1)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(one.path)
            made.die()
            named = replace(one, name="other", mode=0o666)
            again = replace(web(named), name="renamed")
            made.begin(again)
            assert Path(one.path).stat().st_mode & 0o777 == 0o666
            (fd,) = made.lend(Key("renamed", 1), again)
            with socket.socket(fileno=os.dup(fd)) as listener:
                listener.settimeout(5)
                listener.accept()[0].close()
        made.agent.drop("renamed")
        assert made.manager.store == []
        assert made.said == []


def test_an_owner_that_is_nobody_of_this_host_is_said_and_the_socket_serves(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        one = SocketSpec("u", UNIX, path=str(tmp_path / "x.sock"))
        made.lend(G1, web(one))
        made.die()
        made.begin(web(replace(one, user="nobody-there")))
        assert made.said == [
            f"web: kept over the restart, but cannot listen on {one.address}: no such owner: nobody-there"
        ]


@pytest.mark.parametrize("how", ["gone", "a file", "another listener"])
def test_a_unix_path_that_is_not_ours_any_more_is_not_served(tmp_path: Path, how: str) -> None:
    with host(tmp_path) as made, contextlib.ExitStack() as others:
        path = tmp_path / "x.sock"
        spec = web(SocketSpec("u", UNIX, path=str(path)))
        made.lend(G1, spec)
        made.die()
        path.unlink()
        if how == "a file":
            path.touch()
        elif how == "another listener":
            other = others.enter_context(socket.socket(socket.AF_UNIX))
            other.bind(str(path))
            other.listen()
        made.begin(spec)
        assert made.manager.store == []
        assert "kept as web/u/" in made.said[0]


def test_datagrams_wait_too(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(SocketSpec("d", UDP, "127.0.0.1", made.port))
        made.lend(G1, spec)
        made.agent.release(G1)
        made.die()
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", ("127.0.0.1", made.port))
        made.begin(spec)
        (fd,) = made.lend(G2, spec)
        with socket.socket(fileno=os.dup(fd)) as udp:
            assert udp.recv(10) == b"hello"


def _closed(spec: Spec, _: int) -> Spec:
    return replace(spec, sockets=())


def _moved(spec: Spec, port: int) -> Spec:
    return web(replace(spec.sockets[0], port=port))


def _for_one_family(spec: Spec, _: int) -> Spec:
    return web(replace(spec.sockets[0], host="::", family=Family.INET6))


@pytest.mark.parametrize("change", [_closed, _moved, _for_one_family])
def test_what_nobody_wants_any_more_is_closed_and_removed(tmp_path: Path, change: object) -> None:
    with host(tmp_path) as made:
        before = web(replace(made.tcp, host="::", family=Family.DUAL))
        made.lend(G1, before)
        assert made.connect()
        made.die()
        spec = change(before, free_port())  # type: ignore[operator]
        made.begin(spec)
        assert made.manager.store == []
        assert not made.connect(), "the manager has closed it, too, before anything starts"
        assert len(made.said) == 1
        assert "is not wanted any more: closed" in made.said[0]
        assert made.lend(G2, spec) or not spec.sockets


def test_one_that_was_shut_down_is_opened_anew(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(made.tcp)
        (fd,) = made.lend(G1, spec)
        with socket.socket(fileno=os.dup(fd)) as listener:
            listener.shutdown(socket.SHUT_RDWR)
        made.die()
        made.begin(spec)
        made.lend(G2, spec)
        assert made.connect()


def test_one_that_its_process_shut_down_is_stored_no_more(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        spec = web(made.tcp)
        (fd,) = made.lend(G1, spec)
        with socket.socket(fileno=os.dup(fd)) as listener:
            listener.shutdown(socket.SHUT_RDWR)
        made.agent.release(G1)
        assert made.manager.store == []
        made.lend(G2, spec)
        assert len(made.manager.store) == 1


def test_what_the_store_does_not_take_is_said_once(tmp_path: Path) -> None:
    with host(tmp_path, most=3) as made:
        specs = [replace(web(replace(made.tcp, port=free_port())), name=f"s{n}") for n in range(5)]
        for spec in specs:
            made.lend(Key(spec.name, 1), spec)
        (said,) = made.said
        assert said.startswith("cannot keep every listener over a restart of agentd: the store")
        assert "takes 3; raise FileDescriptorStoreMax= of the unit" in said
        assert (len(made.manager.store), made.manager.refused) == (3, 0)
        made.agent.drop("s0")
        made.agent.release(Key("s4", 1))
        assert [name.split("/")[0] for name in made.manager.store] == ["s1", "s2", "s4"]
        assert len(made.said) == 1


def test_no_more_is_stored_than_a_program_can_be_started_with(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with host(tmp_path) as made:
        made.die()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (28, hard))
            made.begin()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for n in range(3):
            one = SocketSpec("a", UNIX, path=str(tmp_path / f"{n}"))
            made.lend(Key(f"s{n}", 1), replace(web(one), name=f"s{n}"))
        assert len(made.manager.store) == 2
        assert "takes 2; " in made.said[0]


def test_200_services_with_two_sockets_each_are_stored(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        for n in range(200):
            a, b = (SocketSpec(w, UNIX, path=str(tmp_path / f"{n}{w}.sock")) for w in "ab")
            made.lend(Key(f"s{n}", 1), replace(web(a, b), name=f"s{n}"))
        assert len(made.manager.store) == 400
        assert made.said == []


def test_a_manager_that_does_not_answer_is_said_and_not_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    env = {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    listeners = OsListeners(tmp_path / "run", said.append, store=FdStore(env, said.append))
    spec = web(SocketSpec("a", UNIX, path=str(tmp_path / "a")))
    for _ in range(3):
        listeners.lend(G1, spec, beside=False)
        listeners.drop("web")
    assert len(said) == 1
    assert said[0].endswith("the service manager does not answer; tried again with the next change")


def test_one_that_is_stuck_is_waited_for_once(tmp_path: Path) -> None:
    said: list[str] = []
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stuck:
        stuck.bind(path)
        while sdnotify.hand(path, "STATUS=busy", patience=0.001):
            pass
        store = FdStore({"NOTIFY_SOCKET": path}, said.append)
        listeners = OsListeners(tmp_path / "run", said.append, store=store)
        began = time.monotonic()
        for n in range(10):
            one = SocketSpec("a", UNIX, path=str(tmp_path / str(n)))
            listeners.lend(Key(f"s{n}", 1), replace(web(one), name=f"s{n}"), beside=False)
        assert time.monotonic() - began < 5
        listeners.close()
    assert len(said) == 1


def test_a_full_queue_is_waited_for_within_bounds(tmp_path: Path) -> None:
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(path)
        while sdnotify.hand(path, "STATUS=busy", patience=0.001):
            pass
        assert not sdnotify.hand(path, "READY=1", patience=0.001)
        assert not sdnotify.wait(path, 0.001)
    assert not sdnotify.hand(path, "READY=1")
    assert not sdnotify.hand("", "READY=1")


def test_an_abstract_address(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{tmp_path}")
        assert sdnotify.hand(f"@{tmp_path}", "READY=1")
        assert heard.recv(100) == b"READY=1"


def test_without_a_manager_nothing_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    listeners = OsListeners(tmp_path / "run", said.append)
    listeners.lend(G1, web(SocketSpec("a", UNIX, path=str(tmp_path / "a"))), beside=False)
    listeners.drop("web")
    assert said == []


def test_what_is_no_socket_is_closed_and_removed(tmp_path: Path) -> None:
    with host(tmp_path) as made:
        read, write = os.pipe()
        sdnotify.hand(made.manager.path, "FDSTORE=1\nFDNAME=pipe\nFDPOLL=0", read)
        os.close(read)
        made.begin()
        assert made.manager.store == []
        with pytest.raises(BrokenPipeError):
            os.write(write, b"x")
        os.close(write)


@pytest.mark.parametrize("pid", [str(os.getpid() + 1), ""])
def test_what_was_handed_to_another_process_is_not_touched(pid: str) -> None:
    env = {"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "HOME": "/"}
    store = FdStore(env, print, 0)
    assert env == {"HOME": "/"}, "nor does any later program find it"
    assert store.take("web", 80, lambda _: True) == []
    os.fstat(0)
