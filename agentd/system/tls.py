"""TLS over a stream, for the few calls that need it, with OpenSSL loaded by the first of them.

The agent keeps OpenSSL out (``agentd.slim``), and asyncio's own TLS with it: so the records are made in memory and go over
the plain streams. Whom to trust is the system's store, or $SSL_CERT_FILE; nothing here can be told to trust anybody.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from agentd.system.http import Streams

_CHUNK = 16 * 1024


class Tls:
    """The wire inside TLS (see ``http.Wire``)."""

    def __init__(self, streams: Streams, context: ssl.SSLContext, name: str) -> None:
        """``name``: whose certificate it has to be. Nothing is sent before ``handshake``."""
        import ssl  # noqa: PLC0415 - loaded by ``trust``

        self._reader, self._writer = streams
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._more = ssl.SSLWantReadError
        self._ended = (ssl.SSLZeroReturnError, ssl.SSLEOFError)

    async def handshake(self) -> None:
        """Agree on keys and check the certificate. Raises OSError."""
        while True:
            try:
                self._object.do_handshake()
            except self._more:
                await self._flush()
                await self._feed()
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        """See ``Wire``."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        await self._flush()

    async def receive(self) -> bytes:
        """See ``Wire``. Servers often end without saying so in TLS: HTTP itself tells whether an answer is whole."""
        while True:
            try:
                return self._object.read(_CHUNK)
            except self._more:
                await self._flush()
                await self._feed()
            except self._ended:
                return b""

    async def _flush(self) -> None:
        if data := self._out.read():
            self._writer.write(data)
            await self._writer.drain()

    async def _feed(self) -> None:
        if data := await self._reader.read(_CHUNK):
            self._in.write(data)
        else:
            self._in.write_eof()


async def trust() -> ssl.SSLContext:
    """Whom the system trusts. The first time it takes OpenSSL in: some 5 MiB and 50 ms, in a thread."""
    return await asyncio.to_thread(_context)


def _context() -> ssl.SSLContext:
    for name in ("ssl", "_ssl"):
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]  # ``agentd.slim`` has said that it is missing
    import ssl  # noqa: PLC0415 - 5 MiB that hosts without such calls do not pay

    return ssl.create_default_context()
