"""A service that says what it runs: ``naming.py PORT``. SIGHUP: ``$APP_FILE``, a JSON file, is read again.

``GET /version`` is the ``version`` it runs, ``GET /json`` a document with it and a generation, ``GET /metrics`` the result of its last
reload as Prometheus tells it. ``"refuse": true`` in the file: it keeps what it has, and the metrics say so. ``"settings"`` in it is
answered by ``GET /pending``. ``$APP_LIE``: ``disk`` answers from the file as it is, ``deaf`` takes no signal, ``late`` takes it after
1.5 seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FILE = Path(os.environ["APP_FILE"])
LIE = os.environ.get("APP_LIE", "")


class State:
    runs: Any = json.loads(FILE.read_text())
    generation = 1
    successful = 1
    at = time.time()

    def take(self) -> None:
        told = json.loads(FILE.read_text())
        if told.get("refuse"):
            self.successful = 0
            return
        self.runs, self.successful = told, 1
        self.generation += 1
        self.at = time.time()


STATE = State()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        runs = json.loads(FILE.read_text()) if LIE == "disk" else STATE.runs
        match self.path:
            case "/version":
                body = runs["version"]
            case "/json":
                body = json.dumps({"config": {"version": runs["version"]}, "n": STATE.generation})
            case "/pending":
                body = "\n".join(runs.get("settings", ()))
            case _:
                body = f"# TYPE ok gauge\nok {STATE.successful}\nexact {STATE.at!r}\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def hup(*_: object) -> None:
    if LIE == "late":
        threading.Timer(1.5, STATE.take).start()
    elif LIE != "deaf":
        STATE.take()


signal.signal(signal.SIGHUP, hup)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
