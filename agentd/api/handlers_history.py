"""Past and running reloads: ``history``, ``show``, and one trace for other tools."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentd.api import views
from agentd.api.body import query, whole
from agentd.api.context import Context
from agentd.api.message import Request, Response
from agentd.api.problem import Problem, malformed, printable, unknown_service
from agentd.api.verdicts import reported
from agentd.core.facts import Record, Requested
from agentd.wire import ExitCode, Verdict

if TYPE_CHECKING:
    from agentd.telemetry.span import Span

_MOST = 1000
_AT_ONCE = 20
"""Reloads that are folded before the loop gets its turn."""


async def history(context: Context, request: Request) -> Response:
    """Newest first; process starts only with ``?starts=1``."""
    asked = query(request, ("service", "verdict", "limit", "starts"))
    limit = whole(asked["limit"], "limit", 20, _MOST)
    service = asked["service"][-1] if asked["service"] else None
    starts = bool(whole(asked["starts"], "starts", 0, 1, 0))
    verdict = _verdict(asked["verdict"])
    rows = context.reader.reloads(service, verdict, limit, starts=starts)
    strange = service is not None and not rows and service not in context.services
    if strange and not context.reader.reloads(service, None, 1, starts=True):
        raise unknown_service(service or "")  # one that was removed has a history all the same
    reloads = await _documents(context, request, [row.reload_id for row in rows])
    return Response(json.dumps({"reloads": reloads}).encode() + b"\n")


def _verdict(asked: list[str]) -> Verdict | None:
    if not asked:
        return None
    if asked[-1] not in list(Verdict):
        known = ", ".join(Verdict)
        raise malformed(f'verdict "{printable(asked[-1], 64)}" is unknown; known: {known}')
    return Verdict(asked[-1])


async def show(context: Context, request: Request) -> Response:
    """One reload with its trace; a trace that holds several lists them."""
    query(request, ())
    ids = found(context, request.args["ref"])
    if len(ids) > 1:
        reloads = await _documents(context, request, ids)
        return Response(json.dumps({"reloads": reloads}).encode() + b"\n")
    from agentd.telemetry.flip import flip, to_json  # noqa: PLC0415 - when there is a trace to show
    from agentd.telemetry.report import trace  # noqa: PLC0415

    records = recorded(context, ids[0])
    document = reported(context, request, records)
    event = flip(records, context.resource)
    told = {"event": to_json(event) if event is not None else None}
    document["trace"] = trace(_spans(context, records)) | told
    return Response(json.dumps(document).encode() + b"\n")


async def otlp(context: Context, request: Request) -> Response:
    """One trace, or one reload's part of it, as an OTLP/JSON ExportTraceServiceRequest."""
    query(request, ())
    ids = found(context, request.args["ref"])
    await sdk_loaded()
    return Response(exported(context, ids))


async def sdk_loaded() -> None:
    """Before ``exported``: the SDK takes a tenth of a second to import, not while supervision waits."""
    await asyncio.to_thread(importlib.import_module, "agentd.telemetry.sdk")


def exported(context: Context, ids: Sequence[str]) -> bytes:
    """The spans of these reloads as one line of OTLP/JSON. Raises Problem 404."""
    from agentd.telemetry.otlp import export_request  # noqa: PLC0415
    from agentd.telemetry.sdk import to_sdk  # noqa: PLC0415

    spans: list[Span] = []
    for reload_id in ids:
        spans += _spans(context, recorded(context, reload_id))
    document = export_request(to_sdk(spans, context.version))
    return json.dumps(document).encode() + b"\n"


def found(context: Context, ref: str) -> Sequence[str]:
    """The reload that is meant, or all of one trace. Raises Problem 404, 409."""
    ids = context.reader.find(ref)
    if not ids:
        raise Problem(404, f"there is no reload {printable(ref)}", ExitCode.NO_SUCH_SERVICE)
    rows = [row for id_ in ids if (row := context.reader.row(id_)) is not None]
    if len({row.trace_id for row in rows}) > 1:
        several = f"{printable(ref)} may mean {len(rows)} reloads; give more of the id"
        candidates = [row.reload_id for row in rows]
        raise Problem(409, several, ExitCode.USAGE, candidates=candidates)
    return ids


def recorded(context: Context, reload_id: str) -> tuple[Record, ...]:
    """All that the journal knows of it, its request first. Raises Problem 404."""
    records = context.reader.records(reload_id)
    if not records or not isinstance(records[0].fact, Requested):
        gone = f"the journal does not hold reload {reload_id} any more"
        raise Problem(404, gone, ExitCode.NO_SUCH_SERVICE)
    return records


def _spans(context: Context, records: tuple[Record, ...]) -> Sequence[Span]:
    from agentd.telemetry.spans import spans  # noqa: PLC0415 - when there is a trace to show

    def trace_of(reload_id: str) -> str | None:
        row = context.reader.row(reload_id)
        return row.trace_id if row else None

    return spans(records, context.resource, now_ns=time.time_ns(), trace_of=trace_of)


async def _documents(context: Context, request: Request, ids: Sequence[str]) -> list[views.Json]:
    found = []
    for n, reload_id in enumerate(ids):
        if n and n % _AT_ONCE == 0:
            await asyncio.sleep(0)
        records = context.reader.records(reload_id)
        if records and isinstance(records[0].fact, Requested):
            found.append(reported(context, request, records))
    return found
