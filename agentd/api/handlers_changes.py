"""What may be done about one reload: keep a change that is on trial, give up one that has touched nothing."""

from __future__ import annotations

import json

from agentd.api.body import Body
from agentd.api.context import Context
from agentd.api.handlers_history import found, recorded
from agentd.api.message import Request, Response
from agentd.api.problem import Problem, printable
from agentd.api.verdicts import not_turned
from agentd.core.events import CancelAsked, ConfirmAsked
from agentd.core.facts import Requested
from agentd.wire import ExitCode


async def confirm(context: Context, request: Request) -> Response:
    """Keep what it changed."""
    return await _about(context, request, ConfirmAsked, "confirmed")


async def cancel(context: Context, request: Request) -> Response:
    """Give it up."""
    return await _about(context, request, CancelAsked, "cancelled")


async def _about(
    context: Context, request: Request, ask: type[ConfirmAsked | CancelAsked], what: str
) -> Response:
    Body(request).finish()
    name, reload_id = _whose(context, request.args["ref"])
    not_turned(await context.runtime.ask(ask(name, reload_id, context.cause(request, ""))))
    document = {"reload_id": reload_id, "service": name, what: True}
    return Response(json.dumps(document).encode() + b"\n", 200, ExitCode.OK)


def _whose(context: Context, ref: str) -> tuple[str, str]:
    """The service and the whole id; also of one that is too young to be in the journal. Raises Problem 404, 409."""
    for name, s in context.services.items():
        young = [r.id for r in (s.running, s.waiting) if r is not None and not r.silent]
        known = (*young, s.pending.reload_id) if s.pending else young
        if ref.upper() in known:
            return name, ref.upper()
    ids = found(context, ref)
    if len(ids) != 1:
        what = f"{printable(ref)} is a trace of {len(ids)} reloads; name one of them"
        raise Problem(409, what, ExitCode.USAGE, candidates=ids)
    fact = recorded(context, ids[0])[0].fact
    assert isinstance(fact, Requested)
    return fact.service, ids[0]
