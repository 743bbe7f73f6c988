"""What becomes of a definition that a reload has tried: in force from now on, or declined, and remembered as that.

Does not decide whether a reload tries one (``service_defined``), nor its verdict (``reload``).
"""

from __future__ import annotations

from agentd.core import service_late
from agentd.core.effects import KeepSockets
from agentd.core.memory import Declined
from agentd.core.reload_value import Act, Ending, Reload
from agentd.core.service_generations import STAYS
from agentd.core.service_slots import resize
from agentd.core.service_value import Turn
from agentd.core.spec import Spec
from agentd.core.value import replace
from agentd.wire import Verdict


def tried(t: Turn, r: Reload, ending: Ending) -> None:
    """The reload is over. How many instances there are follows when everything is in its place: ``fit``."""
    if not r.definition:
        _came_up(t, r, ending)
    elif ending.verdict in STAYS:
        in_force(t, r.spec or t.s.spec)
    else:
        digest = (r.spec or t.s.spec).digest
        told = Declined(digest, r.id, ending.verdict, ending.message, r.definition)
        t.s = replace(t.s, declined=told)
        if r.spec is not None:
            _keep_sockets(t, r.spec)


def in_force(t: Turn, spec: Spec) -> None:
    """This definition from now on. What was not seen yet would be judged by another evidence than the one that is waited for."""
    before = t.s.spec
    if t.s.late is not None and t.s.late.confirmed is None:
        service_late.drop(t)
    t.s = replace(t.s, spec=spec, declined=None)
    _keep_sockets(t, before)


def fit(t: Turn) -> bool:
    """As many instances as are declared; whether that was another number."""
    if len(t.s.slots) == t.s.spec.instances or t.s.spec.removed:
        return False
    resize(t)
    return True


def _keep_sockets(t: Turn, other: Spec) -> None:
    now = t.s.spec
    if other.sockets or now.sockets:
        t.effects.append(KeepSockets(replace(now, sockets=()) if now.removed else now))


def _came_up(t: Turn, r: Reload, ending: Ending) -> None:
    """A process of the definition in force was started and is well: nothing is held against it any more."""
    known = t.s.declined is not None and t.s.declined.digest == t.s.spec.digest
    if known and ending.verdict is Verdict.APPLIED and r.act is not Act.RECIPE:
        t.s = replace(t.s, declined=None)
