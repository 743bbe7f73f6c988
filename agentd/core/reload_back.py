"""The way back: what a reload that was found bad does before it ends, where ``on_failure`` says that the last good bytes are put back.

Decides: whether there is a way back, how it is gone, and what its end makes of the verdict. Every row of a reload ends as if there were
none; ``weigh`` looks at each end. There is one way back and no second: whatever fails on it is ``rollback_failed``, and nothing more is
automatic.

A refusal is about the files alone: what was before still serves. Everything else is taken and verified again, by the service's own handle
or, when the service is gone, by a start.
"""

from __future__ import annotations

from agentd.core import facts, reload_act, reload_generations
from agentd.core.effects import Note, Restore
from agentd.core.events import InstanceEnded, ReloadEvent, SnapshotDone
from agentd.core.manifest import Manifest, changes
from agentd.core.reload_value import (
    UNLISTED,
    Act,
    Ending,
    Reload,
    Result,
    Stage,
    View,
    arm,
    began,
    ended,
    expect,
    finish,
    note,
)
from agentd.core.value import replace
from agentd.wire import Verdict

STAYS_IN_FORCE = "; the former definition stays in force"
ROLLBACK = "rollback"
"""The phase that holds the others of the way back."""
_DECLINES = frozenset(
    {Verdict.REJECTED, Verdict.REFUSED, Verdict.TIMED_OUT, Verdict.PARTIAL, Verdict.FAILED}
)
"""After one of these a definition that was tried is not taken."""
_CONDEMNS = frozenset({"verify_failed", "service_died"})
"""What is quarantined even where nothing is put back."""


def weigh(result: Result, view: View, now: float) -> Result:
    """What becomes of a reload that would end here."""
    r, effects, notes = result
    ending = r.ending
    assert ending is not None
    if r.fault is not None:
        return _arrived(result, r.fault, ending, view.spec.name, now)
    if r.remark:
        ending = replace(ending, message="; ".join(filter(None, (ending.message, r.remark))))
    if r.definition and ending.verdict in _DECLINES:
        return replace(r, ending=_declined(r, ending)), effects, notes
    if not ending.bad or r.manifest is None:
        return replace(r, ending=ending), effects, notes
    good, restores = view.last_good, view.spec.reload.on_failure.restores
    same = good is not None and good.hash == r.manifest.hash
    alone = not view.others
    if good is not None and restores and alone and not same and not r.restore:
        r, more, told = _set_out(r, ending, good, view, now)
        return r, (*effects, *more), (*notes, *told)
    if not same and ending.error_type in _CONDEMNS:
        ending = replace(ending, quarantine=True)
    some = bool(r.taken or r.died) or ending.verdict is Verdict.FAILED
    if good is not None and restores and not alone and some and not same and not r.restore:
        ending = replace(ending, undo=good.hash)
    message = ending.message + _left(r, ending, view, same=same)
    return replace(r, ending=replace(ending, message=message)), effects, notes


def _declined(r: Reload, ending: Ending) -> Ending:
    """The definition is what had changed: the bytes are not to blame, and the former definition is the way back."""
    keys = ", ".join(r.definition)
    message = f"{ending.message}; its definition has changed: {keys}"
    if r.spec is not None:
        message += STAYS_IN_FORCE
    return replace(ending, message=message.removeprefix("; "), bad=False, quarantine=False)


def _left(r: Reload, ending: Ending, view: View, *, same: bool) -> str:
    """What is said of bytes that stay where they are."""
    assert r.manifest is not None
    if same:
        return "; these very bytes were good before"
    if ending.undo and view.last_good is not None:
        return f"; {view.last_good.version} is put back by a reload of its own"
    if view.spec.reload.on_failure.restores and view.others and view.last_good is not None:
        return "; no instance has taken it, and the inputs stay as they are"
    if view.spec.reload.on_failure.restores and not r.restore:
        return "; no configuration is known to be good, so none is put back"
    if r.restore and view.spec.reload.on_failure.restores:
        return "; a roll-back is not rolled back"
    if ending.error_type in _CONDEMNS and ending.verdict is Verdict.FAILED:
        return f"; next restart loads FAILED {r.manifest.version}"
    return ""


def _set_out(r: Reload, ending: Ending, good: Manifest, view: View, now: float) -> Result:
    """The files first. From here on ``manifest`` is what is put back, and ``poison`` what was tried."""
    assert r.manifest is not None
    down = ending.verdict is Verdict.FAILED and not view.serves
    told = facts.RollingBack(
        view.spec.name,
        r.id,
        good.hash,
        good.version,
        ending.verdict,
        ending.error_type,
        ending.message,
        down,
        ending.output,
    )
    r = replace(r, ending=None, fault=ending, poison=r.manifest, manifest=good)
    notes = (Note(now, told), Note(now, facts.PhaseBegan(view.spec.name, r.id, ROLLBACK)))
    r, effects, more = put_back(r, view, now)
    return r, effects, (*notes, *more)


