"""Holds every answer of the stage against what the API says of itself: its status, its kind, and each member of its document."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator

from agentd.api.openapi import document
from agentd.api.problem import Problem
from agentd.api.routes import ROUTES, find

if TYPE_CHECKING:
    from tests.api.stage import Reply


@cache
def described() -> Any:
    """The description, with every object closed: what it does not name must not be there."""
    found = json.loads(document(ROUTES))
    found["components"]["schemas"] = _closed(found["components"]["schemas"])
    return found


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "required" in schema:
        return {"additionalProperties": False} | inner
    return inner


def hold(method: str, target: str, reply: Reply) -> None:
    """AssertionError: the answer is not one that the description allows."""
    kind = reply.headers["content-type"]
    try:
        path = target.partition("?")[0]
        route = find(method, [unquote(part) for part in path.split("/")], path).route
    except Problem:
        assert kind == "application/problem+json"
        allowed: Any = {"$ref": "#/components/schemas/Problem"}
    else:
        answers = described()["paths"][route.path][route.method.lower()]["responses"]
        known = answers.get(str(reply.status)) or answers["default"]
        assert kind in known["content"], f"{kind} for {reply.status} of {route.path}"
        allowed = known["content"][kind]["schema"]
    cut = reply.status == 503 and not reply.body  # turned away unread: the rest may be lost
    if method != "HEAD" and not cut and "json" in kind:
        whole = reply.body
        if reply.headers.get("transfer-encoding") == "chunked":
            whole = unchunked(whole)
        lines = whole.splitlines() if kind == "application/jsonl" else [whole]
        for line in lines:
            check(allowed, json.loads(line))


def unchunked(body: bytes) -> bytes:
    """A body as it was before it was cut into chunks."""
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        out, body = out + body[:length], body[length + 2 :]
    return out


def check(schema: Any, found: Any) -> None:
    """AssertionError: the value is not what the schema says; the innermost reason is told."""
    whole = schema | {"components": described()["components"]}
    errors = list(Draft202012Validator(whole).iter_errors(found))
    assert not errors, [f"{e.json_path}: {e.message[:200]}" for e in _leaves(errors)]


def _leaves(errors: list[Any]) -> list[Any]:
    return [leaf for e in errors for leaf in (_leaves(e.context) if e.context else [e])]
