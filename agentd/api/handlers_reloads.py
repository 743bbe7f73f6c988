"""Asking for reloads and waiting for their verdicts: one service, several, all.

The caller waits; the reload does not: who goes away, or gives up after ``timeout_s``, leaves it running.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from agentd.api import views
from agentd.api.body import Body
from agentd.api.context import Context
from agentd.api.following import Following
from agentd.api.handlers_diff import chosen, former
from agentd.api.message import Request, Response
from agentd.api.obstacle import obstacle
from agentd.api.problem import Problem, malformed, unknown_service
from agentd.api.verdicts import deadline, in_time, not_turned, told
from agentd.core.effects import Accepted
from agentd.core.events import ReloadAsked
from agentd.core.facts import Cause
from agentd.core.order import start_order
from agentd.wire import WORST_FIRST, ExitCode, Trigger, Verdict

_MOST_PARALLEL = 64
CODES = (
    *(v.exit_code for v in WORST_FIRST if v not in (Verdict.UNCHANGED, Verdict.APPLIED)),
    ExitCode.NO_SUCH_SERVICE,
    ExitCode.NOT_RUNNING,
    ExitCode.STILL_RUNNING,
    ExitCode.OK,
)
"""Of several reloads the worst counts; then those that were none, then those whose end was not awaited."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What every request for a reload says."""

    cause: Cause
    if_changed: bool
    force: bool
    require_proof: bool
    wait: bool
    timeout_s: float | None
    confirm_within_s: float | None = None
    restore: str = ""

    def of(self, service: str) -> ReloadAsked:
        """The same for one service."""
        return ReloadAsked(
            service,
            self.cause,
            if_changed=self.if_changed,
            force=self.force,
            require_proof=self.require_proof,
            restore=self.restore,
            confirm_within=self.confirm_within_s,
        )


def _wish(context: Context, request: Request, body: Body) -> _Wish:
    reason, attributes = body.text("reason"), body.attributes("attributes")
    if_changed, force = body.flag("if_changed", default=False), body.flag("force", default=False)
    require_proof = body.flag("require_proof", default=False)
    wait = body.flag("wait", default=True)
    return _Wish(
        context.cause(request, reason, attributes, waits=wait),
        if_changed,
        force,
        require_proof,
        wait,
        body.seconds("timeout_s"),
        body.seconds("confirm_within_s"),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """One reload as far as it was waited for."""

    document: views.Json
    verdict: Verdict | None
    code: int


async def reload(context: Context, request: Request) -> Response:
    """One service."""
    body = Body(request)
    wish = _wish(context, request, body)
    body.finish()
    name = context.service(request).spec.name
    answer = await _one(context, request, name, wish, deadline(wish.timeout_s))
    status = 200 if answer.verdict else 202
    return Response(json.dumps(answer.document).encode() + b"\n", status, answer.code)


async def rollback(context: Context, request: Request) -> Response:
    """Put back the configuration that ``to`` names, by default the newest that was good and is not the one on disk."""
    body = Body(request)
    wish, to = _wish(context, request, body), body.text("to")
    body.finish()
    s = context.service(request)
    side = await chosen(context, s, to) if to else await former(context, s)
    cause = replace(wish.cause, trigger=Trigger.ROLLBACK)
    wish = replace(wish, cause=cause, restore=side.hash)
    answer = await _one(context, request, s.spec.name, wish, deadline(wish.timeout_s))
    status = 200 if answer.verdict else 202
    return Response(json.dumps(answer.document).encode() + b"\n", status, answer.code)


async def _one(
    context: Context, request: Request, name: str, wish: _Wish, until: float | None
) -> _Answer:
    """Ask, and wait. Raises Problem: turned away."""
    if why := obstacle(context.host.services, name):
        raise Problem(409, f"cannot reload: {why}", ExitCode.NOT_RUNNING)
    with Following(context.runtime.journal, name) as following:
        taken = not_turned(await context.runtime.ask(wish.of(name)))
        assert isinstance(taken, Accepted)
        if not wish.wait:
            document = views.accepted(taken.reload_id, taken.trace_id, name, joined=taken.joined)
            return _Answer(document, None, ExitCode.OK)
        judged = await in_time(following, taken.reload_id, until)
        document = told(context, request, taken, wish.cause, following)
    if judged is None:
        return _Answer(document, None, ExitCode.STILL_RUNNING)
    return _Answer(document, judged.verdict, judged.verdict.exit_code)


async def reload_several(context: Context, request: Request) -> Response:
    """Those named, or all that are wanted up and not held; in the order of what they need."""
    body = Body(request)
    wish = _wish(context, request, body)
    named, everything = body.names("services"), body.flag("all", default=False)
    parallel = body.count("max_parallel", 1, _MOST_PARALLEL)
    keep_going = body.flag("keep_going", default=False)
    body.finish()
    if everything == bool(named):
        raise malformed('cannot reload: name the services in "services", or say "all", not both')
    chosen = _chosen(context, named)
    several = _Several(context, request, wish, keep_going, deadline(wish.timeout_s), iter(chosen))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(parallel, len(chosen))):
            tasks.create_task(several.work())
    code = min((*several.codes, ExitCode.OK), key=CODES.index)
    answers = [several.answers[name] for name in chosen if name in several.answers]
    document = {
        "reloads": [answer.document for answer in answers],
        "turned_away": several.turned,
        "not_tried": list(several.left),
    }
    status = 200 if all(answer.verdict for answer in answers) else 202
    return Response(json.dumps(document).encode() + b"\n", status, code)


def _chosen(context: Context, named: Sequence[str]) -> list[str]:
    """In dependency order. Raises Problem 404 before anything is asked for."""
    services = context.services
    for name in named:
        if name not in services:
            raise unknown_service(name)
    order = start_order([s.spec for s in services.values()])
    if named:
        return [name for name in order if name in named]
    up = (name for name in order if services[name].wanted)
    return [name for name in up if services[name].hold is None]


@dataclass(slots=True)
class _Several:
    """What the workers of one request share; nothing here straddles an await."""

    context: Context
    request: Request
    wish: _Wish
    keep_going: bool
    until: float | None
    left: Iterator[str]
    """Those nobody has begun with."""
    answers: dict[str, _Answer] = field(default_factory=dict)
    turned: list[views.Json] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    stopped: bool = False

    async def work(self) -> None:
        """One after the other, until one failed or the time is up."""
        while not self.stopped and (name := next(self.left, None)) is not None:
            await self._one(name)
            late = self.until is not None and asyncio.get_running_loop().time() >= self.until
            self.stopped = self.stopped or late

    async def _one(self, name: str) -> None:
        try:
            answer = await _one(self.context, self.request, name, self.wish, self.until)
        except Problem as problem:  # went down, or away, since it was chosen
            self.turned.append({"service": name, "exit": problem.code, "detail": problem.detail})
            self.codes.append(problem.code)
            return
        self.answers[name] = answer
        self.codes.append(answer.code)
        self.stopped |= answer.verdict is Verdict.FAILED and not self.keep_going
