"""The rows of an instance that drains: another generation has its place, and it may finish what it has.

Decides: what cannot be drained, how often it is counted, and when it is told to stop. One whose next generation has taken over by
itself is not counted and ends when that says so: only at the limit it is told to. Who gets new connections meanwhile is
``service_generations``'s.
"""
# ruff: noqa: ARG001 - rows of a table have one signature

from __future__ import annotations

from agentd.core.effects import Count
from agentd.core.events import Counted, Drain, Exited, InstanceEvent
from agentd.core.instance_rows import enter_stopping, gone, token_of, with_timer
from agentd.core.instance_value import Ending, Instance, Phase, Result
from agentd.core.spec import SocketKind, Spec
from agentd.core.value import replace

FIRST_COUNT = 0.05
"""Seconds from the switch to the first count: a handshake that had begun before it still ends in the former queue."""
SLOWEST_COUNT = 0.5
"""The longest pause between two counts of a generation that drains; each is twice the one before."""


def drain(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Draining: it gets nothing new, and may finish what it has. What shares its listeners cannot be drained: stopped at once."""
    assert isinstance(event, Drain)
    i = replace(
        i,
        ending=Ending.ASKED,
        why="another generation has its place",
        reload_id=event.reload_id,
        since=now,
    )
    if spec.takes_over and event.moved:
        until = now + spec.drain_timeout
        return _left_alone(replace(i, phase=Phase.DRAINING, deadline=until), spec, now)
    if not event.moved or not any(s.kind is SocketKind.TCP for s in spec.sockets):
        return enter_stopping(i, spec)
    i = replace(i, phase=Phase.DRAINING, deadline=now + spec.drain_timeout)
    i, arm = with_timer(i, spec, min(FIRST_COUNT, spec.drain_timeout))
    return i, (arm,)


def count(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Counted once more; at the limit told to stop, whatever it still has.

    But what waits to be accepted would be reset without a word: for that it gets its stop timeout more.
    """
    if spec.takes_over:
        return _left_alone(i, spec, now)
    limit = i.deadline + (spec.stop_timeout if i.queued else 0.0)
    if now >= limit and i.counts:
        return enter_stopping(i, spec)
    i = replace(i, serial=i.serial + 1, awaiting=i.serial + 1, timer=None)
    return i, (Count(token_of(i, spec, i.serial), spec, i.generation),)


def _left_alone(i: Instance, spec: Spec, now: float) -> Result:
    """Who took over from it ends it. At the limit it is stuck, or nobody is left who would."""
    if now >= i.deadline:
        return enter_stopping(i, spec)
    i, arm = with_timer(i, spec, i.deadline - now)
    return i, (arm,)


def counted(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Told to stop when nothing is left, twice in a row; else counted again after a pause."""
    assert isinstance(event, Counted)
    left = event.open + event.queued
    i = replace(i, awaiting=None, counts=i.counts + 1, left=left, load=max(i.load, left))
    i = replace(i, queued=event.queued)
    if not left and i.idle:
        return enter_stopping(i, spec)
    i = replace(i, idle=not left)
    pause = min(FIRST_COUNT * 2 ** min(i.counts - 1, 10), SLOWEST_COUNT)
    left_s = i.deadline - now
    pause = FIRST_COUNT if i.idle or (i.queued and left_s <= 0) else min(pause, left_s)
    i, arm = with_timer(i, spec, pause)
    return i, (arm,)


def not_counted(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Nobody can tell what it still has: it is told to stop, and drains by itself within its grace."""
    return enter_stopping(replace(i, awaiting=None), spec)


def ended_draining(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It ended by itself, or of what it drained; what is left of its group is ended too."""
    assert isinstance(event, Exited)
    i = replace(i, exit=event.exit)
    return gone(i, event, spec, now) if event.empty else enter_stopping(i, spec)
