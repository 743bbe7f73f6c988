"""What people and triggers ask of one service: reload, start, stop, restart, hold, release.

Decides: whether a request becomes a reload, joins the one that waits, is held or turned away, and what an answer says. Does not decide when
it is carried out (``service``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentd.core import facts, reload_value
from agentd.core.effects import Accepted, Arm, Disarm, Done, Turned
from agentd.core.events import (
    Abort,
    Begin,
    CancelAsked,
    Completion,
    ConfirmAsked,
    Elapsed,
    HoldAsked,
    ReleaseAsked,
    ReloadAsked,
    Reset,
    RestartAsked,
    StartAsked,
    Stop,
    StopAsked,
    Token,
    Touched,
)
from agentd.core.facts import Cause
from agentd.core.instance import Ending, Instance, Phase
from agentd.core.memory import Hold, Pending, Quarantine, Want
from agentd.core.reload_value import UNTOUCHED, Act, Reload, Stage
from agentd.core.service_generations import stop_beside
from agentd.core.service_machines import (
    abort,
    move_each,
    move_running,
    move_waiting,
    must_act,
    new_reload,
)
from agentd.core.service_value import Service, Turn
from agentd.core.service_verdict import judge, settle_pending
from agentd.core.value import replace
from agentd.wire import ExitCode, Trigger, Verdict


def reload_asked(t: Turn, e: ReloadAsked) -> None:
    """It waits for its turn, joins the one that waits, is held, or is turned away."""
    s, watch = t.s, e.cause.trigger is Trigger.WATCH
    if s.hold and not e.force:
        _held(t, e)
    elif not _reloadable(s):
        what = f"{s.spec.name} is {s.phase.value}; start it with: reloadctl start {s.spec.name}"
        t.answer(e.reply, Turned(ExitCode.NOT_RUNNING, f"cannot reload: {what}"))
    elif watch and not e.link:
        if (s.spec.inputs or s.spec.included) and s.spec.watch:
            _touched(t, e)
    elif e.confirm_within and not (s.live or s.last_good):
        what = f"cannot reload {s.spec.name} on trial: no version is known that could be put back"
        t.answer(e.reply, Turned(ExitCode.USAGE, what))
    elif s.waiting and not s.waiting.silent and not e.restore:
        r = replace(
            s.waiting,
            confirm_within=e.confirm_within or s.waiting.confirm_within,
            must_act=s.waiting.must_act or _acts(e),
            require_proof=s.waiting.require_proof or e.require_proof,
        )
        r = _brings(r, e)
        t.s = replace(s, waiting=r)
        told = facts.Joined(
            s.spec.name,
            r.id,
            e.cause,
            r.must_act,
            r.require_proof,
            r.confirm_within,
            r.definition,
        )
        t.note(told)
        t.answer(e.reply, Accepted(r.id, r.trace_id, joined=True))
    else:
        _drop_silent(t)
        if t.s.waiting:
            move_waiting(t, Abort("a roll-back was asked for"))
        r = new_reload(t, e.cause, if_changed=e.if_changed, link=e.link)
        r = replace(
            r,
            must_act=_acts(e),
            require_proof=e.require_proof,
            restore=e.restore,
            confirm_within=e.confirm_within,
        )
        r = _brings(r, e)
        t.s = replace(t.s, waiting=r)
        t.notes.append(reload_value.requested(r, t.s.view, t.now))
        t.answer(e.reply, Accepted(r.id, r.trace_id, joined=False))
        if watch and t.s.spec.watch:
            move_waiting(t, Begin())


def _brings(r: Reload, e: ReloadAsked) -> Reload:
    """One that is to try another definition goes by its handle."""
    if e.spec is None:
        return r
    return replace(r, spec=e.spec, definition=e.definition, handle=e.spec.reload.handle)


def _acts(e: ReloadAsked) -> bool:
    return e.must_act or must_act(e.cause, if_changed=e.if_changed)


def _reloadable(s: Service) -> bool:
    """Not while it is down or on its way there; a start that is under way is waited for."""
    return any(_there(s, i) for i in s.slots)


def _there(s: Service, i: Instance) -> bool:
    if i.phase in (Phase.STOPPING, Phase.KILLING):
        return s.want is Want.UP and i.ending is not Ending.ASKED
    if i.phase is Phase.DOWN:
        return s.want is Want.UP and (s.running is not None or s.next_start is not None)
    return True


def _touched(t: Turn, e: ReloadAsked) -> None:
    """A change was seen. Nothing is told of it until it turns out to matter."""
    s = t.s
    if s.waiting:
        if s.waiting.stage is Stage.SETTLING:
            move_waiting(t, Touched())
    elif s.running and s.running.silent and s.running.stage is Stage.SETTLING:
        move_running(t, Touched())
    else:
        r = replace(new_reload(t, e.cause), silent=True)
        t.s = replace(s, waiting=r)
        move_waiting(t, Begin())


def _drop_silent(t: Turn) -> None:
    """What a watch began and nobody was told of gives way to somebody who waits for an answer."""
    if t.s.running and t.s.running.silent:
        move_running(t, Abort(""))


def _held(t: Turn, e: ReloadAsked) -> None:
    hold, watch = t.s.hold, e.cause.trigger is Trigger.WATCH
    assert hold is not None
    if watch and hold.pending:
        return  # what is pending already will read this change too
    r = new_reload(t, e.cause)
    t.notes.append(reload_value.requested(r, t.s.view, t.now))
    t.s = replace(t.s, hold=replace(hold, pending=r.id, trigger=e.cause.trigger))
    _hold_verdict(t, r)
    t.answer(e.reply, Accepted(r.id, r.trace_id, joined=False))


def _hold_verdict(t: Turn, r: Reload) -> None:
    hold = t.s.hold
    assert hold is not None
    by = f" by {hold.user}" if hold.user else ""
    because = f": {hold.reason}" if hold.reason else ""
    message = f"held{by}{because}; release it with: reloadctl release {t.s.spec.name}"
    judge(t, r, reload_value.Ending(Verdict.HELD, message=message))


def start_asked(t: Turn, e: StartAsked) -> None:
    """Wanted up; whoever asks is told which start that is."""
    _want(t, Want.UP, e.cause)
    move_each(t, Reset())
    if t.s.running is not None and t.s.running.act is Act.LAUNCH:
        _drop_silent(t)
    running = t.s.running
    if t.s.phase is Phase.READY:
        t.answer(e.reply, Done())
    elif running is not None and running.act is not Act.RECIPE:
        t.answer(e.reply, Accepted(running.id, running.trace_id, joined=True))
    elif t.s.phase is Phase.STARTING:  # adopted: nothing of this agent's began it
        t.answer(e.reply, Done())
    else:
        ask_start(t, e.cause, e.reply)


def restart_asked(t: Turn, e: RestartAsked) -> None:
    """Stop what runs; the next start is this caller's."""
    _want(t, Want.UP, e.cause)
    abort(t, f"restart of {t.s.spec.name} was asked for")
    move_each(t, Reset())
    move_each(t, Stop())
    ask_start(t, e.cause, e.reply)


