"""One request and its answer on one connection: h11 on asyncio streams, bounded in bytes and in time.

Decides how much a caller may send, how slowly, and how slowly it may read. A connection carries one exchange: another
connection on this machine costs microseconds, and an idle one is then always one that owes us a request.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

import h11

from agentd.api.message import REASONS, Response
from agentd.api.problem import Problem, malformed
from agentd.wire import EXIT_HEADER, ExitCode

_PIECE = 1 << 16
_READ = 4096
"""Small, because h11 bounds what is incomplete: a head that arrives whole in one read would pass it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, seconds and connections."""

    head: int = 16 * 1024
    body: int = 64 * 1024
    head_s: float = 5.0
    body_s: float = 10.0
    write_s: float = 10.0
    """For each piece of an answer: who reads more slowly than that is cut."""
    linger_s: float = 0.5
    """How long what a refused caller still sends is thrown away, so that it gets to reading the answer."""
    connections: int = 128
    of_one_user: int = 32


class Exchange:
    """The protocol of one connection. Raises TimeoutError and ConnectionError when the caller does not keep up."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head)
        # Nothing is buffered beyond the piece under way: draining means that the kernel has it all.
        writer.transport.set_write_buffer_limits(high=0)
        self._write_s = limits.write_s
        self.method = ""
        self.answered = False
        """Whether the head of an answer was sent: after that a failure can only end the connection."""

    async def head(self) -> h11.Request | None:
        """The head of the request; None: the caller went without one. Raises Problem 400, 408, 431."""
        try:
            async with asyncio.timeout(self._limits.head_s):
                event = await self._next()
        except TimeoutError:
            raise malformed("the request did not come in time", 408) from None
        if not isinstance(event, h11.Request):
            return None
        self.method = event.method.decode("ascii")
        return event

    async def body(self) -> bytes:
        """All of the request's body. Raises Problem 400, 408, 413."""
        limit = self._limits.body
        too_large = malformed(f"the body is larger than {limit} bytes", 413)
        for name, value in self._request_headers:
            if name == b"content-length" and int(value) > limit:
                raise too_large
        if self._http.they_are_waiting_for_100_continue:
            going_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            await self._write(self._http.send(going_on) or b"")
        data = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_s):
                while isinstance(event := await self._next(), h11.Data):
                    data += event.data
                    if len(data) > limit:
                        raise too_large
        except TimeoutError:
            raise malformed("the body did not come in time", 408) from None
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionResetError
        return bytes(data)

    async def send(self, response: Response) -> None:
        """The answer, whole; lines as they come until there are no more."""
        self._write_s = response.write_s or self._limits.write_s
        self._begin(response)
        if self.method == "HEAD":
            await self._drain()
            return
        if response.lines is None:
            view = memoryview(response.body)
            for start in range(0, len(view), _PIECE):
                await self._write(self._data(bytes(view[start : start + _PIECE])))
        else:
            await self._drain()
            async with aclosing(response.lines) as lines:
                async for piece in lines:
                    await self._write(self._data(piece))
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        await self._drain()

    def last_words(self, detail: str, status: int, code: ExitCode) -> None:
        """An answer where none was expected any more; nothing waits for it to be taken."""
        if not self.answered and self._http.our_state is not h11.ERROR:
            response = Problem(status, detail, code).response()
            self._begin(response)
            if self.method != "HEAD":
                self._writer.write(self._data(response.body))

    async def linger(self) -> None:
        """Throw away what a refused caller still sends, for a moment: many write all before they read."""
        if self._http.their_state is h11.DONE:
            return
        self._writer.write_eof()
        try:
            async with asyncio.timeout(self._limits.linger_s):
                while await self._reader.read(_PIECE):
                    pass
        except TimeoutError:
            pass

    def _begin(self, response: Response) -> None:
        headers = [
            ("Content-Type", response.kind),
            (EXIT_HEADER, str(response.code)),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
            *response.headers,
        ]
        if response.lines is None:
            headers.append(("Content-Length", str(len(response.body))))
        reason = REASONS.get(response.status, "").encode()
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        self.answered = True
        self._writer.write(self._http.send(head) or b"")

    def _data(self, data: bytes) -> bytes:
        return self._http.send(h11.Data(data=data)) or b""

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise malformed(f"this is not HTTP: {error}", error.error_status_hint) from None
            if isinstance(event, h11.Request):
                self._request_headers = list(event.headers)
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # NEED_DATA is out
            self._http.receive_data(await self._reader.read(_READ))

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._drain()

    async def _drain(self) -> None:
        async with asyncio.timeout(self._write_s):
            await self._writer.drain()
