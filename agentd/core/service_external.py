"""Reloads made behind the agent's back: ``nginx -s reload``, certbot, a log rotation that sends HUP, a new binary in place.

Decides from what is seen at moments when something looks anyway that the service took a configuration which nobody here had asked for. Then
nobody can know what it runs, until the next evidence says. After a reload of ours of several instances the workers that are seen next
are the known ones.
Nothing is polled for it: a service that tells nothing is found out at its next reload or ``status``.
"""

from __future__ import annotations

from agentd.core import facts
from agentd.core.events import BaselineDone, Claimed, InstanceEvent, Notified, WorkersSeen
from agentd.core.instance import Instance, Phase
from agentd.core.reload_value import ACTED, Act, Reload
from agentd.core.service_slots import put
from agentd.core.service_value import Turn
from agentd.core.service_verdict import set_live
from agentd.core.steps import Baseline, Sight, Wanted, Worker
from agentd.core.value import replace
from agentd.wire import Verdict

EARLIER = Baseline(0)
"""Any worker was born after it."""


def workers_seen(t: Turn, event: WorkersSeen) -> None:
    """Somebody looked at the service while no reload of it ran."""
    i = _serves(t, event.generation)
    if t.s.running is None and i is not None:
        _compare(t, i, event.workers)


def gone(t: Turn, generation: int) -> None:
    """A generation has ended, and its workers with it."""
    if generation in t.s.workers:
        t.s = replace(t.s, workers={g: w for g, w in t.s.workers.items() if g != generation})


def _serves(t: Turn, generation: int) -> Instance | None:
    ready = (i for i in t.s.slots if i.phase is Phase.READY)
    return next((i for i in ready if i.generation == generation), None)


def before_the_act(t: Turn, event: BaselineDone) -> None:
    """What a reload finds before it does anything."""
    if event.baseline.workers:
        _compare(t, t.s.instance, event.baseline.workers)
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
            _external(t, t.s.instance, f"it says that it runs {said.value}")
            return


def said_unasked(t: Turn, event: Notified) -> None:
    """RELOADING=1 while no reload acts on it."""
    i = _serves(t, event.generation)
    acts = _acts(t) and i is t.s.instance
    if event.reloading is not None and i is not None and not acts:
        _external(t, i, "it said RELOADING=1 unasked")


def main_moved(t: Turn, before: Instance, event: InstanceEvent, after: Instance) -> bool:
    """Another process took over from the one that served, and has read the configuration anew; also of one of several.

    The process that a service names when it becomes ready has been its main one from the start. True: the reload that runs has acted on a
    process that is not the main one any more, and the one that is does not owe itself to that act.
    """
    if after.process is None or before.process is None or after.process.same(before.process):
        return False
    gone(t, after.generation)
    if before.phase is not Phase.READY or not (before.lost or isinstance(event, Claimed)):
        return False
    r = t.s.running
    if r is not None and _acts(t) and after is t.s.instance:
        return r.baseline is None or after.process.started < r.baseline.ticks
    _external(t, after, f"its main process is another one, pid {after.process.pid}")
    return _acts(t)


def ended(t: Turn, r: Reload, verdict: Verdict) -> None:
    """From now on the workers that the last look saw are the known ones; of another ending nobody knows what is still to come."""
    if r.act is Act.RECIPE and r.stage in ACTED:
        alone = verdict is Verdict.APPLIED and not t.s.others and r.workers
        t.s = replace(t.s, workers={t.s.instance.generation: r.workers} if alone else {})


def _acts(t: Turn) -> bool:
    r = t.s.running
    return r is not None and r.act is Act.RECIPE and r.stage in ACTED


def _compare(t: Turn, i: Instance, now: tuple[Worker, ...]) -> None:
    """The known ones stay known while one of them is left: new ones may come a while before the old ones go."""
    known = t.s.workers.get(i.generation, ())
    if known:
        before, sight = replace(EARLIER, workers=known), Sight(True, 0.0, now)
        new = (e.judge(before, sight).yes for e in t.s.spec.reload.confirm if e.workers)
        if not any(new):
            return
    serve = {one.generation for one in t.s.slots}
    others = {g: w for g, w in t.s.workers.items() if g in serve}
    t.s = replace(t.s, workers={**others, i.generation: now})
    if known:
        _external(t, i, "its workers are new ones")


def _external(t: Turn, i: Instance, why: str) -> None:
    put(t, i, replace(i, runs=None))
    if t.s.live is None:
        return
    t.note(facts.External(t.s.spec.name, i.generation, why))
    set_live(t, None, f"reloaded behind the agent's back: {why}")
