"""The instances of a service that declares several: whose turn it is, and how many there are.

Decides: which instance is started or acted on next, and what becomes of those that are declared no more. Does not decide what is done in a
turn (``reload``) nor when there is one (``service``).
"""

from __future__ import annotations

from agentd.core.effects import Disarm, Withdraw
from agentd.core.events import Completion, Drain, ProcessEvent, Rolled, Stop
from agentd.core.instance import ALIVE, Ending, Instance, Phase
from agentd.core.reload_value import Act
from agentd.core.service_generations import conclude, move_beside
from agentd.core.service_value import Service, Turn, blank
from agentd.core.service_verdict import relive
from agentd.core.value import replace


def other(t: Turn, event: ProcessEvent | Completion) -> Instance | None:
    """The instance that this event is about, when it is not the one whose turn it is."""
    if isinstance(event, ProcessEvent):
        return next((i for i in t.s.others if i.generation == event.generation), None)
    return next((i for i in t.s.others if i.machine == event.token.machine), None)


def put(t: Turn, before: Instance, after: Instance) -> None:
    """One of those that serve, whether it is its turn or not, is another value now."""
    if before is t.s.instance:
        t.s = replace(t.s, instance=after)
    else:
        t.s = replace(t.s, others=tuple(after if i is before else i for i in t.s.others))


def turn_to(t: Turn, i: Instance) -> None:
    """It is this instance's turn now."""
    s = t.s
    if i is not s.instance:
        others = (s.instance if one is i else one for one in s.others)
        t.s = replace(s, instance=i, others=tuple(others))


def due(s: Service) -> Instance | None:
    """The first that is down and to be up; not one that finished by itself."""
    return next(
        (i for i in s.slots if i.phase is Phase.DOWN and i.ending is not Ending.BY_ITSELF), None
    )


def ready(s: Service, taken: tuple[int, ...] = ()) -> Instance | None:
    """The first that serves and has not taken it yet; else the first that serves."""
    there = [i for i in s.slots if i.phase is Phase.READY]
    left = [i for i in there if i.slot not in taken]
    return next(iter(left or there), None)


def idle(s: Service) -> Instance | None:
    """The first that waits for its next start, or was given up."""
    return next((i for i in s.slots if i.phase in (Phase.BACKOFF, Phase.FAILED)), None)


def roll(t: Turn) -> Rolled:
    """The next turn. Of a replacement the former generation drains; one that died meanwhile is left to its own start."""
    r = t.s.running
    assert r is not None  # it asks for this
    if r.act is Act.REPLACE:
        conclude(t, r, stays=True)
    following = (i for i in t.s.slots if i.slot in r.todo and i.phase is Phase.READY)
    i = next(following, None)
    if i is not None:
        turn_to(t, i)
    return Rolled(more=i is not None)


def resize(t: Turn) -> None:
    """As many as are declared: new ones are down and start when it is their turn, those beyond finish what they have."""
    wanted = t.s.spec.instances
    if not t.s.others:
        t.s = replace(t.s, instance=replace(t.s.instance, runs=t.s.live))
    there = t.s.slots
    turn_to(t, there[0])
    for slot in range(len(there), wanted):
        t.s = replace(t.s, others=(*t.s.others, _fresh(t, slot)))
    for i in there[wanted:]:
        t.s = replace(t.s, others=tuple(one for one in t.s.others if one is not i))
        retire(t, i)
    relive(t, "another number of instances")


def _fresh(t: Turn, slot: int) -> Instance:
    """Timers and answers of an earlier one with this number may still be on their way: its tokens are others."""
    fresh = blank(slot)
    return replace(fresh, machine=f"{fresh.machine}.{t.s.newest}")


def retire(t: Turn, i: Instance) -> None:
    """It serves as nobody any more: the others get its share, and it may finish what it has."""
    if i.phase not in ALIVE:
        t.s = replace(t.s, issued=max(t.s.issued, i.generation))
        t.effects.append(Disarm(t.s.spec.name, i.machine))
        return
    i = replace(i, beside=True)
    t.s = replace(t.s, former=(*t.s.former, i), issued=max(t.s.issued, i.generation))
    if t.s.spec.sockets:
        t.effects.append(Withdraw(t.s.spec.name, i.generation))
    move_beside(t, i, Drain("", moved=True) if i.phase is Phase.READY else Stop())
