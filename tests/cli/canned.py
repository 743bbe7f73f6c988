"""An agent of fixed answers: each request is kept, each answer is the bytes it was given, on a temporary socket."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import socket
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def reply(
    document: Any, *, code: int = 0, status: int = 200, kind: str = "application/json"
) -> bytes:
    """A whole answer as h11 writes it; ``document`` may be bytes already."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} whatever\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        f"reloadctl-exit: {code}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def problem(detail: str, *, code: int, status: int, **more: Any) -> bytes:
    document = {
        "type": "about:blank",
        "title": "no",
        "status": status,
        "detail": detail,
        "exit": code,
    }
    return reply(document | more, code=code, status=status, kind="application/problem+json")


def chunked(*parts: bytes, end: bool = True) -> bytes:
    """A streamed answer; without ``end`` the agent dies in the middle."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nreloadctl-exit: 0\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + body + (b"0\r\n\r\n" if end else b"")


HOLD = b"hold"
HANG_UP = b""


class Request:
    """What came in."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Canned:
    """A server thread; ``answers`` are given in turn, the last one for ever. HOLD: none, the connection stays open."""

    def __init__(self, path: Path, *answers: bytes) -> None:
        self.path = str(path)
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.asked = threading.Event()
        self._held: list[socket.socket] = []
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(self.path)
        self._sock.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                conn, _ = self._sock.accept()
            except OSError:
                return
            if self._one(conn) is HOLD:
                self._held.append(conn)
            else:
                conn.close()

    def _one(self, conn: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = conn.recv(65536)
            if not more:
                return HANG_UP
            data += more
        head = data.partition(b"\r\n\r\n")[0].lower()
        if b"content-length: " in head:
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(data) < len(head) + 4 + length:
                data += conn.recv(65536)
        self.requests.append(Request(data))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.asked.set()
        if answer is not HOLD:
            with contextlib.suppress(BrokenPipeError):
                conn.sendall(answer)
        return answer

    def close(self) -> None:
        for conn in self._held:
            conn.close()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join(5)


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: ours without what would change the answers."""
    kept = ("PATH", "HOME", "VIRTUAL_ENV")
    base = {key: os.environ[key] for key in kept if key in os.environ}
    return base | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "TERM": "xterm"} | more


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "reloadctl", *argv]


def whole(*argv: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A whole process, its output piped."""
    env = environment(**more)
    return subprocess.run(command(*argv), env=env, capture_output=True, timeout=30, check=False)


def on_terminal(*argv: str, columns: int = 100, **more: str) -> tuple[int, str]:
    """A whole process on a terminal of its own: exit code, and what it showed."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    child = subprocess.Popen(
        command(*argv),
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # EIO: the last one that had it open has closed it
            break
        if not part:
            break
        shown += part
    os.close(main)
    return child.wait(10), shown.decode().replace("\r\n", "\n")
