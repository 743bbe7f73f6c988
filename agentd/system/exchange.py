"""One HTTP request and its answer on a wire that is there: both ways at once, bounded in memory, the end of the body kept.

Decides when an answer is whole. Which answer was wanted is not its business, nor how long it may take.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import h11

from agentd.system.http import HEAD_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentd.system.http import Wire

KEEP = 64 * 1024
_ENOUGH = 16 * 1024 * 1024
"""Of an answer's body; what goes on for longer is not waited for, its status says it all."""


class CannotError(Exception):
    """Why a call ended without the answer that was ordered: a clause."""


class Exchange:
    """One request and its answer on a wire. The two overlap: a server may say no before it has read all."""

    def __init__(self, wire: Wire, tail: Tail, heard: Callable[[int], None]) -> None:
        """``heard`` is told the status as soon as it is there; the body goes to ``tail``."""
        self._wire = wire
        self._tail = tail
        self._heard = heard
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._began = False

    async def make(self, head: h11.Request, body: Sequence[bytes]) -> h11.Response:
        """The final answer, its body read. Raises CannotError, OSError."""
        failed: Exception | None = None
        answer: h11.Response | None = None
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send(head, body))
            try:
                answer = await self._receive()
            except (OSError, h11.RemoteProtocolError) as error:
                failed = error  # raised below: a group would wrap it
            sending.cancel()
        if isinstance(failed, OSError):
            raise failed
        if failed is not None:
            raise CannotError("the answer broke off" if self._began else "the answer is not HTTP")
        if answer is None:
            raise CannotError("closed without an answer")
        return answer

    async def _send(self, head: h11.Request, body: Sequence[bytes]) -> None:
        # What cannot be sent is no failure yet: the answer may be there already, and says why.
        with suppress(OSError):
            await self._wire.send(self._http.send(head) or b"")
            for piece in body:
                await self._wire.send(self._http.send(h11.Data(data=piece)) or b"")
            await self._wire.send(self._http.send(h11.EndOfMessage()) or b"")

    async def _receive(self) -> h11.Response | None:
        """None: nothing came at all."""
        answer: h11.Response | None = None
        took = 0
        while took < _ENOUGH:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                answer = event
                self._began = True
                self._heard(event.status_code)
            elif isinstance(event, h11.Data):
                took += len(event.data)
                self._tail.add(bytes(event.data))
            elif event is h11.NEED_DATA:
                data = await self._wire.receive()
                if not data and answer is None and not self._http.trailing_data[0]:
                    return None
                self._http.receive_data(data)
            elif not isinstance(event, h11.InformationalResponse):
                return answer
        return answer


class Tail:
    """The end of a body."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._cut = False

    def add(self, data: bytes) -> None:
        """Append, and forget what is too long ago."""
        self._data += data
        if len(self._data) > KEEP:
            del self._data[:-KEEP]
            self._cut = True

    def lines(self) -> tuple[str, ...]:
        """The last ones, at most KEEP bytes; a first one that lost its beginning is left out."""
        data = bytes(self._data)
        if self._cut and b"\n" in data[:-1]:
            data = data[data.index(b"\n") + 1 :]
        return tuple(data.decode(errors="replace").splitlines())
