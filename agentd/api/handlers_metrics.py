"""``/metrics``: everything that is counted, and how all services stand, as text for Prometheus and those like it.

Made in pieces, between which the loop gets its turn: a scrape of a thousand services is some hundred kilobytes and keeps
nobody waiting.
"""

from __future__ import annotations

import asyncio

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
    await context.disk.refresh(list(context.host.services.values()), named=False)
    await meter.keep_up()
    kind = openmetrics.wanted(request.headers.get("accept", ""))
    found = []
    families = meter.families(context.measured())
    for piece in openmetrics.pieces(families, kind):
        found.append(piece)
        await asyncio.sleep(0)
    return Response("".join(found).encode(), kind=kind)
