"""A server on an inherited socket that counts what is done to it: ``counting.py [log|notify]``.

It answers every request with the version of ``$APP_FILE``. Its output is numbered lines, ``NNNNNNNNN PID what``, twenty a second and
one for each thing that happens. How many it has written, and when the last one (monotonic, in ns), stands in
``$APP_COUNTS/SERVICE.GENERATION.PID`` as two numbers of eight bytes, which outlive a death of any kind; every SIGHUP in the file of
that name with ``.hup``: a line with the reload that the state file names.

On SIGHUP the file is read again, and with ``log`` a line says what came of it (``loaded``, ``kept``); with ``notify`` the handshake of
systemd does, too; without either SIGHUP is only counted. ``"refuse": true`` in the file: it keeps what it has. ``"die": true``, or no
version: it ends. On SIGTERM it finishes what it has accepted, and ends.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from said import ready

PAUSE = 0.05
FILE = Path(os.environ["APP_FILE"])
HOW = sys.argv[1] if len(sys.argv) > 1 else "none"
NAME = f"{os.environ['AGENTD_SERVICE']}.{os.environ['AGENTD_GENERATION']}.{os.getpid()}"
MINE = Path(os.environ["APP_COUNTS"]) / NAME
ANSWER = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}"


class Lines:
    """Numbered, each in one write, and counted when it is written."""

    def __init__(self) -> None:
        MINE.write_bytes(bytes(16))
        with MINE.open("r+b") as file:
            self._count = mmap.mmap(file.fileno(), 16)
        self._lock = threading.Lock()
        self._number = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def say(self, what: str) -> None:
        with self._lock:
            self._number += 1
            os.write(1, f"{self._number:09d} {os.getpid()} {what}\n".encode())
            struct.pack_into("QQ", self._count, 0, self._number, time.monotonic_ns())

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self.say("the end")

    def _talk(self) -> None:
        while not self._over.wait(PAUSE):
            self.say("says something, so that there is a line to lose")


class Server:
    def __init__(self) -> None:
        self.lines = Lines()
        self.told: dict[str, Any] = {}
        self.answer = b""
        self.stop = asyncio.Event()
        self.busy: set[asyncio.Task[None]] = set()
        self.take()

    def take(self) -> None:
        told = json.loads(FILE.read_text())
        if told.get("die") or "version" not in told:
            self.lines.say("told to die")
            os._exit(3)
        if told.get("refuse") and self.told:
            self.lines.say(f"kept {self.told['version']}")
            self.notify("READY=1\nERRNO=22\nSTATUS=Reload failed: told to refuse")
            return
        self.told = told
        version = str(told["version"])
        self.answer = ANSWER.format(len(version), version).encode()
        self.lines.say(f"loaded {version}")
        self.notify("READY=1")

    def hangup(self) -> None:
        state = json.loads(Path(os.environ["AGENTD_STATE_FILE"]).read_text())
        with MINE.with_suffix(f"{MINE.suffix}.hup").open("a") as file:
            file.write(f"{state['reload_id']}\n")
        self.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        if HOW != "none":
            self.take()

    def notify(self, text: str) -> None:
        if HOW == "notify" and self.told:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.busy.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.busy.discard(task)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.hangup)
        server = await asyncio.start_server(self.serve, sock=socket.socket(fileno=3), backlog=512)
        ready()
        await self.stop.wait()
        server.close()
        for _ in range(
            10
        ):  # what was accepted just now has its task within a few turns of the loop
            await asyncio.sleep(0)
        while self.busy:
            await asyncio.wait(self.busy)
        self.lines.end()


async def main() -> None:
    await Server().run()


asyncio.run(main())
