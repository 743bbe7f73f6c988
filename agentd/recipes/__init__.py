"""What the common servers need, as data: a recipe fills in what the operator did not write.

Decides how a recipe is laid under a service's table and how the check is made from the command. The data lies
beside this file, one TOML each; adding a server is adding a file.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from agentd.core.spec import STAGED
from agentd.evidence import Hints

_HERE = Path(__file__).parent
_WHATEVER_HANDLE = {"check", "timeout", "on_failure", "verify", "warnings_as_errors"}
"""Keys of [service.NAME.reload] that a recipe keeps giving where the operator chose another handle than the recipe's."""
_IN_PLACE = ("exec", "http", "notify", "signal")
"""Handles after which the same process goes on."""
_OF_THE_HANDLE = ("reply", "notify")
"""Evidence that is the handle's own; any other is about the server, whoever told it to reload."""


@dataclass(frozen=True, slots=True)
class CommandRule:
    """How a check, or the command that reloads, is made from a service's own: the options that say which files it reads are the same."""

    programs: tuple[str, ...]
    """Names of the programs it is known for, and of the modules where it is run as ``python -m MODULE``."""
    insert: tuple[str, ...]
    """What makes them check, or reload, and leave."""
    keep: tuple[str, ...] = ()
    """Options with an argument, apart (``-c FILE``, ``--config FILE``) or joined (``-cFILE``, ``--config=FILE``)."""
    flags: tuple[str, ...] = ()
    """Options without one."""
    whole: bool = False
    """Every word of the command is taken over."""
    values: tuple[str, ...] = ()
    """Options with an argument, of which the argument alone is taken over."""
    other: str = ""
    """The name of the program that does it, which lies beside the service's own; empty: it does so itself."""
    pattern: str = ""
    """Of a command that lists files: what a line looks like that names one."""
    written: str = ""
    """And one that names the file which the server writes when it has taken its configuration; empty: there is none."""
    staged: tuple[str, ...] = ()
    """Those of ``keep`` whose files may lie elsewhere: what is read from them does not depend on where they are."""

    def derive(self, command: list[str], inputs: Sequence[str] = ()) -> list[str] | None:
        """The check, or None when the program is another one, such as a shell around it.

        Of ``inputs`` there is a copy, and where that is as good as they themselves it is looked at.
        """
        count = self._program(command)
        if count is None:
            return None
        program, words = command[:count], command[count:]
        if self.other:
            program = [command[0].removesuffix(command[0].rpartition("/")[2]) + self.other]
        return [*program, *self.insert, *(words if self.whole else self._kept(words, inputs))]

    def _program(self, command: list[str]) -> int | None:
        """How many words name the program."""
        name = command[0].rpartition("/")[2]
        if name in self.programs:
            return 1
        module = name.startswith(("python", "pypy")) and command[1:2] == ["-m"]
        return 3 if module and "".join(command[2:3]) in self.programs else None

    def _kept(self, words: list[str], inputs: Sequence[str]) -> Iterator[str]:
        rest = iter(words)
        for word in rest:
            if word in self.keep:
                yield word
                copied = word in self.staged
                yield from (_copy(a, inputs) if copied else a for a in itertools.islice(rest, 1))
            elif word in self.values:
                yield from itertools.islice(rest, 1)
            elif word.startswith(tuple(f"{option}=" for option in self.values)):
                yield word.partition("=")[2]
            elif word in self.flags or word.startswith(self.keep):
                yield word


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is known of one server."""

    name: str
    service: Mapping[str, Any]
    """Keys of [service.NAME], as TOML."""
    check: CommandRule | None
    command: CommandRule | None
    """Of handle exec."""
    included: CommandRule | None
    """What lists the files that the inputs include."""
    hints: Hints
    held: Mapping[str, Any] = field(default_factory=dict)
    """Keys of [service.NAME] that stand above ``service`` where agentd holds the service's sockets."""
    since: str = ""
    """The oldest version of the server on which it was seen; older ones may well do the same."""
    wants: Mapping[str, str] = field(default_factory=dict)
    """Options without which its command is probably not meant, each with what happens then, as a clause."""
    example: str = ""
    """A whole service, as TOML, where the command alone does not make one or where there is a better way."""

    def fill(self, raw: Mapping[str, object]) -> dict[str, object]:
        """The service's table with this recipe under it. What is malformed in it stays as it is, to be reported."""
        known = self.held if raw.get("sockets") else self.service
        filled: dict[str, object] = {**known, **raw}
        mine: dict[str, object] = dict(known.get("reload", {}))
        theirs = raw.get("reload", {})
        if not isinstance(theirs, dict):
            return filled
        if theirs.get("handle", mine.get("handle")) != mine.get("handle"):
            mine = _for_another(theirs.get("handle"), mine)
        command = _words(raw.get("command")) or []
        for key, rule in (("check", self.check), ("command", self._exec(mine, theirs))):
            made = rule.derive(command, _kept_inputs(raw)) if rule and command else None
            if made is not None and key not in theirs:
                mine[key] = made
        filled["reload"] = {**mine, **theirs}
        lists = self.included
        if lists and "included" not in raw and command and (made := lists.derive(command)):
            written = {"written": lists.written} if lists.written else {}
            filled["included"] = {"command": made, "pattern": lists.pattern, **written}
        return filled

    def _exec(self, mine: Mapping[str, object], theirs: Mapping[str, object]) -> CommandRule | None:
        """Only where the handle is the recipe's."""
        return self.command if {**mine, **theirs}.get("handle") == "exec" else None


