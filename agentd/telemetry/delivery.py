"""What an answer of a receiver means for what was sent, and when to try next. Pure: no sockets, no clock, no chance.

Everything is sent until a receiver has it, and nothing twice on purpose: 2xx is the end of it, also where the receiver
says that it rejected some; what it calls malformed is halved until the one item is alone, and that one is set aside; when
it is busy it is obeyed; when it is gone we wait longer each time; and when it does not know us somebody must mend
something, so we ask seldom (opentelemetry-proto, docs/specification.md, "OTLP/HTTP Response").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

MOST = 64
"""Items in one request at most: verdicts, each with its spans."""
_FIRST_S, _CAP_S = 1.0, 30.0
_SELDOM_S, _SELDOM_CAP_S = 60.0, 300.0
_LONGEST_S = 900.0
"""However long a receiver asks us to stay away: its clock may be wrong."""
_MALFORMED = frozenset({400, 413, 422})
_LATER = frozenset({408, 429})
_OK, _REDIRECTED, _THEIRS = 200, 300, 500


class Fate(Enum):
    """What becomes of a batch."""

    TAKEN = "taken"
    HALVED = "halved"
    ASIDE = "set aside"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``status`` None: nothing did, and ``why`` says how that was."""

    status: int | None
    why: str = ""
    retry_after: str = ""
    rejected: int = 0
    """What the receiver did not take of what it has received."""
    foreign: bool = False
    """It is a page for people: whoever answers so is no receiver, whatever the status says."""


@dataclass(frozen=True, slots=True)
class Lane:
    """How the delivery of one signal stands."""

    most: int = MOST
    """Items in the next request."""
    failures: int = 0
    """In a row."""
    asides: int = 0
    """In a row: a receiver that finds everything malformed is not to empty the outbox in a minute."""
    not_before: float = 0.0
    """On the monotonic clock."""
    trouble: str = ""
    """Why nothing is delivered; empty when it is."""
    lossy: bool = False
    """It was said that a receiver rejects some."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now."""

    lane: Lane
    fate: Fate
    say: str = ""
    """For the operator: each trouble is told once, and its end."""


def decide(
    lane: Lane, answer: Answer, items: int, *, now: float, wall_s: float, chance: float
) -> Decision:
    """What an answer to a request with so many items means. ``chance`` is between 0 and 1."""
    status = answer.status
    if status is not None and _OK <= status < _REDIRECTED and not answer.foreign:
        return _taken(lane, answer)
    if status in _MALFORMED:
        return _malformed(lane, answer, items, now, chance)
    if status is None or status >= _THEIRS or status in _LATER:
        wait = backoff(lane.failures, _FIRST_S, _CAP_S, chance)
        asked = retry_after(answer.retry_after, wall_s)
        if asked is not None:
            # Not all who were turned away come back in the same moment.
            wait = max(min(asked, _LONGEST_S), wait / (lane.failures + 1)) + chance * _FIRST_S / 4
        return _kept(lane, answer, now + wait, "it is kept and tried again")
    wait = backoff(lane.failures, _SELDOM_S, _SELDOM_CAP_S, chance)
    return _kept(lane, answer, now + wait, "it is kept; look at the address and what it asks for")


def backoff(failures: int, first: float, cap: float, chance: float) -> float:
    """Seconds: twice as long each time up to the cap, and somewhere in the upper half of that."""
    return float(min(first * 2 ** min(failures, 30), cap) * (0.5 + chance / 2))


def retry_after(text: str, wall_s: float) -> float | None:
    """Seconds from now, from either form (RFC 9110 §10.2.3); None when there is none, or none that can be read."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - loaded by who speaks HTTP

    try:
        return max(parsedate_to_datetime(text).timestamp() - wall_s, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _taken(lane: Lane, answer: Answer) -> Decision:
    say = "telemetry is delivered again" if lane.trouble else ""
    if answer.rejected and not lane.lossy:
        why = f": {answer.why}" if answer.why else ""
        say = f"the receiver has rejected {answer.rejected} of what it was sent, which is lost{why}"
    most = min(lane.most * 2, MOST)
    return Decision(Lane(most, lossy=lane.lossy or bool(answer.rejected)), Fate.TAKEN, say)


def _malformed(lane: Lane, answer: Answer, items: int, now: float, chance: float) -> Decision:
    if items > 1:
        return Decision(replace(lane, most=items // 2, not_before=now), Fate.HALVED)
    wait = backoff(lane.asides - 1, _FIRST_S, _CAP_S, chance) if lane.asides else 0.0
    after = replace(lane, most=1, failures=0, asides=lane.asides + 1, not_before=now + wait)
    say = f"the receiver calls it malformed, it is set aside: {_said(answer)}"
    return Decision(after, Fate.ASIDE, "" if lane.asides else say)


def _kept(lane: Lane, answer: Answer, not_before: float, hope: str) -> Decision:
    trouble = _said(answer)
    after = replace(lane, failures=lane.failures + 1, not_before=not_before, trouble=trouble)
    return Decision(after, Fate.KEPT, "" if lane.trouble else f"{trouble}; {hope}")


def _said(answer: Answer) -> str:
    if answer.status is None:
        return answer.why
    if answer.foreign and answer.status < _REDIRECTED:
        return f"HTTP status {answer.status} with a page of HTML, which is no receiver of OTLP"
    return f"HTTP status {answer.status}" + (f" ({answer.why})" if answer.why else "")
