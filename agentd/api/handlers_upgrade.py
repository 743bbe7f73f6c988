"""The agent's own code replaced in place: the new code is asked whether it can take over, and then the old one gives way.

Decides when: not while a reload or a start is under way, which is waited for, and never when the new code says no.
"""

from __future__ import annotations

import asyncio
import json
import os

from agentd.api.body import Body
from agentd.api.context import Context
from agentd.api.message import Request, Response
from agentd.api.problem import Problem, printable
from agentd.api.verdicts import deadline
from agentd.core.reload_value import Reload
from agentd.wire import ExitCode, Verdict

_PATIENCE_S = 60.0
_LOOK_S = 0.05


async def upgrade(context: Context, request: Request) -> Response:
    """Rehearse, wait until nothing is under way, give way. The answer comes before that; the next one is the new agent's."""
    body = Body(request)
    timeout_s = body.seconds("timeout_s")
    body.finish()
    upgrading = context.upgrading
    if upgrading.begun or context.host.ending:
        raise Problem(409, "cannot upgrade: agentd is ending already", ExitCode.NOT_RUNNING)
    found = await upgrading.rehearse()
    if found.why:
        lines = [printable(one) for one in found.output]
        why = f"cannot upgrade, agentd {context.version} goes on: {printable(found.why)}"
        raise Problem(422, why, Verdict.REJECTED.exit_code, candidates=lines)
    until = deadline(_PATIENCE_S if timeout_s is None else timeout_s)
    while (busy := _under_way(context)) is not None:
        if until is not None and asyncio.get_running_loop().time() >= until:
            follow = f"follow it with: reloadctl wait {busy.id}"
            raise Problem(
                409, f"cannot upgrade: {busy.id} is under way; {follow}", ExitCode.STILL_RUNNING
            )
        await asyncio.sleep(_LOOK_S)
    if upgrading.begun or context.host.ending:
        raise Problem(409, "cannot upgrade: agentd is ending already", ExitCode.NOT_RUNNING)
    alive = [s.spec.name for s in context.services.values() if s.alive]
    told = {"from": context.version, "to": found.version, "pid": os.getpid(), "kept": alive}
    upgrading.begin()
    return Response(json.dumps(told).encode() + b"\n", 202, ExitCode.OK)


def _under_way(context: Context) -> Reload | None:
    """A reload or a start that has begun; one that waits or settles goes on under the new agent."""
    return next((s.running for s in context.services.values() if s.running is not None), None)
