"""The rows of a reload that asks whether the service is well with what it took: after the evidence, before the verdict.

Decides: when to ask again, when it is good and when it is bad. A probe that cannot be asked is a failure: no data is never a pass. Whose
answer counts, the shell finds out; what becomes of what is bad is ``reload_back``'s.
"""

from __future__ import annotations

from agentd.core import facts, reload_commit, reload_generations
from agentd.core.events import EffectFailed, Probed, ReloadEvent
from agentd.core.reload_value import (
    Act,
    Ending,
    Reload,
    Result,
    View,
    arm,
    ended,
    finish,
    note,
)
from agentd.core.value import replace
from agentd.wire import Verdict


def ask_again(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The pause between two probes is over."""
    return reload_commit.ask(r, view)


def probed(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Good when it still passes at the end, bad after so many failures in a row; otherwise it is asked again."""
    assert isinstance(event, Probed)
    return _weigh(replace(r, awaiting=None), event.why, view, now)


def not_probed(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """It could not be asked: that is no pass."""
    assert isinstance(event, EffectFailed)
    return _weigh(replace(r, awaiting=None), event.message, view, now)


def _weigh(r: Reload, why: str | None, view: View, now: float) -> Result:
    declared = view.spec.reload.verify
    assert declared is not None
    if why is None:
        r = replace(r, passes=r.passes + 1, in_a_row=0, complaint="")
        if now >= r.deadline:
            r, notes = note(r, now, _verified(r, view), ended(r, view))
            r, effects, more = reload_commit.taken(r, view, now)
            return r, effects, (*notes, *more)
    else:
        in_a_row = r.in_a_row + 1
        r = replace(r, failures=r.failures + 1, in_a_row=in_a_row, complaint=why)
        if in_a_row >= declared.threshold:
            return _bad(r, view, now)
    pause = min(declared.interval, r.deadline - now) if why is None else declared.interval
    r, timer = arm(r, view, pause)
    return r, (timer,), ()


def _verified(r: Reload, view: View) -> facts.Verified:
    generation = view.next_generation if r.act is Act.REPLACE else view.generation
    return facts.Verified(view.spec.name, r.id, generation, r.passes, r.failures, r.complaint)


def _bad(r: Reload, view: View, now: float) -> Result:
    """A next generation gives its place back; of one that took it in place nobody knows how it goes on."""
    times = "time" if r.in_a_row == 1 else "times"
    said = f"{r.complaint}, {r.in_a_row} {times} in a row"
    r, notes = note(r, now, _verified(r, view), ended(r, view, "verify_failed"))
    if r.act is Act.REPLACE:
        r, effects, more = reload_generations.unwell(r, said, view, now)
        return r, effects, (*notes, *more)
    message = f"{view.spec.name} took it and is not well: {said}"
    ending = Ending(Verdict.FAILED, "verify_failed", message, moved=True, bad=True)
    return finish(r, view, now, notes, ending)
