"""The export of one agent: the receivers it was told of, the thread that sends to them, and how all that stands.

Without an endpoint there is no thread, nothing is due, and only what ``/metrics`` needs is there. Decides nothing about
when and what is sent (``agentd.telemetry``).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agentd import __version__
from agentd.core.facts import LATE_SPANS, Judged, Record
from agentd.store.outbox import SqliteOutbox
from agentd.store.sqlite import SqliteStore
from agentd.telemetry.endpoint import SIGNALS, targets

if TYPE_CHECKING:
    from agentd.telemetry.meter import Meter
    from agentd.telemetry.metrics import Now, Sending
    from agentd.telemetry.resource import Resource
    from agentd.telemetry.sender import Sender

PATIENCE_S = 0.5
"""For what can still be sent when the agent ends."""


class Exporting:
    """One for each agent. All but ``close`` is for the loop's thread, and where it says so for the sender's."""

    def __init__(self, endpoint: str | None, environ: Mapping[str, str], boot: str) -> None:
        """``endpoint`` is what the file says; ``boot`` is this boot's id."""
        self._to = targets(endpoint, environ)
        self.problems = self._to.problems
        self._own: Resource | None = None
        if self._to.targets:
            from agentd.telemetry.resource import agent_resource  # noqa: PLC0415 - for who exports

            self._own = agent_resource(__version__, f"{boot}/{os.getpid()}", environ)
        self._dropped: Counter[str] = Counter()
        self._sender: Sender | None = None
        self._meter: Meter | None = None
        self._senders: Meter | None = None
        self._opened: list[SqliteOutbox] = []
        self._since = (time.time_ns(), 0)

    @property
    def due(self) -> tuple[str, tuple[str, ...]] | None:
        """Who tells the verdicts, and for which signals they are due; None: for none."""
        rows = tuple(t.signal for t in self._to.targets if t.signal != SIGNALS[-1])
        return (self._own.to_text(), rows) if self._own is not None and rows else None

    def open(
        self, store: SqliteStore, services: Callable[[], Sequence[Now]], say: Callable[[str], None]
    ) -> None:
        """Begin. ``services`` tells how they stand, on any thread; ``say`` takes a sentence on the loop's."""
        self._store = store
        self._services = services
        self._since = (time.time_ns(), store.journal.last_seq())
        if self._own is None:
            return
        from agentd.telemetry.sender import Sender  # noqa: PLC0415 - for who exports

        loop = asyncio.get_running_loop()

        def said(what: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(say, what)

        self._rows = self._outbox()
        self._sender = Sender(
            self._to,
            outbox=self._outbox,
            own=self._own,
            version=__version__,
            observe=self._observe,
            say=said,
        )
        self._sender.start()

    def hear(self, record: Record) -> None:
        """Listen to the journal: what is told here is in the store."""
        if self._sender is not None and isinstance(record.fact, (Judged, *LATE_SPANS)):
            self._sender.told()

    def dropped(self, unsent: Mapping[str, int]) -> None:
        """So much was forgotten before anybody had received it."""
        self._dropped.update(unsent)

    @property
    def meter(self) -> Meter:
        """What ``/metrics`` shows."""
        if self._meter is None:
            self._meter = self._new_meter(self._store.journal, self.sending)
        return self._meter

    async def keep_counts(self) -> None:
        """Count what there is and keep the sums, before any of it is forgotten. Raises AdapterError."""
        from agentd.telemetry.meter import KEPT  # noqa: PLC0415 - not while the agent starts

        await self.meter.keep_up()
        self._store.keep(KEPT, self.meter.tally.to_text())

    def status(self) -> dict[str, Any] | None:
        """The member ``telemetry`` of the agent in ``status``; None: nothing is exported."""
        if self._sender is None:
            return None
        stands = self.sending()
        oldest = min((x.oldest_ns for x in stands if x.oldest_ns is not None), default=None)
        age = None if oldest is None else round(max(time.time_ns() - oldest, 0) / 1e9, 1)
        troubles = [ledger.trouble for ledger in self._sender.ledgers.values() if ledger.trouble]
        return {
            "endpoint": self._to.targets[0].shown,
            "pending": sum(x.waiting for x in stands),
            "oldest_s": age,
            "aside": sum(x.aside for x in stands),
            "dropped": sum(self._dropped.values()),
            "last_error": troubles[0] if troubles else None,
        }

    def sending(self) -> tuple[Sending, ...]:
        """How each signal that is kept stands."""
        return () if self._sender is None else self._stands(self._rows)

    def close(self) -> None:
        """End the sender; blocks for half a second at most."""
        if self._sender is not None and self._sender.close(PATIENCE_S):
            for rows in self._opened:
                rows.close()  # before the store: the last to close folds the log into the database

    # Also on the sender's thread.

    def _outbox(self) -> SqliteOutbox:
        rows = SqliteOutbox(self._store.path, self._store.change)
        self._opened.append(rows)
        return rows

    def _stands(self, rows: SqliteOutbox) -> tuple[Sending, ...]:
        from agentd.telemetry.metrics import Sending  # noqa: PLC0415 - when first asked

        assert self._sender is not None
        found = []
        for signal, ledger in self._sender.ledgers.items():
            if signal != SIGNALS[-1]:
                waiting, aside, oldest = rows.standing(signal)
                told = (ledger.sent, ledger.rejected, self._dropped[signal])
                found.append(Sending(signal, waiting, oldest, aside, *told))
        return tuple(found)

    def _observe(self) -> bytes:
        """All metrics as a request. Raises AdapterError."""
        from agentd.telemetry.metrics_otlp import request  # noqa: PLC0415 - in the sender's thread

        assert self._own is not None
        meter = self._senders_meter()
        while meter.more():
            time.sleep(0)
        return request(meter.families(self._services()), self._own.lasting(), time.time_ns())

    def _senders_meter(self) -> Meter:
        if self._senders is None:
            rows = self._outbox()
            self._senders = self._new_meter(rows.journal, lambda: self._stands(rows))
        return self._senders

    def _new_meter(self, journal: Any, sending: Callable[[], Sequence[Sending]]) -> Meter:
        from agentd.telemetry.meter import Meter  # noqa: PLC0415 - when first asked

        return Meter(journal, since=self._since, sending=sending, wall_ns=time.time_ns)
