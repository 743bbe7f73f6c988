"""The API's own description: valid, of every route and no other, and true of what the other tests of the API get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from agentd.api import openapi, schemas
from agentd.api.routes import ROUTES
from agentd.config.access import Level
from tests.api.described import check, described
from tests.api.stage import ALICE, looped, ready, serving

DOCUMENT = json.loads(openapi.document(ROUTES))


def test_it_is_openapi() -> None:
    validate(DOCUMENT)
    with pytest.raises(OpenAPIValidationError):
        validate(DOCUMENT | {"paths": {"status": {}}})


def test_every_route_and_no_other() -> None:
    told = {(method.upper(), path) for path, of in DOCUMENT["paths"].items() for method in of}
    assert told == {(route.method, route.path) for route in ROUTES}
    described_ = {tuple(key.split(" ")) for key in openapi.DESCRIBED}
    assert described_ == told, "a description without a route, or the other way round"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_says_who_may(route: Any) -> None:
    told = DOCUMENT["paths"][route.path][route.method.lower()]
    assert Level[told["x-agentd-level"].upper()] is route.level
    assert told["summary"] == route.summary


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for entry in value for name in references(entry)}
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set()
    return own | {name for entry in value.values() for name in references(entry)}


def test_every_document_is_a_schema_and_used() -> None:
    known = schemas.DOCUMENTS | openapi.EITHER
    for schema in known.values():
        Draft202012Validator.check_schema(schema)
    assert references(DOCUMENT) == set(known)


def nameless(schema: Any) -> list[Any]:
    """Members without a word on what they are."""
    found = []
    for name, member in schema.get("properties", {}).items():
        if not member.get("description"):
            found.append(name)
        found += nameless(member) + nameless(member.get("items", {}))
    return found


@pytest.mark.parametrize("name", schemas.DOCUMENTS)
def test_every_member_is_explained(name: str) -> None:
    assert nameless(schemas.DOCUMENTS[name]) == []


@looped
async def test_whoever_may_read_may_read_it(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        reply = await stage.get("/v1/openapi.json", ALICE)
        again = await stage.get("/v1/openapi.json")
        strange = await stage.get("/v1/openapi.json?x=1")
    assert (reply.status, reply.exit, reply.json) == (200, 0, DOCUMENT)
    assert again.body == reply.body
    assert (strange.status, strange.exit) == (400, 2)


def test_the_stage_would_see_what_is_not_described() -> None:
    held = {"service": "web", "held": True, "reason": ""}
    name = {"$ref": "#/components/schemas/Held"}
    check(name, held)
    for wrong in (held | {"held": 1}, held | {"more": 1}, {"service": "web"}):
        with pytest.raises(AssertionError):
            check(name, wrong)
    assert described()["components"]["schemas"]["Held"]["additionalProperties"] is False
