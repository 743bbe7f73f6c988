"""Prints the keys of agentd.toml(5) from the table in agentd.config.schema, between two marks of the page.

Run without arguments it rewrites the page; the prose around the marks is written by hand. A test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agentd.config.keys import Key
from agentd.config.schema import TABLES

PAGE = Path(__file__).parent.parent / "man" / "agentd.toml.5"
BEGIN = '.\\" keys: begin (printed by tools/man_keys.py from agentd/config/schema.py)\n'
END = '.\\" keys: end\n'


def rendered(page: str) -> str:
    """The page with its keys as the schema has them now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit("cannot print the keys: the page has no marks for them")
    return before + BEGIN + "".join(f"{line}\n" for line in keys()) + END + after


def keys() -> Iterator[str]:
    """All tables in roff. A table that has a section of its own is only referred to."""
    own = {name.rpartition(".")[2] for name, _ in TABLES}
    for name, rows in TABLES:
        yield f".SS [{roff(name)}]"
        for key in rows:
            yield from entry(key, nested=key.name not in own)


def entry(key: Key, *, nested: bool) -> Iterator[str]:
    """One key, and those of the table that it may be."""
    yield ".TP"
    yield f"\\fB{roff(key.name)}\\fR = \\fI{roff(key.kind.label.removeprefix('a '))}\\fR"
    yield roff(f"{key.help} {default(key, nested=nested)}".strip())
    if nested and key.kind.keys:
        yield ".RS"
        for inner in key.kind.keys:
            yield from entry(inner, nested=True)
        yield ".RE"


def default(key: Key, *, nested: bool) -> str:
    """What holds when the key is not written."""
    if key.required:
        return "Required."
    if key.when_unset:
        return f"Default: {key.when_unset}."
    if key.default is None:
        return ""
    if key.default == {} and key.kind.keys:
        return "Its keys:" if nested else "See below."
    return f"Default: {toml(key.default)}."


def toml(value: object) -> str:
    """A default as it would be written."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{}"
        case _:
            return str(value)


def roff(text: str) -> str:
    """Plain text for roff: what it would read as its own is escaped."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
