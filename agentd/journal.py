"""The ordered history inside the agent: numbers and stamps what the core noted, hands it to the store, tells who listens.

Decides nothing. Every view of the past (log lines, traces, ``history``, events on the socket) is a fold of these records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from agentd.core.effects import Note
from agentd.core.facts import Record
from agentd.core.memory import Memory
from agentd.ports import Store

Listener = Callable[[Record], None]


class Journal:
    """The only place where records are made."""

    def __init__(self, store: Store, boot: str, last_seq: int, wall_ns: Callable[[], int]) -> None:
        """``boot`` is this boot's id, ``last_seq`` the newest number that the store holds."""
        self._store = store
        self._boot = boot
        self._seq = last_seq
        self.wall_ns = wall_ns
        self._listeners: dict[int, Listener] = {}
        self._next_listener = 0

    def add(self, notes: Sequence[Note], memories: Sequence[Memory]) -> asyncio.Future[None]:
        """Make records of the notes and write them with the memories; done when committed.

        Listeners hear of a record once it is committed, or could not be: a verdict that a caller is told is in the history.
        """
        wall_ns = self.wall_ns()
        records = []
        for note in notes:
            self._seq += 1
            records.append(Record(self._seq, wall_ns, note.at, self._boot, note.fact))
        committed = asyncio.ensure_future(self._store.write(records, memories))
        committed.add_done_callback(lambda done: done.cancelled() or done.exception())
        if records:
            committed.add_done_callback(lambda _: self._tell(records))
        return committed

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear every record from now on; call what is returned to stop."""
        self._next_listener += 1
        number = self._next_listener
        self._listeners[number] = listener
        return lambda: self._listeners.pop(number, None) and None

    def _tell(self, records: Sequence[Record]) -> None:
        """Each through the loop by itself: one that raises does not keep the others from hearing."""
        loop = asyncio.get_running_loop()
        for record in records:
            for listener in tuple(self._listeners.values()):
                loop.call_soon(listener, record)
