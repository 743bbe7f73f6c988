"""The rows of an instance that an earlier agent began: taken over, or found gone.

Decides: where it goes on. Whether its process is there, and truly its own, the shell has found out.
"""

from __future__ import annotations

from agentd.core.events import Adopt, Drain, InstanceEvent, Orphaned
from agentd.core.instance_drain import drain
from agentd.core.instance_rows import await_ready, enter_stopping, gone, stays, with_timer
from agentd.core.instance_value import Ending, Instance, Phase, Result
from agentd.core.process import Exit
from agentd.core.spec import ReadyNotify, Spec
from agentd.core.value import replace

ASSUMED_READY_AFTER = 2.0
"""Seconds that an adopted, notify-ready instance must live to count as ready: its READY=1 may have met no agent."""


def adopted(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Go on where the earlier agent was; a READY that met no agent is never waited for."""
    assert isinstance(event, Adopt)
    i = replace(
        i,
        generation=event.generation,
        slot=event.slot,
        process=event.identity,
        adopted=event.phase == Phase.STARTING,
        deadline=now + spec.start_timeout,
        watchdog=event.watchdog,
        machine=event.machine,
    )
    if event.phase == Phase.READY:
        i = replace(i, phase=Phase.READY)
        return (i, ()) if i.watchdog is None else stays(i, spec, now)
    if event.phase == Phase.DRAINING:
        return drain(i, Drain(event.reload_id, moved=True), spec, now)
    if event.phase != Phase.STARTING:
        return enter_stopping(replace(i, ending=Ending.ASKED, why="asked"), spec)
    i = replace(i, phase=Phase.STARTING)
    if isinstance(spec.ready, ReadyNotify):
        i, arm = with_timer(i, spec, ASSUMED_READY_AFTER)
        return i, (arm,)
    return await_ready(i, spec, now)


def orphaned(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Counts as a failure: nobody knows how it ended."""
    assert isinstance(event, Orphaned)
    i = replace(
        i,
        generation=event.generation,
        exit=Exit(),
        why="ended while no agent was there",
    )
    return gone(i, event, spec, now)
