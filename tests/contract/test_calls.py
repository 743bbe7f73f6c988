"""The real calls against scripted servers in the same process, the fake by the same contract, and every way a server lets one down."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agentd.ports import CallOrder, CallResult
from agentd.system.calls import BODY_LIMIT, OsCalls
from agentd.system.exchange import KEEP
from agentd.system.http import place
from tests.contract import checks_calls
from tests.contract.checks_calls import ORDER
from tests.sim.calls import Answer, FakeCalls

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def said(status: int, *lines: str) -> bytes:
    body = "".join(f"{line}\n" for line in lines).encode()
    length = "" if status in (204, 304) else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} word\r\n{length}\r\n".encode() + body


@dataclass
class Server:
    """Reads a request whole, keeps it, and answers with bytes or by a script; closes then."""

    answer: bytes | Script = b""
    asked: list[bytes] = field(default_factory=list)
    url: str = ""
    serving: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if callable(self.answer):
                    await self.answer(reader, writer)
                else:
                    self.asked.append(await whole(reader))
                    writer.write(self.answer)
                    await writer.drain()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        finally:
            self.serving.discard(asyncio.current_task())

    async def end(self) -> None:
        """Every connection is closed by the other side, or it waits in vain."""
        while any(self.serving):
            await asyncio.sleep(0)


async def whole(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
    return head + await reader.readexactly(int(length or 0))


@contextlib.asynccontextmanager
async def calling() -> AsyncIterator[OsCalls]:
    calls = OsCalls()
    try:
        async with asyncio.timeout(20):
            yield calls
    finally:
        calls.close()


@contextlib.asynccontextmanager
async def serving(answer: bytes | Script, **tls: Any) -> AsyncIterator[Server]:
    server = Server(answer)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, **tls) as listener:
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield server
        await server.end()


def call(answer: bytes | Script, path: str = "/load", **order: Any) -> tuple[CallResult, Server]:
    async def scenario() -> tuple[CallResult, Server]:
        async with serving(answer) as server, calling() as calls:
            given = replace(ORDER, url=server.url + path, **order)
            return await calls.call(given), server

    return asyncio.run(scenario())


class RealRig:
    def __init__(self) -> None:
        self.calls = OsCalls()
        self.servers: list[asyncio.Server] = []
        self.scripts: list[Server] = []
        self.urls: dict[str, str] = {}

    async def open(self, name: str, answer: bytes | Script) -> None:
        self.scripts.append(Server(answer))
        listener = await asyncio.start_server(self.scripts[-1].serve, "127.0.0.1", 0)
        self.servers.append(listener)
        self.urls[name] = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"

    def answers(self, status: int, *lines: str) -> CallOrder:
        return replace(ORDER, url=self.urls[f"{status} {lines}"])

    def silent(self) -> CallOrder:
        return replace(ORDER, url=self.urls["silent"])

    def nobody(self) -> CallOrder:
        return replace(ORDER, url=self.urls["nobody"])


@contextlib.asynccontextmanager
async def real() -> AsyncIterator[RealRig]:
    rig = RealRig()
    scripted: list[tuple[int, tuple[str, ...]]] = [
        (200, ("one", "two")),
        (204, ()),
        (400, ("line 3: bad",)),
        (304, ()),
        (201, ()),
    ]
    for status, lines in scripted:
        await rig.open(f"{status} {lines}", said(status, *lines))
    await rig.open("silent", silent)
    await rig.open("nobody", b"")
    rig.servers[-1].close()
    await rig.servers[-1].wait_closed()
    async with asyncio.timeout(20):
        yield rig
        for script in rig.scripts:
            await script.end()
    rig.calls.close()
    for server in rig.servers:
        server.close()


class FakeRig:
    def __init__(self) -> None:
        self.script = {"silent": Answer(None)}
        self.calls = FakeCalls(self.script)

    def answers(self, status: int, *lines: str) -> CallOrder:
        self.script["answers"] = Answer(status, lines)
        return replace(ORDER, url="answers")

    def silent(self) -> CallOrder:
        return replace(ORDER, url="silent")

    def nobody(self) -> CallOrder:
        return replace(ORDER, url="nobody")


@contextlib.asynccontextmanager
async def fake() -> AsyncIterator[FakeRig]:
    yield FakeRig()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()  # until the other side gives up


@pytest.mark.parametrize("make", [real, fake], ids=["real", "fake"])
@pytest.mark.parametrize("check", checks_calls.CHECKS, ids=lambda check: check.__name__)
def test_the_contract(check: checks_calls.Check, make: checks_calls.Make) -> None:
    asyncio.run(check(make))


@pytest.mark.parametrize(
    ("answer", "status", "error", "output"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + said(200, "a"), 200, None, ("a",)),
        (b"HTTP/1.0 200 OK\r\n\r\nto the\nend", 200, None, ("to the", "end")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n2\r\nc\n\r\n0\r\n\r\n",
            200,
            None,
            ("a", "bc"),
        ),
        (said(400, "\x00", "x").replace(b"\x00", b"\xff"), 400, "answered 400", ("�", "x")),
        (said(412), 412, "answered 412", ()),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", None, "the answer is not HTTP", ()),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, None, "the answer is not HTTP", ()),
        (b"HTTP/1.1 2", None, "the answer is not HTTP", ()),
        (b"", None, "closed without an answer", ()),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            200,
            "the answer broke off",
            ("half",),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
            200,
            "the answer broke off",
            ("half",),
        ),
    ],
)
def test_answers(
    answer: bytes, status: int | None, error: str | None, output: tuple[str, ...]
) -> None:
    result, _ = call(answer)
    assert result == CallResult(status, error, timed_out=False, sent=True, output=output)


def test_a_redirect_is_said_and_not_followed() -> None:
    async def scenario() -> None:
        async with serving(said(200)) as other, calling() as calls:
            moved = f"HTTP/1.1 307 no\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
            async with serving(moved.encode()) as server:
                result = await calls.call(replace(ORDER, url=server.url))
            assert (result.status, result.sent) == (307, True)
            assert result.error == (
                "answered 307, and redirects are not followed: give the URL that it leads to"
            )
            assert not other.asked

    asyncio.run(scenario())


def test_the_request_is_what_was_ordered(tmp_path: Path) -> None:
    body = tmp_path / "caddy.json"
    body.write_bytes(b'{"a": 1}')
    headers = (("Content-Type", "application/json"), ("host", "admin.local"), ("X-A", "b"))
    _, server = call(
        said(200), "/load?x=y#part", headers=headers, body_file=str(body), method="PUT"
    )
    head, _, sent = server.asked[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "PUT /load?x=y HTTP/1.1"
    assert sorted(lines, key=str.lower) == [
        "Accept: */*",
        "Connection: close",
        "Content-Length: 8",
        "Content-Type: application/json",
        "host: admin.local",
        "User-Agent: agentd",
        "X-A: b",
    ]
    assert sent == b'{"a": 1}'
    _, server = call(said(200), "")
    assert server.asked[0].startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"ontent-" not in server.asked[0]


def test_a_password_in_the_url_is_sent_as_one() -> None:
    async def scenario() -> None:
        async with serving(said(200)) as server, calling() as calls:
            url = server.url.replace("http://", "http://me:p%40ss@")
            assert (await calls.call(replace(ORDER, url=url))).error is None
            word = base64.b64encode(b"me:p@ss")
            assert b"Authorization: Basic " + word in server.asked[0]

    asyncio.run(scenario())
    assert "p%40ss" not in place("http://me:p%40ss@host/x?token=1").shown


def test_no_body_but_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    _, server = call(said(200), body_file=str(tmp_path / "empty"))
    assert b"Content-Length: 0\r\n" in server.asked[0]


def test_a_big_body_to_a_slow_reader_arrives_whole(tmp_path: Path) -> None:
    data = os.urandom(8 << 20)
    (tmp_path / "big").write_bytes(data)
    _, server = call(said(200), body_file=str(tmp_path / "big"), timeout=15)
    assert server.asked[0].partition(b"\r\n\r\n")[2] == data


def test_an_early_no_is_heard_while_the_body_is_sent(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(16 << 20))

    async def scenario() -> None:
        heard = asyncio.Event()

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said(413, "too large"))
            await heard.wait()  # and reads no more

        async with serving(refuse) as server, calling() as calls:
            order = replace(ORDER, url=server.url, body_file=str(tmp_path / "big"), timeout=15)
            result = await calls.call(order)
            heard.set()
        assert (result.status, result.error, result.output) == (413, "answered 413", ("too large",))

    asyncio.run(scenario())


def test_of_a_huge_answer_the_end_is_kept_and_an_endless_one_is_left() -> None:
    line = b"x" * 99 + b"\n"

    async def huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000005\r\n\r\n")
        writer.write(line * 20_000 + b"end\n\n")
        await writer.drain()

    result, _ = call(huge)
    assert (result.error, result.output[-2:]) == (None, ("end", ""))
    assert KEEP - 200 < sum(len(text) + 1 for text in result.output) <= KEEP
    assert set(map(len, result.output[:-2])) == {99}, "no half line"

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(line * 1000)
            await writer.drain()

    result, _ = call(endless, timeout=15)
    assert (result.status, result.error, result.timed_out) == (200, None, False)


@pytest.mark.parametrize(
    ("begin", "status", "error"),
    [
        (b"", None, "no answer within 0.2s"),
        (b"HTTP/1.1 20", None, "no answer within 0.2s"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None, "no answer within 0.2s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, "no end of the answer within 0.2s"),
    ],
)
def test_what_never_comes_ends_at_its_time(begin: bytes, status: int | None, error: str) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole(reader)
        writer.write(begin)
        await reader.read()

    result, _ = call(hang, timeout=0.2)
    assert result == CallResult(status, error, timed_out=True, sent=True, output=())


def test_a_reset_may_have_been_heard() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.transport.abort()

    result, _ = call(reset)
    assert (result.status, result.sent) == (None, True)
    assert result.error in ("connection reset", "closed without an answer")


def etag(value: str) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await whole(reader)
        if request.startswith(b"GET "):
            assert b"X-Key: k" in request
            assert b"ontent-" not in request
            writer.write(said(200, "{}").replace(b"\r\n\r\n", f"\r\n{value}\r\n\r\n".encode(), 1))
        elif b'If-Match: "/config/ 1f"\r\n' in request:
            writer.write(said(200, "taken"))
        else:
            writer.write(said(412))
        await writer.drain()

    return script


@pytest.mark.parametrize(
    ("header", "status", "sent", "error"),
    [
        ('Etag: "/config/ 1f"', 200, True, None),
        (
            'ETag: "/config/ 2e"',
            412,
            True,
            "answered 412: somebody else has changed the configuration since its ETag was got",
        ),
        ('ETag: W/"1f"', None, False, "a weak one only, which If-Match never matches"),
        ("X: y", None, False, "it has none"),
    ],
)
def test_if_match(
    tmp_path: Path, header: str, status: int | None, sent: object, error: str | None
) -> None:
    (tmp_path / "body").write_text("{}")

    async def scenario() -> CallResult:
        async with serving(etag(header)) as server, calling() as calls:
            return await calls.call(
                replace(
                    ORDER,
                    method="PATCH",
                    url=f"{server.url}/config/",
                    match=f"{server.url}/config/",
                    headers=(("X-Key", "k"), ("Content-Type", "application/json")),
                    body_file=str(tmp_path / "body"),
                )
            )

    result = asyncio.run(scenario())
    assert (result.status, result.sent) == (status, sent)
    if status is not None:
        assert result.error == error
    else:
        assert (result.error or "").startswith("cannot get the ETag of 127.0.0.1:")
        assert (result.error or "").endswith(str(error))


def test_no_etag_from_nobody_means_nothing_was_sent() -> None:
    async def scenario() -> None:
        async with serving(said(500)) as server, calling() as calls:
            order = replace(ORDER, url=server.url, match=f"{server.url}/config/")
            result = await calls.call(order)
            assert (result.sent, result.status) == (False, None)
            assert (result.error or "").endswith("/config/: answered 500")
            assert len(server.asked) == 1
            result = await calls.call(replace(order, match="http://127.0.0.1:1/"))
            assert result.error == "cannot get the ETag of 127.0.0.1:1/: connection refused"
            assert not result.sent

    asyncio.run(scenario())


def test_over_a_unix_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "a b.sock")
        order = replace(ORDER, url=f"http+unix://{quote(path, safe='')}/load")
        server = Server(said(200))
        async with await asyncio.start_unix_server(server.serve, path), calling() as calls:
            assert (await calls.call(order)).error is None
            assert server.asked[0].startswith(b"POST /load HTTP/1.1\r\nHost: localhost\r\n")
            await server.end()
        Path(path).unlink(missing_ok=True)
        async with calling() as calls:
            result = await calls.call(order)
        assert (result.error, result.sent) == ("no socket at that path", False)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"url": "ftp://h/"}, "the URL is wrong: cannot ask ftp:// URLs; known: http, http+unix, https"),
        ({"url": "/just/a/path"}, "the URL is wrong: cannot ask /just/a/path:// URLs; known: "),
        ({"url": "http:///x"}, "the URL is wrong: it names no host"),
        ({"url": "http://h/ä"}, "the URL is wrong: its path must be printable ASCII; "),
        ({"url": "http://h/a b"}, "the URL is wrong: its path must be printable ASCII; "),
        ({"method": "P OST"}, "the request cannot be made: "),
        ({"headers": (("X\r\nY", "z"),)}, "the request cannot be made: "),
        ({"headers": (("X", "ä\r\nEvil: 1"),)}, "the request cannot be made: "),
        ({"headers": (("content-length", "3"),)}, "the header content-length cannot be given: "),
        ({"body_file": "/nowhere/x"}, "cannot read /nowhere/x: no such file or directory"),
        ({"body_file": "/dev/null"}, "cannot send /dev/null: it is no regular file"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_not(order: dict[str, Any], error: str) -> None:
    async def scenario() -> None:
        async with serving(said(200)) as server, calling() as calls:
            result = await calls.call(replace(ORDER, **({"url": server.url} | order)))
            assert (result.error or "").startswith(error)
            assert (result.status, result.sent, server.asked) == (None, False, [])

    asyncio.run(scenario())


def test_a_file_that_is_too_large_or_never_still_is_not_sent(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.touch()
    os.truncate(big, BODY_LIMIT + 1)
    result, server = call(said(200), body_file=str(big))
    assert result.error == f"cannot send {big}: it is larger than 64 MiB"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    result, _ = call(said(200), body_file=str(fifo), timeout=2)
    assert result.error == f"cannot send {fifo}: it is no regular file"
    assert not server.asked


def test_cancelling_closes_the_connection() -> None:
    async def scenario() -> None:
        closed = asyncio.Event()

        async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await whole(reader)
            asked.set()
            with contextlib.suppress(OSError):
                await reader.read()
            closed.set()

        asked = asyncio.Event()
        async with serving(script) as server, calling() as calls:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(calls.call(replace(ORDER, url=server.url, timeout=60)))
                await asked.wait()
                task.cancel()
            await closed.wait()

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    line = f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ["-keyout", str(made), "-out", str(made.with_suffix(".crt")), "-addext", names]
    subprocess.run([*line.split(), *files], check=True, capture_output=True)
    with made.open("a") as both:
        both.write(made.with_suffix(".crt").read_text())
    return made


def test_https(certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    (tmp_path / "body").write_bytes(data)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)

    async def scenario() -> None:
        async with serving(said(200, "taken"), ssl=served) as server, calling() as calls:
            order = replace(ORDER, url=server.url.replace("http:", "https:"), timeout=15)
            order = replace(order, body_file=str(tmp_path / "body"))
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
            result = await calls.call(order)
            assert result.error == "cannot agree on TLS: self-signed certificate"
            assert not result.sent
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
            result = await calls.call(order)
            assert result == CallResult(200, None, timed_out=False, sent=True, output=("taken",))
            assert server.asked[-1].partition(b"\r\n\r\n")[2] == data
        async with serving(plain) as server, calling() as calls:
            result = await calls.call(
                replace(order, url=server.url.replace("http:", "https:"), timeout=5)
            )
            assert (result.error or "").startswith("cannot agree on TLS: ")
            assert not result.sent

    asyncio.run(scenario())


async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(said(400, "this is not TLS"))


AS_IN_THE_AGENT = """
import agentd.slim, asyncio, sys
from agentd.ports import CallOrder
from agentd.system.calls import OsCalls
assert sys.modules["ssl"] is None
calls = OsCalls()
result = asyncio.run(calls.call(CallOrder("GET", sys.argv[1], (), None, None, (), 10)))
print(result.status, result.error, result.output)
"""


def test_https_in_an_agent_that_keeps_openssl_out(certificate: Path) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)

    async def scenario() -> None:
        async with serving(said(200, "taken"), ssl=served) as server:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", AS_IN_THE_AGENT, server.url.replace("http:", "https:")),
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"SSL_CERT_FILE": str(certificate.with_suffix(".crt"))},
            )
            out, _ = await child.communicate()
            assert out.decode() == "200 None ('taken',)\n"

    asyncio.run(asyncio.wait_for(scenario(), 30))
