"""One HTTP call of a reload: a body read whole, one request, one answer, all within the order's time.

Decides whether the answer is the one that was ordered, and words the reason when it is not; and whether the request may
have reached the server. No redirect is followed: a call that changes something goes where the operator said. What the
answer proves about a configuration is not decided here.
"""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import h11

from agentd.ports import CallOrder, CallResult, Calls
from agentd.system.exchange import CannotError, Exchange, Tail
from agentd.system.hashing import Moved, Stamp, chunks
from agentd.system.http import Place, Plain, Wire, hang_up, place, reach, words
from agentd.system.tls import Tls, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.system.http import Streams

BODY_LIMIT = 64 * 1024 * 1024
_CHANGED = 412
_TRIES = 6
_PAUSE_S = 0.01
_OURS = frozenset({"connection", "content-length", "transfer-encoding", "if-match", "upgrade"})
"""Headers that say where a message ends, or what this call is about."""


class OsCalls(Calls):
    """The port. Files are read in threads of its own: one on a file system that hangs holds up its own call only."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2, "bodies")

    async def call(self, order: CallOrder) -> CallResult:
        """See ``Calls.call``."""
        one = _Call(order, self._pool)
        error, timed_out = None, False
        try:
            async with asyncio.timeout(order.timeout) as limit:
                await one.make()
        except CannotError as why:
            error = str(why)
        except OSError as why:
            timed_out = limit.expired()
            error = one.late() if timed_out else words(why)
        return CallResult(one.status, error, timed_out, one.sent, one.tail.lines())

    def close(self) -> None:
        """No more calls; a reading that hangs in the kernel is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Call:
    """One call, and how far it got."""

    def __init__(self, order: CallOrder, pool: ThreadPoolExecutor) -> None:
        self._order = order
        self._pool = pool
        self.sent = False
        self.status: int | None = None
        self.tail = Tail()

    async def make(self) -> None:
        """Returns when the answer is as ordered. Raises CannotError, OSError."""
        order = self._order
        where, body = _place(order.url), await self._body()
        headers = _headers(order, where)
        if order.body_file is not None:
            headers.append(("Content-Length", str(sum(map(len, body)))))
        if order.match is not None:
            headers.append(("If-Match", await self._etag(order.match)))
        head = _request(order.method, where, headers)
        streams = await reach(where)
        try:
            wire = await _wire(streams, where)
            self.sent = True
            answer = await Exchange(wire, self.tail, self._heard).make(head, body)
        finally:
            await hang_up(streams[1])
        if why := _unexpected(order, answer):
            raise CannotError(why)

    def late(self) -> str:
        """What was missing when the time was up."""
        what = "no answer" if self.status is None else "no end of the answer"
        return f"{what} within {self._order.timeout:g}s"

    def _heard(self, status: int) -> None:
        self.status = status

    async def _body(self) -> Sequence[bytes]:
        path, stop = self._order.body_file, threading.Event()
        if path is None:
            return ()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _read, path, stop)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise CannotError(f"cannot read {path}: {why}") from None
        finally:
            stop.set()  # cancelled: the thread ends at its next chunk

    async def _etag(self, url: str) -> str:
        """What the server says the configuration is now."""
        where = _place(url)
        asked = f"cannot get the ETag of {where.shown}"
        head = _request("GET", where, _headers(self._order, where, content=False))
        try:
            streams = await reach(where)
        except OSError as error:
            raise CannotError(f"{asked}: {words(error)}") from None
        try:
            wire = await _wire(streams, where)
            answer = await Exchange(wire, Tail(), lambda _: None).make(head, ())
        except CannotError as why:
            raise CannotError(f"{asked}: {why}") from None
        finally:
            await hang_up(streams[1])
        if not 200 <= answer.status_code < 300:  # noqa: PLR2004
            raise CannotError(f"{asked}: answered {answer.status_code}")
        etag = dict(answer.headers).get(b"etag", b"").decode("latin-1")
        if not etag or etag.startswith("W/"):
            kind = "a weak one only, which If-Match never matches" if etag else "none"
            raise CannotError(f"{asked}: it has {kind}")
        return etag


def _place(url: str) -> Place:
    try:
        return place(url)
    except ValueError as why:
        raise CannotError(f"the URL is wrong: {why}") from None


async def _wire(streams: Streams, where: Place) -> Wire:
    if not where.tls:
        return Plain(streams)
    made = Tls(streams, await trust(), where.host)
    try:
        await made.handshake()
    except OSError as error:
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or words(error)
        raise CannotError(f"cannot agree on TLS: {str(why).lower().replace('_', ' ')}") from None
    return made


def _headers(order: CallOrder, where: Place, *, content: bool = True) -> list[tuple[str, str]]:
    """Those of the order, and ours where it has none. ``content``: also those that tell of the body."""
    for name, _ in order.headers:
        if name.lower() in _OURS:
            raise CannotError(f"the header {name} cannot be given: it follows from the call itself")
    given = [h for h in order.headers if content or not h[0].lower().startswith("content-")]
    named = {name.lower() for name, _ in given}
    ours = [("Host", where.authority), ("User-Agent", "agentd"), ("Accept", "*/*")]
    if where.user:
        word = base64.b64encode(where.user.encode()).decode()
        ours.append(("Authorization", f"Basic {word}"))
    kept = [header for header in ours if header[0].lower() not in named]
    return [*kept, *given, ("Connection", "close")]


def _request(method: str, where: Place, headers: list[tuple[str, str]]) -> h11.Request:
    try:
        return h11.Request(method=method, target=where.target, headers=headers)
    except (h11.LocalProtocolError, ValueError) as error:
        raise CannotError(f"the request cannot be made: {error}") from None


def _unexpected(order: CallOrder, answer: h11.Response) -> str:
    """What is wrong with an answer; empty: it is as ordered."""
    status = answer.status_code
    if status in order.expect or (not order.expect and 200 <= status < 300):  # noqa: PLR2004
        return ""
    if 300 <= status < 400:  # noqa: PLR2004
        return f"answered {status}, and redirects are not followed: give the URL that it leads to"
    if status == _CHANGED and order.match is not None:
        return "answered 412: somebody else has changed the configuration since its ETag was got"
    expected = ", ".join(map(str, order.expect))
    return f"answered {status}" + (f", expected {expected}" if expected else "")


def _read(path: str, stop: threading.Event) -> Sequence[bytes]:
    """The bytes of a file as they were at one moment. Raises OSError, CannotError."""
    for attempt in range(_TRIES):
        if attempt and stop.wait(_PAUSE_S * attempt):
            break
        stamp = Stamp.of(os.stat(path))  # noqa: PTH116
        if not stamp.regular:
            raise CannotError(f"cannot send {path}: it is no regular file")
        if stamp.size > BODY_LIMIT:
            raise CannotError(f"cannot send {path}: it is larger than {BODY_LIMIT >> 20} MiB")
        try:
            return tuple(chunks(path, stamp, stop.is_set))
        except Moved:
            continue
    raise CannotError(f"cannot send {path}: it changed while it was read, {_TRIES} times")
