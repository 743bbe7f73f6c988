"""Which files the inputs include: what the answer of the command that lists them is worth.

Decides when an answer is one. What its words are is the recipe's or the operator's (``spec.Included``), when it is asked for is
``agentd.system.included``'s, and what becomes of a reload whose files cannot be listed is ``reload_prepare``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentd.core.spec import Included
from agentd.core.value import replace

MOST = 10_000
"""So many files are a list; of more, the command lists something else."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The files that are included, as far as anybody knows."""

    paths: tuple[str, ...] = ()
    """In the order of their names."""
    why: str = ""
    """Why these may not be all of them: the last answer was none, and the one before it stays. A sentence; empty: they are."""
    written: str = ""
    """The file that the service writes anew each time it has taken its configuration; empty: none is known."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How the command ended."""

    exit_code: int | None
    timed_out: bool
    error: str | None
    found: Sequence[str]
    """The paths in its output."""
    written: Sequence[str] = ()
    """The file in it that the service itself writes; when it is named more than once, the last counts."""


def listed(of: Included, before: Listed, answered: Answered, directory: str) -> Listed:
    """What is known now; ``directory`` is where paths begin that do not begin at the root."""
    why = _nothing(of, answered)
    if why:
        return replace(before, why=f"cannot list the included files: {why}")

    def whole(path: str) -> str:
        return path if path[0] == "/" else f"{directory}/{path}"

    written = [whole(path) for path in answered.written[-1:]]
    return Listed(tuple(sorted(set(map(whole, answered.found)))), written="".join(written))


def _nothing(of: Included, answered: Answered) -> str:
    program = of.argv[0]
    if answered.timed_out:
        return f"{program} did not end within {of.timeout:g}s"
    if answered.error is not None:
        return answered.error
    if answered.exit_code != 0:
        return f"{program} says no (exit code {answered.exit_code})"
    if len(answered.found) > MOST:
        return f"{program} names more than {MOST}"
    if not answered.found:
        return f"{program} names none; included = false does not ask"
    return ""
