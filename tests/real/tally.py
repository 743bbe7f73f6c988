"""What a load counts: good answers, failures by kind, and the longest time between two good ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Gap:
    """The longest time between two good answers."""

    longest: float = 0.0
    less_own: float = 0.0
    last: float = 0.0
    late: float = 0.0

    def own(self, late: float) -> None:
        """The load was late since the last answer."""
        self.late = max(self.late, late)

    def now(self, at: float) -> None:
        gap = at - self.last if self.last else 0.0
        self.longest = max(self.longest, gap)
        self.less_own = max(self.less_own, gap - self.late)
        self.last, self.late = at, 0.0


@dataclass
class Count:
    """The requests of one kind."""

    good: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    gap: Gap = field(default_factory=Gap)
