"""Held sockets with real processes: the switch under load, the death of the agent, and probes that know who answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from host import HERE, clean_env, free_port, until

from agentd.core.spec import Family, HttpProbe, ProcessSpec, SocketKind, SocketSpec, Spec, TcpProbe
from agentd.ports import AdapterError, CommandOrder, CommandResult, Key
from agentd.system.launcher import Launcher, Plan
from agentd.system.listeners import OsListeners
from agentd.system.probes import OsProbes
from agentd.system.proctable import OsProcessTable

TCP, UNIX = SocketKind.TCP, SocketKind.UNIX
PROCESS = ProcessSpec((sys.executable,))


def key(generation: int) -> Key:
    return Key("web", generation)


class Agent:
    """The part of an agent that this is about: listeners, and processes that get them."""

    def __init__(self, directory: Path, *sockets: SocketSpec) -> None:
        self.said: list[str] = []
        self.listeners = OsListeners(directory / "listeners", self.said.append)
        self.spec = Spec("web", PROCESS, sockets=sockets)
        self.pids: dict[int, int] = {}
        self.launcher = Launcher(asyncio.get_running_loop())
        self.probes = OsProbes(NoCommands(), OsProcessTable())

    async def start(self, generation: int, mode: str = "serve", *, beside: bool = False) -> int:
        lent = self.listeners.lend(key(generation), self.spec, beside=beside)
        argv = (sys.executable, str(HERE / "serve.py"), f"g{generation}", mode)
        read, write = os.pipe()
        env = tuple(clean_env().items())

        async def permit(_child: object) -> None:
            pass

        child = await self.launcher.launch(
            Plan("web", argv, PROCESS, env, write, sockets=lent), permit
        )
        os.close(write)
        assert await asyncio.to_thread(os.read, read, 100) == b"there\n"
        os.close(read)
        self.pids[generation] = child.pid
        return child.pid

    async def stop(self, generation: int, number: int = signal.SIGTERM) -> None:
        pid = self.pids.pop(generation)
        pidfd = os.pidfd_open(pid)
        os.kill(pid, number)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, ended.set)
        await asyncio.wait_for(ended.wait(), 20)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self.listeners.release(key(generation))

    async def drained(self, generation: int) -> None:
        async with asyncio.timeout(20):
            while self.load(generation) != (0, 0, 0):
                await asyncio.sleep(0.01)

    def load(self, generation: int) -> tuple[int, int, int]:
        found = self.listeners.count(key(generation), (self.pids[generation],))
        return found.queued, found.open, found.handshakes

    async def probe(self, probe: HttpProbe | TcpProbe, generation: int) -> str | None:
        pid = self.pids[generation]
        return await self.probes.probe(
            probe, pid, PROCESS, self.listeners.own(key(generation), pid)
        )


class NoCommands:
    async def run(self, order: CommandOrder) -> CommandResult:
        raise NotImplementedError


@contextlib.asynccontextmanager
async def agent(directory: Path, *sockets: SocketSpec) -> AsyncIterator[Agent]:
    made = Agent(directory, *sockets)
    try:
        yield made
    finally:
        for generation in tuple(made.pids):
            with contextlib.suppress(ProcessLookupError):
                await made.stop(generation, signal.SIGKILL)
        await made.launcher.close()
        made.listeners.close()


def tcp(port: int, host: str = "127.0.0.1", family: Family = Family.INET) -> SocketSpec:
    return SocketSpec("http", TCP, host, port, family=family)


def sockets(directory: Path, port: int) -> tuple[SocketSpec, ...]:
    """One of each kind."""
    unix = SocketSpec("u", UNIX, path=str(directory / "x.sock"))
    return tcp(port), unix, SocketSpec("d", SocketKind.UDP, "127.0.0.1", port)


@contextlib.contextmanager
def loaded(port: int, per_second: int) -> Iterator[dict[str, object]]:
    """New connections at a rate; its account is there at the end."""
    account: dict[str, object] = {}
    child = subprocess.Popen(
        [sys.executable, HERE / "load.py", str(port), str(per_second)], stdout=subprocess.PIPE
    )
    try:
        yield account
        child.terminate()
        out, _ = child.communicate(timeout=30)
        account |= json.loads(out)
    finally:
        child.kill()
        child.wait()


async def get(port: int, path: str = "/", host: str = "127.0.0.1") -> str:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    body = (await reader.readexactly(2)).decode()
    writer.close()
    return body


def test_twenty_switches_under_load_lose_nothing(tmp_path: Path) -> None:
    port = free_port()

    async def scenario() -> dict[str, object]:
        async with agent(tmp_path, tcp(port)) as made:
            await made.start(1)
            with loaded(port, 600) as account:
                await asyncio.sleep(0.5)
                for n in range(2, 22):
                    await made.start(n, beside=True)
                    assert await made.probe(HttpProbe(f"http://127.0.0.1:{port}/"), n) is None
                    assert made.listeners.switch(key(n))
                    await made.drained(n - 1)
                    await made.stop(n - 1, signal.SIGKILL)  # nothing is left to be finished
                await asyncio.sleep(0.3)
            assert made.said == []
            return account

    account = asyncio.run(scenario())
    print(account)
    assert account["bad"] == {}
    assert account["rate"] > 500  # type: ignore[operator]
    assert len(account["bodies"]) == 21  # type: ignore[arg-type]


def test_clients_wait_while_nobody_runs(tmp_path: Path) -> None:
    port = free_port()

    async def scenario() -> dict[str, object]:
        async with agent(tmp_path, tcp(port)) as made:
            await made.start(1)
            with loaded(port, 200) as account:
                for n in range(2, 6):
                    await asyncio.sleep(0.1)
                    await made.stop(n - 1)
                    await asyncio.sleep(0.1)
                    await made.start(n)
            return account

    account = asyncio.run(scenario())
    print(account)
    assert account["bad"] == {}


@pytest.mark.parametrize(
    ("host", "family"), [("::1", Family.INET6), ("127.0.0.1", Family.DUAL), ("::1", Family.DUAL)]
)
def test_other_families(tmp_path: Path, host: str, family: Family) -> None:
    port = free_port()

    async def scenario() -> None:
        bound = "::" if family is Family.DUAL else host
        async with agent(tmp_path, tcp(port, bound, family)) as made:
            await made.start(1)
            await made.start(2, beside=True)
            name = f"[{host}]" if ":" in host else host
            url = HttpProbe(f"http://{name}:{port}/")
            assert await made.probe(url, 2) is None
            assert {await get(port, host=host) for _ in range(20)} == {"g1"}
            assert made.load(1)[0] == 0
            assert made.listeners.switch(key(2))
            assert {await get(port, host=host) for _ in range(20)} == {"g2"}
            assert await made.probe(url, 2) is None
            assert await made.probe(TcpProbe(host, port), 2) is None

    asyncio.run(scenario())


def test_a_probe_reaches_the_candidate_alone(tmp_path: Path) -> None:
    port = free_port()

    async def scenario() -> None:
        async with agent(tmp_path, tcp(port)) as made:
            await made.start(1)
            await made.start(2, beside=True)

            async def ask() -> str | None:
                return await made.probe(HttpProbe(f"http://127.0.0.1:{port}/"), 2)

            asked = [asyncio.ensure_future(ask()) for _ in range(5)]
            assert [await get(port) for _ in range(300)] == ["g1"] * 300
            assert await asyncio.gather(*asked) == [None] * 5

    asyncio.run(scenario())


def test_who_never_accepts_never_passes(tmp_path: Path) -> None:
    port, path = free_port(), str(tmp_path / "x.sock")

    async def scenario() -> None:
        both = (tcp(port), SocketSpec("u", UNIX, path=path))
        async with agent(tmp_path, *both) as made:
            await made.start(1)
            for n in range(2, 22):
                await made.start(n, "deaf", beside=True)
                why = await made.probe(HttpProbe(f"http://127.0.0.1:{port}/", 0.1), n)
                assert why == "no answer within 0.1s"
                assert await made.probe(TcpProbe("127.0.0.1", port, 0.05), n) is not None
                url = f"http+unix://{quote(path, safe='')}/"
                why = await made.probe(HttpProbe(url, 1), n)
                assert why == f"answered by another process (pid {made.pids[1]}, python)"
                await made.stop(n, signal.SIGKILL)
                assert await get(port) == "g1"
            assert await made.probe(HttpProbe(url, 1), 1) is None

    asyncio.run(scenario())


def test_a_shared_address_that_another_answers(tmp_path: Path) -> None:
    """Bound by the services themselves: the other end is looked at."""
    port = free_port()

    async def scenario() -> None:
        async with agent(tmp_path, tcp(port)) as made:
            await made.start(1)
            other = await asyncio.create_subprocess_exec("sleep", "60")
            stranger = made.listeners.own(key(7), other.pid)  # has nothing to do with it
            for probe in (
                HttpProbe(f"http://127.0.0.1:{port}/", 1),
                TcpProbe("localhost", port, 1),
            ):
                why = await made.probes.probe(probe, other.pid, PROCESS, stranger)
                assert why == f"answered by another process (pid {made.pids[1]}, python)"
                assert await made.probe(probe, 1) is None
            other.kill()
            await other.wait()

    asyncio.run(scenario())


@pytest.mark.parametrize("defer", [False, True])
def test_a_server_that_closes_at_once_after_its_answer(defer: bool) -> None:  # noqa: FBT001
    """It is seen before it can answer; also one that is woken only by data (TCP_DEFER_ACCEPT)."""

    async def scenario() -> None:
        class Here:
            async def connect(self, host: str, port: int) -> None:
                return None

            def holds(self, inode: int) -> bool:
                return any(
                    f"socket:[{inode}]" == os.readlink(f"/proc/self/fd/{n}")  # noqa: PTH115
                    for n in os.listdir("/proc/self/fd")[:-1]  # noqa: PTH208
                )

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.close()

        listener = socket.create_server(("127.0.0.1", 0))
        if defer:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
        port = listener.getsockname()[1]
        probes = OsProbes(NoCommands(), OsProcessTable())
        async with await asyncio.start_server(answer, sock=listener):
            for _ in range(30):
                probe = HttpProbe(f"http://127.0.0.1:{port}/", 2)
                assert await probes.probe(probe, os.getpid(), PROCESS, Here()) is None

    asyncio.run(scenario())


def test_what_is_open_and_what_waits_is_counted(tmp_path: Path) -> None:
    port, path = free_port(), str(tmp_path / "x.sock")

    async def scenario() -> None:
        both = (tcp(port), SocketSpec("u", UNIX, path=path))
        async with agent(tmp_path, *both) as made:
            await made.start(1)
            kept = []
            for n in range(50):
                s = (
                    socket.create_connection(("127.0.0.1", port))
                    if n % 5
                    else socket.socket(socket.AF_UNIX)
                )
                if not n % 5:
                    s.connect(path)
                s.sendall(b"GET /keep HTTP/1.1\r\n\r\n")
                s.recv(100)
                kept.append(s)
            assert made.load(1) == (0, 50, 0)
            await made.start(2, "deaf", beside=True)
            assert made.load(2) == (0, 0, 0)
            made.listeners.switch(key(2))
            waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(7)]
            assert made.load(2) == (7, 0, 0)
            assert made.load(1) == (0, 50, 0)
            for s in kept[:20]:
                s.close()
            async with asyncio.timeout(10):
                while made.load(1) != (0, 30, 0):
                    await asyncio.sleep(0.01)
            for s in (*kept, *waiting):
                s.close()
            await made.drained(1)

    asyncio.run(scenario())


@pytest.mark.slow
def test_many_connections_are_counted_one_by_one(tmp_path: Path) -> None:
    port = free_port()

    async def scenario() -> None:
        async with agent(tmp_path, tcp(port)) as made:
            await made.start(1)
            for _ in range(2000):
                await get(port)
            kept = []
            for _ in range(900):
                s = socket.create_connection(("127.0.0.1", port))
                s.sendall(b"GET /keep HTTP/1.1\r\n\r\n")
                s.recv(100)
                kept.append(s)
            await made.start(2, beside=True)
            made.listeners.switch(key(2))
            for _ in range(5):
                assert made.load(1) == (0, 900, 0)
            for s in kept:
                s.close()

    asyncio.run(scenario())


AGENT = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_held_sockets import Agent, key, sockets

async def main(directory, port):
    made = Agent(Path(directory), *sockets(Path(directory), int(port))[:KINDS])
    for n, mode in enumerate(MODES, 1):
        await made.start(n, mode, beside=n > 1)
        if SWITCH:
            made.listeners.switch(key(n))
    print(*made.pids.values(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:3]))
"""


