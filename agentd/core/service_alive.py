"""A service that serves is asked now and then whether it still does; one that fails too often in a row is started again.

Decides: who is asked and when, and what so many failures mean. Each instance that is ready is asked by itself, and only an answer of its
own processes counts. While a reload runs nobody is: that has its own evidence, and what it does to the service is its own to judge;
counting begins anew after it. Former and next generations are never asked. How one is ended and started again is the instance's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.core.effects import Arm, Ask, Cancel, Disarm
from agentd.core.events import Completion, EffectFailed, Elapsed, Probed, Token, Unwell
from agentd.core.instance import Instance, Phase
from agentd.core.service_machines import move_instance, move_other
from agentd.core.service_value import Asking
from agentd.core.value import replace

if TYPE_CHECKING:
    from agentd.core.service_value import Turn

MACHINE = "alive."
"""What their tokens and timers begin with; the generation follows."""


def step(t: Turn, event: Completion) -> None:
    """A pause is over, or the probe has an answer."""
    a = next((a for a in t.s.asking if _machine(a) == event.token.machine), None)
    if a is None:
        return
    match event:
        case Elapsed(token=token) if token.serial == a.timer:
            _ask(t, a)
        case Probed(token=token, why=why) if token.serial == a.awaiting:
            _weigh(t, a, why)
        case EffectFailed(token=token, message=why) if token.serial == a.awaiting:
            _weigh(t, a, why)
        case _:
            pass  # an answer to what is awaited no more


def follow(t: Turn) -> None:
    """Who is to be asked from now on, and who no more."""
    if t.s.spec.alive is None and not t.s.asking:
        return
    quiet = t.s.spec.alive is not None and t.s.running is None
    serve = [i.generation for i in t.s.slots if quiet and i.phase is Phase.READY and not i.lost]
    for a in t.s.asking:
        if a.generation not in serve:
            _drop(t, a)
    asked = {a.generation for a in t.s.asking}
    for generation in serve:
        if generation not in asked:
            _pause(t, Asking(generation))


def _machine(a: Asking) -> str:
    return f"{MACHINE}{a.generation}"


def _put(t: Turn, a: Asking) -> None:
    others = (one for one in t.s.asking if one.generation != a.generation)
    t.s = replace(t.s, asking=(*others, a))


def _drop(t: Turn, a: Asking) -> None:
    name, machine = t.s.spec.name, _machine(a)
    if a.timer is not None:
        t.effects.append(Disarm(name, machine))
    if a.awaiting is not None:
        t.effects.append(Cancel(Token(name, machine, a.awaiting)))
    t.s = replace(t.s, asking=tuple(one for one in t.s.asking if one is not a))


def _pause(t: Turn, a: Asking) -> None:
    spec, serial = t.s.spec, t.s.serial + 1
    assert spec.alive is not None
    t.s = replace(t.s, serial=serial)
    _put(t, replace(a, timer=serial, awaiting=None))
    t.effects.append(Arm(Token(spec.name, _machine(a), serial), spec.alive.interval))


def _ask(t: Turn, a: Asking) -> None:
    spec, i = t.s.spec, _instance(t, a)
    assert spec.alive is not None
    assert i.process is not None
    serial = t.s.serial + 1
    t.s = replace(t.s, serial=serial)
    _put(t, replace(a, timer=None, awaiting=serial))
    token = Token(spec.name, _machine(a), serial)
    ask = Ask(token, spec, spec.alive.probe, i.process.pid, i.generation, beside=True)
    t.effects.append(ask)


def _weigh(t: Turn, a: Asking, why: str | None) -> None:
    assert t.s.spec.alive is not None
    if why is None:
        _pause(t, replace(a, failures=0, complaint=""))
        return
    a = replace(a, failures=a.failures + 1, complaint=why, awaiting=None)
    if a.failures < t.s.spec.alive.threshold:
        _pause(t, a)
        return
    _put(t, a)
    times = "once" if a.failures == 1 else f"{a.failures} times in a row"
    i, unwell = _instance(t, a), Unwell(f"not alive, asked {times}: {why}")
    if i is t.s.instance:
        move_instance(t, unwell)
    else:
        move_other(t, i, unwell)


def _instance(t: Turn, a: Asking) -> Instance:
    return next(i for i in t.s.slots if i.generation == a.generation)
