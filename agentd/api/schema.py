"""The few shapes that JSON Schema (2020-12) has for our documents, as functions: a value's type, and a word on what it is.

Decides how a schema is written; which documents there are is ``schemas``.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def text(about: str) -> Schema:
    """A string."""
    return {"type": "string", "description": about}


def whole(about: str) -> Schema:
    """An integer."""
    return {"type": "integer", "description": about}


def number(about: str) -> Schema:
    """Any number."""
    return {"type": "number", "description": about}


def flag(about: str) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": about}


def one_of(words: Any, about: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [str(word) for word in words], "description": about}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    if "type" in schema:
        more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        return schema | {"type": [schema["type"], "null"]} | more
    return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}


def items(schema: Schema, about: str) -> Schema:
    """A list of these."""
    return {"type": "array", "items": schema, "description": about}


def ref(name: str, about: str = "") -> Schema:
    """One of ``DOCUMENTS``."""
    return {"$ref": f"#/components/schemas/{name}"} | ({"description": about} if about else {})


def table(about: str, **members: Schema) -> Schema:
    """An object; all of its members are always there."""
    return {
        "type": "object",
        "description": about,
        "properties": members,
        "required": list(members),
    }


def sometimes(schema: Schema, *names: str) -> Schema:
    """The same object; these members need not be there."""
    return schema | {"required": [name for name in schema["required"] if name not in names]}


def pairs(about: str) -> Schema:
    """An object of names that are not known beforehand."""
    return {"type": "object", "description": about, "additionalProperties": True}