@contextlib.contextmanager
def killed_agent(
    directory: Path, port: int, *modes: str, switch: bool, kinds: int = 1
) -> Iterator[list[int]]:
    """The services of an agent that is no more, while connections keep coming."""
    program = AGENT.replace("MODES", repr(modes)).replace("SWITCH", repr(switch))
    program = program.replace("KINDS", str(kinds))
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            str(directory),
            str(port),
            str(HERE),
            str(HERE.parent.parent),
        ],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    pids = [int(word) for word in child.stdout.readline().split()]
    child.kill()
    child.wait()
    child.stdout.close()
    try:
        yield pids
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    """Ended; whose child it is by now is not ours to say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    "modes", [("serve",), ("moved",), ("serve", "moved"), ("moved", "serve", "serve")]
)
@pytest.mark.parametrize("switch", [True, False])
def test_listeners_survive_the_agent(tmp_path: Path, modes: tuple[str, ...], switch: bool) -> None:  # noqa: FBT001
    port = free_port()

    async def scenario(pids: list[int]) -> dict[str, object]:
        async with agent(tmp_path, tcp(port)) as made:
            with loaded(port, 300) as account:  # ends while there is still somebody to answer
                await asyncio.sleep(0.2)
                for n, pid in enumerate(pids, 1):
                    assert made.listeners.adopt(key(n), made.spec, pid), made.said
                serving = f"g{len(pids)}" if switch else "g1"
                assert {await get(port) for _ in range(20)} == {serving}
                last = len(pids) + 1
                await made.start(last, beside=True)
                assert {await get(port) for _ in range(20)} == {serving}
                assert made.listeners.switch(key(last))
                assert {await get(port) for _ in range(20)} == {f"g{last}"}
                for n, pid in enumerate(pids, 1):
                    made.pids[n] = pid
                    await made.drained(n)
                    os.kill(made.pids.pop(n), signal.SIGKILL)
                    until(lambda pid=pid: gone(pid), "it ends")
                    made.listeners.release(key(n))
                    assert {await get(port) for _ in range(20)} == {f"g{last}"}
                assert made.said == []
            return account

    with killed_agent(tmp_path, port, *modes, switch=switch) as pids:
        account = asyncio.run(scenario(pids))
    assert account["bad"] == {}


def test_who_was_told_to_stop_gets_nothing_when_the_group_changes_and_no_agent_lives(
    tmp_path: Path,
) -> None:
    """Of three the first ends: the last takes its place, and the program's index is not there any more."""
    port = free_port()

    async def scenario() -> None:
        async with agent(tmp_path, tcp(port)) as made:
            for n, mode in enumerate(("serve", "deaf", "serve"), 1):
                await made.start(n, mode, beside=n > 1)
                assert n == 1 or made.listeners.switch(key(n))
            made.listeners.leave(key(1))
            made.listeners.leave(key(2))
            made.listeners.leave(key(3))  # the current one is left alone
            made.listeners.close()
            await made.stop(1, signal.SIGKILL)
            asked = [asyncio.create_task(get(port)) for _ in range(40)]
            await asyncio.wait(asked, timeout=0.3)
            assert not all(one.done() for one in asked), "nobody came to the one that stops"
            await made.stop(2, signal.SIGKILL)
            assert set(await asyncio.gather(*asked)) == {"g3"}

    asyncio.run(scenario())


