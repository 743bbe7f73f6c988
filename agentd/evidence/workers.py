"""Evidence ``workers``: workers younger than the signal serve, and the former ones have gone or drain.

It shows that the main process took its configuration far enough to start workers from it (nginx keeps the old
ones when it cannot). It does not show which bytes they run: between the signal and the re-read the files may have
moved, which the hash after the verdict tells.

A server that also starts workers by itself (Apache httpd, up to the moment at which it re-reads) has them count only when it has
written the file that it writes after that, where such a file is known (``Baseline.grown``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from agentd.core.steps import Baseline, Grade, Judgement, Sight, Worker
from agentd.evidence.base import Hints, Silent

TICKS = 100
"""Clock ticks a second in /proc/PID/stat (USER_HZ), on every architecture of Linux since 2.6."""


@dataclass(frozen=True, slots=True)
class Workers(Silent):
    """Confirmed by at least one new worker while no former one takes requests any more."""

    worker: str | None = None
    """Only children with such a title count; None: all of them."""
    draining: str | None = None
    """A worker with such a title is on its way out; None: it must be gone."""
    refused: str | None = None
    """A line of the output that says that nothing was taken."""
    settle: float = 0.0
    """Seconds that the new ones must have lived."""

    name: ClassVar[str] = "workers"
    grade: ClassVar[Grade] = Grade.OBSERVED
    workers: ClassVar[bool] = True
    takes: ClassVar[str] = ""

    @classmethod
    def declared(cls, argument: str | None, hints: Hints) -> Self:
        """Takes nothing; the titles come from the recipe."""
        assert argument is None
        return cls(hints.worker, hints.draining, hints.refused, hints.settle)

    @property
    def pattern(self) -> str | None:
        """The server's own complaint."""
        return self.refused

    def judge(self, before: Baseline, now: Sight) -> Judgement:
        """Old and new are told apart by pid *and* start time, because pids come round again.

        Start times are ticks of 10 ms: a worker born in the tick of the signal may be from just before it. Hence
        both: not in the baseline, and not started before it.
        """
        if not now.alive or now.matched is not None:
            return Judgement.CONTRADICTED
        if not now.taken(before):
            return Judgement.NOT_YET
        former = {(w.pid, w.started) for w in before.workers}
        serving = [w for w in now.workers if serves(w, self.worker, self.draining)]
        if any((w.pid, w.started) in former for w in serving):
            return Judgement.NOT_YET
        born = any(w.started >= before.ticks for w in serving)
        if self.settle and any(self._young(w, before, now) for w in serving):
            return Judgement.NOT_YET
        return Judgement.CONFIRMED if born else Judgement.NOT_YET

    def _young(self, w: Worker, before: Baseline, now: Sight) -> bool:
        """The baseline is from just before the signal, so a worker is at least as old as this says."""
        return w.started > before.ticks + (now.since_sent - self.settle) * TICKS


def serves(w: Worker, worker: str | None, draining: str | None) -> bool:
    """By the titles that are known. Right after the fork a child still has that of its parent, so it counts only when it has its own."""
    if worker is not None and not re.search(worker, w.title):
        return False
    return draining is None or not re.search(draining, w.title)
