"""Evidence that comes after a reload timed out: it is looked for a while longer, and what is live is known then. The verdict stays.

Decides how long and how often, and what ends it: the evidence, a contradiction, another reload, the end of the instance. It dies with the
agent: the next one knows no more than that the reload timed out. Of several instances none is waited for: the verdict names each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.core import facts, reload_commit, reload_confirm
from agentd.core.effects import Arm, Cancel, Disarm, Effect, TakeSnapshot
from agentd.core.events import Completion, Elapsed, Notified, Sighted, SnapshotDone, Token
from agentd.core.manifest import Manifest
from agentd.core.reload_value import Act, Reload, Stage
from agentd.core.service_verdict import set_live
from agentd.core.steps import Grade, Judgement
from agentd.core.value import replace
from agentd.wire import Verdict

if TYPE_CHECKING:
    from agentd.core.service_value import Turn

MACHINE = "late"
TIMES = 10
"""It is looked for this many times as long as the reload could have taken."""
FIRST, SLOWEST = 0.5, 30.0
"""Seconds to the first look, and between the last ones; each pause is doubled."""


def begin(t: Turn, r: Reload, verdict: Verdict) -> None:
    """After this ending it may come late."""
    confirm = t.s.spec.reload.confirm
    waits = verdict is Verdict.TIMED_OUT and r.stage is Stage.CONFIRMING and r.act is Act.RECIPE
    told = any(e.grade is not Grade.DECLARED for e in confirm) and not any(e.opens for e in confirm)
    if t.s.others or not (waits and told and r.manifest):
        return
    until = t.now + t.s.spec.reload.timeout * (TIMES - 1)
    late = replace(
        r, machine=MACHINE, ending=None, awaiting=None, timer=None, looks=0, deadline=until
    )
    _pause(t, replace(late, serial=max(r.serial, t.s.serial)))


def drop(t: Turn) -> None:
    """It does not matter any more."""
    late, name = t.s.late, t.s.spec.name
    if late is None:
        return
    effect: Effect = Disarm(name, MACHINE)
    if late.awaiting is not None:
        effect = Cancel(Token(name, MACHINE, late.awaiting))
    t.effects.append(effect)
    t.s = replace(t.s, late=None)


def step(t: Turn, event: Completion) -> None:
    """A pause is over, or what was looked for has an answer."""
    late = t.s.late
    if late is None:
        return
    match event:
        case Elapsed(token=token) if token.serial == late.timer:
            _look(t, late)
        case Sighted(token=token) if token.serial == late.awaiting:
            _seen(t, replace(late, awaiting=None), event)
        case SnapshotDone(token=token) if token.serial == late.awaiting:
            t.s = replace(t.s, late=None)
            _compare(t, late, event)
        case _ if event.token.serial == late.awaiting:
            t.s = replace(t.s, late=None)
        case _:
            pass  # an answer to what is awaited no more


def said(t: Turn, event: Notified) -> None:
    """The service speaks at last."""
    late = t.s.late
    if late is None or event.generation != t.s.instance.generation:
        return
    late, _, _ = reload_confirm.said(late, event, t.s.view, t.now)
    t.s = replace(t.s, late=late)
    if late.awaiting is None:
        _look(t, late)


def _look(t: Turn, late: Reload) -> None:
    late, effects, _ = reload_confirm.look(late, t.s.view)
    t.s = replace(t.s, late=late, serial=late.serial)
    t.effects += effects


def _seen(t: Turn, late: Reload, event: Sighted) -> None:
    late, judged = reload_confirm.judge(late, event.sights, t.s.view)
    if event.sights[0].alive and judged and all(j.yes for j in judged):
        late = reload_confirm.weighed(late, judged, t.s.view)
        late = replace(late, serial=late.serial + 1, awaiting=late.serial + 1)
        t.s = replace(t.s, late=late, serial=late.serial)
        t.effects.append(TakeSnapshot(Token(t.s.spec.name, MACHINE, late.serial), t.s.spec))
    elif Judgement.NOT_YET in judged and event.sights[0].alive and t.now < late.deadline:
        _pause(t, late)
    else:
        t.s = replace(t.s, late=None)


def _pause(t: Turn, late: Reload) -> None:
    delay = min(FIRST * 2 ** min(late.looks, 10), SLOWEST, max(late.deadline - t.now, 0.0))
    late = replace(late, serial=late.serial + 1, timer=late.serial + 1)
    t.s = replace(t.s, late=late, serial=late.serial)
    t.effects.append(Arm(Token(t.s.spec.name, MACHINE, late.serial), delay))


def _compare(t: Turn, late: Reload, event: SnapshotDone) -> None:
    """Only when the inputs are still the same is it known what was taken."""
    assert late.manifest is not None
    found, tried = event.found, late.manifest.hash
    name, grade = reload_commit.confirmation(late, t.s.view)
    if not isinstance(found, Manifest) or found.hash != tried or grade is None:
        return
    t.note(facts.LateEvidence(t.s.spec.name, late.id, name, grade, found.hash, found.version))
    set_live(t, found, f"late evidence of {late.id}")
