"""How services stand: ``status`` and one service of it.

Decides the exit code: a wanted service that is not ready, or still starting, is not up (LSB status, 3).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from agentd.api import views
from agentd.api.body import query
from agentd.api.context import Context
from agentd.api.message import Request, Response
from agentd.api.problem import unknown_service
from agentd.core.service import Service
from agentd.wire import ExitCode


async def status(context: Context, request: Request) -> Response:
    """All services, or those that ``?service=`` names."""
    asked = query(request, ("service",))["service"]
    services = context.services
    for name in asked:
        if name not in services:
            raise unknown_service(name, ExitCode.STATUS_UNKNOWN_SERVICE)
    chosen = tuple(dict.fromkeys(asked)) if asked else tuple(services)
    await context.look_round(chosen)
    await context.disk.refresh([services[name] for name in chosen], named=bool(asked))
    agent = {
        "version": context.version,
        "pid": os.getpid(),
        "uptime_s": context.uptime_s,
        "socket": context.socket_path,
        "telemetry": context.telemetry.status() if context.telemetry is not None else None,
        "notices": context.notices,
    }
    found = _now(context, chosen)
    text = f'{{"agent":{json.dumps(agent)},"services":[{",".join(_texts(context, found))}]}}\n'
    return Response(text.encode("ascii"), code=_code(found, named=bool(asked)))


async def service(context: Context, request: Request) -> Response:
    """One service of ``status``."""
    s = context.service(request, ExitCode.STATUS_UNKNOWN_SERVICE)
    await context.look_round((s.spec.name,))
    await context.disk.refresh([s], named=True)
    found = _now(context, (s.spec.name,))
    return Response(
        "".join((*_texts(context, found), "\n")).encode("ascii"), code=_code(found, named=True)
    )


def _now(context: Context, names: Sequence[str]) -> list[Service]:
    """As they are after the wait; one that is gone by now is left out."""
    services = context.services
    return [services[name] for name in names if name in services]


def _code(services: Sequence[Service], *, named: bool) -> ExitCode:
    """Whoever names a service asks whether it runs (LSB: 3), wanted or not; the whole host is well when what is wanted is up."""
    up = all(views.is_up(s, wanted=not named) for s in services)
    return ExitCode.OK if up else ExitCode.NOT_UP


def _texts(context: Context, services: Sequence[Service]) -> list[str]:
    return context.texts.of(services, context.services)
