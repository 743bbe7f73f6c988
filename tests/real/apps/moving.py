"""A service whose main process becomes another one: ``moving.py HOW PORT``. Every answer is the pid of who gave it.

HOW it goes into the background: ``foreground`` does not; ``file`` forks, ends, and writes its pid file a while later (as nginx does);
``said`` forks, ends, and then says MAINPID and READY=1; ``first`` says them for the other before it ends; ``silent`` says and writes
nothing. ``$APP_PID_FILE`` is the file.

USR2 starts another one in the same session, which takes over as HOW has it while this one ends. USR1 sends what ``$APP_FILE`` says:
``{"to": SOCKET, "say": TEXT}``. A child of it does nothing, and lives until it is told to end or its group is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

HOW, PORT = sys.argv[1], int(sys.argv[2])
AGAIN = "AGAIN" in os.environ
FILE = Path(os.environ.get("APP_PID_FILE", "/nowhere"))
SIGNALS = {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


def send(path: str, text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), path)


def say(text: str) -> None:
    if "NOTIFY_SOCKET" in os.environ:
        send(os.environ["NOTIFY_SOCKET"], text)


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            body = str(os.getpid())
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall((head + body).encode())


def into_the_background() -> None:
    pid = os.fork()
    if pid:
        if HOW == "first":
            say(f"MAINPID={pid}\nREADY=1")
        os._exit(0)
    os.setsid()


def take_over() -> None:
    """Show who it is, as HOW has it."""
    if HOW == "file":
        time.sleep(0 if AGAIN else 0.3)
        FILE.write_text(f"{os.getpid()}\n")
    elif HOW == "said" or (AGAIN and HOW in ("first", "foreground")):
        say(f"MAINPID={os.getpid()}\nREADY=1")
    elif HOW == "foreground":
        say("READY=1")


signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
if HOW != "foreground" and not AGAIN:
    into_the_background()
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", PORT))
listener.listen(64)
threading.Thread(target=serve, args=(listener,), daemon=True).start()
take_over()
if AGAIN:
    os.kill(int(os.environ["AGAIN"]), signal.SIGTERM)
while (got := signal.sigwait(SIGNALS)) != signal.SIGTERM:
    if got == signal.SIGUSR1:
        told = json.loads(Path(os.environ["APP_FILE"]).read_text())
        send(told["to"], told["say"])
    else:
        again = [sys.executable, "-S", *sys.argv]
        os.posix_spawn(sys.executable, again, os.environ | {"AGAIN": str(os.getpid())})
if HOW == "file" and FILE.exists() and FILE.read_text() == f"{os.getpid()}\n":
    FILE.unlink()
os._exit(0)
