"""The traces for other tools: OTLP JSON Lines, one reload or start a line, the oldest first.

Read a page at a time and folded one by one: memory does not depend on how many there are, and the loop gets its turn
between two. A line is, byte for byte, what ``/v1/reloads/{ref}/otlp`` answers. One that has not ended is left out: its
spans would be others later on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from agentd.api.body import query
from agentd.api.context import Context
from agentd.api.handlers_history import exported, sdk_loaded
from agentd.api.message import LINES, Request, Response
from agentd.api.problem import Problem, malformed

_PAGE = 100
PATIENCE_S = 3600.0
"""For each line: who reads (a pager, a slow disk) may take its time, nothing is held meanwhile but the connection."""


async def export(context: Context, request: Request) -> Response:
    """All that is known; with ``since`` what was asked for since a moment (RFC 3339), or in the last so many seconds."""
    asked = query(request, ("since",))["since"]
    since_ns = _moment(asked[-1]) if asked else 0
    await sdk_loaded()
    return Response(kind=LINES, lines=_lines(context, since_ns), write_s=PATIENCE_S)


def _moment(text: str) -> int:
    """Unix time in ns. Raises Problem 400."""
    plain = text.replace(".", "", 1)
    if plain.isascii() and plain.isdigit() and len(plain) <= 12:  # noqa: PLR2004 (thirty thousand years)
        return time.time_ns() - int(float(text) * 1e9)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise malformed(
            "the query since must be seconds or a moment such as 2026-11-22T10:00:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1e9)


async def _lines(context: Context, since_ns: int) -> AsyncGenerator[bytes, None]:
    last = 0
    while page := context.reader.requested(last, _PAGE):
        for one in page:
            last = one.seq
            if not one.ended or one.wall_ns < since_ns:
                continue
            try:
                line = exported(context, (one.reload_id,))
            except Problem:
                continue  # forgotten since the page was read
            yield line
            await asyncio.sleep(0)
        await asyncio.sleep(0)
