"""Waiting for reloads that were asked for before: the same answer that their first caller would have got.

A reload that has ended is answered at once. Who gives up leaves it running.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from agentd.api import views
from agentd.api.body import query, seconds
from agentd.api.context import Context
from agentd.api.following import Following
from agentd.api.handlers_history import found, recorded
from agentd.api.message import Request, Response
from agentd.api.problem import Problem, busy
from agentd.api.verdicts import deadline, in_time, told
from agentd.core.effects import Accepted
from agentd.core.facts import Cause, Judged, Requested
from agentd.wire import WORST_FIRST, ExitCode, Verdict


@dataclass(frozen=True, slots=True)
class _Asked:
    service: str
    reload_id: str
    trace_id: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class _End:
    document: views.Json
    verdict: Verdict | None


async def wait(context: Context, request: Request) -> Response:
    """The reload that REF means, or all of one trace, once they have ended; 202 when ``timeout_s`` ends before."""
    until = deadline(seconds(query(request, ("timeout_s",))["timeout_s"], "timeout_s"))
    ends = [await _one(context, request, one, until) for one in _meant(context, request)]
    verdicts = [end.verdict for end in ends if end.verdict is not None]
    late = len(verdicts) < len(ends)
    worst = min(verdicts, key=WORST_FIRST.index, default=Verdict.APPLIED)
    code = worst.exit_code or (ExitCode.STILL_RUNNING if late else ExitCode.OK)
    document = ends[0].document
    if len(ends) > 1:
        document = {"reloads": [e.document for e in ends], "turned_away": [], "not_tried": []}
    return Response(json.dumps(document).encode() + b"\n", 202 if late else 200, code)


def _meant(context: Context, request: Request) -> list[_Asked]:
    """Oldest first. Raises Problem 404, 409."""
    ref = request.args["ref"]
    try:
        ids = found(context, ref)
    except Problem:
        # Accepted a moment ago, and perhaps not written yet.
        for s in context.services.values():
            for r in (s.running, s.waiting):
                if r is not None and r.id == ref.upper() and not r.silent:
                    return [_Asked(s.spec.name, r.id, r.trace_id, r.cause)]
        raise
    asked = [recorded(context, reload_id)[0].fact for reload_id in reversed(ids)]
    facts = [fact for fact in asked if isinstance(fact, Requested)]
    return [_Asked(f.service, f.reload_id, f.trace_id, f.cause) for f in facts]


async def _one(context: Context, request: Request, asked: _Asked, until: float | None) -> _End:
    """Raises Problem 503: how it ended could not be written, and nobody knows any more."""
    with Following(context.runtime.journal, asked.service) as following:
        # What was written before we began to listen, and what is written from now on: nothing lies between the two.
        written = [r.fact for r in context.reader.records(asked.reload_id)]
        judged = next((fact for fact in written if isinstance(fact, Judged)), None)
        if judged is None and _goes_on(context, asked):
            judged = await in_time(following, asked.reload_id, until)
        elif judged is None:
            soon = asyncio.get_running_loop().time() + context.commit_s
            judged = await in_time(following, asked.reload_id, min(until or soon, soon))
            if judged is None and (until is None or until > soon):
                lost = f"how reload {asked.reload_id} ended could not be written"
                raise busy(f"{lost}; see how the service stands: reloadctl status {asked.service}")
        taken = Accepted(asked.reload_id, asked.trace_id, joined=False)
        document = told(context, request, taken, asked.cause, following)
    return _End(document, judged.verdict if judged else None)


def _goes_on(context: Context, asked: _Asked) -> bool:
    s = context.services.get(asked.service)
    known = (s.running, s.waiting) if s is not None else ()
    return any(r is not None and r.id == asked.reload_id for r in known)
