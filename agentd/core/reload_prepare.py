"""The rows of a reload from request to check: nothing here touches the service.

Decides: how long the inputs must be quiet, what a missing input means, when there is nothing to do, what the checker's answer means.
Facts of a request by a watch are kept back until it is known to matter: one that finds nothing changed is counted, not traced.
"""

from __future__ import annotations

from agentd.core import facts, reload_act, reload_back, reload_commit, reload_generations
from agentd.core.effects import Restore, RunCheck, TakeSnapshot
from agentd.core.events import (
    CheckDone,
    EffectFailed,
    ReloadEvent,
    Restored,
    SnapshotDone,
)
from agentd.core.manifest import Manifest, Missing, changes, lost
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
    speak,
)
from agentd.core.spec import WatchSpec
from agentd.core.steps import Grade
from agentd.core.value import replace
from agentd.wire import Trigger, Verdict


def begin(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """A watch waits until the inputs are quiet; a roll-back puts them back first; everybody else reads them at once."""
    if r.restore:
        r = replace(r, stage=Stage.RESTORING)
        r, notes = note(r, now, began(r, view))
        r, token = expect(r, view)
        return r, (Restore(token, view.spec, r.restore),), notes
    if r.cause.trigger is not Trigger.WATCH or view.spec.watch is None:
        return read(r, view, now)
    r = replace(r, stage=Stage.SETTLING)
    r, notes = note(r, now, began(r, view))
    quiet = max(view.spec.watch.debounce + r.lag - (now - r.begun), 0.0)
    r, timer = arm(r, view, quiet)
    return r, (timer,), notes


def restored(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The files are what they were: read them like any others."""
    assert isinstance(event, Restored)
    hash_ = r.manifest.hash if r.fault and r.manifest else r.restore
    done = facts.Restored(view.spec.name, r.id, hash_, event.files, event.kept)
    remark = f"what was there is kept in {event.kept}" if event.kept and r.poison else ""
    r, notes = note(replace(r, remark=remark), now, done, ended(r, view))
    if r.fault is not None and r.fault.verdict is Verdict.REFUSED:
        return finish(replace(r, awaiting=None), view, now, notes, Ending(Verdict.APPLIED))
    r, effects, more = read(r, view, now)
    return r, effects, (*notes, *more)


def not_restored(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """It cannot be put back: nothing was written. A start goes on with what is there."""
    assert isinstance(event, EffectFailed)
    r, notes = note(replace(r, awaiting=None), now, ended(r, view, event.error_type))
    if r.act is Act.LAUNCH and r.fault is None and r.poison is not None:
        r = replace(r, condemned=True, remark=event.message)
        r, effects, more = reload_generations.launch(r, view, now)
        return r, effects, (*notes, *more)
    again = event.error_type == "inputs_moved"
    ending = Ending(Verdict.REJECTED, event.error_type, event.message, again=again)
    return finish(r, view, now, notes, ending)


def touched(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Wait until the inputs were quiet, but never longer than the settle limit; both as much longer as was drawn by chance."""
    watch = view.spec.watch or WatchSpec()
    left = watch.settle_limit + r.lag - (now - r.begun)
    r, timer = arm(r, view, max(min(watch.debounce + r.lag, left), 0.0))
    return r, (timer,), ()


def settled(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The inputs were quiet: read them."""
    r, notes = note(r, now, ended(r, view))
    r, effects, more = read(r, view, now)
    return r, effects, (*notes, *more)


def read(r: Reload, view: View, now: float) -> Result:
    """What a person sees may be what we cannot: for them it is asked anew which files are included."""
    r = replace(r, stage=Stage.READING)
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    return r, (TakeSnapshot(token, view.spec, anew=r.cause.trigger.person),), notes


def was_read(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Nothing to do, or taken by the start already; otherwise it is checked."""
    assert isinstance(event, SnapshotDone)
    if r.fault is not None:
        return reload_back.was_read(r, event, view, now)
    r = replace(r, awaiting=None)
    if isinstance(event.found, Missing):
        return was_missing(r, event.found, view, now)
    if path := lost(view.live or view.last_good, event.found):
        message = f"{path} was not empty before, and there is nothing in it now"
        return was_missing(r, Missing("missing_input", message), view, now)
    if r.manifest and r.manifest.hash != event.found.hash:  # an earlier agent gave others to some
        r = replace(r, taken=(), died=())
    r = replace(r, manifest=event.found)
    if why := nothing_to_do(r, event.found, view):
        return nothing(r, why, view, now)
    r, notes = speak(r, view)
    taken = facts.SnapshotTaken(
        view.spec.name,
        r.id,
        event.found.hash,
        event.found.version,
        len(event.found.entries),
        changes(view.live or view.last_good, event.found),
        event.found.attributes,
        event.found.unlisted,
    )
    r, more = note(r, now, taken, ended(r, view))
    notes = (*notes, *more)
    q, digest = view.quarantine, view.spec.digest
    if q and (q.hash, q.digest) == (event.found.hash, digest) and reload_back.instead(r, view):
        r, effects, more = reload_back.start_instead(r, view, now)
        return r, effects, (*notes, *more)
    name, grade = r.started_with or ("none", None)
    proven = grade is Grade.PROVEN or not r.require_proof
    same = view.serves and view.live is not None and event.found.hash == view.live.hash
    if r.started_with and proven and same:
        return finish(r, view, now, notes, reload_commit.applied(r, name, grade))
    r, effects, more = check(r, event.found, view, now)
    return r, effects, (*notes, *more)


def nothing_to_do(r: Reload, found: Manifest, view: View) -> str:
    if r.must_act:
        return ""
    if view.live and view.live.hash == found.hash:
        return "unchanged"
    if r.cause.trigger.person:
        return ""
    tried = view.attempted
    if tried and tried.back == found.hash:
        return "quarantined"
    launch, unlisted = r.act is Act.LAUNCH, bool(found.unlisted)
    undecided = tried and (tried.verdict is Verdict.UNVERIFIED or launch or unlisted)
    if tried and undecided and tried.hash == found.hash:
        return "unchanged"
    q = view.quarantine
    return "quarantined" if q and (q.hash, q.digest) == (found.hash, view.spec.digest) else ""


def nothing(r: Reload, why: str, view: View, now: float) -> Result:
    if r.silent:
        return finish(r, view, now, (), Ending(Verdict.UNCHANGED, silent=why))
    r, notes = note(r, now, ended(r, view))
    message = "the inputs are what is live" if why == "unchanged" else why
    return finish(r, view, now, notes, Ending(Verdict.UNCHANGED, message=message))


def was_missing(r: Reload, missing: Missing, view: View, now: float) -> Result:
    """A watch waits a little for a file that is being replaced; a start goes on, there is nothing to protect."""
    if r.act is Act.LAUNCH and r.must_act:
        r, notes = note(replace(r, missing=missing), now, ended(r, view, missing.error_type))
        r, effects, launch = reload_generations.launch(r, view, now)
        return r, effects, (*notes, *launch)
    since = now if r.missing_since is None else r.missing_since
    grace = view.spec.reload.missing_grace - (now - since)
    if r.cause.trigger is Trigger.WATCH and grace > 0:
        r, notes = note(r, now, ended(r, view, missing.error_type))
        r = replace(r, stage=Stage.SETTLING, missing_since=since)
        r, more = note(r, now, began(r, view))
        r, timer = arm(r, view, grace)
        return r, (timer,), (*notes, *more)
    r, notes = speak(r, view)
    r, more = note(r, now, ended(r, view, missing.error_type))
    ending = Ending(Verdict.REJECTED, missing.error_type, missing.message)
    return finish(r, view, now, (*notes, *more), ending)


def check(r: Reload, found: Manifest, view: View, now: float) -> Result:
    check = view.spec.reload.check
    known_good = view.last_good is not None and view.last_good.hash == found.hash
    if check is None or (r.act is Act.LAUNCH and known_good):
        return accepted(r, view, now)
    r = replace(r, stage=Stage.CHECKING)
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    return r, (RunCheck(token, view.spec, check, r.id, r.trace_id, found.hash),), notes


def accepted(r: Reload, view: View, now: float) -> Result:
    """Nothing speaks against it; but a service that runs is not given what nobody can name. A start goes on."""
    assert r.manifest is not None
    if r.manifest.unlisted and r.act is not Act.LAUNCH:
        ending = Ending(Verdict.REJECTED, UNLISTED, r.manifest.unlisted)
        return finish(r, view, now, (), ending)
    return reload_act.act(r, view, now)


SAYS_NO = ("check_failed", "check_warned")
"""What the checker itself says of these bytes; the others tell of the checker."""


def was_checked(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The act, or rejected; a start goes on whatever the check says."""
    assert isinstance(event, CheckDone)
    assert view.spec.reload.check is not None
    executable = view.spec.reload.check.argv[0]
    output = event.output[-reload_act.OUTPUT_LINES :]
    error_type, message = "", ""
    if event.timed_out:
        limit = view.spec.reload.check.timeout
        error_type, message = "check_timeout", f"{executable} did not end within {limit:g}s"
    elif event.error is not None:
        error_type, message = "check_unavailable", event.error
    elif event.exit_code != 0:
        error_type, message = "check_failed", f"{executable} says no (exit code {event.exit_code})"
    elif view.spec.reload.check.warned(event.output):
        error_type, message = "check_warned", f"{executable} accepts it with a warning"
    said = facts.CheckEnded(
        view.spec.name, r.id, executable, event.exit_code, event.timed_out, output
    )
    r, notes = note(replace(r, awaiting=None), now, said, ended(r, view, error_type))
    if error_type == "check_failed" and reload_back.instead(r, view):
        r, effects, more = reload_back.start_instead(r, view, now)
        return r, effects, (*notes, *more)
    if r.act is Act.LAUNCH:  # there is nothing to protect: starting is the better test
        r = replace(r, condemned=error_type in SAYS_NO)
    if not error_type or r.act is Act.LAUNCH:
        r, effects, more = accepted(r, view, now)
        return r, effects, (*notes, *more)
    ending = Ending(
        Verdict.REJECTED,
        error_type,
        message,
        output=output,
        quarantine=error_type in SAYS_NO,
    )
    return finish(r, view, now, notes, ending)


def effect_failed(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Something on the way could not be done; the service was not touched. A start goes on: there is nothing to protect."""
    assert isinstance(event, EffectFailed)
    r = replace(r, awaiting=None)
    if r.act is Act.LAUNCH and r.stage is Stage.READING and r.fault is None:
        return was_missing(r, Missing(event.error_type, event.message), view, now)
    if r.act is Act.LAUNCH and r.stage is Stage.CHECKING:
        return was_checked(r, CheckDone(event.token, None, error=event.message), view, now)
    r, notes = speak(r, view)
    r, more = note(r, now, ended(r, view, event.error_type))
    ending = Ending(Verdict.REJECTED, event.error_type, event.message)
    return finish(r, view, now, (*notes, *more), ending)
