"""The agent's own definitions: what a change of the files would do; and the agent's end. Doing it is ``handlers_apply``'s."""

from __future__ import annotations

import json

from agentd.api import views
from agentd.api.body import Body, query
from agentd.api.context import Context, Planned
from agentd.api.message import Request, Response
from agentd.api.problem import Problem
from agentd.config.problems import ConfigErrors, describe
from agentd.core.events import ShutdownAsked
from agentd.wire import ExitCode


async def plan(context: Context, request: Request) -> Response:
    """What ``apply`` would do now."""
    query(request, ())
    try:
        planned = await context.applying.plan()
    except ConfigErrors as errors:
        raise mistakes(errors) from None
    return Response(json.dumps(told(planned, applied=False)).encode() + b"\n")


async def shutdown(context: Context, request: Request) -> Response:
    """Stop every service, then end. The answer comes when that has begun."""
    Body(request).finish()
    context.runtime.post(ShutdownAsked(leave=False))
    alive = [s.spec.name for s in context.services.values() if s.alive]
    return Response(json.dumps({"stopping": alive}).encode() + b"\n", 202, ExitCode.OK)


def mistakes(errors: ConfigErrors) -> Problem:
    """Counted in the sentence, and each of them beside it."""
    what, *_ = describe(errors).partition("\n")
    mistakes = [str(one) for one in errors.errors]
    return Problem(422, what, ExitCode.INVALID_DEFINITION, candidates=mistakes)


def told(planned: Planned, *, applied: bool) -> views.Json:
    """What changes, and what each change does."""
    return {
        "applied": applied,
        "changes": [
            {
                "service": c.service,
                "action": c.action.value,
                "keys": list(c.keys),
                "forced_by": list(c.forced_by),
            }
            for c in planned.changes
        ],
        "later": [f"agent.{name}" for name in planned.later],
        "warnings": list(planned.definitions.warnings),
    }
