"""A service with an administration of its own, as Prometheus has one: ``admin.py (--port N | --unix PATH) [--tls PEM]``.

``POST /-/reload`` reads the JSON file ``$APP_FILE`` and answers as it says: ``{"status": 500, "body": "bad rule", "hang": true,
"close": true}``. ``GET /config`` has the ETag of what was loaded last; ``PUT /config`` takes its body when If-Match names that.
``{"stirred": true}`` in the loaded file: somebody else changes it between the two. What was asked is written to ``$APP_FILE.asked``.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import socketserver
import ssl
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

FILE = Path(os.environ["APP_FILE"])


class State:
    loaded = FILE.read_bytes()
    stirs = 0

    def etag(self) -> str:
        return f'"{sha256(self.loaded + b"%d" % self.stirs).hexdigest()[:16]}"'


STATE = State()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._say(200, STATE.loaded, ETag=STATE.etag())
        told = json.loads(FILE.read_bytes())
        STATE.stirs += bool(told.get("stirred"))

    def do_POST(self) -> None:
        self._note()
        told = json.loads(FILE.read_bytes())
        if told.get("close"):
            self.close_connection = True
            return
        while told.get("hang"):
            time.sleep(1)
        status = told.get("status", 200)
        if status == 200:
            STATE.loaded = FILE.read_bytes()
        self._say(status, str(told.get("body", "")).encode())

    def do_PUT(self) -> None:
        body = self._note()
        if self.headers["If-Match"] != STATE.etag():
            self._say(412, b"it is another one by now")
            return
        STATE.loaded = body
        self._say(200, b"")

    def _note(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        new = FILE.with_suffix(".asked.new")
        asked = {k.lower(): v for k, v in self.headers.items()}
        new.write_text(json.dumps({"headers": asked, "body": body.decode(), "path": self.path}))
        new.rename(FILE.with_suffix(".asked"))
        return body

    def _say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(None, Handler)
        self.socket = listener

    def fileno(self) -> int:
        return self.socket.fileno()

    def get_request(self) -> Any:
        return self.socket.accept()

    def close_request(self, request: Any) -> None:
        request.close()

    shutdown_request = close_request


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--unix")
    parser.add_argument("--tls")
    options = parser.parse_args()
    if options.unix:
        listener = socket.socket(socket.AF_UNIX)
        Path(options.unix).unlink(missing_ok=True)
        listener.bind(options.unix)
        listener.listen()
    else:
        listener = socket.create_server(("127.0.0.1", options.port))
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls)
        listener = context.wrap_socket(listener, server_side=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    Server(listener).serve_forever()


main()
