"""Evidence ``version``: the service itself says which configuration it runs, when it is asked.

Decides what an answer proves. One that was the same before the act, although the inputs changed, proves nothing: such services read the
file when they are asked. One that names something else is no contradiction: the reload may be under way. With ``mark`` the value is the
result of the last reload, as Prometheus and Thanos tell it, and counts only when the moment of that reload moved: true is a yes, and a
result that was true before and is not any more is the service's own no.

An answer speaks for the process that gave it: while a worker of before serves beside another one, it is observed and no proof.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from agentd.core.question import Question, Said, kept, same
from agentd.core.steps import Baseline, Grade, Judgement, Sight, Wanted
from agentd.evidence.base import Hints
from agentd.evidence.workers import serves

HASH, VERSION = "{hash}", "{version}"
_DIGITS = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")
"""How a hash may be named: whole, or by as many digits as ``version`` has."""
LEAVING = 0.5
"""Seconds that the former workers have to go."""
SETTLED = 0.2
"""Seconds after which a service has taken the same bytes once more: that nothing changed is all that its answer can show."""


@dataclass(frozen=True, slots=True)
class Version:
    """Confirmed by an answer that agrees with ``expect`` and did not before."""

    question: Question
    expect: str
    """``{hash}``, ``{version}``, or the answer itself."""
    worker: str | None = None
    """Only children with such a title count; None: all of them."""
    draining: str | None = None
    """A worker with such a title answers nobody any more."""

    name: ClassVar[str] = "version"
    grade: ClassVar[Grade] = Grade.PROVEN
    workers: ClassVar[bool] = True
    opens: ClassVar[bool] = False
    pattern: ClassVar[str | None] = None

    def told(self, hints: Hints) -> Self:
        """With what a recipe knows."""
        return replace(self, worker=hints.worker, draining=hints.draining)

    def judge(self, before: Baseline, now: Sight) -> Judgement:
        """What the answer says, given what it was before the act."""
        if not now.alive:
            return Judgement.CONTRADICTED
        said, was, wanted = now.said, now.before, now.wanted
        if said is None or said.value is None or wanted is None:
            return Judgement.NOT_YET
        if self.question.mark:
            judged = self._by_mark(said, was, wanted)
            return self._spoken_for(before, now) if judged is Judgement.CONFIRMED else judged
        if not self._agrees(said, wanted):
            return Judgement.NOT_YET
        if not wanted.changed:
            return Judgement.CONFIRMED if now.since_sent >= SETTLED else Judgement.NOT_YET
        if was is None or not was.known or self._agrees(was, wanted):
            return Judgement.UNABLE
        return self._spoken_for(before, now)

    def _spoken_for(self, before: Baseline, now: Sight) -> Judgement:
        """Of two that serve, the one from before may say something else; a single one is who answered."""
        former = {(w.pid, w.started) for w in before.workers}
        serving = [w for w in now.workers if serves(w, self.worker, self.draining)]
        if len(serving) <= 1 or all((w.pid, w.started) not in former for w in serving):
            return Judgement.CONFIRMED
        return Judgement.NOT_YET if now.since_sent < LEAVING else Judgement.AGREED

    def _by_mark(self, said: Said, was: Said | None, wanted: Wanted) -> Judgement:
        if was is None or not was.known:
            return Judgement.UNABLE
        if not self._agrees(said, wanted):
            fell = self._agrees(was, wanted)
            return Judgement.CONTRADICTED if fell else Judgement.NOT_YET
        return Judgement.CONFIRMED if said.mark != was.mark else Judgement.NOT_YET

    def _agrees(self, said: Said, wanted: Wanted) -> bool:
        if said.value is None:
            return False
        if self.expect == HASH:
            digits = _DIGITS.fullmatch(said.value.lower())
            mine = wanted.hash.removeprefix("sha256:")
            return digits is not None and mine.startswith(digits[1])
        expected = wanted.version if self.expect == VERSION else self.expect
        return same(said.value, kept(expected))


@dataclass(frozen=True, slots=True)
class Changes:
    """Confirmed by an answer that differs from the one before the act: a generation counter, the time of the last load.

    It tells that the service took something, not what.
    """

    question: Question

    name: ClassVar[str] = "changes"
    grade: ClassVar[Grade] = Grade.OBSERVED
    workers: ClassVar[bool] = False
    opens: ClassVar[bool] = False
    pattern: ClassVar[str | None] = None

    def told(self, hints: Hints) -> Self:  # noqa: ARG002 - as for Version
        """It needs no hints."""
        return self

    def judge(self, before: Baseline, now: Sight) -> Judgement:  # noqa: ARG002 - the sight has what was answered before
        """Nothing when it is not known what the answer was before."""
        if not now.alive:
            return Judgement.CONTRADICTED
        if now.said is None or now.said.value is None:
            return Judgement.NOT_YET
        if now.before is None or not now.before.known:
            return Judgement.UNABLE
        return Judgement.CONFIRMED if now.said.value != now.before.value else Judgement.NOT_YET