def test_a_listener_of_one_that_was_told_to_stop_hears_again_when_it_is_all_there_is(
    tmp_path: Path,
) -> None:
    port = free_port()

    async def scenario() -> None:
        async with agent(tmp_path, tcp(port)) as made:
            await made.start(1)
            await made.start(2, beside=True)
            assert made.listeners.switch(key(2))
            made.listeners.leave(key(1))
            made.listeners.close()
            made.listeners = OsListeners(tmp_path / "listeners", made.said.append)
            await made.stop(2, signal.SIGKILL)
            assert made.listeners.adopt(key(1), made.spec, made.pids[1])
            await made.start(3)
            await made.stop(1, signal.SIGKILL)
            assert await asyncio.wait_for(get(port), 5) == "g3"

    asyncio.run(scenario())


def test_an_agent_that_died_between_the_switch_and_its_note_is_corrected(tmp_path: Path) -> None:
    port = free_port()
    note = tmp_path / "listeners" / "web"

    async def scenario() -> None:
        async with agent(tmp_path, tcp(port)) as made:
            await made.start(1)
            await made.start(2, beside=True)
            before = note.read_text()
            assert made.listeners.switch(key(2))
            assert await get(port) == "g2"
            note.write_text(before)
            made.listeners.close()
            made.listeners = OsListeners(tmp_path / "listeners", made.said.append)
            for n in (1, 2):
                assert made.listeners.adopt(key(n), made.spec, made.pids[n])
            assert made.listeners.switch(key(1))
            assert {await get(port) for _ in range(20)} == {"g1"}

    asyncio.run(scenario())


