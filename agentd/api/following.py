"""Hears what becomes of one service, from before a request is made: no answer can come too early to be heard.

A request that is held, or fails at once, is judged in the same turn that accepts it; whoever began to listen only when
told the id could wait for ever. Records reach listeners when they are committed, or could not be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from agentd.core.facts import Judged, PhaseEntered, Record
from agentd.journal import Journal


class Following:
    """Listens between ``with`` and its end."""

    def __init__(self, journal: Journal, service: str) -> None:
        self._journal = journal
        self.service = service
        self._records: dict[str, list[Record]] = {}
        self._judged: dict[str, Judged] = {}
        self._only = ""
        self._news = asyncio.Event()
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._stop = self._journal.listen(self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    async def verdict(self, reload_id: str) -> Judged:
        """How this reload ended."""
        self._only = reload_id  # from here on nothing of others is kept: the wait may be long
        self._records = {reload_id: self._records.get(reload_id, [])}
        while reload_id not in self._judged:
            await self._more()
        return self._judged[reload_id]

    async def phases(self, there: Callable[[], bool]) -> None:
        """Returns when it is so; asked again whenever the service's instance has moved."""
        self._only = "-"
        while not there():
            await self._more()

    def judged(self, reload_id: str) -> Judged | None:
        """How it ended, if that was heard."""
        return self._judged.get(reload_id)

    def records(self, reload_id: str) -> tuple[Record, ...]:
        """What was heard of this reload."""
        return tuple(self._records.get(reload_id, ()))

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _heard(self, record: Record) -> None:
        fact = record.fact
        if getattr(fact, "service", None) != self.service:
            return
        reload_id: str | None = getattr(fact, "reload_id", None)
        if reload_id is not None and self._only in ("", reload_id):
            self._records.setdefault(reload_id, []).append(record)
            if isinstance(fact, Judged):
                self._judged[reload_id] = fact
        if isinstance(fact, Judged | PhaseEntered):
            self._news.set()
