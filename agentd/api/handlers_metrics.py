"""``/metrics``: everything that is counted, and how all services stand, as text for Prometheus and those like it.

Made and sent in pieces, between which the loop gets its turn: a scrape of a thousand services is some megabytes, which are
never in memory at once and keep nobody waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

from agentd.api.body import query
from agentd.api.context import Context
from agentd.api.message import Request, Response
from agentd.api.problem import busy


async def metrics(context: Context, request: Request) -> Response:
    """In OpenMetrics when the caller's Accept header asks for it."""
    from agentd.telemetry import openmetrics  # noqa: PLC0415 - when first scraped

    query(request, ())
    if context.telemetry is None:
        raise busy("agentd is starting; ask again in a moment")
    meter = context.telemetry.meter
    await context.disk.refresh(list(context.services.values()), named=False)
    await meter.keep_up()
    kind = openmetrics.wanted(request.headers.get("accept", ""))
    pieces = openmetrics.pieces(meter.families(context.measured()), kind)
    return Response(kind=kind, lines=_sent(pieces))


async def _sent(pieces: Iterator[str]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        if piece:
            yield piece.encode()
            await asyncio.sleep(0)
