"""The machine of one reload: from request to exactly one verdict, as a total table over ``Stage`` and event.

Who may ask and whose turn it is, is decided by ``service``.
"""

from __future__ import annotations

from agentd.core import reload_act as act
from agentd.core import reload_prepare as prepare
from agentd.core.errors import IllegalTransitionError
from agentd.core.events import (
    Abort,
    BaselineDone,
    Begin,
    CheckDone,
    EffectFailed,
    Elapsed,
    InstanceEnded,
    InstanceReady,
    ReloadEvent,
    Sighted,
    Signalled,
    SnapshotDone,
    Touched,
)
from agentd.core.reload_value import (
    Reload,
    Result,
    Row,
    Stage,
    View,
)


def step(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The reload after this event; it is over when ``ending`` is set. Raises IllegalTransitionError for a refused pair."""
    if stale(r, event):
        return r, (), ()
    row = TABLE.get((r.stage, type(event)))
    if row is None:
        raise IllegalTransitionError(f"{type(event).__name__} while {r.stage.value}")
    return row(r, event, view, now)


def stale(r: Reload, event: ReloadEvent) -> bool:
    """Whether this answers something no longer awaited."""
    match event:
        case Elapsed(token=token):
            return token.serial != r.timer
        case (
            SnapshotDone(token=token)
            | CheckDone(token=token)
            | BaselineDone(token=token)
            | Signalled(token=token)
            | Sighted(token=token)
            | EffectFailed(token=token)
        ):
            return token.serial != r.awaiting
        case _:
            return False


_S = Stage

TABLE: dict[tuple[Stage, type[ReloadEvent]], Row] = {
    **{(stage, Abort): act.aborted for stage in Stage},
    **{(stage, InstanceEnded): act.died for stage in Stage},
    **{(stage, InstanceReady): act.stay for stage in Stage},
    **{(stage, Touched): act.stay for stage in Stage},
    (_S.QUEUED, Begin): prepare.begin,
    (_S.QUEUED, InstanceEnded): act.stay,
    (_S.SETTLING, Begin): prepare.settled,
    (_S.SETTLING, Touched): prepare.touched,
    (_S.SETTLING, Elapsed): prepare.settled,
    (_S.READING, SnapshotDone): prepare.was_read,
    (_S.READING, EffectFailed): prepare.effect_failed,
    (_S.CHECKING, CheckDone): prepare.was_checked,
    (_S.CHECKING, EffectFailed): prepare.effect_failed,
    (_S.BASELINE, BaselineDone): act.has_baseline,
    (_S.BASELINE, EffectFailed): prepare.effect_failed,
    (_S.SENDING, Signalled): act.sent,
    (_S.SENDING, EffectFailed): act.not_sent,
    (_S.LAUNCHING, InstanceReady): act.launched,
    (_S.LAUNCHING, InstanceEnded): act.launch_failed,
    (_S.CONFIRMING, Sighted): act.seen,
    (_S.CONFIRMING, Elapsed): act.look_again,
    (_S.CONFIRMING, EffectFailed): act.effect_failed_late,
    (_S.COMPARING, SnapshotDone): act.was_compared,
    (_S.COMPARING, EffectFailed): act.effect_failed_late,
}
"""Every pair that is not here is refused by name."""
