"""Requests to one server of this host at a steady rate, and what became of each.

    load.py PORT PER_SECOND [--keep N] [--pause MS] [--path PATH] [--patience S] [--host ADDRESS]
            [--header "NAME: VALUE"] [--speak http|postgres|redis] [--tell FILE]

A program of its own so that the tests' own work does not slow it down; the tests and ``make bench`` use the same one. Until
SIGTERM; then what is under way is waited for, and one JSON object is printed. A blank line is printed when the first request has ended.
``--tell`` appends each failure to a file at once: the time on the monotonic clock, and its kind.

Requests on **new connections** come at a fixed rate, whether the server keeps up or not. **Kept-alive** clients (``--keep``) ask every
``--pause`` on a connection that they keep. A request without its whole answer is a failure of one kind:

    refused   nobody listens
    reset     the connection was reset before the first byte of the answer
    closed    the same, but in good order
    cut       the answer began and did not end
    timeout   no whole answer within ``--patience``
    status N  a whole answer that is not 200
    garbled   not HTTP
    connect E the connection failed with another error
    local     this host had no port or descriptor left; not the server's fault

A server may close a kept connection that is idle, and a client cannot see that in time: RFC 9110 §9.2.2 lets it ask again on a new
connection when the request is idempotent and no byte of an answer came. That is done once, and counted apart (``retried``).

It measures itself too: ``late_ms`` is the longest that a request left after its time. Of the longest gaps between two good answers,
``server`` is that of new connections, less what the load itself was late within it: while those wait, kept-alive clients may well be
answered by who leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import json
import resource
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from connection import GOOD, Connection
from speech import Http, Postgres, Redis, Speech
from tally import Count, Gap

UNANSWERED = ("reset", "closed")
LOCAL = (errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS)


class Load:
    """All that is asked of one server."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.new, self.kept, self.any = Count(), Count(), Gap()
        self.bodies: Counter[str] = Counter()
        self.took: list[float] = []
        self.retried: Counter[str] = Counter()
        self.opened = self.closed_idle = self.announced = self.older = 0
        self.newest = -1
        self.late = self.due = 0.0
        self.stop = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.speech = speech(options)
        self._said = False

    async def run(self) -> dict[str, Any]:
        self.loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        began = self.loop.time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.options.keep):
                tasks.create_task(self._keep(number / self.options.keep))
            self.due, step = began, 1 / self.options.per_second
            while not self.stop.is_set():
                await asyncio.sleep(max(0.0, self.due - self.loop.time()))
                late = self.loop.time() - self.due
                self.late = max(self.late, late)
                self.new.gap.own(late)
                tasks.create_task(self._fresh())
                self.due += step
            end = self.loop.time()
        return self._result(end - began, end)

    async def _connect(self) -> Connection | str:
        """Or why there is none."""
        o = self.options
        try:
            async with asyncio.timeout(o.patience):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self.speech), o.host, o.port
                )
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"
        except ConnectionResetError:
            return "reset"
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "?")
            return "local" if error.errno in LOCAL else f"connect {name}"
        return connection

    async def _fresh(self) -> None:
        began, newest = self.loop.time(), self.newest
        connection = await self._connect()
        if isinstance(connection, str):
            self._count(self.new, connection)
            return
        how = await connection.ask(self.options.patience, last=True)
        connection.close()
        self._count(self.new, how)
        if how != GOOD:
            return
        self.took.append(self.loop.time() - began)
        body = connection.answer.body.decode(errors="replace").strip()
        self.bodies[body] += 1
        if body.isdigit():
            self.newest = max(self.newest, int(body))
            self.older += int(body) < newest

    async def _keep(self, phase: float) -> None:
        """One client until the end."""
        pause, connection = self.options.pause / 1000, None
        due = self.loop.time() + phase * pause
        while not self.stop.is_set():
            await asyncio.sleep(max(0.0, due - self.loop.time()))
            due = max(due + pause, self.loop.time())
            if connection is not None and connection.lost:
                self.closed_idle += 1
                connection = None
            connection = await self._ask_kept(connection)
        if connection is not None:
            connection.close()

    async def _ask_kept(self, kept: Connection | None) -> Connection | None:
        """The connection for the next request."""
        connection, how = kept, ""
        if kept is not None:
            how = await kept.ask(self.options.patience, last=False)
            if how in UNANSWERED:
                self.retried[how] += 1
                kept.close()
                connection = None
        if connection is None:
            fresh = await self._connect()
            if isinstance(fresh, str):
                self._count(self.kept, fresh)
                return None
            self.opened += 1
            connection, how = fresh, await fresh.ask(self.options.patience, last=False)
        self._count(self.kept, how)
        whole = how == GOOD or how.startswith("status")
        self.announced += whole and connection.answer.announced
        if whole and not connection.answer.announced:
            return connection
        connection.close()
        return None

    def _count(self, kind: Count, how: str) -> None:
        if not self._said:
            self._said = True
            print(flush=True)
        if how != GOOD:
            kind.bad[how] += 1
            if self.options.tell:
                with self.options.tell.open("a") as file:
                    file.write(f"{self.loop.time():.3f} {how}\n")
            return
        kind.good += 1
        now = self.loop.time()
        self.new.gap.own(now - self.due)  # answers are taken before the next request leaves
        kind.gap.now(now)
        self.any.now(now)

    def _result(self, seconds: float, end: float) -> dict[str, Any]:
        for gap in (self.any, self.new.gap, self.kept.gap):
            if gap.last:
                gap.now(max(gap.last, end))
        took = sorted(self.took) or [0.0]
        return {
            "good": self.new.good,
            "bad": self.new.bad,
            "bodies": self.bodies,
            "older": self.older,
            "rate": self.new.good / seconds,
            "seconds": round(seconds, 2),
            "kept": {
                "good": self.kept.good,
                "bad": self.kept.bad,
                "retried": self.retried,
                "opened": self.opened,
                "closed_idle": self.closed_idle,
                "announced": self.announced,
            },
            "gap_ms": {
                "any": _ms(self.any.longest),
                "new": _ms(self.new.gap.longest),
                "kept": _ms(self.kept.gap.longest),
                "server": _ms(self.new.gap.less_own),
            },
            "took_ms": {
                "median": _ms(took[len(took) // 2]),
                "p99": _ms(took[len(took) * 99 // 100]),
                "max": _ms(took[-1]),
            },
            "late_ms": _ms(self.late),
        }


def speech(options: argparse.Namespace) -> Speech:
    """The language that is spoken."""
    match options.speak:
        case "postgres":
            return Postgres("postgres", options.path)
        case "redis":
            return Redis(options.path)
        case _:
            return Http(options.host, options.path, options.header)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


async def main(options: argparse.Namespace) -> None:
    print(json.dumps(await Load(options).run()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="HTTP requests at a steady rate until SIGTERM.")
    parser.add_argument("port", type=int)
    parser.add_argument("per_second", type=float)
    parser.add_argument("--keep", type=int, default=0, help="kept-alive clients")
    parser.add_argument("--pause", type=float, default=50, help="between their requests, in ms")
    parser.add_argument(
        "--path", default="/", help="what is asked for: a setting, where it speaks another language"
    )
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--speak", choices=("http", "postgres", "redis"), default="http")
    parser.add_argument("--patience", type=float, default=10, help="for an answer, in seconds")
    parser.add_argument("--tell", type=Path, help="where each failure is told as it comes")
    parser.add_argument("--host", default="127.0.0.1")
    return parser.parse_args()


if __name__ == "__main__":
    wanted = arguments()
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()
    asyncio.run(main(wanted))
