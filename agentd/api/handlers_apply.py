"""``apply``: the definitions on disk are put in force, and what becomes of every reload and start that this causes.

The caller waits; what was begun does not: who goes away, or gives up after ``timeout_s``, leaves it running.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from dataclasses import dataclass

from agentd.api import views
from agentd.api.body import Body
from agentd.api.context import Context
from agentd.api.following import Following
from agentd.api.handlers_definitions import mistakes
from agentd.api.handlers_definitions import told as planned_told
from agentd.api.handlers_reloads import CODES
from agentd.api.message import Request, Response
from agentd.api.obstacle import AT_ONCE, arrived, obstacle, patience
from agentd.api.problem import Problem
from agentd.api.verdicts import deadline, in_time, told
from agentd.config.problems import ConfigErrors
from agentd.core.effects import Accepted, Reply, Turned
from agentd.core.facts import Cause
from agentd.core.instance import Phase
from agentd.wire import ExitCode, Trigger


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one service; ``detail``: why there is no reload of it, or what else is wrong."""

    service: str
    code: int = ExitCode.OK
    reload: views.Json | None = None
    detail: str = ""


async def apply(context: Context, request: Request) -> Response:
    """Read the definitions again and put them in force, whole or not at all."""
    body = Body(request)
    reason, wait, timeout_s = (
        body.text("reason"),
        body.flag("wait", default=True),
        body.seconds("timeout_s"),
    )
    body.finish()
    cause, journal = context.cause(request, reason), context.runtime.journal
    asked = _Asked(context, request, cause, wait, deadline(timeout_s))
    try:
        applied = await context.applying.apply(cause)
    except ConfigErrors as errors:
        raise mistakes(errors) from None
    with ExitStack() as listening:  # nothing has happened yet: no verdict can be missed
        each = [
            _Waiting(asked, name, answer, listening.enter_context(Following(journal, name)))
            for name, answer in applied.asked.items()
        ]
        outcomes = await asyncio.gather(*(one.outcome() for one in each))
    document = planned_told(applied.planned, applied=True) | {
        "reloads": [one.reload for one in outcomes if one.reload],
        "turned_away": [
            {"service": one.service, "exit": one.code, "detail": one.detail}
            for one in outcomes
            if one.detail
        ],
    }
    code = min((*(one.code for one in outcomes), ExitCode.OK), key=CODES.index)
    over = all(one.reload is None or one.reload["verdict"] for one in outcomes)
    status = 200 if over and code != ExitCode.STILL_RUNNING else 202
    return Response(json.dumps(document).encode() + b"\n", status, code)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asks, and how long they wait."""

    context: Context
    request: Request
    cause: Cause
    wait: bool
    until: float | None


class _Waiting:
    """One service whose process has to be started, restarted or replaced."""

    def __init__(
        self, asked: _Asked, name: str, answer: asyncio.Future[Reply], following: Following
    ) -> None:
        self._asked, self._context, self._name = asked, asked.context, name
        self._answer, self._following = answer, following

    async def outcome(self) -> _Outcome:
        """Its verdict, or why there is none."""
        try:
            until = self._asked.until if self._asked.wait else deadline(AT_ONCE)
            async with patience(self._context, self._name, until):
                reply = await self._answer
        except TimeoutError:
            return self._not_begun()
        if isinstance(reply, Turned):
            return _Outcome(self._name, reply.exit_code, detail=reply.message)
        if not isinstance(reply, Accepted):
            return _Outcome(self._name)  # not wanted, or overtaken by other definitions
        return await self._verdict(reply) if self._asked.wait else self._begun(reply)

    def _begun(self, reply: Accepted) -> _Outcome:
        id_, trace_id = reply.reload_id, reply.trace_id
        document = views.accepted(id_, trace_id, self._name, joined=reply.joined)
        return _Outcome(self._name, reload=document)

    def _not_begun(self) -> _Outcome:
        """It waits for its turn, or for another service that nobody will start."""
        if why := obstacle(self._context.host.services, self._name):
            code = ExitCode.NOT_RUNNING if self._asked.wait else ExitCode.OK
            return _Outcome(self._name, code, detail=why)
        code = ExitCode.STILL_RUNNING if self._asked.wait else ExitCode.OK
        what = (
            "it waits for its turn: for the reload that runs, its old process, or what it requires"
        )
        return _Outcome(self._name, code, detail=what)

    async def _verdict(self, reply: Accepted) -> _Outcome:
        judged = await in_time(self._following, reply.reload_id, self._asked.until)
        document = told(
            self._context, self._asked.request, reply, self._asked.cause, self._following
        )
        if judged is None:
            return _Outcome(self._name, ExitCode.STILL_RUNNING, document)
        code = judged.verdict.exit_code
        if code == ExitCode.OK and judged.trigger is Trigger.START:
            return await self._others(document)
        return _Outcome(self._name, code, document)

    async def _others(self, document: views.Json) -> _Outcome:
        """It was the start of one of several instances: the others follow."""
        name = self._name
        try:
            if self._context.now(name).others:
                async with patience(self._context, name, self._asked.until):
                    await self._following.phases(lambda: arrived(self._context, name))
        except TimeoutError:
            return _Outcome(name, ExitCode.STILL_RUNNING, document, "other instances still start")
        except Problem:  # declared no more by now
            return _Outcome(name, ExitCode.OK, document)
        s = self._context.now(name)
        if s.others and s.phase is not Phase.READY and s.wanted:
            return _Outcome(name, ExitCode.NOT_RUNNING, document, views.why(s) or s.phase.value)
        return _Outcome(name, ExitCode.OK, document)
