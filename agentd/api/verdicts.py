"""From an accepted request to what its caller is told: waiting for the verdict, and the reload's own document."""

from __future__ import annotations

import asyncio
import time

from agentd.api import views
from agentd.api.context import Context, may_inspect
from agentd.api.following import Following
from agentd.api.message import Request
from agentd.api.problem import Problem
from agentd.core.effects import Accepted, Reply, Turned
from agentd.core.facts import Cause, Judged, Record, Requested
from agentd.ports import AdapterError
from agentd.wire import ExitCode


def deadline(timeout_s: float | None) -> float | None:
    """The moment on the loop's clock when the caller stops waiting."""
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s


def not_turned(reply: Reply) -> Reply:
    """Raises Problem when the request was turned away."""
    if isinstance(reply, Turned):
        status = 404 if reply.exit_code == ExitCode.NO_SUCH_SERVICE else 409
        raise Problem(status, reply.message, reply.exit_code)
    return reply


async def in_time(following: Following, reload_id: str, until: float | None) -> Judged | None:
    """The verdict; None when the caller's time was up before."""
    try:
        async with asyncio.timeout_at(until):
            return await following.verdict(reload_id)
    except TimeoutError:
        return None


def told(
    context: Context,
    request: Request,
    taken: Accepted,
    cause: Cause,
    following: Following,
) -> views.Json:
    """The reload's document: from the journal; where that is not written or read, from what was heard; else the little that is known."""
    judged = following.judged(taken.reload_id)
    for records in (_read(context, taken.reload_id), following.records(taken.reload_id)):
        complete = bool(records) and isinstance(records[0].fact, Requested)
        if complete and (judged is None or any(isinstance(r.fact, Judged) for r in records)):
            document = reported(context, request, records)
            break
    else:
        s = context.now(following.service)
        document = views.unrecorded(s, taken.reload_id, taken.trace_id, cause, judged)
        _without_output(request, document)
    document["joined"] = taken.joined
    return document


def reported(context: Context, request: Request, records: tuple[Record, ...]) -> views.Json:
    """The fold of one reload's records, as this caller may see it."""
    from agentd.telemetry.report import report  # noqa: PLC0415 - when there is something to report

    found = report(records, time.time_ns(), context.host_id)
    assert found is not None
    document = found.to_json()
    s = context.host.services.get(found.service)
    document["on_trial"] = views.on_trial(s, found.reload_id) if s is not None else None
    _without_output(request, document)
    return document


def _without_output(request: Request, document: views.Json) -> None:
    if not may_inspect(request):
        document["output"] = []


def _read(context: Context, reload_id: str) -> tuple[Record, ...]:
    try:
        return context.reader.records(reload_id)
    except AdapterError:
        return ()