def _words(value: object) -> list[str] | None:
    """None: there are none, or it is malformed."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        return None
    return value or None


def _kept_inputs(raw: Mapping[str, object]) -> Sequence[str]:
    """Those of which a check can have a copy; there is none of secrets, nor where none is kept."""
    whole = not raw.get("secret") and raw.get("snapshot", True) is True
    return (_words(raw.get("inputs")) or ()) if whole else ()


def _copy(path: str, inputs: Sequence[str]) -> str:
    """The same file in the copy, when it is an input by its own name or by that of a glob."""
    file = PurePosixPath(path)
    named = any(one.startswith("/") and file.match(one) for one in inputs)
    plain = file.is_absolute() and not file.name.startswith(".")  # no glob means such a file
    return f"{STAGED}{path}" if named and plain else path


def _for_another(handle: object, mine: dict[str, object]) -> dict[str, object]:
    """What a recipe says of reloads, where the operator's handle is another one."""
    kept = {key: mine[key] for key in mine.keys() & _WHATEVER_HANDLE}
    confirm = mine.get("confirm")
    in_place = handle in _IN_PLACE and mine.get("handle") in _IN_PLACE
    if isinstance(confirm, list) and in_place:
        about = [one for one in confirm if one not in _OF_THE_HANDLE]
        kept |= {"confirm": about} if about else {}
    return kept


@cache
def names() -> tuple[str, ...]:
    """All recipes there are."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.toml")))


@cache
def load(name: str) -> Recipe:
    """One of ``names()``."""
    data = tomllib.loads((_HERE / f"{name}.toml").read_text(encoding="utf-8"))
    held = data.pop("held", {})
    return Recipe(
        name=name,
        check=_rule(data.pop("check", None)),
        command=_rule(data.pop("command", None)),
        included=_rule(data.pop("included", None)),
        hints=Hints(**data.pop("evidence", {})),
        since=data.pop("since", ""),
        wants=data.pop("wants", {}),
        example=data.pop("example", ""),
        held={**data, **held},
        service=data,
    )


def _rule(raw: Mapping[str, Any] | None) -> CommandRule | None:
    return None if raw is None else CommandRule(**{key: _value(raw[key]) for key in raw})


def _value(value: Any) -> Any:
    """Lists become tuples."""
    return tuple(value) if isinstance(value, list) else value
