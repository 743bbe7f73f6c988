"""A receiver of OTLP that takes everything and keeps nothing: prints its port, answers until its stdin ends."""

from __future__ import annotations

import http.server
import sys
import threading


class Sink(http.server.BaseHTTPRequestHandler):
    """200, whatever it is."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read it all and say so."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as declared there
        """Nothing."""


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
