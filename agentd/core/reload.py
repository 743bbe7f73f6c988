"""The machine of one reload: from request to exactly one verdict, as a total table over ``Stage`` and event.

Who may ask and whose turn it is, is decided by ``service``.
"""

from __future__ import annotations

from agentd.core import reload_act as act
from agentd.core import reload_back as back
from agentd.core import reload_commit as commit
from agentd.core import reload_confirm as confirm
from agentd.core import reload_generations as generations
from agentd.core import reload_prepare as prepare
from agentd.core import reload_turns as turns
from agentd.core import reload_verify as verify
from agentd.core.errors import IllegalTransitionError
from agentd.core.events import (
    Abort,
    BaselineDone,
    Begin,
    Bypassed,
    CheckDone,
    EffectFailed,
    Elapsed,
    InstanceDown,
    InstanceEnded,
    InstanceReady,
    NextEnded,
    NextReady,
    Notified,
    OtherEnded,
    Performed,
    Probed,
    ReloadEvent,
    Reported,
    Restored,
    Rolled,
    RoomMade,
    Sighted,
    Signalled,
    SnapshotDone,
    Switched,
    Touched,
    WrittenDown,
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
    result = row(r, event, view, now)
    if result[0].ending is None:
        return result
    r, effects, notes = back.weigh(result, view, now)
    if r.ending is None or not view.others:
        return r, effects, notes
    r, more = turns.conclude(r, view, now)
    return r, effects, (*notes, *more)


def stale(r: Reload, event: ReloadEvent) -> bool:
    """Whether this answers something no longer awaited."""
    match event:
        case Elapsed(token=token):
            return token.serial != r.timer
        case (
            WrittenDown(token=token)
            | Restored(token=token)
            | SnapshotDone(token=token)
            | CheckDone(token=token)
            | BaselineDone(token=token)
            | Signalled(token=token)
            | Performed(token=token)
            | Switched(token=token)
            | Sighted(token=token)
            | Probed(token=token)
            | Reported(token=token)
            | EffectFailed(token=token)
        ):
            return token.serial != r.awaiting
        case _:
            return False


_S = Stage
_NEWS = (InstanceReady, InstanceDown, NextReady, NextEnded, RoomMade, Notified, Touched)
"""What concerns a reload in the stages that wait for it only."""

TABLE: dict[tuple[Stage, type[ReloadEvent]], Row] = {
    **{(stage, Abort): act.aborted for stage in Stage},
    **{(stage, InstanceEnded): act.died for stage in Stage},
    **{(stage, event): act.stay for stage in Stage for event in _NEWS},
    **{(stage, Bypassed): act.bypassed for stage in Stage},
    **{(stage, OtherEnded): turns.other_ended for stage in Stage},
    (_S.QUEUED, Begin): prepare.begin,
    (_S.QUEUED, InstanceEnded): act.stay,
    (_S.SETTLING, Begin): prepare.settled,
    (_S.SETTLING, Touched): prepare.touched,
    (_S.SETTLING, Elapsed): prepare.settled,
    (_S.RESTORING, Restored): prepare.restored,
    (_S.RESTORING, EffectFailed): prepare.not_restored,
    (_S.RESTORING, InstanceEnded): back.ended_on_the_way,
    (_S.READING, InstanceEnded): back.ended_on_the_way,
    (_S.READING, SnapshotDone): prepare.was_read,
    (_S.READING, EffectFailed): prepare.effect_failed,
    (_S.CHECKING, CheckDone): prepare.was_checked,
    (_S.CHECKING, EffectFailed): prepare.effect_failed,
    (_S.BASELINE, BaselineDone): act.has_baseline,
    (_S.BASELINE, EffectFailed): prepare.effect_failed,
    (_S.SENDING, Signalled): act.sent,
    (_S.SENDING, EffectFailed): act.not_sent,
    (_S.SENDING, Notified): confirm.said,
    (_S.PERFORMING, Performed): act.performed,
    (_S.PERFORMING, EffectFailed): act.not_sent,
    (_S.PERFORMING, Notified): confirm.said,
    (_S.NOTING, WrittenDown): generations.written_down,
    (_S.NOTING, EffectFailed): generations.not_written,
    (_S.ENDING, InstanceEnded): act.stay,
    (_S.ENDING, InstanceDown): generations.ended_old,
    (_S.ENDING, Elapsed): generations.never_ended,
    (_S.CLEARING, RoomMade): generations.room_made,
    (_S.CLEARING, Elapsed): generations.no_room,
    (_S.REPLACING, InstanceEnded): act.stay,
    (_S.REPLACING, NextReady): generations.next_ready,
    (_S.REPLACING, NextEnded): generations.next_ended,
    (_S.SWITCHING, InstanceEnded): act.stay,
    (_S.SWITCHING, Switched): generations.switched,
    (_S.SWITCHING, EffectFailed): generations.not_switched,
    (_S.SWITCHING, NextEnded): generations.next_ended,
    (_S.LAUNCHING, InstanceReady): generations.launched,
    (_S.LAUNCHING, InstanceEnded): generations.launch_failed,
    (_S.CONFIRMING, Sighted): confirm.seen,
    (_S.CONFIRMING, Elapsed): confirm.look_again,
    (_S.CONFIRMING, Notified): confirm.said_and_look,
    (_S.CONFIRMING, EffectFailed): commit.effect_failed_late,
    (_S.VERIFYING, Probed): verify.probed,
    (_S.VERIFYING, EffectFailed): verify.not_probed,
    (_S.VERIFYING, Elapsed): verify.ask_again,
    (_S.VERIFYING, NextEnded): generations.next_ended,
    (_S.REPORTING, Reported): commit.reported,
    (_S.REPORTING, EffectFailed): commit.effect_failed_late,
    (_S.ROLLING, InstanceEnded): act.stay,
    (_S.ROLLING, Rolled): act.rolled,
    (_S.COMPARING, SnapshotDone): commit.was_compared,
    (_S.COMPARING, NextEnded): generations.next_ended,
    (_S.COMPARING, EffectFailed): commit.effect_failed_late,
}
"""Every pair that is not here is refused by name."""
