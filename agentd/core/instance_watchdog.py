"""The rows of an instance that is ready: it has stayed up, or is watched and must be heard of now and then (sd_watchdog_enabled(3)).

Decides: how long it may be silent, that its silence is its end, and what it may say about that itself. It counts from the moment that it is
ready, under another agent from its adoption, and no more once it is told to stop or drains. One timer serves both: a word from the
service moves no timer, it is looked at when the timer is due.
"""
# ruff: noqa: ARG001 - rows of a table have one signature

from __future__ import annotations

from agentd.core.events import InstanceEvent, Pinged, Unwell
from agentd.core.instance_rows import enter_stopping, next_due
from agentd.core.instance_value import Ending, Instance, Result
from agentd.core.spec import Spec
from agentd.core.value import replace

SIGNAL = "ABRT"
"""What ends a silent service, as under systemd: it leaves a core where that is allowed, which shows where it hung."""


def told(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It is not ready, and only says how long it may be silent once it is. 0: as long as it likes."""
    assert isinstance(event, Pinged)
    if event.interval is None:
        return i, ()
    return replace(i, watchdog=event.interval or None), ()


def pinged(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It lives; or it says that it does not do what it is for, which is as good as silence."""
    assert isinstance(event, Pinged)
    i, _ = told(i, event, spec, now)
    if i.lost:
        return i, ()  # counted anew once it is known who the main process is
    if event.trigger:
        return _ends(i, "it said WATCHDOG=trigger", spec)
    if i.watchdog is None and event.interval is None:
        return i, ()
    i = replace(i, heard=now)
    return (i, ()) if event.interval is None else next_due(i, spec, now)


def too_late(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It ends, or its place is another one's."""
    return i, ()


def due(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It has stayed up, and its failures are forgotten; or it was silent for too long; or neither yet."""
    if i.settles is not None and now >= i.settles:
        i = replace(i, failures=0, starts=(), settles=None)
    if i.silent is not None and now >= i.silent:
        return _ends(i, f"no WATCHDOG=1 within {i.watchdog:g}s", spec)
    return next_due(i, spec, now)


def unwell(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It does not serve any more, as others have found out: it may end as if told to stop, and counts as one that failed."""
    assert isinstance(event, Unwell)
    return enter_stopping(replace(i, ending=Ending.UNWELL, why=event.why), spec)


def _ends(i: Instance, why: str, spec: Spec) -> Result:
    return enter_stopping(replace(i, ending=Ending.SILENT, why=why), spec, SIGNAL)
