"""The real listeners: the shared checks, and what only Linux has."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.core.spec import Family, ProcessSpec, SocketKind, SocketSpec, Spec
from agentd.ports import AdapterError, Key, LetGoError
from agentd.system import sockopen, steer
from agentd.system.listeners import OsListeners
from tests.contract import checks_listeners
from tests.contract.checks_listeners import G1, G2, G3, lend
from tests.sim.fakes import Agent, FakeListeners, World

TCP, UDP, UNIX = SocketKind.TCP, SocketKind.UDP, SocketKind.UNIX


def free_port(family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> int:
    with socket.socket(family) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def web(*sockets: SocketSpec) -> Spec:
    return Spec("web", ProcessSpec(("web",)), sockets=sockets)


class RealRig:
    def __init__(self, directory: Path, host: str, family: Family) -> None:
        v6 = ":" in host
        self.host = host
        self.port = free_port(socket.AF_INET6 if v6 else socket.AF_INET, host)
        bound = "::" if family is Family.DUAL else host
        self.spec = web(SocketSpec("http", TCP, bound, self.port, family=family))
        self.said: list[str] = []
        self.directory = directory
        self.listeners = self.openings = OsListeners(directory, self.said.append)
        self.clients = contextlib.ExitStack()

    def connect(self) -> bool:
        try:
            client = socket.create_connection((self.host, self.port), 5)
        except ConnectionRefusedError:
            return False
        self.clients.enter_context(client)
        return True

    def connect_soon(self, count: int) -> None:
        """Clients that do not wait until they are let in."""
        for _ in range(count):
            client = self.clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((self.host, self.port))

    def accept(self, descriptor: int) -> int:
        return len(self.accepted(descriptor))

    @staticmethod
    def accepted(descriptor: int) -> list[bool]:
        """For each that waits, whether it sends small answers at once."""
        found = []
        with socket.socket(fileno=os.dup(descriptor)) as listener:
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    with listener.accept()[0] as one:
                        found.append(bool(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            listener.setblocking(True)
        return found


FAMILIES = {
    "v4": ("127.0.0.1", Family.INET),
    "v6": ("::1", Family.INET6),
    "both, asked by v4": ("127.0.0.1", Family.DUAL),
    "both, asked by v6": ("::1", Family.DUAL),
}


@contextlib.contextmanager
def rig(directory: Path, family: str = "v4") -> Iterator[RealRig]:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    made = RealRig(directory, *FAMILIES[family])
    try:
        yield made
    finally:
        made.clients.close()
        made.listeners.close()
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor was left open"  # noqa: PTH208


class FakeRig:
    """The simulator's, whose clients and services are numbers."""

    def __init__(self) -> None:
        self.world = World({})
        self.listeners = self.openings = FakeListeners(Agent(self.world))
        self.spec = web(SocketSpec("http", TCP, "127.0.0.1", 80))

    def connect(self) -> bool:
        held = self.world.held.get("web")
        if held is None:
            return False
        held.arrive()
        return True

    def accept(self, descriptor: int) -> int:
        waiting = self.world.held["web"].waiting
        found, waiting[descriptor] = waiting[descriptor], 0
        return found


@pytest.mark.parametrize("check", checks_listeners.CHECKS, ids=lambda check: check.__name__)
def test_the_fake_keeps_the_contract(check: checks_listeners.Check) -> None:
    check(lambda: contextlib.nullcontext(FakeRig()))


