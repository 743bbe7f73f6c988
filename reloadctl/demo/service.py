"""A small web service that stands in for nginx where there is none: a file, a check, a reload by SIGHUP.

    service.py FILE PORT      serve
    service.py --check FILE   say whether the file is acceptable

Started as a program of its own; needs nothing but Python.
"""

from __future__ import annotations

import http.server
import json
import signal
import sys
import threading
from pathlib import Path


def load(path: str) -> str:
    """The greeting in a file; exits with a sentence when there is none."""
    try:
        greeting = json.loads(Path(path).read_text())["greeting"]
    except json.JSONDecodeError as error:
        sys.exit(f"{path}:{error.lineno}: {error.msg}")
    except (KeyError, TypeError):
        sys.exit(f'{path}: no "greeting"')
    return str(greeting)


def serve(path: str, port: int) -> None:
    """Answer every request with the greeting; take the file again on SIGHUP, end on SIGTERM."""
    current = load(path)

    class Greeter(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = current.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as declared there
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Greeter)

    def reload(*_: object) -> None:
        nonlocal current
        current = load(path)
        print(f"configuration loaded: {current}", flush=True)  # noqa: T201

    signal.signal(signal.SIGHUP, reload)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        load(sys.argv[2])
    else:
        serve(sys.argv[1], int(sys.argv[2]))
