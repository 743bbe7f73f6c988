"""What the small servers of this folder are told, and the word they give when they are ready.

``$APP_FILE`` names a JSON file, read once at the start, as a server's configuration is:

    {"version": "3", "crash": true, "never_ready": true, "slow_start_s": 0.5, "unwell": true}

``crash`` ends the process at once, ``never_ready`` makes it hold its socket and neither accept nor say a word, ``slow_start_s`` is
what its start takes, ``unwell`` makes plain.py answer ``/healthz`` with 500. Each serves ``/`` (the version), ``/slow?s=2`` (the
version, later) and ``/stream?s=2`` (the version in ``PARTS`` chunks over that time), and nothing else.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PARTS = 20


@dataclass(frozen=True)
class Said:
    version: str = "0"
    crash: bool = False
    never_ready: bool = False
    slow_start_s: float = 0.0
    unwell: bool = False


def read() -> Said:
    """Ends the process, or holds it, when the file says so."""
    told = json.loads(Path(os.environ["APP_FILE"]).read_text())
    said = Said(**(told | {"version": str(told.get("version", "0"))}))
    if said.crash:
        print("told to crash", file=sys.stderr, flush=True)
        os._exit(3)
    time.sleep(said.slow_start_s)
    while said.never_ready:
        time.sleep(3600)
    return said


def ready() -> None:
    """Tell the supervisor, when there is one that listens."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"READY=1", "\0" + path[1:] if path[0] == "@" else path)


def asked(target: str) -> tuple[str, float]:
    """The path, and the seconds that the answer shall take."""
    url = urlsplit(target)
    return url.path, float(parse_qs(url.query).get("s", ["0"])[0])
