"""The real probes against servers in the same process, and every way these can let one down."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from agentd.core.spec import (
    ExecProbe,
    HttpProbe,
    Probe,
    ProcessSpec,
    TcpProbe,
    WorkersProbe,
)
from agentd.core.steps import Worker
from agentd.ports import CommandOrder, CommandResult, Disposition, Usage
from agentd.system.probes import OsProbes
from tests.contract import checks_probes
from tests.contract.checks_probes import PROCESS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Commands:
    def __init__(self, result: CommandResult) -> None:
        self.result = result
        self.orders: list[CommandOrder] = []

    async def run(self, order: CommandOrder) -> CommandResult:
        self.orders.append(order)
        return self.result


class Table:
    def workers(self, pid: int) -> tuple[Worker, ...]:
        return (Worker(pid + 1, 5, "worker"),) if pid == 100 else ()

    def ticks(self) -> int:
        return 0

    async def disposition(self, pid: int, signal: str) -> Disposition:
        return Disposition(safe=False, why=f"{signal} {pid}")

    def usage(self, pid: int) -> Usage | None:
        return None if pid else Usage(0, 0)


class RealRig:
    probes = OsProbes(Commands(CommandResult(0, timed_out=False, error=None, output=())), Table())

    def good(self) -> tuple[Probe, int]:
        return WorkersProbe(), 100

    def bad(self) -> tuple[Probe, int]:
        return WorkersProbe(), 1


@contextlib.asynccontextmanager
async def real() -> AsyncIterator[RealRig]:
    yield RealRig()


@pytest.mark.parametrize("check", checks_probes.CHECKS, ids=lambda check: check.__name__)
def test_the_contract(check: checks_probes.Check) -> None:
    asyncio.run(check(real))


class Server:
    """Answers with ``answer`` (or never, when None) and keeps what it was asked."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        if self.answer is None:
            await reader.read()  # until the other side gives up
        else:
            writer.write(self.answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def ask(probe: Probe) -> str | None:
    return asyncio.run(RealRig.probes.probe(probe, 1, PROCESS))


async def ask_http(server: Server, path: str = "/healthz", timeout: float = 4) -> str | None:  # noqa: ASYNC109
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        host, port = listener.sockets[0].getsockname()
        probe = HttpProbe(f"http://{host}:{port}{path}", timeout)
        return await asyncio.wait_for(RealRig.probes.probe(probe, 1, PROCESS), 6)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (OK, None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, None),
        (b"HTTP/1.0 200 OK\r\n\r\nbody", None),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answered 503"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered 404"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, "the answer is not HTTP"),
        (b"HTTP/1.1 2", "the answer is not HTTP"),
        (b"", "closed without an answer"),
    ],
)
def test_http_answers(answer: bytes, why: str | None) -> None:
    assert asyncio.run(ask_http(Server(answer))) == why


def test_http_asks_once_for_the_path_and_closes() -> None:
    server = Server(OK)
    assert asyncio.run(ask_http(server, "/a/b?c=d")) is None
    (asked,) = server.asked
    assert asked.startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
    assert b"\r\nConnection: close\r\n" in asked
    assert asyncio.run(ask_http(server, "")) is None
    assert server.asked[1].startswith(b"GET / HTTP/1.1\r\n")


def test_http_that_hangs_ends_at_its_time() -> None:
    assert asyncio.run(ask_http(Server(None), timeout=0.05)) == "no answer within 0.05s"


def test_http_over_a_unix_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "a b.sock")
        url = f"http+unix://{quote(path, safe='')}/ready"
        server = Server(OK)
        async with await asyncio.start_unix_server(server.serve, path):
            assert await RealRig.probes.probe(HttpProbe(url), 1, PROCESS) is None
        assert server.asked[0].startswith(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n")
        Path(path).unlink(missing_ok=True)
        assert await RealRig.probes.probe(HttpProbe(url), 1, PROCESS) == "no socket at that path"

    asyncio.run(scenario())


def test_urls_that_cannot_be_asked() -> None:
    assert (
        ask(HttpProbe("https://localhost/")) == "cannot ask https:// URLs; known: http, http+unix"
    )


def test_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert ask(TcpProbe("127.0.0.1", port)) is None
        assert ask(TcpProbe("localhost", port)) is None
        assert ask(HttpProbe(f"http://127.0.0.1:{port}/", 0.05)) == "no answer within 0.05s"
    assert ask(TcpProbe("127.0.0.1", port)) == "connection refused"
    assert ask(TcpProbe("localhost", port)) == "connection refused"
    assert ask(HttpProbe(f"http://127.0.0.1:{port}/")) == "connection refused"


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (CommandResult(0, timed_out=False, error=None, output=("fine",)), None),
        (CommandResult(3, timed_out=False, error=None, output=("no",)), "exit code 3"),
        (CommandResult(None, timed_out=True, error=None, output=()), "no answer within 5s"),
        (
            CommandResult(None, timed_out=False, error="no such file", output=()),
            "no such file",
        ),
    ],
)
def test_exec(result: CommandResult, why: str | None) -> None:
    commands = Commands(result)
    process = ProcessSpec(("web",), user="www", env=(("A", "1"), ("PATH", "/opt/bin")))
    probe = ExecProbe(("check", "it"))
    assert asyncio.run(OsProbes(commands, Table()).probe(probe, 1, process)) == why
    (order,) = commands.orders
    assert order == CommandOrder(("check", "it"), process, (("PATH", "/opt/bin"), ("A", "1")), 5.0)
