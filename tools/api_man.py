"""Prints the routes and documents of agentd-api(7) from the table of routes and the schemas, between two marks of the page.

Run without arguments it rewrites the page; the prose around the marks is written by hand. A test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agentd.api.openapi import DESCRIBED, EITHER, PATH_PARTS
from agentd.api.routes import ROUTES, Route
from agentd.api.schema import Schema
from agentd.api.schemas import DOCUMENTS

PAGE = Path(__file__).parent.parent / "man" / "agentd-api.7"
BEGIN = '.\\" routes: begin (printed by tools/api_man.py from agentd/api)\n'
END = '.\\" routes: end\n'


def rendered(page: str) -> str:
    """The page with its routes and documents as the code has them now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit("cannot print the routes: the page has no marks for them")
    lines = [".SH ROUTES", *(line for route in ROUTES for line in entry(route))]
    lines += [".SH DOCUMENTS", *(line for name in DOCUMENTS for line in document(name))]
    return before + BEGIN + "".join(f"{line}\n" for line in lines) + END + after


def entry(route: Route) -> Iterator[str]:
    """One route: who may, what it takes, what it gives."""
    described = DESCRIBED[f"{route.method} {route.path}"]
    yield f".SS \\fB{route.method}\\fR {roff(route.path)}"
    yield f"{roff(capital(route.summary))}. Level: {route.level.name.lower()}."
    for name, about in PATH_PARTS.items():
        if f"{{{name}}}" in route.path:
            yield from tagged(name, "in the path", about)
    for name, schema in described.query.items():
        yield from tagged(name, f"query, {kind(schema)}", schema["description"])
    for name, schema in described.body.items():
        yield from tagged(name, f"body, {kind(schema)}", schema["description"])
    yield ".PP"
    gives = [f"200: {given(described.gives)}"] if described.gives else []
    gives += [f"200: \\fB{roff(kind)}\\fR" for kind in described.texts]
    if described.lines:
        gives.append(f"200, one a line as they come: {given(described.lines)}")
    if described.later:
        gives.append(f"202, begun: {given(described.later)}")
    yield f"{'; '.join(gives)}."


def document(name: str) -> Iterator[str]:
    """One document and its members."""
    yield f".SS {name}"
    yield from members(DOCUMENTS[name], top=True)


def members(schema: Schema, *, top: bool) -> Iterator[str]:
    """What an object is, and what is in it."""
    if top:
        yield roff(schema["description"])
    for name, member in schema.get("properties", {}).items():
        yield from tagged(name, kind(member), member["description"])
        inner = member if "properties" in member else member.get("items", {})
        if "properties" in inner:
            yield ".RS"
            yield from members(inner, top=False)
            yield ".RE"


def tagged(name: str, what: str, about: str) -> Iterator[str]:
    """A name, its kind, a sentence."""
    yield ".TP"
    yield f"\\fB{roff(name)}\\fR ({roff(what)})"
    yield f"{roff(capital(about))}."


def given(name: str) -> str:
    """A document by name, or either of two."""
    refs = (
        [r["$ref"].rpartition("/")[2] for r in EITHER[name]["anyOf"]] if name in EITHER else [name]
    )
    return " or ".join(f"\\fI{ref}\\fR" for ref in refs)


def kind(schema: Schema) -> str:
    """The type in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join("null" if word is None else str(word) for word in schema["enum"])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = [f"list of {kind(schema['items'])}" if t == "array" else str(t) for t in types]
    return " or ".join(words)


def capital(text: str) -> str:
    """A clause as the beginning of a sentence."""
    return text[:1].upper() + text[1:].removesuffix(".")


def roff(text: str) -> str:
    """Plain text for roff: what it would read as its own is escaped."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
