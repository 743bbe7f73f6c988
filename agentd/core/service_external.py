"""Reloads made behind the agent's back: ``nginx -s reload``, certbot, a log rotation that sends HUP.

Decides from what is seen at moments when something looks anyway that the service took a configuration which nobody here had asked for. Then
nobody can know what it runs, until the next evidence says. Of several instances workers tell nothing: it is not kept whose they were.
Nothing is polled for it: a service that tells nothing is found out at its next reload or ``status``.
"""

from __future__ import annotations

from agentd.core import facts
from agentd.core.events import BaselineDone, Notified, WorkersSeen
from agentd.core.instance import Phase
from agentd.core.reload_value import ACTED, Act, Reload
from agentd.core.service_value import Turn
from agentd.core.service_verdict import set_live
from agentd.core.steps import Baseline, Sight, Wanted, Worker
from agentd.core.value import replace
from agentd.wire import Verdict

EARLIER = Baseline(0)
"""Any worker was born after it."""


def workers_seen(t: Turn, event: WorkersSeen) -> None:
    """Somebody looked at the service while no reload of it ran."""
    i = t.s.instance
    if (
        t.s.running is None
        and not t.s.others
        and i.phase is Phase.READY
        and i.generation == event.generation
    ):
        _compare(t, event.workers)


def before_the_act(t: Turn, event: BaselineDone) -> None:
    """What a reload finds before it does anything."""
    if event.baseline.workers and not t.s.others:
        _compare(t, event.baseline.workers)
    live = t.s.live
    if live is None:
        return
    wanted = Wanted(live.hash, live.version, changed=False)
    for evidence, said in zip(t.s.spec.reload.confirm, event.baseline.answers, strict=False):
        if (
            said is None
            or said.value is None
            or not evidence.question
            or not evidence.question.names
        ):
            continue
        sight = Sight(alive=True, since_sent=1.0, said=said, before=said, wanted=wanted)
        if not evidence.judge(EARLIER, sight).yes:
            _external(t, f"it says that it runs {said.value}")
            return


def said_unasked(t: Turn, event: Notified) -> None:
    """RELOADING=1 while no reload acts on it."""
    i, r = t.s.instance, t.s.running
    acts = r is not None and r.act is Act.RECIPE and r.stage in ACTED
    current = i.phase is Phase.READY and i.generation == event.generation
    if event.reloading is not None and current and not acts:
        _external(t, "it said RELOADING=1 unasked")


def ended(t: Turn, r: Reload, verdict: Verdict) -> None:
    """From now on the workers that the last look saw are the known ones; of another ending nobody knows what is still to come."""
    if r.act is Act.RECIPE and r.stage in ACTED and not t.s.others:
        t.s = replace(t.s, workers=r.workers if verdict is Verdict.APPLIED else ())


def _compare(t: Turn, now: tuple[Worker, ...]) -> None:
    """The known ones stay known while one of them is left: new ones may come a while before the old ones go."""
    known = t.s.workers
    if not known:
        t.s = replace(t.s, workers=now)
        return
    before, sight = replace(EARLIER, workers=known), Sight(True, 0.0, now)
    new = (e.judge(before, sight).yes for e in t.s.spec.reload.confirm if e.workers)
    if any(new):
        t.s = replace(t.s, workers=now)
        _external(t, "its workers are new ones")


def _external(t: Turn, why: str) -> None:
    if t.s.live is None:
        return
    t.s = replace(t.s, instance=replace(t.s.instance, runs=None))
    t.note(facts.External(t.s.spec.name, t.s.instance.generation, why))
    set_live(t, None, f"reloaded behind the agent's back: {why}")
