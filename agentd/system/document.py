"""What is written in a TOML, YAML or JSON file, at one place in it.

Decides how a file is read by its name, and what can serve as a short name or an attribute: one printable line. The parsers are
loaded when the first file is read: few services name a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.core.spec import AttributeKey

MAX_BYTES = 1024 * 1024
"""Of a document: what is larger is not parsed."""
_MAX_VALUE = 256
"""Characters of an attribute."""


def parse(name: str, data: bytes) -> object:
    """The document as plain values. Raises ValueError for what is too large, no text, or not of the form its name promises."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    text = data.decode()
    try:
        return _parsed(name, text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _parsed(name: str, text: str) -> object:
    if name.endswith(".toml"):
        import tomllib  # noqa: PLC0415

        return tomllib.loads(text)
    if name.endswith((".yaml", ".yml")):
        return _yaml(text)
    import json  # noqa: PLC0415

    return json.loads(text)


def _yaml(text: str) -> object:
    """By libyaml where it is there, and only plain values: no tag of a document makes an object."""
    import yaml  # noqa: PLC0415

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        # The latter ones of a tag with a value that is none of its kind: "!!bool x", "!!int ''", "!!timestamp x".
        raise ValueError(f"not YAML: {type(error).__name__}") from None


def search(path: str, document: object) -> object:
    """What a JMESPath expression finds; None: nothing, or a value its functions cannot be asked of (the floor of infinity)."""
    import jmespath  # noqa: PLC0415 - few services are asked for a place in a document
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415

    try:
        found: object = jmespath.search(path, document)
    except (JMESPathError, RecursionError, ValueError, TypeError, ArithmeticError):
        return None
    return found


def plain(value: object, longest: int) -> str | None:
    """A string or a number as one printable line; None for anything else."""
    if isinstance(value, bool | dict | list) or value is None:
        return None
    found = str(value)
    return found if 0 < len(found) <= longest and found.isprintable() else None


def attributes(data: bytes, keys: Sequence[AttributeKey]) -> tuple[tuple[str, str], ...]:
    """The attributes that can be read from one file; what is not there, or is no short line, is left out."""
    try:
        document = parse(keys[0].file, data)
    except ValueError:
        return ()
    found = []
    for key in keys:
        try:
            value = plain(search(key.path, document), _MAX_VALUE)
        except ValueError:  # a number of more digits than Python writes
            continue
        if value is not None:
            found.append((key.name, value))
    return tuple(found)
