"""A service that can be known by every kind of evidence: ``naming.py FILE PORT``. On SIGHUP it reads FILE, a JSON document, again.

It answers its ``version`` on the port, prints that it has loaded it, writes it beside the file, says RELOADING=1 and READY=1, and replaces
its one child.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

state = {"version": ""}
children: list[int] = []


def say(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def take() -> None:
    told = "NOTIFY_SOCKET" in os.environ
    if told:
        say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    state["version"] = json.loads(Path(sys.argv[1]).read_text())["version"]
    Path(f"{sys.argv[1]}.said").write_text(state["version"])
    children.append(os.posix_spawn("/bin/sleep", ("worker", "100000"), os.environ, setsigmask=()))
    for former in children[:-1]:
        os.kill(former, signal.SIGKILL)
        os.waitpid(former, 0)
    del children[:-1]
    print("loaded", state["version"], flush=True)
    if told:
        say("READY=1")


def serve(listening: socket.socket) -> None:
    while True:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            asked = b""
            while b"\r\n\r\n" not in asked and (more := peer.recv(4096)):
                asked += more
            body = state["version"].encode()
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
take()
listening = socket.create_server(("127.0.0.1", int(sys.argv[2])))
threading.Thread(target=serve, args=(listening,), daemon=True).start()
while signal.sigwait({signal.SIGHUP}):
    take()
