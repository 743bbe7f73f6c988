"""The thread that sends: reads what is due, encodes it, posts it, and does what ``delivery`` decides.

It exists only where there is an endpoint, and waits on a condition until it is told of a verdict or until its next try is
due: a receiver that hangs holds this thread and nobody else, neither a reload nor the end of the agent. What it has not
delivered by then stays in the store for the next agent. Encoder and client are loaded here, when there is something to
send for the first time.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from agentd.ports import AdapterError
from agentd.telemetry.delivery import Answer, Decision, Fate, Lane, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.ports import Due, Outbox
    from agentd.telemetry.endpoint import Target, Targets
    from agentd.telemetry.post import Post
    from agentd.telemetry.resource import Resource

SPANS = 512
"""In one request, at most; and so many bytes before they are compressed. One verdict alone may be more."""
BYTES = 1 << 19
_LINGER_S = 0.2
"""From a verdict to its request: whoever waits for the verdict comes first, and what follows at once goes along."""
_START_S = 1.0
"""An agent that starts has better to do than to load an encoder."""
_METRICS = "metrics"
_METRICS_S = 10.0

Observe = Callable[[], bytes]
"""All metrics as a request, asked in the sender's thread."""


class Piece(NamedTuple):
    """One encoded verdict."""

    seq: int
    data: bytes
    spans: int


@dataclass(slots=True)
class Ledger:
    """What became of one signal since the agent started. Written by the sender, read by anybody."""

    sent: int = 0
    rejected: int = 0
    trouble: str = ""
    """Why nothing is delivered; empty when it is."""


@dataclass(slots=True)
class _Signal:
    """One signal on its way: the pieces of the next request are kept until somebody has them."""

    target: Target
    ledger: Ledger
    lane: Lane = field(default_factory=Lane)
    after: int = 0
    pieces: list[Piece] = field(default_factory=list)
    idle: bool = False
    """Nothing is due."""
    post: Post | None = None

    @property
    def measures(self) -> bool:
        """It has no rows: metrics are asked for anew each time."""
        return self.target.signal == _METRICS


