"""The languages of the load: what is sent for one question, and how its answer is known to be whole. No input or output of its own."""

from __future__ import annotations

import struct
from typing import Protocol

from answers import KEPT, Answer, Garbled

END = "\r\n"


class Whole(Protocol):
    """What ``answers.Answer`` is to a connection."""

    status: int
    announced: bool
    began: bool
    body: bytes

    def feed(self, data: bytes) -> bool: ...

    def ended(self, *, orderly: bool) -> bool: ...


class Speech(Protocol):
    def question(self, *, first: bool, last: bool) -> bytes:
        """The bytes of one question; ``first`` on its connection, or its ``last``."""

    def answer(self, *, first: bool) -> Whole:
        """What takes the answer to it."""


class Http:
    """GET, or ``POST /path`` of nothing."""

    def __init__(self, host: str, path: str, headers: list[str]) -> None:
        method, _, path = path.rpartition(" ")
        more = [*headers, "Content-Length: 0"] if method else headers
        lines = "".join(f"{header}{END}" for header in more)
        self._head = f"{method or 'GET'} {path} HTTP/1.1{END}Host: {host}{END}{lines}"

    def question(self, *, first: bool, last: bool) -> bytes:
        return f"{self._head}{'Connection: close' + END if last else ''}{END}".encode()

    def answer(self, *, first: bool) -> Whole:
        return Answer()


class Postgres:
    """SHOW of one setting, as a user who is trusted (protocol 3.0)."""

    def __init__(self, user: str, setting: str) -> None:
        words = b"".join(w.encode() + b"\0" for w in ("user", user, "database", "postgres"))
        self._hello = struct.pack("!II", 9 + len(words), 196608) + words + b"\0"
        text = f"SHOW {setting}".encode() + b"\0"
        self._ask = b"Q" + struct.pack("!I", 4 + len(text)) + text

    def question(self, *, first: bool, last: bool) -> bytes:
        return (self._hello if first else b"") + self._ask

    def answer(self, *, first: bool) -> Whole:
        return Messages(2 if first else 1)


class Messages:
    """PostgreSQL's messages until it is ready for the next query, that often."""

    def __init__(self, ready: int) -> None:
        self.status, self.announced, self.began, self.body = 200, False, False, b""
        self._left, self._data = ready, bytearray()

    def feed(self, data: bytes) -> bool:
        self.began = True
        self._data += data
        while len(self._data) >= 5:
            kind, length = struct.unpack_from("!cI", self._data)
            if len(self._data) < 1 + length:
                break
            body = bytes(self._data[5 : 1 + length])
            del self._data[: 1 + length]
            match kind:
                case b"E":
                    self.status = 500
                    return True
                case b"D":
                    self.body = body[6 : 6 + KEPT]
                case b"Z":
                    self._left -= 1
        return self._left <= 0

    def ended(self, *, orderly: bool) -> bool:
        return False


class Redis:
    """CONFIG GET of one setting (RESP2)."""

    def __init__(self, setting: str) -> None:
        self._ask = f"CONFIG GET {setting}\r\n".encode()

    def question(self, *, first: bool, last: bool) -> bytes:
        return self._ask

    def answer(self, *, first: bool) -> Whole:
        return Bulks()


class Bulks:
    """An array of bulk strings, or an error."""

    def __init__(self) -> None:
        self.status, self.announced, self.began, self.body = 200, False, False, b""
        self._data = b""

    def feed(self, data: bytes) -> bool:
        self.began = True
        self._data += data
        if self._data.startswith(b"-"):
            self.status = 500
            return self._data.endswith(b"\r\n")
        if not self._data.startswith(b"*"):
            raise Garbled(self._data[:40].decode("latin-1"))
        lines = self._data.split(b"\r\n")
        if len(lines) < 2 * int(lines[0][1:] or 0) + 2:
            return False
        self.body = lines[-2][:KEPT]
        return True

    def ended(self, *, orderly: bool) -> bool:
        return False
