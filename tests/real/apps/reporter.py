"""A service that writes down what it was given: its environment at the start, its state file at each SIGHUP.

    reporter.py DIRECTORY

``DIRECTORY/start.GENERATION.json`` holds the environment; ``DIRECTORY/hangup.json`` the state file as it was when SIGHUP came, and its mode
and owner. Each is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

REPORT = Path(sys.argv[1])


def write(name: str, what: Any) -> None:
    new = REPORT / f".{name}.new"
    new.write_text(json.dumps(what))
    new.rename(REPORT / name)


def say(text: bytes) -> None:
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(text, path)


def state() -> dict[str, Any]:
    path = Path(os.environ["AGENTD_STATE_FILE"])
    found = path.stat()
    return {"mode": found.st_mode & 0o7777, "uid": found.st_uid, **json.loads(path.read_text())}


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    generation = os.environ["AGENTD_GENERATION"]
    write(f"start.{generation}.json", {"env": dict(os.environ), "state": state()})
    say(b"READY=1")
    while signal.sigwait({signal.SIGHUP}):
        write("hangup.json", state())
        print("reloaded", flush=True)


main()
