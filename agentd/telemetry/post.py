"""One receiver over HTTP: a connection that is kept, one request at a time, a bound on every wait. Blocks its thread.

Decides nothing about what an answer means (``delivery``). Import this module late: the library's client brings the parser
of e-mail, and TLS is loaded for an https address only, since the agent is made to do without it (``agentd.slim``).
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import sys
from typing import TYPE_CHECKING

from agentd.telemetry.delivery import Answer

if TYPE_CHECKING:
    from agentd.telemetry.endpoint import Target

_BODY = 1 << 16
"""Bytes of an answer that are read."""
_SAID = 200
_SMALLEST = 1024
"""Bytes from which on it is worth to compress."""


class Post:
    """One receiver."""

    def __init__(self, target: Target, version: str) -> None:
        """``version`` is the product's."""
        self._target = target
        self._connection: http.client.HTTPConnection | None = None
        self._gone = False
        self._headers = {
            "user-agent": f"agentd/{version}",
            "content-type": "application/x-protobuf",
            **dict(target.headers),
        }

    def send(self, body: bytes) -> tuple[Answer, bytes]:
        """What came back, and the body of it. Never raises for what a network or a receiver can do."""
        headers = self._headers
        if self._target.compressed and len(body) >= _SMALLEST:
            body, headers = gzip.compress(body, 1, mtime=0), headers | {"content-encoding": "gzip"}
        try:
            kept = self._open_already
            try:
                return self._exchange(body, headers)
            except (ConnectionError, http.client.BadStatusLine):
                if not kept or self._gone:
                    raise
                self.close()  # it was closed while nothing was to be said
                return self._exchange(body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return Answer(None, _reason(error)), b""

    def _exchange(self, body: bytes, headers: dict[str, str]) -> tuple[Answer, bytes]:
        if not self._open_already or self._connection is None:
            self._connection = self._open()
        self._connection.request("POST", self._target.path, body, headers)
        response = self._connection.getresponse()
        content = response.read(_BODY)
        if not response.isclosed():  # more than we would read
            self.close()
        answer = Answer(
            response.status,
            _said(response, content),
            response.headers.get("retry-after", ""),
            foreign=bool(content) and response.headers.get_content_type() == "text/html",
        )
        return answer, content

    @property
    def _open_already(self) -> bool:
        """The library would open a connection of its own where the last was closed, and without TLS."""
        return self._connection is not None and self._connection.sock is not None

    def _open(self) -> http.client.HTTPConnection:
        target = self._target
        connection = http.client.HTTPConnection(target.host, target.port, timeout=target.timeout_s)
        connection.auto_open = 0
        connection.connect()
        if target.secure:
            connection.sock = _secured(connection.sock, target)
        return connection

    def close(self) -> None:
        """Let go of the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abort(self) -> None:
        """From another thread: whatever waits for an answer is not to wait any longer."""
        self._gone = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)


def _secured(sock: socket.socket, target: Target) -> socket.socket:
    for name in ("ssl", "_ssl"):
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]  # as agentd.slim left it
    import ssl  # noqa: PLC0415 - 5 MiB, for who needs it

    try:
        context = ssl.create_default_context(cafile=target.authority or None)
        return context.wrap_socket(sock, server_hostname=target.host)
    except BaseException:
        sock.close()
        raise


def _said(response: http.client.HTTPResponse, content: bytes) -> str:
    """What an error's body says, where it is text; else the reason."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("text/plain", "application/json"):
        text = " ".join(content.decode(errors="replace").split())
        if text.isprintable() and text:
            return text if len(text) <= _SAID else f"{text[: _SAID - 1]}…"
    return response.reason or ""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or "it closed the connection"
