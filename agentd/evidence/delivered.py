"""Evidence ``delivered``: the operator's own word that delivery, and being alive after a grace, is enough.

The weakest: it says nothing about the configuration. It exists for services that take every reload or die of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentd.core.steps import Baseline, Grade, Judgement, Sight
from agentd.evidence.base import Bare


@dataclass(frozen=True, slots=True)
class Delivered(Bare):
    """Confirmed when the service lives ``grace`` seconds after the last step."""

    grace: float = 0.2

    name: ClassVar[str] = "delivered"
    grade: ClassVar[Grade] = Grade.DECLARED

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - there is nothing to compare
        """Death contradicts at once; life confirms only at the end of the grace."""
        if not now.alive:
            return Judgement.CONTRADICTED
        return Judgement.CONFIRMED if now.since_sent >= self.grace else Judgement.NOT_YET
