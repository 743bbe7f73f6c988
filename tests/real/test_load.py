"""The load tells each failure for what it is: against a server that fails in every way there is, and counts how often."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from host import free_port, load, until

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
ENDLESS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
BAD = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
Behaviour = Callable[[socket.socket], None]


def asked(s: socket.socket) -> bool:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        if not (more := s.recv(4096)):
            return False
        data += more
    return True


def reset(s: socket.socket) -> None:
    """The next close is a reset."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def says(*parts: bytes, then_reset: bool = False) -> Behaviour:
    """Answers one request, then closes."""

    def behave(s: socket.socket) -> None:
        if asked(s):
            for part in parts:
                s.sendall(part)
        if then_reset:
            reset(s)

    return behave


def silent(s: socket.socket) -> None:
    asked(s)
    s.recv(1)  # until the client gives up


class Server:
    """Every connection behaves as the next of the script says."""

    def __init__(self, *script: tuple[str, Behaviour]) -> None:
        self.given: Counter[str] = Counter()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = self.listener.getsockname()[1]
        self.script = itertools.cycle(script)
        self.accepting = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            name, behave = next(self.script)
            self.given[name] += 1
            threading.Thread(target=self._serve, args=(s, behave), daemon=True).start()

    def _serve(self, s: socket.socket, behave: Behaviour) -> None:
        with s, contextlib.suppress(OSError):
            s.settimeout(20)
            behave(s)


@contextlib.contextmanager
def serving(*script: tuple[str, Behaviour]) -> Iterator[Server]:
    server = Server(*script)
    server.accepting.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.accepting.join()
        server.listener.close()


FAILURES: Sequence[tuple[str, Behaviour]] = (
    ("reset", says(then_reset=True)),
    ("closed", says()),
    ("cut", says(WHOLE[:-1])),
    ("cut", says(WHOLE[:-1], then_reset=True)),
    ("cut", says(WHOLE[:20])),
    ("cut", says(CHUNKS[:-5])),
    ("cut", says(ENDLESS, then_reset=True)),
    ("status 503", says(BAD)),
    ("garbled", says(b"SSH-2.0-x\r\n\r\n")),
    ("timeout", silent),
    ("good", says(WHOLE)),
    ("good", says(WHOLE[:30], WHOLE[30:])),
    ("good", says(CHUNKS)),
    ("good", says(ENDLESS)),
)


def test_every_failure_on_a_new_connection_is_counted_once_and_by_its_name() -> None:
    with serving(*FAILURES) as server:
        with load(server.port, 300, "--patience", "0.5") as counts:
            until(lambda: sum(server.given.values()) > 300, "300 requests")
        assert {"good": counts["good"], **counts["bad"]} == dict(server.given)
        assert counts["bodies"] == {"ok": server.given["good"]}


def test_nobody_who_listens_is_refused() -> None:
    with load(free_port(), 300) as counts:
        pass
    assert (counts["good"], set(counts["bad"])) == (0, {"refused"})


def then(*behaviours: Behaviour) -> Behaviour:
    """One after the other on the same connection."""

    def behave(s: socket.socket) -> None:
        for each in behaviours:
            each(s)

    return behave


KEPT: Sequence[tuple[str, Behaviour]] = (
    ("closed_idle", then(*[says(WHOLE)] * 3)),
    ("announced", then(says(WHOLE), says(LAST))),
    ("reset", then(says(WHOLE), says(then_reset=True))),
    ("closed", then(says(WHOLE), lambda s: None if asked(s) else reset(s))),
    ("cut", then(says(WHOLE), says(WHOLE[:-1]))),
)


@pytest.mark.parametrize(("how", "behave"), KEPT, ids=[how for how, _ in KEPT])
def test_a_kept_connection_may_be_closed_but_not_within_an_answer(
    how: str, behave: Behaviour
) -> None:
    with serving((how, behave)) as server:
        # New connections are rare here, and there is one kept client: the counts of both are small and exact.
        with load(server.port, 1, "--keep", "1", "--pause", "10", "--patience", "1") as counts:
            until(lambda: server.given[how] > 10, "10 connections")
        kept = counts["kept"]
        ends = {
            "closed_idle": kept["closed_idle"],
            "announced": kept["announced"],
            **kept["retried"],
            **kept["bad"],
        }
        fresh = counts["good"] + sum(counts["bad"].values())
        connections = server.given[how] - fresh
        assert kept["opened"] == connections
        assert {name for name, n in ends.items() if n} == {how}
        assert connections - 1 <= ends[how] <= connections  # the last one may not have come to it
        assert counts["bad"] == {}


def test_a_failure_on_a_fresh_kept_connection_is_not_a_retry() -> None:
    with serving(("reset", says(then_reset=True))) as server:
        with load(server.port, 1, "--keep", "1", "--pause", "10") as counts:
            until(lambda: server.given["reset"] > 10, "10 connections")
        assert counts["kept"]["retried"] == {}
        assert counts["kept"]["bad"] == {"reset": counts["kept"]["opened"]}


def test_the_longest_gap_is_that_of_the_server() -> None:
    never = threading.Event()
    release = threading.Lock()

    def hold(s: socket.socket) -> None:
        with release:
            says(WHOLE)(s)

    with serving(("held", hold)) as server:
        with load(server.port, 200, "--keep", "2", "--pause", "10") as counts:
            until(lambda: server.given["held"] > 100, "100 requests")
            with release:
                never.wait(0.4)
            until(lambda: server.given["held"] > 300, "200 more")
        assert counts["bad"] == {}
        gap = counts["gap_ms"]
        assert 390 <= gap["any"] <= gap["new"]
        assert 390 - counts["late_ms"] <= gap["server"] <= gap["new"]
        assert counts["took_ms"]["max"] >= 390


def test_a_gap_that_the_load_made_itself_is_not_the_servers() -> None:
    with serving(("good", says(WHOLE))) as server:
        with load(server.port, 200) as counts:
            until(lambda: server.given["good"] > 100, "100 requests")
            pid = next(pid for pid in children() if b"load.py" in command(pid))
            os.kill(pid, signal.SIGSTOP)
            threading.Event().wait(0.5)
            os.kill(pid, signal.SIGCONT)
            until(lambda: server.given["good"] > 300, "200 more")
        assert counts["late_ms"] >= 490
        assert counts["gap_ms"]["any"] >= 490
        assert counts["gap_ms"]["server"] < 250


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def test_an_answer_by_an_older_version_after_a_newer_one_is_seen() -> None:
    bodies = (says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + b) for b in (b"2", b"1"))
    with serving(*(("said", b) for b in bodies)) as server:
        with load(server.port, 100) as counts:
            until(lambda: server.given["said"] > 100, "100 requests")
        assert counts["older"] == counts["bodies"]["1"]
