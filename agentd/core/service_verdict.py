"""What a verdict changes: ``attempted``, ``last_good``, ``live``, the quarantine, and whether another reload must follow.

Does not decide the verdict (``reload``).
"""

from __future__ import annotations

from agentd.core import facts, reload_value, service_generations
from agentd.core.effects import Arm, Disarm
from agentd.core.events import ReloadAsked, Token
from agentd.core.facts import Cause
from agentd.core.instance import Phase
from agentd.core.manifest import Manifest
from agentd.core.memory import Attempt, Last, Pending, Quarantine
from agentd.core.reload_value import Act, Reload
from agentd.core.service_value import Turn
from agentd.core.value import replace
from agentd.wire import Trigger, Verdict


def end(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    """The reload is over: what the service makes of it."""
    if ending.silent:
        if ending.silent != "cancelled":
            t.note(facts.Skipped(t.s.spec.name, r.cause.trigger, ending.silent))
        return
    if r.act is Act.REPLACE:
        mine = [one.became for one in ending.instances if one.instance == t.s.instance.slot]
        stays = mine == ["taken"] or (not mine and ending.verdict in service_generations.STAYS)
        drain = ending.verdict in (Verdict.REFUSED, Verdict.PARTIAL)
        service_generations.conclude(t, r, stays=stays, drain=drain)
    s = t.s
    back = s.live or s.last_good
    if r.manifest and ending.verdict not in (Verdict.UNCHANGED, Verdict.CANCELLED, Verdict.HELD):
        found = r.manifest
        s = replace(s, attempted=Attempt(found.hash, found.version, ending.verdict, ending.back))
        if (
            ending.verdict is Verdict.APPLIED and not r.condemned
        ):  # a ready that is a guess does not overrule the checker
            still = _still_bad(r, found, s.last_good, s.quarantine)
            s = replace(s, last_good=found, quarantine=still)
    t.s = s
    blamed = ending.quarantine and not r.definition
    if r.manifest and (blamed or ending.undo):
        quarantine(t, r.manifest, ending.message)
    _on_trial(t, r, ending.verdict, back)
    if ending.moved:
        _learn(t, r, ending)
    t.revive = ending.verdict in _WORTH and any(one.became == "down" for one in ending.instances)
    judge(t, r, ending)
    waiting = t.s.waiting
    started = r.act is Act.LAUNCH and ending.verdict is Verdict.APPLIED
    if started and waiting and waiting.spec is None:
        confirmed = (ending.confirmation, ending.grade)
        t.s = replace(t.s, waiting=replace(waiting, started_with=confirmed))
    _then(t, r, ending)


def _then(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    """What its end asks for at once: another one that puts back what some have taken, or one that reads what has moved."""
    name = t.s.spec.name
    if ending.undo:
        cause = Cause(Trigger.ROLLBACK, reason=ending.message)
        t.follow = ReloadAsked(name, cause, force=True, link=r.id, restore=ending.undo)
    elif ending.again and t.s.waiting is None and not r.link and t.s.spec.reload.steps:
        t.follow = ReloadAsked(name, r.cause, if_changed=True, link=r.id)


def condemn(t: Turn, r: Reload) -> None:
    """What is being put back is not tried again unasked, whatever becomes of this reload or of the agent."""
    assert r.poison is not None
    q, digest = t.s.quarantine, t.s.spec.digest
    if q is None or (q.hash, q.digest) != (r.poison.hash, digest):
        quarantine(t, r.poison, r.fault.message if r.fault else "the check of a start said no")


def quarantine(t: Turn, found: Manifest, why: str) -> None:
    """Nothing but a person tries these bytes again under this definition."""
    q = Quarantine(found.hash, found.version, t.s.spec.digest, why)
    t.s = replace(t.s, quarantine=q)
    t.note(facts.Quarantined(t.s.spec.name, found.hash, why))


def _still_bad(
    r: Reload, good: Manifest, before: Manifest | None, poison: Quarantine | None
) -> Quarantine | None:
    """After a roll-back and a start with what was good before, what was bad then; else the bytes have changed, or were not so bad."""
    if poison is None or poison.hash == good.hash:
        return None
    again = r.act is Act.LAUNCH and before is not None and before.hash == good.hash
    return poison if r.restore or again else None


def _on_trial(t: Turn, r: Reload, verdict: Verdict, back: Manifest | None) -> None:
    """The change waits to be confirmed, where that was asked for; one that waited has been overtaken."""
    name = t.s.spec.name
    if verdict is not Verdict.APPLIED or r.act is Act.LAUNCH:
        return
    known = back.hash if back else ""
    if t.s.pending is not None:
        known = (
            t.s.pending.hash
        )  # what runs now was never confirmed: a trial of a trial ends where the first one would
        settle_pending(t, "")
    same = r.manifest is not None and known == r.manifest.hash
    if r.confirm_within is None or same or not known:
        return
    serial = t.s.pending_serial + 1
    until = t.mint.wall_ns(t.now + r.confirm_within)
    t.s = replace(t.s, pending=Pending(r.id, known, until), pending_serial=serial)
    t.effects.append(Arm(Token(name, "confirm", serial), r.confirm_within))


def settle_pending(t: Turn, user: str) -> None:
    """The change stays; ``user`` empty: since another one has taken its place."""
    assert t.s.pending is not None
    t.note(facts.Confirmed(t.s.spec.name, t.s.pending.reload_id, user))
    t.s = replace(t.s, pending=None)
    t.effects.append(Disarm(t.s.spec.name, "confirm"))


def set_live(t: Turn, live: Manifest | None, why: str) -> None:
    """What is known to run now; None: nobody can know."""
    before = t.s.live
    if before is not live:
        t.s = replace(t.s, live=live)
    if (before.hash if before else None) != (live.hash if live else None):
        version = live.version if live else None
        t.note(facts.LiveChanged(t.s.spec.name, live.hash if live else None, version, why))


_WORTH = frozenset({Verdict.APPLIED, Verdict.UNVERIFIED})


def _learn(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    """What each instance is known to run that it was about, and with it the service."""
    why = f"{ending.verdict.value} {r.id}"
    if not t.s.others:
        set_live(t, ending.live, why)
        return
    about = {t.s.instance.slot, *(one.instance for one in r.taken)}
    kept = {one.instance for one in ending.instances if one.became == "untouched"}
    each = [
        replace(i, runs=ending.live) if i.slot in about - kept else i
        for i in (t.s.instance, *t.s.others)
    ]
    t.s = replace(t.s, instance=each[0], others=tuple(each[1:]))
    relive(t, why)


def relive(t: Turn, why: str) -> None:
    """Of several instances what all that are ready run, if that is one; of one that is gone nothing."""
    running = [i.runs for i in t.s.slots if i.phase is Phase.READY]
    hashes = {found.hash if found else None for found in running}
    set_live(t, running[0] if len(hashes) == 1 else None, why)


def judge(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    """Tell the verdict."""
    s, i = t.s, t.s.instance
    if r.cause.trigger is not Trigger.START:
        wall_ns = t.mint.wall_ns(t.now)
        last = Last(r.id, ending.verdict, r.cause.trigger, wall_ns, ending.message)
        t.s = replace(s, last=last)
    t.note(
        facts.Judged(
            s.spec.name,
            r.id,
            ending.verdict,
            r.handle,
            r.cause.trigger,
            i.generation,
            i.process.pid if i.process else None,
            ending.confirmation,
            ending.grade,
            ending.error_type,
            ending.message,
            r.manifest.hash if r.manifest else None,
            r.manifest.version if r.manifest else None,
            ending.output,
            ending.instances,
            ending.not_taken,
        )
    )