class Sender:
    """One for each agent with an endpoint: ``start``, ``told`` of each verdict, ``close``."""

    def __init__(
        self,
        to: Targets,
        *,
        outbox: Callable[[], Outbox],
        own: Resource,
        version: str,
        observe: Observe,
        say: Callable[[str], None],
        start_s: float = _START_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``outbox`` opens the rows for this thread; ``own`` is the agent's resource; ``say`` takes a sentence, from any thread.

        ``start_s``: how long nothing is sent at first; ``chance``: between 0 and 1, for pauses.
        """
        self._open = outbox
        self._own = own
        self._version = version
        self._observe = observe
        self._say = say
        self._interval = to.interval_s
        self._chance = chance
        self.ledgers = {target.signal: Ledger() for target in to.targets}
        self._signals = [_Signal(target, self.ledgers[target.signal]) for target in to.targets]
        for signal in self._signals:
            wait = min(self._interval, _METRICS_S) if signal.measures else start_s
            signal.lane = Lane(not_before=time.monotonic() + wait)
        self._news = threading.Condition()
        self._told = False
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin with what earlier agents left."""
        self._thread.start()

    def told(self) -> None:
        """A verdict is in the store."""
        with self._news:
            if not self._told:
                self._told = True
                self._news.notify()

    def close(self, patience_s: float) -> bool:
        """Send what can be sent at once, and end; blocks for so long at most, and cuts off what hangs then. Whether it has ended."""
        with self._news:
            self._ending = True
            self._news.notify()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            for signal in self._signals:
                if signal.post is not None:
                    signal.post.abort()
        return not self._thread.is_alive()

    # In the thread.

    def _run(self) -> None:
        outbox: Outbox | None = None
        while (signal := self._next()) is not None:
            try:
                outbox = outbox or self._open()
                self._turn(signal, outbox)
            except AdapterError as error:
                self._wait(signal, error.what)
            except Exception as error:  # noqa: BLE001 - a bug of ours must not end the export
                self._wait(signal, f"internal error, please report this: {error!r}")
        for signal in self._signals:
            if signal.post is not None:
                signal.post.close()

    def _next(self) -> _Signal | None:
        """The signal whose turn it is, when that has come; None: it is over."""
        with self._news:
            while True:
                now = time.monotonic()
                if self._told:
                    self._told = False
                    self._wake(now)
                due = [s for s in self._signals if not s.idle]
                if self._ending:
                    # Where it does not get through it is not tried again: the next agent does.
                    due = [s for s in due if not (s.lane.trouble or s.lane.asides or s.measures)]
                    return due[0] if due else None
                first = min(due, key=lambda s: s.lane.not_before, default=None)
                if first is not None and first.lane.not_before <= now:
                    return first
                self._news.wait(None if first is None else first.lane.not_before - now)

    def _wake(self, now: float) -> None:
        for signal in self._signals:
            if signal.idle:
                signal.idle = False
                later = max(signal.lane.not_before, now + _LINGER_S)
                signal.lane = replace(signal.lane, not_before=later)

    def _turn(self, signal: _Signal, outbox: Outbox) -> None:
        if signal.measures:
            self._measure(signal)
            return
        self._fill(signal, outbox)
        batch = self._batch(signal)
        if not batch:
            signal.idle = not signal.pieces
            return
        data = b"".join(piece.data for piece in batch)
        if not data:  # forgotten between the reading of the row and that of its records
            outbox.delivered(signal.target.signal, batch[-1].seq)
            del signal.pieces[: len(batch)]
            return
        answer = self._send(signal, data)
        decision = self._decide(signal, answer, len(batch))
        self._settle(signal, outbox, batch, decision, answer)

    def _fill(self, signal: _Signal, outbox: Outbox) -> None:
        """Have the pieces of a whole request, where there are so many."""
        name = signal.target.signal
        while len(signal.pieces) < signal.lane.most and not _full(signal.pieces):
            due = outbox.due(name, signal.after, min(signal.lane.most - len(signal.pieces), 16))
            for one in due:
                signal.after = one.seq
                piece = self._encoded(name, one, outbox)
                if piece is not None:
                    signal.pieces.append(piece)
                time.sleep(0)  # the loop's thread comes first
            if not due:
                return

    def _encoded(self, name: str, due: Due, outbox: Outbox) -> Piece | None:
        from agentd.telemetry.encode import piece  # noqa: PLC0415 - a tenth of a second and 8 MiB

        try:
            return Piece(due.seq, *piece(name, due, self._own))
        except Exception as error:  # noqa: BLE001 - one that cannot be told must not keep back all others
            outbox.set_aside(name, due.seq, f"cannot be encoded: {error!r:.200}")
            self._say(
                f"the {name} of reload {due.reload_id} cannot be encoded and are set aside, please report this: {error!r}"
            )
            return None

    def _batch(self, signal: _Signal) -> Sequence[Piece]:
        """As many of the oldest as one request takes; always one."""
        n = 0
        while n < min(len(signal.pieces), signal.lane.most) and not _full(signal.pieces[:n]):
            n += 1
        if n > 1 and _over(signal.pieces[:n]):
            n -= 1
        return signal.pieces[:n]

    def _send(self, signal: _Signal, data: bytes) -> Answer:
        from agentd.telemetry.encode import rejected  # noqa: PLC0415
        from agentd.telemetry.post import Post  # noqa: PLC0415

        if signal.post is None:
            signal.post = Post(signal.target, self._version)
        answer, body = signal.post.send(data)
        if answer.status == 200 and body:  # noqa: PLR2004
            count, why = rejected(signal.target.signal, body)
            answer = replace(answer, rejected=count, why=why)
        return answer

    def _decide(self, signal: _Signal, answer: Answer, items: int) -> Decision:
        decision = decide(
            signal.lane,
            answer,
            items,
            now=time.monotonic(),
            wall_s=time.time(),
            chance=self._chance(),
        )
        signal.lane = decision.lane
        signal.ledger.trouble = decision.lane.trouble
        if decision.say:
            self._say(f"{signal.target.signal} to {signal.target.shown}: {decision.say}")
        return decision

    def _settle(
        self,
        signal: _Signal,
        outbox: Outbox,
        batch: Sequence[Piece],
        decision: Decision,
        answer: Answer,
    ) -> None:
        name, last = signal.target.signal, batch[-1].seq
        if decision.fate is Fate.TAKEN:
            outbox.delivered(name, last)
            signal.ledger.sent += len(batch)
            signal.ledger.rejected += answer.rejected
        elif decision.fate is Fate.ASIDE:
            outbox.set_aside(name, last, f"HTTP status {answer.status} {answer.why}".strip())
        else:
            return
        del signal.pieces[: len(batch)]

    def _measure(self, signal: _Signal) -> None:
        """All metrics as they are now; what does not get through is not kept: the next sums hold it too."""
        answer = self._send(signal, self._observe())
        decision = self._decide(signal, answer, 1)
        if decision.fate is Fate.TAKEN:
            signal.ledger.sent += 1
            signal.ledger.rejected += answer.rejected
        later = max(signal.lane.not_before, time.monotonic() + self._interval)
        signal.lane = replace(signal.lane, not_before=later)

    def _wait(self, signal: _Signal, why: str) -> None:
        self._decide(signal, Answer(None, why), 1)


def _full(pieces: Sequence[Piece]) -> bool:
    return sum(p.spans for p in pieces) >= SPANS or sum(len(p.data) for p in pieces) >= BYTES


def _over(pieces: Sequence[Piece]) -> bool:
    return sum(p.spans for p in pieces) > SPANS or sum(len(p.data) for p in pieces) > BYTES
