"""Evidence ``reply``: the command or call that asked for the reload said yes, and is known to say so only when it is done.

Whoever declares it vouches that the command or the endpoint is synchronous (Caddy's ``POST /load``, Prometheus' ``/-/reload``,
HAProxy's ``Success=1``): a 200 that only means "accepted" proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentd.core.steps import Baseline, Grade, Judgement, Sight
from agentd.evidence.base import Bare


@dataclass(frozen=True, slots=True)
class Reply(Bare):
    """Confirmed by the yes of the last step, while the service lives."""

    name: ClassVar[str] = "reply"
    grade: ClassVar[Grade] = Grade.PROVEN

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - what was before is not asked
        """A service that died after its answer has not taken its configuration."""
        if not now.alive:
            return Judgement.CONTRADICTED
        return Judgement.CONFIRMED if now.replied else Judgement.NOT_YET
