"""The fold of the journal to counts: what was asked for, how it ended and how long it took, since counting began.

Pure, and the only place where a record becomes a number; what the numbers are called is decided in ``metrics``. The sums
can be kept as text and taken up by the next agent, which goes on from the record they end with: counters agree with the
journal, survive the agent and what is forgotten of the journal, and never run backwards.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from agentd.core.facts import Judged, Requested, Skipped
from agentd.wire import Trigger

if TYPE_CHECKING:
    from agentd.core.facts import Record

BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the classes of durations; what is longer has one more."""
_SHAPE = 1


class Ended(NamedTuple):
    """The labels of a verdict. Empty: it has none."""

    service: str
    handle: str
    event_type: str
    verdict: str
    status: str
    error_type: str


class Passed(NamedTuple):
    """The labels of what a trigger found nothing to do for."""

    service: str
    event_type: str
    why: str


@dataclass(slots=True)
class Durations:
    """Of one kind of verdict, in seconds: how many in each class, and their sum."""

    classes: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.classes[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum += seconds


@dataclass(slots=True)
class Last:
    """The last reload of a service that ran to an end; starts are none. ``succeeded_ns``: the last that succeeded, 0: none."""

    success: bool
    succeeded_ns: int = 0


@dataclass(slots=True)
class Tally:
    """The sums so far, up to and with record ``seq``."""

    began_ns: int
    """When counting began: the start time of every counter."""
    seq: int = 0
    ended: dict[Ended, int] = field(default_factory=dict)
    durations: dict[Ended, Durations] = field(default_factory=dict)
    passed: dict[Passed, int] = field(default_factory=dict)
    last: dict[str, Last] = field(default_factory=dict)
    asked: dict[str, tuple[int, float, str]] = field(default_factory=dict)
    """Reloads under way: when they were asked for, by both clocks, and in which boot."""

    def add(self, record: Record) -> None:
        """Count one record; one that was counted before is passed over."""
        if record.seq <= self.seq:
            return
        self.seq = record.seq
        match record.fact:
            case Requested(reload_id=id_):
                self.asked[id_] = (record.wall_ns, record.mono, record.boot)
            case Judged() as judged:
                self._judged(judged, record)
            case Skipped(service=service, trigger=trigger, why=why):
                key = Passed(service, trigger.event_type, why)
                self.passed[key] = self.passed.get(key, 0) + 1
            case _:
                pass  # nothing that is counted

    def _judged(self, judged: Judged, record: Record) -> None:
        status = judged.verdict.status or ""
        failed = status in ("failure", "partial")
        key = Ended(
            judged.service,
            judged.handle,
            judged.trigger.event_type,
            judged.verdict.value,
            status,
            (judged.error_type or judged.verdict.value) if failed else "",
        )
        self.ended[key] = self.ended.get(key, 0) + 1
        asked = self.asked.pop(judged.reload_id, None)
        if not status:  # not run: it has no duration, and is not the last that ran
            return
        if asked is not None:
            self.durations.setdefault(key, Durations()).add(_seconds(*asked, record))
        if judged.trigger is not Trigger.START:
            before = self.last.get(judged.service)
            succeeded = record.wall_ns if not failed else before.succeeded_ns if before else 0
            self.last[judged.service] = Last(not failed, succeeded)

    def to_text(self) -> str:
        """Everything, for who goes on counting later."""
        return json.dumps(
            {
                "shape": _SHAPE,
                "bounds": BOUNDS_S,
                "began_ns": self.began_ns,
                "seq": self.seq,
                "ended": [[*key, n] for key, n in self.ended.items()],
                "durations": [[*key, d.classes, d.sum] for key, d in self.durations.items()],
                "passed": [[*key, n] for key, n in self.passed.items()],
                "last": [[name, x.success, x.succeeded_ns] for name, x in self.last.items()],
                "asked": [[id_, *when] for id_, when in self.asked.items()],
            },
            separators=(",", ":"),
        )


def from_text(text: str) -> Tally | None:
    """What ``to_text`` gave; None when it is of another shape, and counting begins anew."""
    try:
        found = json.loads(text)
        if found["shape"] != _SHAPE or tuple(found["bounds"]) != BOUNDS_S:
            return None
        return Tally(
            found["began_ns"],
            found["seq"],
            {Ended(*key): n for *key, n in found["ended"]},
            {Ended(*key): Durations(classes, total) for *key, classes, total in found["durations"]},
            {Passed(*key): n for *key, n in found["passed"]},
            {name: Last(success, ns) for name, success, ns in found["last"]},
            {id_: (wall, mono, boot) for id_, wall, mono, boot in found["asked"]},
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _seconds(wall_ns: int, mono: float, boot: str, end: Record) -> float:
    """By the monotonic clock within one boot, as every other view of a reload."""
    if boot == end.boot:
        return max(end.mono - mono, 0.0)
    return max(end.wall_ns - wall_ns, 0) / 1e9
