"""What of a service ends by itself, and must go on doing so under another agent: a hold with an end, a change on trial."""

from __future__ import annotations

from agentd.core.effects import Arm
from agentd.core.events import Token
from agentd.core.service_value import Turn
from agentd.core.value import replace


def rearm(t: Turn) -> None:
    """Each ends when it was meant to, or at once when that has passed."""
    name, hold, pending = t.s.spec.name, t.s.hold, t.s.pending
    if hold is not None and hold.until_wall_ns:
        t.s = replace(t.s, hold_serial=t.s.hold_serial + 1)
        t.effects.append(Arm(Token(name, "hold", t.s.hold_serial), _left(t, hold.until_wall_ns)))
    if pending is not None:
        t.s = replace(t.s, pending_serial=t.s.pending_serial + 1)
        left = _left(t, pending.until_wall_ns)
        t.effects.append(Arm(Token(name, "confirm", t.s.pending_serial), left))


def _left(t: Turn, until_wall_ns: int) -> float:
    return max((until_wall_ns - t.mint.wall_ns(t.now)) / 1e9, 0.0)
