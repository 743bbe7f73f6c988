"""Evidence ``reread``: the service's own processes opened every input that changed, after the signal, and it lives on.

Decides that all of them count, and the grace. It shows that the bytes were read, not that they were taken: a server may read a file, find
a mistake in it, and go on with what it had. So it is observed, and nothing at all where the kernel does not say who opened a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from agentd.core.steps import Baseline, Grade, Judgement, Sight
from agentd.evidence.base import Bare, Hints


@dataclass(frozen=True, slots=True)
class Reread(Bare):
    """Confirmed when all that changed was opened and the service lives ``grace`` seconds after the last step."""

    grace: float = 0.2
    refused: str | None = None
    """A line of the output by which the service says that it did not take what it read."""

    name: ClassVar[str] = "reread"
    grade: ClassVar[Grade] = Grade.OBSERVED
    opens: ClassVar[bool] = True

    @classmethod
    def declared(cls, argument: str | None, hints: Hints) -> Self:
        """Takes nothing; a recipe knows the complaint."""
        assert argument is None
        return cls(refused=hints.refused)

    @property
    def pattern(self) -> str | None:
        """The server's own complaint."""
        return self.refused

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - what is before the signal is forgotten
        """Nothing can be told where nothing is seen."""
        if not now.alive or now.matched is not None:
            return Judgement.CONTRADICTED
        if now.opened is None or now.wanted is None:
            return Judgement.UNABLE
        everything = now.opened.issuperset(now.wanted.reads)
        return (
            Judgement.CONFIRMED
            if everything and now.since_sent >= self.grace
            else Judgement.NOT_YET
        )
