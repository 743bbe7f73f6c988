"""One connection to a server, one request at a time, and how each request ended. Retries nothing and counts nothing."""

from __future__ import annotations

import asyncio

from answers import Garbled
from speech import Speech, Whole

GOOD = "good"


class Connection(asyncio.Protocol):
    """One connection to the server; one request at a time."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._asked = 0
        self.answer: Whole = speech.answer(first=True)
        self.answered = 0
        self.lost = False
        self._transport: asyncio.Transport
        self._end: asyncio.Future[str] | None = None
        self._orderly = False

    async def ask(self, patience: float, *, last: bool) -> str:
        """What became of the request."""
        first = not self._asked
        self._asked += 1
        self.answer = self._speech.answer(first=first)
        self._end = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(patience, self._ended, "timeout")
        if self.lost:
            self._ended("closed" if self._orderly else "reset")
        else:
            self._transport.write(self._speech.question(first=first, last=last))
        try:
            return await self._end
        finally:
            timer.cancel()

    def close(self) -> None:
        self._transport.abort() if self._end else self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            if self._end is None:
                self.close()  # more than was asked for: the next answer would be wrong
            elif self.answer.feed(data):
                self._whole()
        except (Garbled, ValueError):
            self._ended("garbled")

    def eof_received(self) -> None:
        self._orderly = True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._end is None:
            return
        if self.answer.ended(orderly=error is None):
            self._whole()
        elif self.answer.began:
            self._ended("cut")
        else:
            self._ended("reset" if error else "closed")

    def _whole(self) -> None:
        self.answered += 1
        self._ended(GOOD if self.answer.status == 200 else f"status {self.answer.status}")

    def _ended(self, how: str) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(how)
        self._end = None
        if how == "timeout":
            self._transport.abort()