def put_back(r: Reload, view: View, now: float) -> Result:
    """Write the files; also what an agent does that finds one on its way: twice is once."""
    assert r.manifest is not None
    assert r.poison is not None
    good, poison = r.manifest.hash, r.poison.hash
    r = replace(
        r,
        stage=Stage.RESTORING,
        act=Act.RECIPE if view.serves else Act.LAUNCH,
        step=0,
        said=(),
        looks=0,
        answered="",
        confirmed=None,
        not_taken=(),
        half=None,
        watched=False,
        baseline=None,
        certain=True,
        require_proof=False,
        condemned=False,
    )
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    return r, (Restore(token, view.spec, good, poison),), notes


def ended_on_the_way(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The service ends while the files are put back: then it is started with them."""
    assert isinstance(event, InstanceEnded)
    if r.fault is None:
        return reload_act.died(r, event, view, now)
    if r.fault.verdict is Verdict.REFUSED:  # it had gone on with what was before, and is gone now
        message = f"{r.fault.message}; then {view.spec.name} died: {event.message}"
        fault = Ending(Verdict.FAILED, "service_died", message, output=event.output)
        r = replace(r, fault=fault)
    return replace(r, act=Act.LAUNCH), (), ()


def was_read(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The bytes that were put back are there: take them, or start with them."""
    assert isinstance(event, SnapshotDone)
    assert r.manifest is not None
    good, found = r.manifest, event.found
    r = replace(r, awaiting=None)
    if isinstance(found, Manifest) and found.unlisted:
        r, notes = note(r, now, ended(r, view, UNLISTED))
        return finish(r, view, now, notes, Ending(Verdict.REJECTED, UNLISTED, found.unlisted))
    if not isinstance(found, Manifest) or found.hash != good.hash:
        r, notes = note(r, now, ended(r, view, "inputs_moved"))
        message = "the inputs changed while they were put back"
        ending = Ending(Verdict.REJECTED, "inputs_moved", message, again=True)
        return finish(r, view, now, notes, ending)
    taken = facts.SnapshotTaken(
        view.spec.name,
        r.id,
        found.hash,
        found.version,
        len(found.entries),
        changes(r.poison, found),
        found.attributes,
    )
    r, notes = note(r, now, taken, ended(r, view))
    r, effects, more = _take(replace(r, manifest=found), view, now)
    return r, effects, (*notes, *more)


def _take(r: Reload, view: View, now: float) -> Result:
    if view.serves and view.spec.reload.steps:
        return reload_act.act(replace(r, act=Act.RECIPE), view, now)
    if view.serves:
        return reload_generations.restart(r, view, now)
    if view.gone:
        return reload_generations.launch(replace(r, act=Act.LAUNCH), view, now)
    r = replace(r, stage=Stage.ENDING, act=Act.LAUNCH)  # others of its group are left
    stop = facts.StepBegan(view.spec.name, r.id, reload_generations.STOP, view.pid)
    r, notes = note(r, now, began(r, view), stop)
    r, timer = arm(r, view, view.spec.stop_timeout + view.spec.reload.timeout)
    return r, (timer,), notes


def _arrived(result: Result, fault: Ending, end: Ending, name: str, now: float) -> Result:
    """The verdict: of what was tried, by how the way back ended."""
    r, effects, notes = result
    assert r.manifest is not None
    well, version = end.verdict is Verdict.APPLIED, r.manifest.version
    error_type = "" if well else end.error_type or end.verdict.value
    over = facts.PhaseEnded(name, r.id, ROLLBACK, error_type)
    remark = f"; {r.remark}" if r.remark else ""
    if fault.verdict is Verdict.REFUSED:
        became = f"the inputs are {version} again" if well else _in_vain(end, version)
        ending = replace(
            fault, bad=False, again=end.again, message=f"{fault.message}; {became}{remark}"
        )
    elif well:
        message = f"{fault.message}; {version} was put back and is live again{remark}"
        ending = replace(
            end,
            verdict=Verdict.ROLLED_BACK,
            error_type=fault.error_type,
            message=message,
            output=fault.output,
        )
    else:
        message = f"{fault.message}; {_in_vain(end, version)}{remark}"
        ending = Ending(
            Verdict.FAILED,
            "rollback_failed",
            message,
            output=end.output or fault.output,
            moved=True,
            again=end.again,
            back="" if r.stage is Stage.RESTORING else r.manifest.hash,
        )
    r = replace(r, ending=ending, manifest=r.poison)
    return r, effects, (*notes, Note(now, over))


def _in_vain(end: Ending, version: str) -> str:
    return f"{version} could not be put back: {end.message or end.verdict.value}"


# A start with bytes that were rejected: the last good ones are started in their stead.


def instead(r: Reload, view: View) -> bool:
    """Whether a start must not load what is on the disk."""
    good, restores = view.last_good, view.spec.reload.on_failure.restores
    if r.act is not Act.LAUNCH or not restores or r.restore or good is None or r.manifest is None:
        return False
    return good.hash != r.manifest.hash


def start_instead(r: Reload, view: View, now: float) -> Result:
    """Put the last good ones back, then read and start them."""
    assert r.manifest is not None
    assert view.last_good is not None
    poison = r.manifest
    r = replace(r, restore=view.last_good.hash, poison=poison, stage=Stage.RESTORING)
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    return r, (Restore(token, view.spec, r.restore, poison.hash),), notes
