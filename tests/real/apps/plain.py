"""A plain threaded Python server on an inherited descriptor: ``plain.py [--fd N | --port N]``; by default descriptor 3.

``/pid`` answers its process id.

On SIGTERM it stops accepting, says ``Connection: close`` in every answer from then on, and closes what stayed idle for ``LINGER``.
Then a kept-alive client that asks now and then never meets a connection that was closed under its request.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from said import PARTS, asked, read, ready

LINGER = 0.3
SAID = read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        with self.server.busy(self.connection):
            path, seconds = asked(self.path)
            if path == "/stream":
                self._head("Transfer-Encoding", "chunked")
                part = f"{len(SAID.version):x}\r\n{SAID.version}\r\n".encode()
                for _ in range(PARTS):
                    self.wfile.write(part)
                    self.wfile.flush()
                    time.sleep(seconds / PARTS)
                self.wfile.write(b"0\r\n\r\n")
            else:
                time.sleep(seconds)
                if path == "/healthz" and SAID.unwell:
                    self.send_error(500)
                    return
                said = str(os.getpid()) if path == "/pid" else SAID.version
                self._head("Content-Length", str(len(said)))
                self.wfile.write(said.encode())
            self.wfile.flush()

    def _head(self, name: str, value: str) -> None:
        self.send_response(200)
        self.send_header(name, value)
        if self.server.leaving:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the load would fill the log."""


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them
    leaving = False

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._idle: set[socket.socket] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def busy(self, connection: socket.socket) -> Any:
        with self._lock:
            self._idle.discard(connection)
        try:
            yield
        finally:
            with self._lock:
                self._idle.add(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._idle.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._idle.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def leave(self) -> None:
        self.leaving = True
        self.shutdown()
        time.sleep(LINGER)
        with self._lock:
            for connection in self._idle:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)


def listener() -> socket.socket:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, default=3)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.port is not None:
        return socket.create_server(("127.0.0.1", options.port), backlog=1024)
    return socket.socket(fileno=options.fd)


def main() -> None:
    given = listener()
    Handler.disable_nagle_algorithm = given.family != socket.AF_UNIX
    server = Server(given)
    leaving = threading.Thread(target=server.leave)
    signal.signal(signal.SIGTERM, lambda *_: leaving.start())
    ready()
    server.serve_forever(poll_interval=0.02)
    leaving.join()
    server.server_close()


main()
