"""The client's half of HTTP/1.1 over asyncio, for probes and calls: where a URL leads, how one gets there, and a first answer.

One question for each connection. What an answer is worth is the caller's business, and so are deadlines.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

import h11

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD_LIMIT = 16 * 1024
CHUNK = 4096
_LOCALHOST = ("127.0.0.1", "::1")
"""What ``localhost`` means (RFC 6761): asking the resolver would start threads for it."""
_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ENOENT: "no socket at that path",
    errno.EACCES: "no permission to connect",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
}
_PORT_DIGITS = 5
_PORTS = {"http": 80, "https": 443, "http+unix": 0}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wire(Protocol):
    """A connection as bytes, plain or inside TLS. Raises OSError."""

    async def send(self, data: bytes) -> None:
        """Returns when the kernel has it, or all but a buffer of it."""

    async def receive(self) -> bytes:
        """What is there; empty: the other side will send no more."""


class Plain:
    """The wire over streams."""

    def __init__(self, streams: Streams) -> None:
        self._reader, self._writer = streams

    async def send(self, data: bytes) -> None:
        """See ``Wire``."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """See ``Wire``."""
        return await self._reader.read(CHUNK)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads."""

    tls: bool
    socket: str
    """Path of a Unix socket; empty: ``host`` and ``port``."""
    host: str
    port: int
    authority: str
    """What the Host header says."""
    target: str
    """Path and query."""
    user: str
    """``user:password``, decoded; empty when the URL has none."""

    @property
    def shown(self) -> str:
        """The URL as it may be repeated: without password and query."""
        where = f"unix socket {self.socket} " if self.socket else f"{self.authority}"
        return f"{where}{self.target.partition('?')[0]}"


def place(url: str) -> Place:
    """Parse ``http://``, ``https://`` and ``http+unix://%2Fpath%2Fof.sock/path``. Raises ValueError with a clause."""
    scheme, found, rest = url.partition("#")[0].partition("://")
    if not found or scheme not in _PORTS:
        raise ValueError(f"cannot ask {scheme}:// URLs; known: {', '.join(sorted(_PORTS))}")
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    target = target if target[:1] == "/" else f"/{target}"
    if not (target.isascii() and target.isprintable() and " " not in target):
        raise ValueError("its path must be printable ASCII; write other characters as %XX")
    user, _, authority = authority.rpartition("@")
    if not authority:
        raise ValueError("it names no host")
    if scheme == "http+unix":
        return Place(False, unquote(authority), "", 0, "localhost", target, unquote(user))
    host, port = split(authority, _PORTS[scheme])
    return Place(scheme == "https", "", host, port, authority, target, unquote(user))


async def reach(where: Place) -> Streams:
    """Connect; TLS is not begun. Raises OSError."""
    with addressed():
        if where.socket:
            return await asyncio.open_unix_connection(where.socket)
        return await connect(where.host, where.port)


@contextmanager
def addressed() -> Iterator[None]:
    """What can be no address (a port that is too large, a NUL, a name with empty parts) is an OSError, as one where nobody answers."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise OSError(errno.EINVAL, f"no address: {error}") from None


async def get(
    streams: Streams,
    host: str,
    target: str,
    before_the_last_byte: Callable[[], Awaitable[bool]] | None = None,
    *,
    body: int,
) -> tuple[int, bytes] | None:
    """Status and body of the final answer, at most ``body`` bytes and what came with the last of them. None: no answer at all.

    ``before_the_last_byte`` is awaited when all but that of the request is sent; False: it is not worth asking.
    """
    reader, writer = streams
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    headers = [("Host", host), ("User-Agent", "agentd"), ("Accept", "*/*"), ("Connection", "close")]
    asked = connection.send(h11.Request(method="GET", target=target, headers=headers))
    request = (asked or b"") + (connection.send(h11.EndOfMessage()) or b"")
    writer.write(request[:-1])
    if before_the_last_byte is not None and not await before_the_last_byte():
        return None
    writer.write(request[-1:])
    await writer.drain()
    status, read = None, bytearray()
    while status is None or len(read) < body:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            read += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        elif event is h11.NEED_DATA:
            data = await reader.read(CHUNK)
            if not data and status is None and not connection.trailing_data[0]:
                return None
            connection.receive_data(data)
    return status or 0, bytes(read)


def addresses(host: str) -> tuple[str, ...]:
    """What is tried for a host, in this order."""
    return _LOCALHOST if host == "localhost" else (host,)


async def connect(host: str, port: int) -> Streams:
    """Each address in turn; the last one's error counts."""
    *first, last = addresses(host)
    for address in first:
        with suppress(OSError):
            return await asyncio.open_connection(address, port)
    return await asyncio.open_connection(last, port)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close at once: nothing more to say, no need to wait for the other side."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


def split(authority: str, otherwise: int = 80) -> tuple[str, int]:
    """``host:port``, ``[::1]:port``, ``host``. Raises ValueError with a clause."""
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:
        host, port = authority, ""
    if port and not (port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS):
        raise ValueError(f"{port} is no port")
    return host.strip("[]"), int(port) if port else otherwise


def words(error: OSError) -> str:
    """What went wrong, in a few words."""
    if error.errno in _WORDS:
        return _WORDS[error.errno]
    text = error.strerror or str(error)
    return text.lower().splitlines()[0] if text else "cannot connect"
