"""Evidence ``log``: the service wrote a line that matches, after the signal; a recipe knows the line of a server that refuses, too.

Decides only that such a line is enough. Where captured output is read from, and that nothing older than the
signal counts, is the shell's work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from agentd.core.steps import Baseline, Grade, Judgement, Sight
from agentd.evidence.base import Hints, Silent


@dataclass(frozen=True, slots=True)
class Log(Silent):
    """Confirmed by a captured line in which the regular expression is found."""

    regex: str
    refused: str | None = None
    """A line by which the service says that it did not take it; whichever comes first counts."""

    name: ClassVar[str] = "log"
    grade: ClassVar[Grade] = Grade.OBSERVED
    workers: ClassVar[bool] = False
    takes: ClassVar[str] = "a regular expression"

    @classmethod
    def declared(cls, argument: str | None, hints: Hints) -> Self:
        """Takes the regular expression."""
        assert argument is not None
        try:
            found = re.compile(argument).search("")
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        if found:
            raise ValueError("matches every line, so it would prove nothing")
        return cls(argument, hints.refused)

    @property
    def pattern(self) -> str | None:
        """What to look for."""
        return self.regex if self.refused is None else f"(?:{self.regex})|(?:{self.refused})"

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - the offset was used to find the line
        """A service that died after it wrote the line has not taken its configuration."""
        if not now.alive:
            return Judgement.CONTRADICTED
        if now.matched is None:
            return Judgement.NOT_YET
        complaint = self.refused is not None and re.search(self.refused, now.matched)
        return Judgement.CONTRADICTED if complaint else Judgement.CONFIRMED
