"""A receiver of OTLP over HTTP on the loopback, that answers by its script and keeps what it was sent."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE = 20.0
_KINDS = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


@dataclass(frozen=True)
class Said:
    """One answer. ``then``: what happens to the connection instead of it."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    hang: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Got:
    """One request."""

    signal: str
    headers: dict[str, str]
    raw: bytes
    at: float
    status: int

    @property
    def message(self) -> Any:
        return _KINDS[self.signal].FromString(self.raw)

    @property
    def spans(self) -> list[Any]:
        scopes = (s for r in self.message.resource_spans for s in r.scope_spans)
        return [span for scope in scopes for span in scope.spans]

    @property
    def events(self) -> list[Any]:
        scopes = (s for r in self.message.resource_logs for s in r.scope_logs)
        return [event for scope in scopes for event in scope.log_records]


Script = Callable[["Got"], Said]


@dataclass
class Receiver:
    """``script`` says what each request is answered; ``got`` is what came, in the order it came."""

    script: Script = lambda _: Said()
    got: list[Got] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer | None = None
    _open: list[socket.socket] = field(default_factory=list)
    _going: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        self._going = threading.Event()
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on, and cut those there are."""
        self._going.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def take(self, got: Got, said: Said) -> None:
        with self._news:
            self.got.append(got)
            self._news.notify_all()

    def wait(self, there: Callable[[], Any], what: str = "what was expected") -> Any:
        """Until it is so."""
        with self._news:
            if not self._news.wait_for(there, PATIENCE):
                raise AssertionError(f"{what} did not come; got {len(self.got)} requests")
        return there()

    def of(self, signal: str, status: int | None = None) -> list[Got]:
        return [g for g in self.got if g.signal == signal and status in (None, g.status)]


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that was cut off is no news."""


def _handler(outer: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            outer.connections += 1
            outer._open.append(self.connection)

        def do_POST(self) -> None:
            at = time.monotonic()
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = {k.lower(): v for k, v in self.headers.items()}
            if headers.get("content-encoding") == "gzip":
                raw = gzip.decompress(raw)
            signal = self.path.partition("?")[0].rpartition("/")[2]
            got = Got(signal, headers, raw, at, 0)
            said = outer.script(got)
            status = 0 if said.hang or said.cut else said.status
            outer.take(Got(signal, headers, raw, at, status), said)
            if said.hang:
                outer._going.wait(PATIENCE)
            if said.hang or said.cut:
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in said.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    return Handler


@contextlib.contextmanager
def receiving(script: Script = lambda _: Said()) -> Iterator[Receiver]:
    receiver = Receiver(script)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@contextlib.contextmanager
def silent(port: int = 0) -> Iterator[int]:
    """A port that accepts and never says anything."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listening:
        yield listening.getsockname()[1]
