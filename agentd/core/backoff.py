"""How long to wait before the next start, and when to stop trying."""

from __future__ import annotations

from agentd.core.spec import Backoff, StartLimit


def delay(failures: int, backoff: Backoff) -> float:
    """Seconds before the next start after this many failures in a row (at least one)."""
    try:
        return min(backoff.first * backoff.factor ** (failures - 1), backoff.max)
    except OverflowError:
        return backoff.max


def recent(starts: tuple[float, ...], now: float, limit: StartLimit) -> tuple[float, ...]:
    """The starts that still count, oldest first."""
    return tuple(at for at in starts if now - at < limit.interval)


def exhausted(starts: tuple[float, ...], now: float, limit: StartLimit) -> bool:
    """Whether one more start would be one too many."""
    return len(recent(starts, now, limit)) >= limit.burst
