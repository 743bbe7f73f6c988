"""The API in one table: what can be asked, who may ask it, and who answers.

Levels are nested (``agentd.config.access``). Any GET can be asked as HEAD. A route is one line here and one function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from agentd.api.body import query
from agentd.api.context import Context
from agentd.api.handlers_apply import apply
from agentd.api.handlers_changes import cancel, confirm
from agentd.api.handlers_definitions import plan, shutdown
from agentd.api.handlers_diff import diff, versions
from agentd.api.handlers_export import export
from agentd.api.handlers_history import history, otlp, show
from agentd.api.handlers_metrics import metrics
from agentd.api.handlers_operate import check, hold, release, restart, start, stop
from agentd.api.handlers_reloads import reload, reload_several, rollback
from agentd.api.handlers_status import service, status
from agentd.api.handlers_streams import events, logs
from agentd.api.handlers_upgrade import upgrade
from agentd.api.handlers_wait import wait
from agentd.api.message import Request, Response
from agentd.api.problem import Problem
from agentd.config.access import Level
from agentd.wire import ExitCode

Handler = Callable[[Context, Request], Awaitable[Response]]


class Route(NamedTuple):
    """One thing that can be asked."""

    method: str
    path: str
    level: Level
    handler: Handler
    summary: str


async def openapi(_: Context, request: Request) -> Response:
    """All of this table, and the documents that go with it."""
    query(request, ())
    return Response(_described())


@cache
def _described() -> bytes:
    from agentd.api.openapi import document  # noqa: PLC0415 - when first asked

    return document(ROUTES)


READ, INSPECT, OPERATE, ADMIN = Level.READ, Level.INSPECT, Level.OPERATE, Level.ADMIN

ROUTES = (
    Route("GET", "/v1/status", READ, status, "how services stand"),
    Route("GET", "/v1/services/{name}", READ, service, "how one service stands"),
    Route("GET", "/v1/services/{name}/logs", INSPECT, logs, "what a service printed"),
    Route(
        "GET", "/v1/services/{name}/diff", INSPECT, diff, "what changed between two configurations"
    ),
    Route(
        "GET", "/v1/services/{name}/versions", READ, versions, "the configurations that are kept"
    ),
    Route("POST", "/v1/services/{name}/reload", OPERATE, reload, "reload a service"),
    Route("POST", "/v1/services/{name}/start", OPERATE, start, "want a service up"),
    Route("POST", "/v1/services/{name}/stop", OPERATE, stop, "want a service down"),
    Route("POST", "/v1/services/{name}/restart", OPERATE, restart, "stop a service, then start it"),
    Route("POST", "/v1/services/{name}/check", OPERATE, check, "run the check, touch nothing"),
    Route("POST", "/v1/services/{name}/hold", OPERATE, hold, "no reload until released"),
    Route("POST", "/v1/services/{name}/release", OPERATE, release, "end a hold"),
    Route("POST", "/v1/services/{name}/rollback", OPERATE, rollback, "put a former version back"),
    Route("POST", "/v1/reloads/{ref}/confirm", OPERATE, confirm, "keep a change that is on trial"),
    Route("POST", "/v1/reloads/{ref}/cancel", OPERATE, cancel, "give up a reload that waits"),
    Route("GET", "/v1/plan", ADMIN, plan, "what the changed definitions would do"),
    Route("POST", "/v1/apply", ADMIN, apply, "read the definitions again, whole or not at all"),
    Route("POST", "/v1/upgrade", ADMIN, upgrade, "replace the agent's code in place"),
    Route("POST", "/v1/shutdown", ADMIN, shutdown, "stop every service, then end"),
    Route("POST", "/v1/reload", OPERATE, reload_several, "reload several services, or all"),
    Route("GET", "/v1/reloads", READ, history, "past and running reloads, newest first"),
    Route("GET", "/v1/reloads/{ref}", READ, show, "one reload with its trace"),
    Route("GET", "/v1/reloads/{ref}/otlp", READ, otlp, "a trace as OTLP/JSON"),
    Route("GET", "/v1/reloads/{ref}/wait", READ, wait, "how a reload ends, once it has"),
    Route("GET", "/v1/export", READ, export, "the traces as OTLP JSON Lines"),
    Route("GET", "/metrics", READ, metrics, "what is counted, for Prometheus"),
    Route("GET", "/v1/events", READ, events, "the journal as it is written"),
    Route("GET", "/v1/openapi.json", READ, openapi, "this API as OpenAPI 3.1"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The route of a request and the parts of its path that have names."""

    route: Route
    args: dict[str, str]


_PATTERNS = [(tuple(route.path.split("/")), route) for route in ROUTES]


def find(method: str, segments: list[str], path: str) -> Found:
    """The route for a path split at its slashes and decoded. Raises Problem 404, 405."""
    there: dict[str, Found] = {}
    for pattern, route in _PATTERNS:
        if (args := _match(pattern, segments)) is not None:
            there[route.method] = Found(route, args)
    if not there:
        raise Problem(404, f"there is nothing at {path}", ExitCode.USAGE)
    wanted = "GET" if method == "HEAD" else method
    if wanted not in there:
        allow = ", ".join(
            m for known in there for m in ((known, "HEAD") if known == "GET" else (known,))
        )
        what = f"{path} does not take {method}; it takes {allow}"
        raise Problem(405, what, ExitCode.USAGE, allow=allow)
    return there[wanted]


def _match(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    args = {}
    for want, got in zip(pattern, segments, strict=True):
        if want.startswith("{") and got:
            args[want[1:-1]] = got
        elif want != got:
            return None
    return args
