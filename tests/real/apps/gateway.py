"""A stand-in for an LLM gateway: ``gateway.py PORT FILE``; answers with the model and the prompt template that it would use.

It reads its YAML file again at SIGHUP, by the notify-reload handshake of systemd.service(5), keeps what it had when the file is no
good, and answers a request under the configuration that it began with.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

FILE = Path(sys.argv[2])


def read() -> str:
    told = yaml.safe_load(FILE.read_text())
    return f"{told['model_list'][0]['litellm_params']['model']} {told['prompt']['version']}"


class Gateway(ThreadingHTTPServer):
    request_queue_size = 1024
    runs = read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Gateway

    def do_GET(self) -> None:
        body = self.server.runs.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the load would fill the log."""


def tell(*lines: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto("\n".join(lines).encode(), os.environ["NOTIFY_SOCKET"])


def main() -> None:
    # Blocked in every thread and waited for: a handler would run only when the main thread does something, and it waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    gateway = Gateway(("127.0.0.1", int(sys.argv[1])), Handler)
    threading.Thread(target=gateway.serve_forever, daemon=True).start()
    tell("READY=1")
    while signal.sigwait({signal.SIGHUP}):
        tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            gateway.runs = read()
        except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
            tell("READY=1", "ERRNO=22", f"STATUS={type(error).__name__}")
        else:
            tell("READY=1")


main()
