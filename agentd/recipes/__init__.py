"""What the common servers need, as data: a recipe fills in what the operator did not write.

Decides how a recipe is laid under a service's table and how the check is made from the command. The data lies
beside this file, one TOML each; adding a server is adding a file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agentd.evidence import Hints

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class CheckRule:
    """How a check is made from a service's command: the same program, and the options that say which files it reads."""

    programs: tuple[str, ...]
    """Names of the programs it is known for."""
    insert: tuple[str, ...]
    """What makes them check and leave."""
    keep: tuple[str, ...]
    """Options of one letter, each with an argument, apart (``-c FILE``) or joined (``-cFILE``)."""

    def derive(self, command: list[str]) -> list[str] | None:
        """The check, or None when the program is another one, such as a shell around it."""
        if command[0].rpartition("/")[2] not in self.programs:
            return None
        kept: list[str] = []
        words = iter(command[1:])
        for word in words:
            if word in self.keep:
                kept += [word, *([value] if (value := next(words, None)) is not None else [])]
            elif word.startswith(self.keep):
                kept.append(word)
        return [command[0], *self.insert, *kept]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is known of one server."""

    name: str
    service: Mapping[str, Any]
    """Keys of [service.NAME], as TOML."""
    check: CheckRule | None
    hints: Hints

    def fill(self, raw: Mapping[str, object]) -> dict[str, object]:
        """The service's table with this recipe under it. What is malformed in it stays as it is, to be reported."""
        filled: dict[str, object] = {**self.service, **raw}
        mine: dict[str, object] = dict(self.service.get("reload", {}))
        theirs = raw.get("reload", {})
        if not isinstance(theirs, dict):
            return filled
        if "check" not in theirs and (check := self._check(raw.get("command"))) is not None:
            mine["check"] = check
        filled["reload"] = {**mine, **theirs}
        return filled

    def _check(self, command: object) -> list[str] | None:
        if self.check is None or not isinstance(command, list) or not command:
            return None
        if not all(isinstance(word, str) for word in command):
            return None
        return self.check.derive(command)


@cache
def names() -> tuple[str, ...]:
    """All recipes there are."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.toml")))


@cache
def load(name: str) -> Recipe:
    """One of ``names()``."""
    data = tomllib.loads((_HERE / f"{name}.toml").read_text(encoding="utf-8"))
    rule = data.pop("check", None)
    hints = Hints(**data.pop("evidence", {}))
    check = None if rule is None else CheckRule(**{key: tuple(rule[key]) for key in rule})
    return Recipe(name, data, check, hints)