@pytest.mark.parametrize("check", checks_listeners.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_contract(check: checks_listeners.Check, tmp_path: Path, family: str) -> None:
    check(lambda: rig(tmp_path, family))


def held(tmp_path: Path, *sockets: SocketSpec) -> tuple[OsListeners, Spec, list[str]]:
    said: list[str] = []
    return OsListeners(tmp_path / "run", said.append), web(*sockets), said


def hits(*descriptors: int) -> list[int]:
    return [len(RealRig.accepted(fd)) for fd in descriptors]


def burst(port: int, count: int = 30) -> None:
    for _ in range(count):
        socket.create_connection(("127.0.0.1", port)).close()


def test_accepted_sockets_send_small_answers_at_once(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        first = lend(made, G1)
        assert made.connect()
        assert made.accepted(first) == [True]
        listener = socket.socket(fileno=os.dup(first))
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert os.get_blocking(first)
        assert not os.get_inheritable(first)
        listener.close()


def test_an_address_of_somebody_else_is_left_to_them(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        with socket.create_server(("127.0.0.1", made.port), reuse_port=True):
            why = f"cannot listen on 127.0.0.1:{made.port} for web: the address is in use; stop that, or"
            with pytest.raises(AdapterError, match=why):  # by this process, which is not named
                lend(made, G1)
        child = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(made.port)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        try:
            with pytest.raises(AdapterError, match=rf"in use by pid {child.pid}, python"):
                lend(made, G1)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        assert lend(made, G1)  # whoever failed left nothing


HOLDER = (
    "import socket, sys, time\n"
    "s = socket.create_server(('', int(sys.argv[1])), reuse_port=True)\n"
    "print('there', flush=True)\n"
    "time.sleep(60)\n"
)


def test_two_agents_do_not_share_an_address_by_accident(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        lend(made, G1)
        other = OsListeners(tmp_path / "other", lambda _: None)
        with pytest.raises(AdapterError, match="is in use"):
            other.lend(G1, made.spec, beside=False)


def test_a_retired_listener_is_out_at_once_though_somebody_kept_a_copy(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        kept = os.dup(lend(made, G1))
        second = lend(made, G2, beside=True)
        made.listeners.switch(G2)
        made.listeners.release(G1)
        for _ in range(30):
            assert made.connect()
        assert made.accept(second) == 30
        os.close(kept)


def test_of_three_none_gets_a_connection_but_the_current_one(tmp_path: Path) -> None:
    """Through every sequence of ends of two former ones and a candidate."""
    for number, ends in enumerate(itertools.permutations((G1, G2, Key("web", 4)))):
        with rig(tmp_path / str(number)) as made:
            fds = [lend(made, G1)]
            for key in (G2, G3):
                fds.append(lend(made, key, beside=True))
                made.listeners.switch(key)
            fds.append(lend(made, Key("web", 4), beside=True))
            fds = [os.dup(fd) for fd in fds]
            for key in ends:
                made.listeners.release(key)
                burst(made.port)
                assert made.accept(fds[2]) == 30
            for fd in fds:
                os.close(fd)


def test_two_that_end_at_once_leave_a_doubt_that_does_no_harm(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        keys = [Key("web", n) for n in range(1, 6)]
        former = [lend(made, keys[0]), lend(made, keys[1], slot=1)]
        made.listeners.switch(keys[1])
        serve = [lend(made, key, beside=True, slot=n) for n, key in enumerate(keys[2:4])]
        for key in keys[2:4]:
            assert made.listeners.switch(key)
        waits = lend(made, keys[4], beside=True, slot=0)
        for one in former:  # which of them left first nobody can tell
            with socket.socket(fileno=os.dup(one)) as listener:
                listener.shutdown(socket.SHUT_RDWR)
        made.listeners.switch(keys[3])
        for _ in range(60):
            assert made.connect()
        assert made.accept(waits) == 0
        assert sum(map(made.accept, serve)) == 60
        assert made.said == []


def test_a_spare_listener_in_a_doubtful_place_keeps_nobody_from_its_share(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        serve = [lend(made, G1), lend(made, G2, beside=True, slot=1)]
        assert made.listeners.switch(G2)
        known = made.listeners._services["web"].held["http"]
        a, b, *spares = [m.inode for m in (*known.members, known._join(), known._join())]
        known.doubt([(spares[0], b, a, spares[1])])  # as an earlier agent may leave it
        lend(made, G3, beside=True)
        made.listeners.release(G3)
        for _ in range(60):
            assert made.connect()
        got = [made.accept(fd) for fd in serve]
        assert sum(got) == 60
        assert all(got), "one of them starves"


def test_one_that_waits_for_its_switch_hears_nobody_even_unsteered(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        first, second = lend(made, G1), lend(made, G2, beside=True)
        with socket.socket(fileno=os.dup(first)) as listener:
            steer.detach(listener)  # as when no agent lives and the group has changed
        made.connect_soon(20)
        assert made.accept(second) == 0


def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners, spec, _ = held(tmp_path, SocketSpec("u", UNIX, path=str(path), mode=0o620))
    ((_, first),) = listeners.lend(G1, spec, beside=False)
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o620
    ((_, second),) = listeners.lend(G2, spec, beside=True)
    assert first == second
    assert not listeners.switch(G2)
    listeners.release(G1)
    listeners.release(G2)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))  # waits for the next generation
    listeners.drop("web")
    assert not path.exists()


def test_the_owner_of_a_unix_socket(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    path = tmp_path / "x.sock"
    nobody = pwd.getpwnam("nobody")
    for user, group, ids in (
        (None, None, (nobody.pw_uid, nobody.pw_gid)),
        ("root", None, (0, 0)),
        (None, "0", (nobody.pw_uid, 0)),
    ):
        one = SocketSpec("u", UNIX, path=str(path), user=user, group=group)
        spec = Spec("web", ProcessSpec(("web",), user="nobody"), sockets=(one,))
        listeners = OsListeners(tmp_path / "run", print)
        listeners.lend(G1, spec, beside=False)
        assert (path.stat().st_uid, path.stat().st_gid) == ids
        listeners.drop("web")
    bad = Spec(
        "web",
        ProcessSpec(("web",)),
        sockets=(SocketSpec("u", UNIX, path=str(path), user="nobody-there"),),
    )
    with pytest.raises(AdapterError, match="no such owner: nobody-there"):
        OsListeners(tmp_path / "run", print).lend(G1, bad, beside=False)
    assert not path.exists()


def test_a_stale_path_is_taken_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners, spec, _ = held(tmp_path, SocketSpec("u", UNIX, path=str(path)))
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with pytest.raises(AdapterError, match=r"unix:.*x.sock for web: the address is in use"):
            listeners.lend(G1, spec, beside=False)
        assert path.exists()
    assert listeners.lend(G1, spec, beside=False)  # its path was left behind
    listeners.drop("web")
    path.write_text("precious")
    with pytest.raises(AdapterError, match="something that is not a socket; it is left alone"):
        listeners.lend(G1, spec, beside=False)
    assert path.read_text() == "precious"
    missing = web(SocketSpec("u", UNIX, path=str(tmp_path / "no" / "x.sock")))
    with pytest.raises(AdapterError, match=r"the directory .*/no does not exist; create it"):
        listeners.lend(G1, missing, beside=False)
    listeners.drop("web")


@pytest.mark.parametrize("kind", ["file", "link", "hard link"])
def test_who_owns_the_directory_is_given_nothing_but_the_socket(tmp_path: Path, kind: str) -> None:
    """Between bind and chown he may put something of root's in its place."""
    path, precious = tmp_path / "x.sock", tmp_path / "precious"
    with socket.socket(socket.AF_UNIX) as another:
        another.bind(str(precious)) if kind == "hard link" else precious.write_text("root's")
    precious.chmod(0o600)
    if kind == "file":
        precious.rename(path)
        precious = path
    elif kind == "link":
        path.symlink_to(precious)
    else:
        path.hardlink_to(precious)
    before = precious.stat()
    one = SocketSpec("u", UNIX, path=str(path), mode=0o666)
    with pytest.raises(FileExistsError, match="somebody has put something else there"):
        sockopen.give(one, ProcessSpec(("web",), user="nobody"))
    after = precious.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_the_same_address_declared_otherwise_is_not_in_its_own_way(tmp_path: Path) -> None:
    """Other owners, modes, backlogs and names: clients that wait are not lost, and the next generation gets the socket."""
    path, port = tmp_path / "x.sock", free_port()
    unix, tcp = SocketSpec("u", UNIX, path=str(path)), SocketSpec("t", TCP, "127.0.0.1", port)
    listeners, spec, _ = held(tmp_path, unix, tcp)
    listeners.lend(G1, spec, beside=False)
    waits = socket.socket(socket.AF_UNIX)
    waits.connect(str(path))
    other = web(replace(tcp, name="web", backlog=7), replace(unix, mode=0o600))
    names = [name for name, _ in listeners.lend(G2, other, beside=True)]
    assert names == ["web", "u"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listeners.switch(G2), "of TCP it still has one for each generation"
    listeners.release(G1)
    assert listeners.count(G2, ()).queued == 1
    assert [n for n, _ in listeners.lend(G3, spec, beside=True)] == ["u", "t"], "and back"
    waits.close()
    listeners.drop("web")
    assert not path.exists()


def test_an_address_that_is_declared_no_more_is_closed_with_the_last_who_has_it(
    tmp_path: Path,
) -> None:
    """Also when none is declared any more: a service that binds it itself from now on must find it free."""
    port = free_port()
    listeners, spec, _ = held(tmp_path, SocketSpec("t", TCP, "127.0.0.1", port))
    listeners.lend(G1, spec, beside=False)
    assert listeners.lend(G2, web(), beside=True) == ()
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port))
    listeners.release(G1)
    socket.create_server(("127.0.0.1", port)).close()
    listeners.lend(G1, spec, beside=False)
    listeners.release(G1)  # it crashed, and clients wait
    assert listeners.lend(G3, web(), beside=False) == ()
    socket.create_server(("127.0.0.1", port)).close()


def test_udp_is_shared(tmp_path: Path) -> None:
    port = free_port()
    listeners, spec, _ = held(tmp_path, SocketSpec("d", UDP, "127.0.0.1", port))
    ((_, first),) = listeners.lend(G1, spec, beside=False)
    assert listeners.lend(G2, spec, beside=True) == (("d", first),)
    assert not listeners.switch(G2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", ("127.0.0.1", port))
    with socket.socket(fileno=os.dup(first)) as s:
        assert s.recv(10) == b"hello"
    with pytest.raises(AdapterError, match="in use"):
        OsListeners(tmp_path / "other", print).lend(G1, spec, beside=False)
    listeners.drop("web")


def test_several_sockets_come_in_declared_order(tmp_path: Path) -> None:
    a, b = free_port(), free_port()
    path = str(tmp_path / "x.sock")
    listeners, spec, _ = held(
        tmp_path,
        SocketSpec("b", TCP, "127.0.0.1", b),
        SocketSpec("u", UNIX, path=path),
        SocketSpec("a", TCP, "127.0.0.1", a),
    )
    one = listeners.lend(G1, spec, beside=False)
    two = listeners.lend(G2, spec, beside=True)
    assert [name for name, _ in one] == [name for name, _ in two] == ["b", "u", "a"]
    assert [x == y for (_, x), (_, y) in zip(one, two, strict=True)] == [False, True, False]
    assert listeners.switch(G2)
    burst(a)
    burst(b)
    assert hits(one[0][1], one[2][1], two[0][1], two[2][1]) == [0, 0, 30, 30]
    listeners.drop("web")


def test_a_changed_address_is_opened_and_the_former_one_stays_while_it_is_used(
    tmp_path: Path,
) -> None:
    a, b = free_port(), free_port()
    listeners, spec, _ = held(tmp_path, SocketSpec("http", TCP, "127.0.0.1", a))
    ((_, first),) = listeners.lend(G1, spec, beside=False)
    changed = web(SocketSpec("http", TCP, "127.0.0.1", b))
    ((_, second),) = listeners.lend(G2, changed, beside=True)
    burst(a)
    burst(b)
    assert hits(first, second) == [30, 30]
    listeners.release(G1)
    with pytest.raises(ConnectionRefusedError):
        burst(a)
    burst(b)
    assert hits(second) == [30]
    listeners.drop("web")


def test_an_address_that_is_busy_is_not_prepared(tmp_path: Path) -> None:
    listeners, _, _ = held(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        one = SocketSpec("http", TCP, "127.0.0.1", busy.getsockname()[1])
        with pytest.raises(AdapterError, match="in use"):
            listeners.prepare(web(one), one)
        listeners.declare(web(one))
    listeners.close()


def test_a_definition_that_is_not_taken_gives_its_address_back(tmp_path: Path) -> None:
    """The former one keeps its own, under the same name, with its place in the note for the next agent."""
    a, b = free_port(), free_port()
    listeners, spec, said = held(tmp_path, SocketSpec("http", TCP, "127.0.0.1", a))
    ((_, first),) = listeners.lend(G1, spec, beside=False)
    changed = web(SocketSpec("http", TCP, "127.0.0.1", b))
    listeners.prepare(changed, changed.sockets[0])
    ((_, second),) = listeners.lend(G2, changed, beside=True)
    burst(b)
    assert hits(second) == [30], "what was prepared is what it gets"
    listeners.declare(spec)
    assert listeners.switch(G1)
    listeners.release(G2)
    with pytest.raises(ConnectionRefusedError):
        burst(b)
    burst(a)
    assert hits(first) == [30]
    assert f"127.0.0.1:{a}" in "".join(p.read_text() for p in (tmp_path / "run").iterdir())
    listeners.drop("web")
    assert said == []


def test_an_address_that_moves_to_another_service_is_told_apart_from_one_that_is_taken(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "x.sock")
    for one in (SocketSpec("t", TCP, "127.0.0.1", free_port()), SocketSpec("u", UNIX, path=path)):
        listeners, spec, _ = held(tmp_path, one)
        listeners.lend(G1, spec, beside=False)
        other, key = replace(spec, name="api"), Key("api", 1)
        with pytest.raises(AdapterError, match="in use") as refused:
            listeners.lend(key, other, beside=False)
        assert not isinstance(refused.value, LetGoError)
        listeners.declare(web())
        with pytest.raises(LetGoError):
            listeners.lend(key, other, beside=False)

        async def handed_on(agent: OsListeners = listeners, to: Spec = other) -> None:
            freed = asyncio.create_task(agent.freed())
            given_up = asyncio.create_task(agent.freed())
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.sleep(0)
            agent.release(G1)
            await asyncio.wait_for(freed, 5)
            assert agent.lend(Key("api", 1), to, beside=False)

        asyncio.run(handed_on())
        listeners.drop("api")
        listeners.close()


def test_an_owner_that_is_not_there_any_more_is_said(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    listeners, spec, said = held(tmp_path, SocketSpec("u", UNIX, path=path))
    listeners.lend(G1, spec, beside=False)
    listeners.declare(web())
    listeners.declare(web(SocketSpec("u", UNIX, path=path, user="nobody-at-all")))
    assert len(said) == 1
    assert "no such owner: nobody-at-all" in said[0]
    listeners.drop("web")


def test_where_nothing_can_be_steered_they_share(tmp_path: Path) -> None:
    def no(_member: socket.socket, _code: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with rig(tmp_path) as made:
        made.listeners = OsListeners(tmp_path, made.said.append, no)
        first = lend(made, G1)
        assert lend(made, G2, beside=True) == first
        assert not made.listeners.switch(G2)
        made.listeners.release(G1)
        assert made.connect()
        assert made.accept(first) == 1


def test_a_stranger_in_the_group_is_told_and_nobody_is_starved(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        first = lend(made, G1)
        second = lend(made, G2, beside=True)
        with socket.create_server(("127.0.0.1", made.port), reuse_port=True) as stranger:
            assert not made.listeners.switch(G2)
            assert "order of its listeners is not known" in made.said[0]
            burst(made.port, 90)
            got = hits(first, second, stranger.fileno())
            assert sum(got) == 90
            assert 0 not in got
            made.listeners.release(G1)
        made.listeners.switch(G2)
        assert made.listeners.switch(G2)
        burst(made.port)
        assert made.accept(second) == 30


def test_a_listener_that_its_process_shut_down_is_opened_again(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        first = lend(made, G1)
        with socket.socket(fileno=os.dup(first)) as s:
            s.shutdown(socket.SHUT_RDWR)
        made.listeners.release(G1)
        assert made.accept(lend(made, G2)) == 0
        assert made.connect()
