"""``GET /v1/openapi.json``: the table of routes and the schemas of the documents as OpenAPI 3.1, made when first asked for.

Decides what each route takes and gives, as words; the handlers decide what they really do, and the tests hold the two together.
A route is described by one line here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from agentd import __version__
from agentd.api.message import JSON, LINES
from agentd.api.schema import Schema, flag, items, number, one_of, ref, text, whole
from agentd.api.schemas import DOCUMENTS
from agentd.wire import EXIT_HEADER, Verdict

if TYPE_CHECKING:
    from agentd.api.routes import Route


class Described(NamedTuple):
    """What one route takes and gives. Without an entry in ``later`` it answers at once, or only when all is done."""

    gives: str
    """The document of a 200; neither this nor ``lines`` or ``texts``: it never answers so."""
    later: str = ""
    """The document of a 202: not waited for, or not to its end."""
    query: dict[str, Schema] = {}  # noqa: RUF012 - never changed
    body: dict[str, Schema] = {}  # noqa: RUF012
    lines: str = ""
    """The document of each line, where it may answer with lines that go on coming."""
    texts: tuple[str, ...] = ()
    """Content types of an answer that is no JSON, the one that needs not be asked for first."""


_WAITING = {
    "wait": flag("until the end; default true"),
    "timeout_s": number("wait at most so many seconds; what was asked goes on"),
}
_RELOADING = {
    **_WAITING,
    "reason": text("why, for the history"),
    "if_changed": flag("do nothing when live is what is on disk"),
    "force": flag("in spite of a hold"),
    "require_proof": flag("accept proven evidence only"),
    "confirm_within_s": number("put back after so many seconds, unless it is confirmed"),
    "attributes": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "span attributes the caller states of itself: cicd.*, vcs.*",
    },
}
_SEVERAL = {
    "services": items({"type": "string"}, "which; or all"),
    "all": flag("every service that is wanted up and not held"),
    "max_parallel": whole("how many at once; default 1"),
    "keep_going": flag("go on with the others when one has failed"),
}
_ACT = Described("Acted", "Acted", body=_WAITING)
DESCRIBED: dict[str, Described] = {
    "GET /v1/status": Described(
        "Status", query={"service": text("only this one; may be repeated")}
    ),
    "GET /v1/services/{name}": Described("Service"),
    "GET /v1/services/{name}/logs": Described(
        "Logs",
        query={
            "lines": whole("how many of the past; default 50"),
            "follow": whole("1: go on with what comes, one JSON object a line"),
        },
        lines="Line",
    ),
    "GET /v1/services/{name}/diff": Described(
        "Diff",
        query={
            "from": text("the older one: a version, a hash, a reload, or a word; default live"),
            "to": text("the newer one; default on_disk"),
        },
    ),
    "GET /v1/services/{name}/versions": Described(
        "Versions", query={"limit": whole("how many; default 50")}
    ),
    "POST /v1/services/{name}/reload": Described("Reload", "Pending", body=_RELOADING),
    "POST /v1/services/{name}/start": _ACT,
    "POST /v1/services/{name}/stop": _ACT,
    "POST /v1/services/{name}/restart": _ACT,
    "POST /v1/services/{name}/check": Described("Checked"),
    "POST /v1/services/{name}/hold": Described(
        "Held",
        body={"reason": text("why"), "for_s": number("release by itself after so many seconds")},
    ),
    "POST /v1/services/{name}/release": Described("Released", body={"reason": text("why")}),
    "POST /v1/services/{name}/rollback": Described(
        "Reload",
        "Pending",
        body={
            "to": text(
                "a version, a hash, a reload, or a word; default: the newest good one that is not on disk"
            ),
            **_RELOADING,
        },
    ),
    "POST /v1/reloads/{ref}/confirm": Described("Confirmed"),
    "POST /v1/reloads/{ref}/cancel": Described("Cancelled"),
    "GET /v1/plan": Described("Plan"),
    "POST /v1/apply": Described(
        "Applied", "Applied", body={"reason": text("why, for the history"), **_WAITING}
    ),
    "POST /v1/shutdown": Described("", "Stopping"),
    "POST /v1/upgrade": Described(
        "",
        "Upgrading",
        body={"timeout_s": number("wait at most so long for what is under way; default 60")},
    ),
    "POST /v1/reload": Described("Several", "Several", body=_SEVERAL | _RELOADING),
    "GET /v1/reloads": Described(
        "Reloads",
        query={
            "service": text("only of this one"),
            "verdict": one_of(Verdict, "only those that ended so"),
            "limit": whole("how many; default 20"),
            "starts": whole("1: process starts too"),
        },
    ),
    "GET /v1/reloads/{ref}": Described("ShownOrReloads"),
    "GET /v1/reloads/{ref}/otlp": Described("Export"),
    "GET /v1/reloads/{ref}/wait": Described(
        "Ended", "Ended", query={"timeout_s": number("wait at most so many seconds")}
    ),
    "GET /v1/export": Described(
        "",
        query={"since": text("a moment (RFC 3339), or how many seconds ago; default: everything")},
        lines="Export",
    ),
    "GET /metrics": Described(
        "",
        texts=(
            "text/plain; version=0.0.4; charset=utf-8",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ),
    "GET /v1/events": Described(
        "", query={"after": whole("first the records after this number")}, lines="Event"
    ),
    "GET /v1/openapi.json": Described("OpenApi"),
}
EITHER: dict[str, Schema] = {
    "Ended": {
        "anyOf": [ref("Reload"), ref("Several")],
        "description": "A reload as it ended; of a trace that holds several, all of them.",
    },
    "Pending": {
        "anyOf": [ref("Accepted"), ref("Reload")],
        "description": "A reload whose end was not waited for.",
    },
    "ShownOrReloads": {
        "anyOf": [ref("Shown"), ref("Reloads")],
        "description": "One reload with its trace; of a trace that holds several, all of them.",
    },
}
"""Answers that are one of two documents."""
PATH_PARTS = {
    "name": "a service",
    "ref": "a reload id, a trace id, or the unique beginning of one; a service for its latest, SVC^1 for the one before",
}


def document(routes: Iterable[Route]) -> bytes:
    """The whole description of these routes, as JSON."""
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    whole_document = {
        "openapi": "3.1.0",
        "info": {
            "title": "agentd",
            "version": __version__,
            "summary": "Supervises services and owns how they are reloaded.",
            "description": "HTTP over a Unix socket; who calls comes from the kernel, never from the request. See agentd-api(7).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://agentd", "description": "any host name; the socket decides"}],
        "paths": paths,
        "components": {"schemas": DOCUMENTS | EITHER},
    }
    return json.dumps(whole_document, separators=(",", ":")).encode() + b"\n"


def _operation(route: Route) -> Schema:
    described = DESCRIBED[f"{route.method} {route.path}"]
    made: Schema = {
        "operationId": f"{route.method.lower()}_{route.handler.__name__}",
        "summary": route.summary,
        "description": f"Who may: {route.level.name.lower()} and above.",
        "x-agentd-level": route.level.name.lower(),
        "parameters": [*_path_parameters(route.path), *_query_parameters(described)],
        "responses": _responses(described),
    }
    if route.method == "POST":
        members = {"type": "object", "properties": described.body, "additionalProperties": False}
        made["requestBody"] = {"required": False, "content": {JSON: {"schema": members}}}
    return made


def _path_parameters(path: str) -> list[Schema]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": PATH_PARTS[name],
        }
        for name in names
    ]


def _query_parameters(described: Described) -> list[Schema]:
    return [
        {"name": name, "in": "query", "schema": schema, "description": schema["description"]}
        for name, schema in described.query.items()
    ]


def _responses(described: Described) -> Schema:
    given = {JSON: {"schema": ref(described.gives)}} if described.gives else {}
    given |= {kind: {"schema": {"type": "string"}} for kind in described.texts}
    if described.lines:
        given[LINES] = {"schema": ref(described.lines)}
    header = {
        EXIT_HEADER: {"description": "what reloadctl exits with", "schema": {"type": "integer"}}
    }
    made: Schema = {}
    if given:
        made["200"] = {"description": "done", "headers": header, "content": given}
    if described.later:
        content = {JSON: {"schema": ref(described.later)}}
        made["202"] = {"description": "begun; it goes on", "headers": header, "content": content}
    problem = {"application/problem+json": {"schema": ref("Problem")}}
    made["default"] = {"description": "not done", "headers": header, "content": problem}
    return made
