"""Callers that send garbage, too much, too slowly or nothing; and the socket at its path."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentd.api.exchange import Limits
from agentd.api.listening import listen
from agentd.config.access import Access
from agentd.ports import AdapterError
from tests.api.stage import ALICE, ROOT, looped, ready, reply, request, serving, soon

RELOAD = "/v1/services/web/reload"
HEAD = b"POST /v1/services/web/reload HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 70_000, 431),
        (b"PUT /v1/status HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /v2/status HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /v1/status/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /v1/services//logs HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /v1/status?" + b"&".join([b"service=a"] * 1600) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (HEAD + b"Content-Length: 65537\r\n\r\n", 413),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n1\r\nx\r\n", 413),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (HEAD + b'Content-Length: 5\r\n\r\n{"a":', 400),
        (HEAD + b"Content-Length: 2\r\n\r\n\xff\xfe", 400),
        (HEAD + b"Content-Length: 60000\r\n\r\n" + b"[" * 60000, 400),
        (HEAD + b'Content-Length: 17\r\n\r\n{"timeout_s":NaN}', 400),
        (HEAD.replace(b"application/json", b"text/plain") + b"Content-Length: 2\r\n\r\n{}", 415),
    ],
)  # fmt: skip
@looped
async def test_what_cannot_be_understood_is_a_problem(
    data: bytes, status: int, tmp_path: Path
) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        answer = await stage.raw(data)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert "reloadctl-exit" in answer.headers
        assert (await stage.get("/v1/status")).status == 200
        assert not stage.runtime.asked


@looped
async def test_the_small_print_of_http(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        assert (await stage.ask("DELETE", "/v1/status")).headers["allow"] == "GET, HEAD"
        assert (await stage.ask("GET", RELOAD)).headers["allow"] == "POST"
        whole, head = await stage.get("/v1/reloads"), await stage.ask("HEAD", "/v1/reloads")
        assert (head.status, head.body, head.headers) == (200, b"", whole.headers)
        assert (await stage.ask("HEAD", "/v1/services/nope")).body == b""
        assert (await stage.raw(b"GET /v1/status HTTP/1.0\r\n\r\n")).status == 200
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        stage.runtime.answer = stage.runtime.accepts()
        assert (await stage.raw(chunked)).status == 200


@looped
async def test_a_body_that_is_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts()
        reader, writer = await stage.connect()
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"{}")
        assert (await reply(reader)).status == 200
        writer.close()


@pytest.mark.parametrize("data", [b"", b"GET /v1/st", HEAD + b"Content-Length: 5\r\n\r\n{"])
@looped
async def test_who_does_not_go_on_is_cut(data: bytes, tmp_path: Path) -> None:
    limits = Limits(head_s=0.05, body_s=0.05, linger_s=0.05)
    async with serving(tmp_path, ready("web"), limits=limits) as stage:
        assert (await stage.raw(data)).status == 408
        await soon(lambda: not stage.api._clients)
        assert not stage.runtime.asked


@looped
async def test_who_drips_is_cut_all_the_same(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), limits=Limits(head_s=0.1)) as stage:
        reader, writer = await stage.connect()

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"X")
                    await writer.drain()
                    await asyncio.sleep(0.005)

        dripping = asyncio.create_task(drip())
        assert b" 408 " in await reader.readuntil(b"\r\n")
        dripping.cancel()
        writer.close()


@looped
async def test_who_does_not_read_is_cut(tmp_path: Path) -> None:
    services = [ready(f"service-{n}") for n in range(2000)]
    async with serving(tmp_path, *services, limits=Limits(write_s=0.05)) as stage:
        _, writer = await stage.connect()
        writer.transport.pause_reading()
        writer.write(request("GET", "/v1/status"))
        await soon(lambda: any(client.task for client in stage.api._clients))
        (client,) = stage.api._clients
        await asyncio.wait([client.task])
        assert not stage.api._clients
        writer.close()


@pytest.mark.parametrize("peer", [ROOT, replace(ALICE, uid=99)])
@looped
async def test_those_who_only_hold_on_do_not_keep_others_out(peer: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage, contextlib.AsyncExitStack() as stack:
        limit = stage.api._limits
        stage.peer = peer
        for n in range(200):
            _, writer = await stage.connect()
            stack.callback(writer.close)
            writer.write(b"GET /v1/status HT"[: n % 17])
        begun = asyncio.get_running_loop().time()
        answer = await stage.get("/v1/status", ROOT)
        assert (answer.status, answer.exit) == (200, 0)
        assert asyncio.get_running_loop().time() - begun < 0.5
        held = sum(client.peer == peer for client in stage.api._clients)
        assert 0 < held <= (limit.connections if peer.uid == 0 else limit.of_one_user)


@looped
async def test_one_user_has_so_many_connections(tmp_path: Path) -> None:
    limits = Limits(connections=6, of_one_user=3)
    async with (
        serving(tmp_path, ready("web"), limits=limits) as stage,
        contextlib.AsyncExitStack() as stack,
    ):
        stage.peer = ALICE
        for n in range(3):
            _, writer = await stage.connect()
            stack.callback(writer.close)
            await soon(lambda n=n: len(stage.api._clients) == n + 1)
        answer = await stage.get("/v1/status", ALICE)
        assert (answer.status, answer.exit) == (503, 156)
        assert (await stage.get("/v1/status", replace(ALICE, uid=99))).status == 200


@looped
async def test_who_waits_for_a_verdict_does_not_make_room(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), limits=Limits(connections=2)) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        writers = [(await stage.connect())[1] for _ in range(2)]
        for n, writer in enumerate(writers):
            writer.write(request("POST", RELOAD, {}))
            await soon(lambda n=n: len(stage.runtime.asked) == n + 1)
        assert (await stage.get("/v1/status")).status == 503
        assert len(stage.api._clients) == 2
        for writer in writers:
            writer.close()


@looped
async def test_guests_who_wait_make_room_for_who_runs_the_host(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), limits=Limits(connections=2)) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        stage.peer = ALICE
        writers = [(await stage.connect())[1] for _ in range(2)]
        for n, writer in enumerate(writers):
            writer.write(request("GET", "/v1/events", None))
            await soon(lambda n=n: sum(c.asked for c in stage.api._clients) == n + 1)
        assert (await stage.get("/v1/status", ALICE)).status == 503
        assert (await stage.get("/v1/status", replace(ALICE, uid=0))).status == 200
        for writer in writers:
            writer.close()


@looped
async def test_a_mistake_of_ours_is_said_and_ends_nothing(tmp_path: Path) -> None:
    async def answer(event: Any) -> Any:
        raise ZeroDivisionError

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(context["exception"])
    )
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = answer
        wrong = await stage.post(RELOAD, {})
        assert (wrong.status, wrong.exit) == (500, 1)
        assert [type(error) for error in told] == [ZeroDivisionError]
        assert (await stage.get("/v1/status")).status == 200


@looped
async def test_who_waits_when_the_agent_ends_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts(None)
        waiting = asyncio.create_task(stage.post(RELOAD, {}))
        await stage.runtime.news.wait()
        await stage.api.close()
        answer = await waiting
        assert (answer.status, answer.exit) == (503, 156)
        assert not stage.path.exists()
        stage.api._inode = 0


# The path.


def test_a_socket_of_a_dead_agent_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with listen(path, Access()):
        assert path.stat().st_mode & 0o777 == 0o666
    with listen(path, Access(())), socket.socket(socket.AF_UNIX) as client:
        assert path.stat().st_mode & 0o777 == 0o600
        client.connect(str(path))


def test_an_agent_that_lives_keeps_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with listen(path, Access()), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(AdapterError, match="an agent already listens"):
            listen(path, Access())
        client.connect(str(path))


def test_an_agent_that_is_busy_keeps_it_too(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with contextlib.ExitStack() as stack:
        stack.enter_context(listen(path, Access()))
        for _ in range(200):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(str(path)):
                break
        with pytest.raises(AdapterError, match="an agent already listens"):
            listen(path, Access())


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("precious")
    with pytest.raises(AdapterError, match="is not a socket"):
        listen(path, Access())
    assert path.read_text() == "precious"
    with pytest.raises(AdapterError, match="cannot listen"):
        listen(tmp_path / "nowhere" / "a.sock", Access())
    with pytest.raises(AdapterError, match="cannot listen"):
        listen(tmp_path / ("x" * 120), Access())
    assert [found.name for found in tmp_path.iterdir()] == ["a.sock"]
