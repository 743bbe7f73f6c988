"""Another definition of one service: whose turn it is, and which one is in force.

Decides: that the former one stays in force until a generation of the new one was taken, where the two can overlap; where the old process
has to end first, or nothing serves, the new one is in force at once. Which keys need a new process is ``plan``'s, how the new one fares
the reload's that tries it.
"""

from __future__ import annotations

from agentd.core.effects import Accepted, Done
from agentd.core.events import Abort, Defined, ReloadAsked, Reset, RestartAsked, Stop
from agentd.core.instance import Phase
from agentd.core.plan import Action, change
from agentd.core.reload_value import Reload
from agentd.core.service_asks import ASKED, ask_start, give_up_start, reload_asked
from agentd.core.service_generations import stop_beside
from agentd.core.service_machines import abort, move_each, move_waiting
from agentd.core.service_taken import fit, in_force
from agentd.core.service_value import Service, Turn
from agentd.core.spec import Spec
from agentd.core.value import replace


def coming(s: Service) -> bool:
    """Whether another definition than the one in force is on its way."""
    return any(r is not None and r.spec is not None for r in (s.running, s.waiting))


def declared(t: Turn, event: Defined) -> None:
    """One that is declared no more ends now; any other definition waits for the reload that runs, unless that tries this very one."""
    if event.change.action is not Action.STOP:
        tried = (r for r in (t.s.running, t.s.waiting) if r is not None and r.spec == event.spec)
        if (r := next(tried, None)) is not None:
            t.answer(event.reply, Accepted(r.id, r.trace_id, joined=True))
            return
    t.s = replace(t.s, defined=event)
    if event.change.action is Action.STOP:
        abort(t, f"{t.s.spec.name} is declared no more")
        give_up_start(t)


def take(t: Turn, new: Defined) -> None:
    """It is tried, or in force at once, and its processes get what they need of it."""
    t.s = replace(t.s, defined=None)
    if t.s.waiting is not None and t.s.waiting.spec is not None:
        move_waiting(t, Abort("its definition has been changed again"))
    name, cause = t.s.spec.name, new.cause
    action, keys = _now(t.s.spec, new)
    if action is Action.REPLACE and t.s.serves:
        # Who waits for whom is the host's affair and no process's: that is in force at once.
        after, requires = new.spec.after, new.spec.requires
        t.s = replace(t.s, spec=replace(t.s.spec, after=after, requires=requires))
        ask = ReloadAsked(name, cause, new.reply, force=True, must_act=True)
        reload_asked(t, replace(ask, spec=new.spec, definition=keys))
        return
    in_force(t, new.spec)
    if fit(t) and t.s.phase is Phase.READY:
        give_up_start(t)  # it was asked for of one that is declared no more
    restarts = action in (Action.RESTART, Action.REPLACE)
    there = t.s.phase in (Phase.READY, Phase.STARTING)  # it came back before it had gone
    if action is Action.STOP:
        stop_beside(t)
        move_each(t, Stop())
    elif action is Action.START:
        move_each(t, Reset())
    if action is Action.START and t.s.wanted and not there:
        ask_start(t, cause, new.reply)
    elif restarts and t.s.wanted:
        ASKED[RestartAsked](t, RestartAsked(name, cause, new.reply))
    else:
        t.answer(new.reply, Done())


def _now(spec: Spec, new: Defined) -> tuple[Action, tuple[str, ...]]:
    """What it changes by now: since it was planned another one may have been taken."""
    if new.change.action in (Action.START, Action.STOP):
        return new.change.action, ()
    found = change(spec, new.spec, new.claimed)
    return (found.action, found.keys) if found else (Action.UPDATE, ())


def nothing_to_lose(t: Turn, r: Reload) -> Reload:
    """What the reload that waits would have replaced has ended: the definition that it brings is in force, and started."""
    if r.spec is None:
        return r
    in_force(t, r.spec)
    fit(t)
    r = replace(r, spec=None)
    t.s = replace(t.s, waiting=r)
    return r
