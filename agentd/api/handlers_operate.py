"""What changes a service beside reloads: start, stop, restart; hold, release; and the check on its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from agentd.api import views
from agentd.api.body import Body
from agentd.api.context import Context
from agentd.api.following import Following
from agentd.api.message import Request, Response
from agentd.api.obstacle import AT_ONCE, arrived, obstacle, patience
from agentd.api.verdicts import deadline, in_time, not_turned, told
from agentd.core.effects import Accepted, Reply
from agentd.core.events import Ask, HoldAsked, ReleaseAsked, RestartAsked, StartAsked, StopAsked
from agentd.core.host import AT_REST
from agentd.core.instance import Phase
from agentd.core.manifest import Missing, changes
from agentd.core.memory import Want
from agentd.core.spec import Check
from agentd.ports import CommandResult
from agentd.wire import ExitCode, Verdict

_AFTER_KILL = 15.0
"""Seconds beyond the stop timeout until even a KILL must have ended a service."""
_REJECTED = Verdict.REJECTED.exit_code


def _answer(document: views.Json, code: int, status: int = 200) -> Response:
    return Response(json.dumps(document).encode() + b"\n", status, code)


async def start(context: Context, request: Request) -> Response:
    """Want it up, and wait until it is ready."""
    return await _started(context, request, StartAsked)


async def restart(context: Context, request: Request) -> Response:
    """Stop it, start it, and wait until it is ready."""
    return await _started(context, request, RestartAsked)


async def _started(
    context: Context, request: Request, ask: type[StartAsked | RestartAsked]
) -> Response:
    name, wait, timeout_s = _wish(context, request)
    until = deadline(timeout_s)
    cause = context.cause(request, "", waits=wait)
    with Following(context.runtime.journal, name) as following:
        reply = await _asked(context, ask(name, cause), until if wait else deadline(AT_ONCE))
        if reply is None:
            return _waiting(context, name, wait=wait)
        if not isinstance(reply, Accepted):
            return await _already(context, name, following, until, wait=wait)
        judged = await in_time(following, reply.reload_id, until) if wait else None
        if not wait:
            begun = views.accepted(reply.reload_id, reply.trace_id, name, joined=reply.joined)
            return _answer(views.acted(context.now(name), "", begun), ExitCode.OK, 202)
        document = told(context, request, reply, cause, following)
        up = judged is not None and judged.verdict.exit_code == ExitCode.OK
        if up and context.now(name).others:  # it was the start of one: the others follow
            return await _already(context, name, following, until, wait=True)
    s = context.now(name)
    if judged is None:
        return _answer(
            views.acted(s, "it is still starting", document), ExitCode.STILL_RUNNING, 202
        )
    return _answer(views.acted(s, judged.message, document), judged.verdict.exit_code)


def _waiting(context: Context, name: str, *, wait: bool) -> Response:
    """It has not begun to start. Who waits is told at once when that will not change by itself."""
    s, why = context.now(name), obstacle(context.host.services, name)
    if why and wait:
        return _answer(views.acted(s, why, None), ExitCode.NOT_RUNNING)
    waits = "it waits: for its old process to end, or for what it requires"
    what = why or ("it is still starting" if s.phase is Phase.STARTING else waits)
    return _answer(views.acted(s, what, None), ExitCode.STILL_RUNNING if wait else ExitCode.OK, 202)


async def _already(
    context: Context, name: str, following: Following, until: float | None, *, wait: bool
) -> Response:
    """No start of its own: it is ready, on its way, asked for by somebody else too, or stopped meanwhile."""
    try:
        async with patience(context, name, until if wait else deadline(0)):
            await following.phases(lambda: arrived(context, name))
    except TimeoutError:
        return _waiting(context, name, wait=True)
    s = context.now(name)
    if s.want is Want.DOWN:
        return _answer(views.acted(s, "it was stopped meanwhile", None), ExitCode.NOT_RUNNING)
    if s.phase is Phase.READY:
        return _answer(views.acted(s, "it is ready", None), ExitCode.OK)
    return _answer(views.acted(s, views.why(s), None), ExitCode.NOT_RUNNING)


async def stop(context: Context, request: Request) -> Response:
    """Want it down, and wait until nothing of it is left."""
    name, wait, timeout_s = _wish(context, request)
    s = context.service(request)
    until = deadline(timeout_s or s.spec.stop_timeout + _AFTER_KILL)

    def over() -> bool:
        s = context.now(name)
        return s.phase in AT_REST or s.want is Want.UP

    with Following(context.runtime.journal, name) as following:
        not_turned(await context.runtime.ask(StopAsked(name, context.cause(request, ""))))
        rested = await _phases(following, over, until) if wait else over()
    s = context.now(name)
    if s.want is Want.UP:
        return _answer(views.acted(s, "it was started again meanwhile", None), ExitCode.NOT_RUNNING)
    if rested:
        return _answer(views.acted(s, "", None), ExitCode.OK)
    message = f"it is still {s.phase.value}"
    return _answer(views.acted(s, message, None), ExitCode.STILL_RUNNING if wait else 0, 202)


async def hold(context: Context, request: Request) -> Response:
    """No reload until released, or until ``for_s`` seconds have passed."""
    body = Body(request)
    reason, seconds = body.text("reason"), body.seconds("for_s")
    body.finish()
    name = context.service(request).spec.name
    cause = context.cause(request, reason)
    not_turned(await context.runtime.ask(HoldAsked(name, cause, seconds)))
    return _answer({"service": name, "held": True, "reason": reason}, ExitCode.OK)


async def release(context: Context, request: Request) -> Response:
    """End the hold; what it turned away is asked for once more."""
    body = Body(request)
    reason = body.text("reason")
    body.finish()
    name = context.service(request).spec.name
    cause = context.cause(request, reason, waits=False)
    reply = not_turned(await context.runtime.ask(ReleaseAsked(name, cause)))
    begun = reply.reload_id if isinstance(reply, Accepted) else None
    return _answer({"service": name, "held": False, "reload_id": begun}, ExitCode.OK)


async def check(context: Context, request: Request) -> Response:
    """Run the check on the inputs as they are. What was checked is what was there before and after."""
    Body(request).finish()
    s = context.service(request)
    files = context.runtime.machine.files
    command = s.spec.reload.check
    staged = command is not None and command.staged
    before = await files.snapshot(s.spec, keep=staged, anew=True)
    document: views.Json = {
        "service": s.spec.name,
        "verdict": "rejected",
        "exit_code": None,
        "output": [],
        "hash": None,
        "version": None,
        "changed": [],
        "error": None,
    }
    if isinstance(before, Missing):
        return _answer(document | {"error": before.message}, _REJECTED)
    document |= {
        "hash": before.hash,
        "version": before.version,
        "changed": [
            {"path": c.path, "change": c.change} for c in changes(s.live or s.last_good, before)
        ],
    }
    if command is None:
        return _answer(document | {"verdict": "none"}, ExitCode.OK)
    result = await context.runtime.check(s.spec.name, command, before.hash)
    document |= {"exit_code": result.exit_code, "output": list(result.output)}
    error = _error(command, result)
    if error is None and result.exit_code == 0:
        after = await files.snapshot(s.spec, keep=False)
        if not isinstance(after, Missing) and after.hash == before.hash:
            if before.unlisted:
                return _answer(document | {"error": before.unlisted}, _REJECTED)
            return _answer(document | {"verdict": "passed"}, ExitCode.OK)
        error = "the inputs changed while they were checked; check again"
    return _answer(document | {"error": error}, _REJECTED)


def _error(command: Check, result: CommandResult) -> str | None:
    """Why the check gave no answer of its own."""
    if result.error is not None:
        return result.error
    if result.timed_out:
        return f"the check took longer than {command.timeout:g}s"
    if result.exit_code == 0 and command.warned(result.output):
        return "the check accepts it with a warning, and warnings_as_errors is set"
    return None


def _wish(context: Context, request: Request) -> tuple[str, bool, float | None]:
    """The service, whether to wait, and how long."""
    body = Body(request)
    wait, timeout_s = body.flag("wait", default=True), body.seconds("timeout_s")
    body.finish()
    return context.service(request).spec.name, wait, timeout_s


async def _asked(context: Context, event: Ask, until: float | None) -> Reply | None:
    """None: the core has not said in time. Raises Problem: turned away."""
    try:
        async with patience(context, event.service, until):
            return not_turned(await context.runtime.ask(event))
    except TimeoutError:
        return None


async def _phases(following: Following, there: Callable[[], bool], until: float | None) -> bool:
    try:
        async with asyncio.timeout_at(until):
            await following.phases(there)
    except TimeoutError:
        return False
    return True
