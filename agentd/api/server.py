"""The agent's socket: binds it, lets connections in, and answers each.

Decides who is let in when many come: a connection that has not yet sent a request is the first to go, so that those
who hold connections open cannot keep others out. What is answered is the handlers' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from agentd import __version__
from agentd.api.context import Applying, Context, Reader, Telemetry, Upgrading
from agentd.api.exchange import Exchange, Limits
from agentd.api.listening import BACKLOG, listen
from agentd.api.message import Request, Response
from agentd.api.peers import Peer, peer_of
from agentd.api.problem import Problem, busy, malformed, printable
from agentd.api.routes import find
from agentd.config.access import Access, Level, allows
from agentd.ports import AdapterError, Archive, Logs
from agentd.runtime.runtime import Runtime
from agentd.wire import EXIT_HEADER, ExitCode

if TYPE_CHECKING:
    import h11

_GOODBYE_S = 1.0
_MISTAKE = ("agentd made a mistake; its log says which", 500, ExitCode.BUG)
_ENDING = ("agentd ends; what was asked for goes on", 503, ExitCode.UNREACHABLE)


class _Reader(asyncio.StreamReader):
    """A stream that tells when the other end has closed it."""

    ended: Callable[[], None] | None = None

    def feed_eof(self) -> None:
        """The other end will send no more."""
        super().feed_eof()
        if self.ended is not None:
            self.ended()


@dataclass(slots=True, eq=False)
class _Client:
    """One connection."""

    peer: Peer
    reader: _Reader
    writer: asyncio.StreamWriter
    task: asyncio.Task[None] | None = None
    asked: bool = False
    """Its request is there, whole."""

    def gone(self) -> bool:
        """Whether the other end was closed: a caller that only has no more to say (shutdown(2)) still reads."""
        sock = self.writer.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

    def ended(self) -> None:
        """Nobody waits any more: neither do we. What was asked for goes on."""
        if self.asked and self.task is not None and self.gone():
            self.task.cancel()


class Api:
    """The API of one agent: ``bind`` early, ``start`` when the loop runs, ``close`` at the end."""

    def __init__(
        self,
        runtime: Runtime,
        reader: Reader,
        logs: Logs,
        access: Access,
        path: Path,
        *,
        archive: Archive,
        version: str = __version__,
        who: Callable[[socket.socket], Peer] = peer_of,
        limits: Limits | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """``reader`` is the journal's read side, ``archive`` the kept configurations; ``who`` says who is at the other end."""
        self._context = Context(
            runtime, reader, logs, version, str(path), archive=archive, telemetry=telemetry
        )
        self.measured = self._context.measured
        self._access = access
        self._path = path
        self._who = who
        self._limits = limits or Limits()
        self._uid = os.geteuid()
        self._clients: dict[_Client, None] = {}
        """Oldest first."""
        self._socket: socket.socket | None = None
        self._inode = 0
        self._server: asyncio.Server | None = None
        self._tasks = contextlib.AsyncExitStack()

    def define(self, applying: Applying) -> None:
        """Who reads the definitions again; before ``start``."""
        self._context.applying = applying

    def notice(self, what: Sequence[str]) -> None:
        """What nobody who asks for the status should miss; before ``start``."""
        self._context.notices = tuple(what)

    def upgrade(self, upgrading: Upgrading) -> None:
        """Who replaces the agent's code; before ``start``."""
        self._context.upgrading = upgrading

    def allow(self, access: Access) -> None:
        """From now on these rules say who may ask for what; who may connect at all stays as it was bound."""
        self._access = access

    def bind(self, held: int | None = None) -> socket.socket:
        """Listen; whoever connects is answered after ``start``. Raises AdapterError: another agent does, or nobody may."""
        self._socket = listen(self._path, self._access, held)
        self._inode = self._path.stat().st_ino
        return self._socket

    async def start(self) -> None:
        """Answer. Must be awaited by the task that will await ``close``."""
        sock = self._socket or self.bind()
        self._context.disk.open(await self._tasks.enter_async_context(asyncio.TaskGroup()))
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.StreamReaderProtocol:
            # As asyncio.start_unix_server() does it, with our reader.
            reader = _Reader(limit=self._limits.head, loop=loop)
            return asyncio.StreamReaderProtocol(reader, self._connected, loop=loop)

        # The path is ours to remove, or to keep: from Python 3.13 on asyncio would remove it, too.
        ours: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._server = await loop.create_unix_server(connection, sock=sock, backlog=BACKLOG, **ours)

    def keep(self) -> int:
        """A descriptor on which clients wait after ``close``; the path stays theirs."""
        assert self._socket is not None
        self._inode = 0
        return os.dup(self._socket.fileno())

    async def close(self) -> None:
        """Answer nobody any more; who waits is told, and what runs goes on."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            if self._inode and self._path.stat().st_ino == self._inode:
                self._path.unlink()
        tasks = [client.task for client in self._clients if client.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GOODBYE_S)
        self._context.disk.close()
        await self._tasks.aclose()

    # One connection.

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[None, None, None] | None:
        """Let it in, or say why not; asyncio makes a task of what is returned, and reports what it raises."""
        assert isinstance(reader, _Reader)
        try:
            peer = self._who(writer.get_extra_info("socket"))
        except OSError:  # it has gone already
            writer.transport.abort()
            return None
        client = _Client(peer, reader, writer)
        if why := self._full(client):
            writer.write(_turned_away(why))
            writer.close()
            return None
        self._clients[client] = None
        return self._serve(client)

    def _full(self, new: _Client) -> str:
        """Why there is no room; the oldest connection without a request makes room when it is the agent's that is short."""
        uid, limits = new.peer.uid, self._limits
        theirs = sum(client.peer.uid == uid for client in self._clients)
        if uid not in (0, self._uid) and theirs >= limits.of_one_user:
            return f"you have {theirs} connections to agentd already"
        if len(self._clients) < limits.connections:
            return ""
        owners = (0, self._uid)
        idle = next((client for client in self._clients if not client.asked), None)
        if idle is None and uid in owners:  # whoever runs the host is never kept out by its guests
            idle = next((c for c in self._clients if c.peer.uid not in owners), None)
        if idle is None:
            return f"agentd has {len(self._clients)} connections already; ask again in a moment"
        del self._clients[idle]
        idle.writer.transport.abort()
        return ""

    async def _serve(self, client: _Client) -> None:
        client.task = asyncio.current_task()
        client.reader.ended = client.ended
        exchange = Exchange(client.reader, client.writer, self._limits)
        last_words: tuple[str, int, ExitCode] | None = _MISTAKE
        try:
            await self._exchange(client, exchange)
            last_words = None
        except (TimeoutError, ConnectionError):
            client.writer.transport.abort()  # it does not read, or it has gone
            last_words = None
        except asyncio.CancelledError:
            last_words = _ENDING  # or the caller has gone, and nobody reads it
        finally:
            self._clients.pop(client, None)
            if last_words is not None:
                exchange.last_words(*last_words)
            client.writer.close()

    async def _exchange(self, client: _Client, exchange: Exchange) -> None:
        try:
            head = await exchange.head()
            if head is None:
                return
            response = await self._respond(client, exchange, head)
        except Problem as problem:
            response = problem.response()
        except AdapterError as error:
            response = busy(error.what).response()
        await exchange.send(response)
        await exchange.linger()

    async def _respond(self, client: _Client, exchange: Exchange, head: h11.Request) -> Response:
        target = head.target.decode("ascii")
        path, _, query = target.partition("?")
        segments = [unquote(segment) for segment in path.split("/")]
        found = find(exchange.method, segments, printable(path))
        level = self._level(client.peer)
        if level is None or level < found.route.level:
            needed = found.route.level.name.lower()
            what = f"you may not {found.route.summary}: that takes {needed} in [agent.access]"
            raise Problem(403, what, ExitCode.DENIED)
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=4096)
        except ValueError as error:
            raise malformed(f"cannot read the query: {error}") from None
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in head.headers}
        body = await exchange.body()
        request = Request(client.peer, level, found.args, tuple(pairs), headers, body)
        client.asked = True
        if client.reader.at_eof():
            client.ended()  # sent and gone: it is done all the same, up to where one would wait
        return await found.route.handler(self._context, request)

    def _level(self, peer: Peer) -> Level | None:
        """The highest level that a caller may use; None: not even read."""
        granted = (
            level
            for level in reversed(Level)
            if allows(self._access, level, peer.uid, peer.gids, self._uid)
        )
        return next(granted, None)


def _turned_away(why: str) -> bytes:
    """A whole answer for somebody whose request is not even read."""
    response = busy(why).response()
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {response.kind}\r\n{EXIT_HEADER}: {response.code}\r\n"
        f"Connection: close\r\nContent-Length: {len(response.body)}\r\n\r\n"
    )
    return head.encode("ascii") + response.body
