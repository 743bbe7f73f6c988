"""A change is looked after for a long while after its verdict: its probe is asked now and then, and its end counts as bad.

Decides: which verdict begins it, when it is asked again, what ends it, and what becomes of bytes that turn out bad. The verdict of the
reload stays as it was; a soak has a trace of its own, and goes on under another agent. How a former configuration is put back is a
reload's business: one that serves is rolled back, one that has ended finds its bytes in quarantine at its next start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.core import facts
from agentd.core.effects import Arm, Ask, Cancel, Disarm, Effect
from agentd.core.events import Completion, EffectFailed, Elapsed, Probed, ReloadAsked, Token
from agentd.core.facts import Cause
from agentd.core.instance import Ending, Instance, Phase
from agentd.core.manifest import Manifest
from agentd.core.memory import Soak
from agentd.core.service_value import Soaking
from agentd.core.service_verdict import quarantine, settle_pending
from agentd.core.value import replace
from agentd.wire import Trigger, Verdict

if TYPE_CHECKING:
    from agentd.core.reload_value import Reload
    from agentd.core.service_value import Turn

MACHINE = "soak"


def begin(t: Turn, r: Reload, verdict: Verdict, good: Manifest | None) -> None:
    """New bytes were applied, ``good`` were the last good ones until then. Bytes that soak already go on soaking.

    What was never through with its own soak is nothing to fall back on: the one before it is.
    """
    declared, found = t.s.spec.reload.soak, r.manifest
    if declared is None or found is None or verdict is not Verdict.APPLIED or r.condemned:
        return
    before = t.s.soak
    if before is not None and before.told.hash == found.hash:
        return
    back = before.told.back if before is not None else good
    _over(t, "overtaken")
    if r.restore or (back is not None and back.hash == found.hash):
        return
    t.mint = t.mint.next()
    until = t.mint.wall_ns(t.now + declared.seconds)
    told = Soak(r.id, t.mint.trace_id(), found.hash, found.version, until, back)
    name = t.s.spec.name
    t.note(facts.SoakBegan(name, r.id, told.trace_id, told.hash, told.version, until))
    t.s = replace(t.s, soak=Soaking(told))


def step(t: Turn, event: Completion) -> None:
    """A pause is over, or the probe has an answer."""
    s = t.s.soak
    if s is None:
        return
    match event:
        case Elapsed(token=token) if token.serial == s.timer:
            _ask(t, replace(s, timer=None))
        case Probed(token=token, why=why) if token.serial == s.awaiting:
            _weigh(t, replace(s, awaiting=None), why)
        case EffectFailed(token=token, message=why) if token.serial == s.awaiting:
            _weigh(t, replace(s, awaiting=None), why)
        case _:
            pass  # an answer to what is awaited no more


def follow(t: Turn) -> ReloadAsked | None:
    """What the state of the service means for what soaks, and when it is asked again; the reload that it asks for."""
    s = t.s.soak
    if s is None or t.s.running is not None:
        return None  # a reload that runs has its own verdict to give first
    declared = t.s.spec.reload.soak
    if declared is None:
        _over(t, "undeclared")
    elif not t.s.wanted:
        _over(t, "stopped")
    elif t.s.live is not None and t.s.live.hash != s.told.hash:
        _over(t, "overtaken")
    elif (dead := next((i for i in t.s.slots if _ended(i)), None)) is not None:
        return _bad(t, s, f"it ended: {dead.why}")
    elif s.in_a_row >= declared.threshold:
        times = "time" if s.in_a_row == 1 else "times"
        return _bad(t, s, f"{s.complaint}, {s.in_a_row} {times} in a row")
    elif t.s.live is None and t.s.phase is Phase.READY:
        _over(t, "unknown")
    elif s.timer is None and s.awaiting is None and t.s.serves:
        _pause(t, s, declared.interval)
    return None


def _ended(i: Instance) -> bool:
    finished = i.phase is Phase.DOWN and i.ending is Ending.BY_ITSELF
    return finished or i.phase in (Phase.BACKOFF, Phase.FAILED)


def _ask(t: Turn, s: Soaking) -> None:
    """One that is ready, each in its turn; while none is, or a reload acts, nobody is."""
    declared = t.s.spec.reload.soak
    ready = [i for i in t.s.slots if i.phase is Phase.READY]
    if not ready or t.s.running is not None:
        t.s = replace(t.s, soak=s)
        return
    i = ready[(s.passes + s.failures) % len(ready)]
    assert declared is not None
    assert i.process is not None
    serial = t.s.serial + 1
    token = Token(t.s.spec.name, MACHINE, serial)
    s = replace(s, awaiting=serial, generation=i.generation)
    t.s = replace(t.s, soak=s, serial=serial)
    pid, generation = i.process.pid, i.generation
    t.effects.append(Ask(token, t.s.spec, declared.probe, pid, generation, beside=True))


def _weigh(t: Turn, s: Soaking, why: str | None) -> None:
    """Good when it passes after its time; what was asked of one that has gone or gives way since tells nothing."""
    ready = {i.generation for i in t.s.slots if i.phase is Phase.READY}
    counts = t.s.running is None and s.generation in ready
    if counts and why is None:
        s = replace(s, passes=s.passes + 1, in_a_row=0)
    elif counts:
        s = replace(s, failures=s.failures + 1, in_a_row=s.in_a_row + 1, complaint=why or "")
    t.s = replace(t.s, soak=s)
    if counts and why is None and _left(t, s) <= 0:
        _over(t, "passed")


def _left(t: Turn, s: Soaking) -> float:
    return (s.told.until_wall_ns - t.mint.wall_ns(t.now)) / 1e9


def _pause(t: Turn, s: Soaking, interval: float) -> None:
    left = _left(t, s)
    delay = interval if s.in_a_row or left <= 0 else min(interval, left)
    serial = t.s.serial + 1
    t.s = replace(t.s, soak=replace(s, timer=serial), serial=serial)
    t.effects.append(Arm(Token(t.s.spec.name, MACHINE, serial), delay))


def _over(t: Turn, became: str, why: str = "") -> None:
    s, name = t.s.soak, t.s.spec.name
    if s is None:
        return
    effect: Effect = Disarm(name, MACHINE)
    if s.awaiting is not None:
        effect = Cancel(Token(name, MACHINE, s.awaiting))
    t.effects.append(effect)
    why = why or s.complaint
    t.note(facts.Soaked(name, s.told.reload_id, became, s.passes, s.failures, why))
    t.s = replace(t.s, soak=None)


def _bad(t: Turn, s: Soaking, why: str) -> ReloadAsked | None:
    """Where it is known what was good before, that is the last good one again."""
    _over(t, "failed", why)
    told, back = s.told, s.told.back
    if back is None:
        return None
    reason = f"{told.version} did not do well: {why}"
    t.s = replace(t.s, last_good=back)
    quarantine(t, Manifest(told.hash, told.version), reason)
    if not t.s.spec.reload.on_failure.restores:
        return None
    if t.s.pending is not None:
        settle_pending(t, "")  # it is put back now, and not once more when its time is over
    if not t.s.serves:
        return None  # its next start puts back what is good
    name, cause = t.s.spec.name, Cause(Trigger.ROLLBACK, reason=reason)
    return ReloadAsked(name, cause, force=True, link=told.reload_id, restore=back.hash)
