"""[service.NAME.attributes]: what the configuration says of itself, for the reload's spans.

Decides which names an operator may give and what an expression must be. Which values are found there is ``system/document``'s.
"""

from __future__ import annotations

import re

from agentd.config import kinds as k
from agentd.config.keys import Key, Kind, table
from agentd.config.problems import Fault, Wrong, shown
from agentd.core.spec import AttributeKey

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", re.ASCII)
_OURS = ("config", "error", "host", "otel", "process", "reload", "service", "telemetry", "user")
"""Namespaces in which the agent itself speaks."""
_MOST = 16
_READ = (".json", ".toml", ".yaml", ".yml")


def _name(name: str) -> None:
    if not _NAME.fullmatch(name):
        what = 'lower case words with dots between them, such as "model.version"'
        raise Wrong.here(f"{shown(name)} cannot be an attribute; expected {what}")
    first = name.partition(".")[0]
    if first in _OURS:
        raise Wrong.here(f"{first}.* is what agentd itself says; choose another name")


def _file(value: object) -> str:
    path = k.PATH.parse(value)
    if not path.endswith(_READ):
        raise Wrong.here(f"{shown(path)} is none of {', '.join(_READ)}; nothing else can be read")
    return path


def _expression(value: object) -> str:
    text = k.filled(value)
    import jmespath  # noqa: PLC0415 - few services name an attribute
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415

    try:
        jmespath.compile(text)
    except (JMESPathError, RecursionError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise Wrong.here(f"{shown(text)} is no JMESPath expression: {why}") from None
    return text


EXPRESSION = Kind("JMESPath expression", _expression)
_PLACE: Kind[tuple[str, str]] = table(
    "a table",
    lambda file, path: (file, path),
    Key(
        "file",
        Kind("absolute path", _file),
        "The input that it is read from: JSON, TOML or YAML, by its name.",
        required='file = "/etc/web/models.yaml"',
    ),
    Key(
        "path",
        EXPRESSION,
        "Where in it: a JMESPath expression whose value is a string or a number.",
        required='path = "model_list[0].litellm_params.model"',
    ),
)
_PLACES = k.pairs_of(_PLACE, "a table of { file = ..., path = ... }", _name)


def _attributes(value: object) -> tuple[AttributeKey, ...]:
    pairs = _PLACES.parse(value)
    if len(pairs) > _MOST:
        raise Wrong.here(f"are {len(pairs)}; at most {_MOST}")
    return tuple(AttributeKey(name, file, path) for name, (file, path) in pairs)


ATTRIBUTES: Kind[tuple[AttributeKey, ...]] = Kind(_PLACES.label, _attributes, _PLACE.keys)


def not_secret(attributes: tuple[AttributeKey, ...], secret: tuple[str, ...]) -> None:
    """Raises Wrong for what would carry a secret out."""
    faults: list[Fault] = [
        (("attributes", a.name), f"{shown(a.file)} is secret; its values do not leave this host")
        for a in attributes
        if covered(a.file, secret)
    ]
    if faults:
        raise Wrong(*faults)


def covered(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of these files, directories and globs may be it."""
    from fnmatch import fnmatchcase  # noqa: PLC0415

    return any(
        path == p or path.startswith(f"{p.rstrip('/')}/") or fnmatchcase(path, p) for p in patterns
    )