def ask_start(t: Turn, cause: Cause, reply: int | None) -> None:
    """The next start is this caller's."""
    give_up_start(t)
    t.s = replace(t.s, next_start=(cause, reply))


def stop_asked(t: Turn, e: StopAsked) -> None:
    """Wanted down; what was on its way is given up."""
    _want(t, Want.DOWN, e.cause)
    abort(t, f"stop of {t.s.spec.name} was asked for")
    give_up_start(t)
    stop_beside(t)
    move_each(t, Stop())
    t.answer(e.reply, Done())


def give_up_start(t: Turn) -> None:
    """Nobody waits for the next start any more."""
    if t.s.next_start is not None:
        t.answer(t.s.next_start[1], Done())
        t.s = replace(t.s, next_start=None)


def _want(t: Turn, want: Want, cause: Cause) -> None:
    if t.s.want is not want:
        t.s = replace(t.s, want=want)
        t.note(facts.WantSet(t.s.spec.name, want.value, cause.user))


def hold_asked(t: Turn, e: HoldAsked) -> None:
    """What waits for its turn is turned away, and remembered."""
    serial = t.s.hold_serial + 1
    until = 0 if e.seconds is None else t.mint.wall_ns(t.now + e.seconds)
    hold = Hold(e.cause.reason, e.cause.user, until_wall_ns=until)
    if t.s.hold is not None:
        hold = replace(hold, pending=t.s.hold.pending, trigger=t.s.hold.trigger)
    t.s = replace(t.s, hold=hold, hold_serial=serial)
    t.note(facts.HoldSet(t.s.spec.name, held=True, reason=hold.reason, user=hold.user))
    if e.seconds is None:
        t.effects.append(Disarm(t.s.spec.name, "hold"))
    else:
        t.effects.append(Arm(Token(t.s.spec.name, "hold", serial), e.seconds))
    waiting = t.s.waiting
    if waiting is not None and waiting.spec is None:  # a definition is applied whoever holds it
        t.s = replace(t.s, waiting=None)
        t.effects.append(Disarm(t.s.spec.name, "waiting"))
        _, notes = reload_value.speak(waiting, t.s.view)  # a change that was seen is not forgotten
        t.notes += notes
        pending = replace(hold, pending=waiting.id, trigger=waiting.cause.trigger)
        t.s = replace(t.s, hold=pending)
        _hold_verdict(t, waiting)
    t.answer(e.reply, Done())