def test_the_current_one_died_with_the_agent(tmp_path: Path) -> None:
    port = free_port()

    async def scenario(first: int) -> None:
        async with agent(tmp_path, tcp(port)) as made:
            assert made.listeners.adopt(key(1), made.spec, first)
            assert {await get(port) for _ in range(20)} == {"g1"}
            await made.start(3, beside=True)
            assert {await get(port) for _ in range(20)} == {"g1"}
            assert made.listeners.switch(key(3))
            assert {await get(port) for _ in range(20)} == {"g3"}
            assert made.said == []

    with killed_agent(tmp_path, port, "serve", "serve", switch=True) as pids:
        os.kill(pids[1], signal.SIGKILL)
        until(lambda: gone(pids[1]), "it ends")
        asyncio.run(scenario(pids[0]))


@pytest.mark.parametrize("written", [True, False])
def test_a_listener_that_cannot_be_taken_back(tmp_path: Path, written: bool) -> None:  # noqa: FBT001
    """With the note it is known to be ours, and is joined; without, whoever has it is named."""
    port = free_port()

    async def scenario(pid: int) -> None:
        async with agent(tmp_path, tcp(port)) as made:
            other = await asyncio.create_subprocess_exec("sleep", "60")
            assert not made.listeners.adopt(key(1), made.spec, other.pid)
            why = f"web: cannot take back 127.0.0.1:{port} from pid {other.pid}: none of its processes has it"
            assert made.said == [why]
            if written:
                await made.start(2, beside=True)
                assert made.listeners.switch(key(2))
                assert {await get(port) for _ in range(20)} == {"g2"}
                os.kill(pid, signal.SIGKILL)
                until(lambda: gone(pid), "it ends")
                made.listeners.release(key(1))
                assert {await get(port) for _ in range(20)} == {"g2"}
                await made.start(3, beside=True)
                assert {await get(port) for _ in range(20)} == {"g2"}
            else:
                with pytest.raises(AdapterError, match=f"in use by pid {pid}, python"):
                    await made.start(2, beside=True)
            other.kill()
            await other.wait()

    with killed_agent(tmp_path, port, "serve", switch=True) as pids:
        if not written:
            (tmp_path / "listeners" / "web").write_text("{")
        asyncio.run(scenario(pids[0]))


