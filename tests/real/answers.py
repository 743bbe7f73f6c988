"""One HTTP/1.1 answer as it comes in: when it is whole, and what is missing when its connection ends. No input or output of its own."""

from __future__ import annotations

KEPT = 200
"""Bytes of a body that are remembered."""


class Garbled(Exception):  # noqa: N818 - what came, not what went wrong here
    """What came is not an answer."""


class Answer:
    """Fed with bytes in any portions. Whole once ``feed`` or ``ended`` said so."""

    def __init__(self) -> None:
        self.status = 0
        self.announced = False
        """The server says that it closes this connection."""
        self.began = False
        self.body = b""
        self._data = bytearray()
        self._length: int | None = None
        self._chunked = False
        self._whole = False

    def feed(self, data: bytes) -> bool:
        """Whether the answer is whole. Raises Garbled."""
        self.began = True
        self._data += data
        if not self.status and not self._head():
            return False
        if self._chunked:
            self._whole = self._chunks()
        elif self._length is not None:
            self._whole = len(self._data) >= self._length
            self.body = bytes(self._data[: min(self._length, KEPT)])
        return self._whole

    def ended(self, *, orderly: bool) -> bool:
        """Whether the end of the connection leaves a whole answer: also one that has no length and ends with its connection."""
        endless = bool(self.status) and self._length is None and not self._chunked
        if endless and orderly:
            self.body = bytes(self._data[:KEPT])
            return True
        return self._whole

    def _head(self) -> bool:
        head, found, rest = bytes(self._data).partition(b"\r\n\r\n")
        if not found:
            if len(head) > 65536:
                raise Garbled("a head without an end")
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, more = first.partition(" ")
        if not version.startswith("HTTP/1.") or not more[:3].isdigit():
            raise Garbled(first[:40])
        self.status = int(more[:3])
        fields = {
            k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)
        }
        self.announced = version == "HTTP/1.0" or fields.get("connection", "").lower() == "close"
        self._chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        if self.status in (204, 304):
            self._length = 0
        elif (length := fields.get("content-length")) is not None:
            self._length = int(length)
        self._data = bytearray(rest)
        return True

    def _chunks(self) -> bool:
        """Takes the whole chunks; true after the last one. No trailers."""
        while True:
            line, found, rest = bytes(self._data).partition(b"\r\n")
            if not found:
                return False
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError as error:
                raise Garbled(f"a chunk of size {line[:20]!r}") from error
            if len(rest) < size + 2:
                return False
            self.body = (self.body + rest[:size])[:KEPT]
            self._data = bytearray(rest[size + 2 :])
            if size == 0:
                return True