def hold_elapsed(t: Turn, event: Completion) -> None:
    """The hold's time is over, unless it was set anew meanwhile."""
    if isinstance(event, Elapsed) and event.token.serial == t.s.hold_serial and t.s.hold:
        release(t, Cause(Trigger.TIMER), None)


def release(t: Turn, cause: Cause, reply: int | None) -> None:
    """End the hold, and ask once more for what it turned away."""
    hold = t.s.hold
    if hold is None:
        t.answer(reply, Done())
        return
    t.s = replace(t.s, hold=None)
    t.effects.append(Disarm(t.s.spec.name, "hold"))
    t.note(facts.HoldSet(t.s.spec.name, held=False, reason=cause.reason, user=cause.user))
    if hold.trigger is None or not _reloadable(t.s):
        t.answer(reply, Done())
        return
    cause = replace(cause, trigger=hold.trigger)
    if_changed = not hold.trigger.person
    reload_asked(
        t, ReloadAsked(t.s.spec.name, cause, reply, if_changed=if_changed, link=hold.pending)
    )


def confirm_asked(t: Turn, e: ConfirmAsked) -> None:
    """Somebody keeps the change."""
    pending = t.s.pending
    if pending is None or pending.reload_id != e.reload_id:
        what = f"reload {e.reload_id} waits for no confirmation"
        t.answer(e.reply, Turned(ExitCode.NOT_RUNNING, what))
        return
    settle_pending(t, e.cause.user)
    t.answer(e.reply, Done())


def cancel_asked(t: Turn, e: CancelAsked) -> None:
    """One that has touched nothing is given up, and a roll-back writes files first; another one is only named."""
    by = f" by {e.cause.user}" if e.cause.user else ""
    running, waiting = t.s.running, t.s.waiting
    acts = running and (
        running.act is Act.LAUNCH or running.restore or running.taken or running.fault
    )
    if waiting is not None and waiting.id == e.reload_id:
        move_waiting(t, Abort(f"cancelled{by}"))
        t.answer(e.reply, Done())
    elif running is None or running.id != e.reload_id:
        what = f"reload {e.reload_id} has ended"
        t.answer(e.reply, Turned(ExitCode.NOT_RUNNING, what))
    elif running.stage not in UNTOUCHED or acts:
        what = f"reload {e.reload_id} has begun to act; it cannot be cancelled any more"
        t.answer(e.reply, Turned(ExitCode.STILL_RUNNING, what))
    else:
        move_running(t, Abort(f"cancelled{by}"))
        t.answer(e.reply, Done())


def confirm_elapsed(t: Turn, event: Completion) -> None:
    """Nobody confirmed."""
    if isinstance(event, Elapsed) and event.token.serial == t.s.pending_serial and t.s.pending:
        _put_back(t, t.s.pending)


def overdue(t: Turn) -> None:
    """The time to confirm ended while it was down: it is put back as soon as it is up again."""
    pending, up = t.s.pending, t.s.serves and t.s.running is None
    if pending is not None and up and t.mint.wall_ns(t.now) >= pending.until_wall_ns:
        _put_back(t, pending)


def _put_back(t: Turn, pending: Pending) -> None:
    """What was before, whoever holds the service; these bytes are not tried again unasked."""
    if not _reloadable(t.s):
        return
    message = "not confirmed in time"
    if t.s.live is not None:
        found, digest = t.s.live, t.s.spec.digest
        q = Quarantine(found.hash, found.version, digest, message)
        t.s = replace(t.s, quarantine=q)
        t.note(facts.Quarantined(t.s.spec.name, found.hash, message))
    t.s = replace(t.s, pending=None)
    t.effects.append(Disarm(t.s.spec.name, "confirm"))
    cause = Cause(Trigger.ROLLBACK, reason=message)
    name, back = t.s.spec.name, pending.hash
    reload_asked(t, ReloadAsked(name, cause, force=True, link=pending.reload_id, restore=back))


def release_asked(t: Turn, e: ReleaseAsked) -> None:
    """Somebody ends the hold."""
    release(t, e.cause, e.reply)


ASKED: dict[type, Callable[[Turn, Any], None]] = {
    ReloadAsked: reload_asked,
    StartAsked: start_asked,
    StopAsked: stop_asked,
    RestartAsked: restart_asked,
    HoldAsked: hold_asked,
    ReleaseAsked: release_asked,
    ConfirmAsked: confirm_asked,
    CancelAsked: cancel_asked,
}
"""Every request and what answers it."""
