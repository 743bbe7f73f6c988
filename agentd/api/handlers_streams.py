"""What goes on coming: captured output, and the journal as it is written.

A caller that reads too slowly is cut, by the socket's write timeout or because too much waits for it: the agent keeps
nothing for the slow.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable

from agentd.api import views
from agentd.api.body import query, whole
from agentd.api.context import Context
from agentd.api.message import LINES, Request, Response
from agentd.core.facts import Record

_TAIL_BYTES = 1 << 18
_PIECE_BYTES = 1 << 16
_MOST_LINES = 10_000
_MOST_WAITING = 1000
"""Records that wait for one reader at most."""


async def logs(context: Context, request: Request) -> Response:
    """The last lines; with ``follow=1`` also what comes."""
    asked = query(request, ("lines", "follow"))
    count = whole(asked["lines"], "lines", 50, _MOST_LINES, 0)
    name = context.service(request).spec.name
    if whole(asked["follow"], "follow", 0, 1, 0):
        return Response(kind=LINES, lines=_follow(context, name, count))
    lines = context.logs.tail(name, count)
    return Response(json.dumps({"service": name, "lines": lines}).encode() + b"\n")


async def _follow(context: Context, name: str, count: int) -> AsyncGenerator[bytes, None]:
    # One reading gives the tail and where it ends: no line is lost between the two, none comes twice.
    start = max(context.logs.offset(name) - _TAIL_BYTES, 0)
    lines, end = context.logs.since(name, start, 2 * _TAIL_BYTES)
    if start and lines:
        lines = lines[1:]  # begins in the middle of a line
    if count and lines:
        yield _lines({"line": line} for line in lines[-count:])
    while True:
        await context.logs.grown(name, end)
        lines, end = context.logs.since(name, end, _PIECE_BYTES)
        if lines:
            yield _lines({"line": line} for line in lines)


async def events(context: Context, request: Request) -> Response:
    """Every record from now on; with ``after=SEQ`` first those written since."""
    asked = query(request, ("after",))
    after = whole(asked["after"], "after", -1, 10**18, 0)
    return Response(kind=LINES, lines=_events(context, after))


async def _events(context: Context, after: int) -> AsyncGenerator[bytes, None]:
    waiting: deque[Record] = deque()
    news = asyncio.Event()

    def heard(record: Record) -> None:
        waiting.append(record)
        news.set()

    stop = context.runtime.journal.listen(heard)
    try:
        last = after
        while after >= 0 and (records := context.reader.after(last, 200)):
            last = records[-1].seq
            yield _lines(map(views.event, records))
        while len(waiting) <= _MOST_WAITING:
            news.clear()
            records = tuple(record for record in waiting if record.seq > last)
            waiting.clear()
            if records:
                yield _lines(map(views.event, records))
            if not waiting:
                await news.wait()
    finally:
        stop()


def _lines(documents: Iterable[views.Json]) -> bytes:
    return b"".join(json.dumps(d, separators=(",", ":")).encode() + b"\n" for d in documents)