def test_without_the_note_nothing_is_lost_and_it_is_said(tmp_path: Path) -> None:
    port = free_port()

    async def scenario(pids: list[int]) -> None:
        async with agent(tmp_path, tcp(port)) as made:
            for n, pid in enumerate(pids, 1):
                assert made.listeners.adopt(key(n), made.spec, pid)
            (said,) = made.said
            assert "order of its listeners is not known" in said
            assert {await get(port) for _ in range(60)} == {"g1", "g2"}
            assert not made.listeners.switch(key(2))
            os.kill(pids[0], signal.SIGKILL)
            until(lambda: gone(pids[0]), "it ends")
            made.listeners.release(key(1))
            assert {await get(port) for _ in range(60)} == {"g2"}
            await made.start(3, beside=True)  # one is left, so the order is known again
            assert {await get(port) for _ in range(60)} == {"g2"}
            assert made.listeners.switch(key(3))

    with killed_agent(tmp_path, port, "serve", "serve", switch=True) as pids:
        (tmp_path / "listeners" / "web").unlink()
        asyncio.run(scenario(pids))


@pytest.mark.parametrize("mode", ["serve", "moved"])
def test_every_kind_is_taken_back(tmp_path: Path, mode: str) -> None:
    port = free_port()
    kinds = sockets(tmp_path, port)

    async def scenario(pid: int) -> None:
        async with agent(tmp_path, *kinds) as made:
            assert made.listeners.adopt(key(1), made.spec, pid), made.said
            lent = made.listeners.lend(key(1), made.spec, beside=False)
            assert [name for name, _ in lent] == ["http", "u", "d"]
            with (
                socket.socket(socket.AF_UNIX) as client,
                socket.socket(type=socket.SOCK_DGRAM) as d,
            ):
                client.connect(kinds[1].path)
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert client.recv(100)
                d.sendto(b"hello", ("127.0.0.1", port))
                os.kill(pid, signal.SIGKILL)
                until(lambda: gone(pid), "it ends")
                made.listeners.release(key(1))
                client.close()
                with socket.socket(socket.AF_UNIX) as waits:
                    waits.connect(kinds[1].path)
                    waits.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    await made.start(2)
                    waits.settimeout(10)
                    assert await asyncio.to_thread(waits.recv, 100)
            with socket.socket(fileno=os.dup(lent[2][1])) as udp:
                assert udp.recv(10) == b"hello"
            assert made.said == []
            made.listeners.drop("web")
            assert not Path(kinds[1].path).exists()

    with killed_agent(tmp_path, port, mode, switch=True, kinds=3) as pids:
        asyncio.run(scenario(pids[0]))


def test_a_unix_path_that_cannot_be_taken_back_is_bound_anew(tmp_path: Path) -> None:
    port = free_port()
    kinds = sockets(tmp_path, port)[:2]

    async def scenario(pid: int) -> None:
        async with agent(tmp_path, *kinds) as made:
            other = await asyncio.create_subprocess_exec("sleep", "60")
            assert not made.listeners.adopt(key(1), made.spec, other.pid)
            await made.start(2, beside=True)
            url = HttpProbe(f"http+unix://{quote(kinds[1].path, safe='')}/")
            assert await made.probe(url, 2) is None
            other.kill()
            await other.wait()

    with killed_agent(tmp_path, port, "serve", switch=True, kinds=2) as pids:
        asyncio.run(scenario(pids[0]))
