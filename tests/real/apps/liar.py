"""A server that reloads as it ought to, or lies about it in one way: ``liar.py LIE DIRECTORY``.

A main process and two workers on one socket, as nginx has it: each answers with the version of the file that it runs, to ``/loaded`` with
the moment from which it has it. ``$APP_FILE`` is read again at SIGHUP, or when ``DIRECTORY/admin.sock`` is asked to. An honest reload
says RELOADING=1, starts workers from the file, ends the former ones, writes ``reloaded``, says READY=1 and answers 200. Each function of
``LIES`` is one way not to do that; where it lies it lies to every evidence that such a server would give.

``DIRECTORY/truth.PID`` holds what each worker really runs: for the test, not for the agent. As a next generation on an inherited socket
(the handle ``replace``) the lie is told at the start instead, if it can be.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

FILE, WORKERS = Path(os.environ["APP_FILE"]), 2
LATER = 2.0
"""Seconds until the one dies that dies later."""


class Main:
    """The main process: what a reload consists of, for the lies to choose from."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.kept = home / "kept"
        """What a former generation ran, kept on disk as some servers do."""
        self.workers: list[int] = []
        self.asked: socket.socket | None = None
        again = [int(word) for word in os.environ.get("LIAR_AGAIN", "").split()]
        self.listener = self._listener(again)
        self.admin = socket.socket(fileno=again[1]) if again else unix(home / "admin.sock")
        if len(again) > 2:
            self.asked = socket.socket(fileno=again[2])
        self.version = read()
        self.loaded = time.monotonic_ns()
        self.lie = sys.argv[1]

    def _listener(self, again: list[int]) -> socket.socket:
        if again:
            return socket.socket(fileno=again[0])
        return socket.socket(fileno=3) if "LISTEN_FDS" in os.environ else unix(self.home / "http")

    def say(self, text: str) -> None:
        if path := os.environ.get("NOTIFY_SOCKET"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.sendto(text.encode(), "\0" + path[1:] if path[0] == "@" else path)

    def barrier(self) -> None:
        """Until the agent has heard what was said before (sd_notify_barrier(3))."""
        path = os.environ.get("NOTIFY_SOCKET", "")
        heard, ours = os.pipe()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect("\0" + path[1:] if path[:1] == "@" else path)
            socket.send_fds(s, [b"BARRIER=1"], [ours])
        os.close(ours)
        os.read(heard, 1)
        os.close(heard)

    def reloading(self) -> None:
        self.say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def done(self) -> None:
        print("reloaded", flush=True)
        self.say("READY=1")

    def start(self, version: str, count: int = WORKERS, *, deadly: bool = False) -> None:
        """More workers; each serves before this returns."""
        for _ in range(count):
            r, w = os.pipe()
            if (pid := os.fork()) == 0:
                work(self, version, w, deadly=deadly)
            os.close(w)
            os.read(r, 1)
            os.close(r)
            self.workers.append(pid)

    def end(self, count: int) -> None:
        """The oldest workers go, and are gone when this returns."""
        for pid in self.workers[:count]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        del self.workers[:count]

    def renew(self, version: str, count: int = WORKERS, *, deadly: bool = False) -> None:
        former = len(self.workers[:count])
        self.loaded = time.monotonic_ns()
        self.start(version, count, deadly=deadly)
        self.end(former)
        self.version = version

    def exec(self) -> None:
        """The program again, in the same process, with the sockets it has."""
        kept = [self.listener, self.admin, *([self.asked] if self.asked else [])]
        for s in kept:
            os.set_inheritable(s.fileno(), True)
        os.environ["LIAR_AGAIN"] = " ".join(str(s.fileno()) for s in kept)
        os.execv(sys.executable, [sys.executable, "-S", *sys.argv])


Lie = Callable[[Main], bool | None]
"""One reload. What it answers when it was asked for: yes, no, or nothing at all."""


def honest(m: Main) -> bool:
    m.reloading()
    m.renew(read())
    m.done()
    return True


def deaf(m: Main) -> None:
    """The signal is caught, and nothing is done about it."""


def reads_when_asked(m: Main) -> None:
    """Nothing is done either; but who asks for the version is told what the file says."""


def old_answers(m: Main) -> bool:
    """The new workers die as soon as they are started; the old ones answer on, and nobody minds."""
    m.reloading()
    read()
    for _ in range(WORKERS):
        if (pid := os.fork()) == 0:
            os._exit(1)
        os.waitpid(pid, 0)
    m.done()
    return True


def dies_at_once(m: Main) -> bool:
    m.reloading()
    os.killpg(0, signal.SIGKILL)
    return False


def dies_later(m: Main) -> bool:
    die_later()
    return honest(m)


def half(m: Main) -> bool:
    """One worker is new; the other stays what it was."""
    m.reloading()
    m.renew(read(), WORKERS // 2)
    m.done()
    return True


def keeps_old(m: Main) -> bool:
    """The file is read and found wanting; all else happens, with the configuration of before."""
    m.reloading()
    read()
    m.renew(m.version)
    m.done()
    return True


def reexecs(m: Main) -> None:
    """It takes it, by running its program again in the same process."""
    m.reloading()
    m.end(WORKERS)
    m.exec()


def moves(m: Main) -> bool:
    """It takes it in another main process, and the one that was started ends once that was heard: no lie, and followed."""
    m.reloading()
    m.end(WORKERS)
    heard, told = os.pipe()
    if os.fork():
        os.close(told)
        os.read(heard, 1)
        os._exit(0)
    m.say(f"MAINPID={os.getpid()}")
    m.barrier()
    os.write(told, b"1")
    m.start(read())
    m.done()
    return True


def hangs(m: Main) -> None:
    m.reloading()
    read()
    while True:
        signal.pause()


def answers_once(m: Main) -> bool:
    """It takes it, and dies of the first request that it answers, a while after."""
    m.reloading()
    m.renew(read(), deadly=True)
    m.done()
    return True


def ready_after_failure(m: Main) -> bool:
    """The file cannot be loaded; systemd has no word for that, so it says READY=1."""
    m.reloading()
    print("cannot load it", flush=True)
    m.say("READY=1")
    return False


def status_after_failure(m: Main) -> bool:
    """The same with a word for people, as HAProxy has it."""
    m.reloading()
    print("cannot load it", flush=True)
    m.say("READY=1\nSTATUS=Reload failed!")
    return False


def only_replies(m: Main) -> bool:
    """Yes, and nothing was done."""
    return True


def only_logs(m: Main) -> None:
    print("reloaded", flush=True)


LIES: dict[str, Lie] = {
    lie.__name__: lie
    for lie in (
        *(
            honest,
            deaf,
            reads_when_asked,
            old_answers,
            dies_at_once,
            dies_later,
            half,
            keeps_old,
            reexecs,
            moves,
        ),
        *(hangs, answers_once, ready_after_failure, status_after_failure, only_replies, only_logs),
    )
} | {"ignores": deaf}


def unix(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(path))
    s.listen()
    s.setblocking(False)
    return s


def read() -> str:
    return str(json.loads(FILE.read_text())["version"])


def work(m: Main, version: str, ready: int, *, deadly: bool) -> None:
    """A worker, until it is ended. ``deadly``: its first answer is the server's end."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    (m.home / f"truth.{os.getpid()}").write_text(version)
    os.close(ready)
    while True:
        select.select([m.listener], [], [])
        try:
            client, _ = m.listener.accept()
        except BlockingIOError:  # the other worker has it
            continue
        client.setblocking(True)
        said = read() if m.lie == "reads_when_asked" else version
        answer(client, 200, said, str(m.loaded))
        if deadly:
            die_later()
            deadly = False


def die_later() -> None:
    """The whole server."""
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, LATER)


def answer(client: socket.socket, status: int, body: str, loaded: str = "") -> None:
    """To whatever was asked, once all of it is there. Who hangs up before gets nothing."""
    with client, contextlib.suppress(ConnectionError):
        request = b""
        while b"\r\n\r\n" not in request:
            if not (more := client.recv(4096)):
                return
            request += more
        said = loaded if request.startswith(b"GET /loaded ") else body
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
        client.sendall((head + said).encode())


def reload(m: Main, lie: Lie) -> None:
    said = lie(m)
    if m.asked is not None and said is not None:
        answer(m.asked, 200 if said else 500, "")
        m.asked = None


def serve(m: Main) -> None:
    """One reload after the other, whoever asks."""
    r, w = os.pipe()
    os.set_blocking(w, False)
    signal.set_wakeup_fd(w)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if m.lie == "ignores" else lambda *_: None)
    with selectors.DefaultSelector() as ready:
        ready.register(r, selectors.EVENT_READ)
        ready.register(m.admin, selectors.EVENT_READ)
        m.say("READY=1")
        while True:
            for key, _ in ready.select():
                if key.fileobj is m.admin:
                    m.asked = m.admin.accept()[0]
                    m.asked.setblocking(True)
                    reload(m, LIES[m.lie])
                elif signal.SIGHUP in os.read(r, 64):
                    reload(m, LIES[m.lie])


def main() -> None:
    m = Main(Path(sys.argv[2]))
    if "LIAR_AGAIN" in os.environ:
        m.start(m.version)
        m.done()
        reload(m, lambda _: True)
    elif int(os.environ["AGENTD_GENERATION"]) > 1:
        m.version = m.kept.read_text()
        born(m)
    else:
        m.kept.write_text(m.version)
        m.start(m.version)
    serve(m)


def born(m: Main) -> None:
    """A next generation: the lie is how it starts."""
    match m.lie:
        case "half":
            m.start(m.version, 1)
            m.start(read(), WORKERS - 1)
        case "keeps_old":
            m.start(m.version)
        case "old_answers":
            pass
        case "reexecs":
            m.exec()
        case "answers_once":
            m.start(read(), deadly=True)
        case "hangs" | "dies_at_once" | "dies_later" | "moves":
            LIES[m.lie](m)
        case _:
            m.start(read())


main()
