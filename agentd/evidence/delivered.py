"""Evidence ``delivered``: the operator's own word that delivery, and being alive after a grace, is enough.

The weakest: it says nothing about the configuration. It exists for services that take every reload or die of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from agentd.core.steps import Baseline, Grade, Judgement, Sight
from agentd.evidence.base import Bare, Hints


@dataclass(frozen=True, slots=True)
class Delivered(Bare):
    """Confirmed when the service lives ``grace`` seconds after the last step."""

    grace: float = 0.2
    refused: str | None = None
    """A line of the output by which the service says that it did not take it."""

    name: ClassVar[str] = "delivered"
    grade: ClassVar[Grade] = Grade.DECLARED

    @classmethod
    def declared(cls, argument: str | None, hints: Hints) -> Self:
        """Takes nothing; a recipe knows the complaint."""
        assert argument is None
        return cls(refused=hints.refused)

    @property
    def pattern(self) -> str | None:
        """The server's own complaint."""
        return self.refused

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - there is nothing to compare
        """Death and complaints contradict at once; life confirms only at the end of the grace."""
        if not now.alive or now.matched is not None:
            return Judgement.CONTRADICTED
        return Judgement.CONFIRMED if now.since_sent >= self.grace else Judgement.NOT_YET
