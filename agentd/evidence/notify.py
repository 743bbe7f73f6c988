"""Evidence ``notify``: the service itself says that it has reloaded, by the handshake of systemd.service(5), Type=notify-reload.

RELOADING=1 with a MONOTONIC_USEC of the moment before the signal or later, then READY=1. systemd has no word for a reload that failed,
so services send READY=1 then too: by itself it is observed, and proof only with an X_AGENTD_CONFIG_HASH that is the one to take. ERRNO,
X_AGENTD_RELOAD_RESULT=failed, a STATUS such as "Reload failed!" and a hash that is another one say no.
Which messages belong to this reload is decided in ``agentd.core.reload_confirm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentd.core.steps import Baseline, Grade, Judgement, Sight
from agentd.evidence.base import Bare


@dataclass(frozen=True, slots=True)
class Notify(Bare):
    """Confirmed by READY=1 after RELOADING=1; contradicted by the service's own complaint."""

    name: ClassVar[str] = "notify"
    grade: ClassVar[Grade] = Grade.PROVEN

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - what was before is not asked
        """A complaint counts as soon as it is heard; what is not finished is no success."""
        if not now.alive or now.heard.refused:
            return Judgement.CONTRADICTED
        if not now.heard.done:
            return Judgement.NOT_YET
        return Judgement.CONFIRMED if now.heard.named else Judgement.AGREED
