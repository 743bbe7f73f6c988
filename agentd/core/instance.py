"""The machine of one instance: one process group of a service, from spawn to the last process reaped.

Decides: which row answers which event in which phase, and what is stale. Does not decide what a row says (``instance_rows``), whether the
service is wanted or when a new generation is launched (``service``), nor how a probe or a spawn is done (the shell).

An instance has a process, or one is being born, exactly in starting, ready, draining, stopping and killing.
"""

from __future__ import annotations

from agentd.core import instance_adopt as adopt
from agentd.core import instance_drain as drains
from agentd.core import instance_main as main
from agentd.core import instance_rows as rows
from agentd.core import instance_watchdog as watchdog
from agentd.core.errors import IllegalTransitionError
from agentd.core.events import (
    Adopt,
    Claimed,
    Counted,
    Drain,
    EffectFailed,
    Elapsed,
    Emptied,
    Exited,
    InstanceEvent,
    Launch,
    MainSought,
    Notified,
    Orphaned,
    Pinged,
    Probed,
    Reset,
    Spawned,
    Stop,
    Unwell,
)
from agentd.core.instance_value import ALIVE, GOING, Ending, Instance, Phase, Result, Row
from agentd.core.spec import Spec

__all__ = [
    "ALIVE",
    "GOING",
    "TABLE",
    "Ending",
    "Instance",
    "Phase",
    "stale",
    "step",
]


def step(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """The instance after this event, and what entering that state asks for. Raises IllegalTransitionError for a refused pair."""
    if stale(i, event):
        return i, ()
    row = TABLE.get((i.phase, type(event)))
    if row is None:
        raise IllegalTransitionError(f"{type(event).__name__} while {i.phase.value}")
    return row(i, event, spec, now)


def stale(i: Instance, event: InstanceEvent) -> bool:
    """Whether this is about something left: an older generation, a former main process, a cancelled effect, a timer of an earlier phase."""
    match event:
        case Elapsed(token=token):
            return token.serial != i.timer
        case (
            Spawned(token=token)
            | Probed(token=token)
            | Counted(token=token)
            | MainSought(token=token)
            | EffectFailed(token=token)
        ):
            return token.serial != i.awaiting
        case Exited(generation=generation, pid=pid):
            another = bool(pid) and i.process is not None and i.process.pid != pid
            return another or generation != i.generation or i.phase not in ALIVE
        case Emptied(generation=generation) | Claimed(generation=generation):
            return generation != i.generation or i.phase not in ALIVE
        case Notified(generation=generation) | Pinged(generation=generation):
            return generation != i.generation or i.phase not in ALIVE
        case _:
            return False


_P = Phase

TABLE: dict[tuple[Phase, type[InstanceEvent]], Row] = {
    (_P.DOWN, Launch): rows.launch,
    (_P.DOWN, Adopt): adopt.adopted,
    (_P.DOWN, Orphaned): adopt.orphaned,
    (_P.DOWN, Stop): rows.stay_down,
    (_P.DOWN, Reset): rows.reset,
    (_P.STARTING, Spawned): rows.born,
    (_P.STARTING, EffectFailed): main.unborn,
    (_P.STARTING, Probed): rows.probed,
    (_P.STARTING, Notified): main.said,
    (_P.STARTING, Pinged): watchdog.told,
    (_P.STARTING, Claimed): main.claimed,
    (_P.STARTING, Exited): main.ended,
    (_P.STARTING, MainSought): main.sought,
    (_P.STARTING, Emptied): main.emptied,
    (_P.STARTING, Elapsed): main.start_elapsed,
    (_P.STARTING, Stop): rows.stop_asked,
    (_P.STARTING, Reset): rows.forgive,
    (_P.READY, Notified): rows.said,
    (_P.READY, Claimed): main.claimed,
    (_P.READY, Exited): main.ended,
    (_P.READY, MainSought): main.sought,
    (_P.READY, EffectFailed): main.not_sought,
    (_P.READY, Emptied): main.emptied,
    (_P.READY, Elapsed): main.due,
    (_P.READY, Pinged): watchdog.pinged,
    (_P.READY, Unwell): watchdog.unwell,
    (_P.READY, Stop): rows.stop_asked,
    (_P.READY, Reset): rows.forgive,
    (_P.READY, Drain): main.drain,
    (_P.DRAINING, Counted): drains.counted,
    (_P.DRAINING, EffectFailed): drains.not_counted,
    (_P.DRAINING, Elapsed): drains.count,
    (_P.DRAINING, Notified): rows.said,
    (_P.DRAINING, Pinged): watchdog.too_late,
    (_P.DRAINING, Claimed): main.claimed,
    (_P.DRAINING, Exited): drains.ended_draining,
    (_P.DRAINING, Stop): rows.stop_asked,
    (_P.DRAINING, Reset): rows.forgive,
    (_P.STOPPING, Spawned): rows.born_stopping,
    (_P.STOPPING, EffectFailed): rows.unborn,
    (_P.STOPPING, Notified): rows.said,
    (_P.STOPPING, Pinged): watchdog.too_late,
    (_P.STOPPING, Claimed): main.claimed_late,
    (_P.STOPPING, Exited): rows.ended_stopping,
    (_P.STOPPING, Emptied): rows.gone,
    (_P.STOPPING, Elapsed): rows.too_stubborn,
    (_P.STOPPING, Stop): rows.stop_asked_too,
    (_P.STOPPING, Reset): rows.forgive,
    (_P.KILLING, Spawned): rows.born_stopping,
    (_P.KILLING, EffectFailed): rows.unborn,
    (_P.KILLING, Notified): rows.said,
    (_P.KILLING, Pinged): watchdog.too_late,
    (_P.KILLING, Claimed): main.claimed_late,
    (_P.KILLING, Exited): rows.ended_stopping,
    (_P.KILLING, Emptied): rows.gone,
    (_P.KILLING, Stop): rows.stop_asked_too,
    (_P.KILLING, Reset): rows.forgive,
    (_P.BACKOFF, Elapsed): rows.due,
    (_P.BACKOFF, Stop): rows.stay_down,
    (_P.BACKOFF, Reset): rows.reset,
    (_P.FAILED, Stop): rows.stay_down,
    (_P.FAILED, Reset): rows.reset,
}
"""Every pair that is not here is refused by name."""
