"""Evidence ``reply``: the command or call that asked for the reload said yes, and is known to say so only when it is done.

It is proof from a server whose recipe knows its yes for one that is said when the reload is done (Caddy's ``POST /load``, HAProxy's
``Success=1``). Elsewhere whoever declares it vouches for that, and a 200 may mean no more than "accepted": there it is observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from agentd.core.steps import Baseline, Grade, Judgement, Sight
from agentd.evidence.base import Bare, Hints


@dataclass(frozen=True, slots=True)
class Reply(Bare):
    """Confirmed by the yes of the last step, while the service lives."""

    synchronous: bool = False
    """Whether the yes is known to be said only when the configuration was taken."""

    name: ClassVar[str] = "reply"
    grade: ClassVar[Grade] = Grade.PROVEN

    @classmethod
    def declared(cls, argument: str | None, hints: Hints) -> Self:
        """Takes nothing; a recipe knows what the yes is worth."""
        assert argument is None
        return cls(hints.synchronous)

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - what was before is not asked
        """A service that died after its answer has not taken its configuration."""
        if not now.alive:
            return Judgement.CONTRADICTED
        if not now.replied:
            return Judgement.NOT_YET
        return Judgement.CONFIRMED if self.synchronous else Judgement.AGREED
