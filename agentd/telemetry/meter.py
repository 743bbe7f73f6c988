"""Keeps one tally up with the journal, a piece at a time, whenever somebody wants to see the metrics.

Nobody counts while nobody asks: the journal is there, and what was not counted yet is read from it. Each thread that
measures has a meter of its own; all begin where the last agent's kept sums end, so they show the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from agentd.telemetry.metrics import families
from agentd.telemetry.tally import Tally, from_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentd.core.facts import Record
    from agentd.telemetry.metrics import Family, Now, Sending

KEPT = "metrics"
"""The name under which the sums are kept in the store."""
_PIECE = 200
"""Records: four milliseconds of decoding."""


class Told(Protocol):
    """The part of the journal that is counted. Raises AdapterError."""

    def told(self, seq: int, limit: int) -> tuple[Record, ...]:
        """What is counted of the records after this one, oldest first."""

    def kept(self, name: str) -> str | None:
        """A text that was kept."""


class Meter:
    """One for each thread that measures."""

    def __init__(
        self,
        reader: Told,
        *,
        since: tuple[int, int],
        sending: Callable[[], Sequence[Sending]],
        wall_ns: Callable[[], int],
    ) -> None:
        """``since``: when the agent started and the newest record there was then, where counting begins if no sums were kept."""
        self._reader = reader
        self._since = since
        self._sending = sending
        self._wall_ns = wall_ns
        self._tally: Tally | None = None

    def more(self) -> bool:
        """Count the next piece; whether there may be another. Raises AdapterError."""
        tally = self.tally
        records = self._reader.told(tally.seq, _PIECE)
        for record in records:
            tally.add(record)
        return len(records) == _PIECE

    async def keep_up(self) -> None:
        """Count all there is; the loop has its turn between the pieces. Raises AdapterError."""
        while self.more():  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0)

    @property
    def tally(self) -> Tally:
        """The sums as far as they were counted."""
        if self._tally is None:
            kept = self._reader.kept(KEPT)
            self._tally = (from_text(kept) if kept else None) or Tally(*self._since)
        return self._tally

    def families(self, services: Sequence[Now]) -> tuple[Family, ...]:
        """All metrics, the counts as far as they were counted."""
        started_ns, _ = self._since
        return families(
            self.tally, services, self._sending(), agent_ns=started_ns, wall_ns=self._wall_ns()
        )
