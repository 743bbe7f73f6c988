"""All services of the host, and the one function that moves them: ``step(host, event, now) → Step``.

Decides: who may start because what it needs is there, who stops next when the agent ends, to whom an event belongs. Everything
else is the services' own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agentd.core import service
from agentd.core.effects import Answer, Done, Effect, KeepSockets, Leave, Note, Turned
from agentd.core.errors import IllegalTransitionError
from agentd.core.events import (
    Defined,
    DefinitionsLoaded,
    Event,
    ShutdownAsked,
    Stop,
)
from agentd.core.facts import DefinitionsTaken
from agentd.core.ids import Mint
from agentd.core.instance import Instance, Phase
from agentd.core.memory import Want
from agentd.core.order import dependents, start_order
from agentd.core.plan import Action, Change, claims, plan
from agentd.core.service import Service, Turn
from agentd.core.service_asks import ASKED
from agentd.core.service_clocks import rearm
from agentd.core.service_defined import coming
from agentd.core.service_value import remembered
from agentd.core.spec import Spec
from agentd.core.value import replace
from agentd.wire import ExitCode

AT_REST = frozenset({Phase.DOWN, Phase.FAILED})
"""What an ending agent waits for."""


@dataclass(frozen=True, slots=True)
class Host:
    """Everything the agent knows and decides from."""

    services: Mapping[str, Service]
    dependents: Mapping[str, tuple[str, ...]]
    mint: Mint
    ending: bool = False
    """The agent stops its services and then leaves."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one event changed, asks for and is to be told."""

    host: Host
    effects: tuple[Effect, ...] = ()
    notes: tuple[Note, ...] = ()
    touched: tuple[str, ...] = ()
    """The services whose memory differs now."""
    refused: str = ""
    """An event met a state that has no row for it: dropped. A bug of ours, never a reason to stop supervising."""


@dataclass(slots=True)
class _Work:
    """One host step while it is being worked out."""

    services: dict[str, Service]
    dependents: Mapping[str, tuple[str, ...]]
    mint: Mint
    ending: bool
    now: float
    effects: list[Effect] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    touched: dict[str, None] = field(default_factory=dict)
    refused: str = ""


def step(host: Host, event: Event, now: float) -> Step:
    """The host after this event. ``now`` is CLOCK_MONOTONIC of the moment the event is about, never earlier than the last one."""
    w = _Work(dict(host.services), host.dependents, host.mint, host.ending, now)
    if isinstance(event, ShutdownAsked):
        _shutdown(w, event)
    elif isinstance(event, DefinitionsLoaded):
        _define(w, event)
    else:
        _route(w, event)
        if w.ending:
            _stop_those_before(w)
    after = Host(w.services, w.dependents, w.mint, w.ending)
    return Step(after, tuple(w.effects), tuple(w.notes), tuple(w.touched), w.refused)


def settle(host: Host, now: float) -> Step:
    """Begin whatever is due, in every service: once, at the agent's start."""
    w = _Work(dict(host.services), host.dependents, host.mint, host.ending, now)
    for name in host.services:
        _turn(w, name, None)
    after = Host(w.services, host.dependents, w.mint, w.ending)
    return Step(after, tuple(w.effects), tuple(w.notes), tuple(w.touched), w.refused)


def _route(w: _Work, event: Event) -> None:
    assert not isinstance(event, ShutdownAsked | DefinitionsLoaded)
    name = event.token.service if hasattr(event, "token") else event.service
    if type(event) in ASKED:
        turned = None
        if name not in w.services or w.services[name].spec.removed:
            turned = Turned(ExitCode.NO_SUCH_SERVICE, f"there is no service {name}")
        elif w.ending:
            turned = Turned(ExitCode.NOT_RUNNING, "agentd is stopping its services")
        if turned is not None:
            if event.reply is not None:  # type: ignore[union-attr]  # by its kind
                w.effects.append(Answer(event.reply, turned))  # type: ignore[union-attr]
            return
    if name in w.services:
        _turn(w, name, event)


def _shutdown(w: _Work, event: ShutdownAsked) -> None:
    if event.leave:
        w.effects.append(Leave())
        return
    w.ending = True
    _stop(w, tuple(w.services))


def _define(w: _Work, event: DefinitionsLoaded) -> None:
    """Only what changed is touched. Those that are gone are stopped and stay known: should they come back, no number is used twice."""
    replies = dict(event.replies)
    if w.ending:
        turned = Turned(ExitCode.NOT_RUNNING, "agentd is stopping its services")
        w.effects += [Answer(reply, turned) for reply in replies.values()]
        return
    changes = plan({name: s.spec for name, s in w.services.items()}, event.specs)
    specs = {spec.name: spec for spec in event.specs}
    memories = {m.service: m for m in event.memories}
    dropped: list[Service] = []
    old, w.services = w.services, {}
    for name in start_order(event.specs):
        known = old.pop(name, None)
        if known is None:
            new = replace(remembered(specs[name], memories.get(name)), live=None)
            t = Turn(new, w.now, w.mint, may_start=False)
            rearm(t)
            known = t.s
            w.effects += t.effects
        if known.defined is not None and known.defined.spec.sockets:
            dropped.append(known)
        w.services[name] = _superseded(w, known, specs[name])
        w.touched[name] = None
    w.services |= old
    gone = tuple(replace(s.spec, removed=True, watch=None) for s in old.values())
    w.dependents = dependents((*event.specs, *gone))
    ending = {spec.name: spec for spec in gone}
    told = tuple(f"{c.service} {c.action.value}" for c in changes)
    w.notes.append(Note(w.now, DefinitionsTaken(event.cause.user, event.cause.trigger, told)))
    claimed = claims(event.specs)
    back = [Change(name, Action.UPDATE) for name in specs if coming(w.services[name])]
    named = {change.service for change in changes}
    w.effects += [
        KeepSockets(s.spec) for s in dropped if s.spec.sockets and s.spec.name not in named
    ]
    for change in (*changes, *(one for one in back if one.service not in named)):
        name = change.service
        spec = ending.get(name) or specs[name]
        reply = replies.pop(name, None)
        _turn(w, name, Defined(change, spec, event.cause, reply, claimed))
    w.effects += [Answer(reply, Done()) for reply in replies.values()]


def _superseded(w: _Work, s: Service, spec: Spec) -> Service:
    """What had not had its turn never will; a definition that was declined is forgotten with the file that it stood in."""
    if s.defined is not None and s.defined.reply is not None:
        w.effects.append(Answer(s.defined.reply, Done()))
    declined = s.declined
    if declined is not None and declined.digest != spec.digest:
        declined = None
    return replace(s, defined=None, declined=declined)


def _stop_those_before(w: _Work) -> None:
    """Whoever has come to rest lets those stop that it needed."""
    for name in tuple(w.touched):
        s = w.services[name]
        if not s.alive:
            needed = (*s.spec.after, *s.spec.requires)
            _stop(w, [name, *(other for other in needed if other in w.services)])


def _turn(w: _Work, name: str, event: Event | Stop | Defined | None) -> None:
    """One step of one service, then of those whose turn it makes it."""
    before = w.services[name]
    t = Turn(before, w.now, w.mint, _may_start(w, before))
    try:
        service.step(t, event)  # type: ignore[arg-type]  # shutdown is the only event that is not a service's
    except IllegalTransitionError as error:
        w.refused = f"{name}: {error}"
        return
    w.services[name], w.mint = t.s, t.mint
    w.effects += t.effects
    w.notes += t.notes
    if t.s.remembered != before.remembered:
        w.touched[name] = None
    unmoved = _standing(t.s) == _standing(before) and t.s.want is before.want
    if unmoved or w.ending:
        return
    _their_turn(w, name)


def _standing(s: Service) -> tuple[tuple[Phase, ...], bool]:
    """What others wait for of it: while a reload runs, one of its instances that is down may be about to start."""
    phases = tuple(i.phase for i in s.slots)
    return phases, s.running is None or Phase.DOWN not in phases


def _their_turn(w: _Work, name: str) -> None:
    """Settle those that wait for this one; past one that stays down, those that wait for it: it may be blocked now."""
    for other in w.dependents[name]:
        if w.services[other].running is None:
            _turn(w, other, None)
            s = w.services[other]
            if s.phase is Phase.DOWN and s.want is Want.UP and s.running is None:
                _their_turn(w, other)


def _may_start(w: _Work, s: Service) -> bool:
    """Not before those it comes after had their try, nor before those it requires are ready."""
    if w.ending:
        return False
    if not s.spec.requires and not s.spec.after:
        return True
    needs_ready = all(
        name in w.services and _is_there(w, w.services[name]) for name in s.spec.requires
    )
    return needs_ready and all(
        _had_its_try(w, w.services[name]) for name in s.spec.after if name in w.services
    )


def _is_there(w: _Work, s: Service) -> bool:
    """Who requires it can use it: of several instances one is enough, once every other one had its try."""
    return s.serves and (not s.others or _had_its_try(w, s))


def _had_its_try(w: _Work, s: Service) -> bool:
    """Ready, given up for now, not wanted, or kept from its try by one that it requires."""
    if s.want is Want.DOWN:
        return True
    return all(_tried(w, s, i) for i in s.slots)


def _tried(w: _Work, s: Service, i: Instance) -> bool:
    if i.phase is Phase.DOWN:
        return s.running is None and (i.ending is not None or _blocked(w, s))
    return i.phase in (Phase.READY, Phase.BACKOFF, Phase.FAILED)


def _blocked(w: _Work, s: Service) -> bool:
    """Something that it requires had its try and is not ready, or is not there at all: nothing is on its way."""
    return any(
        name not in w.services
        or (not w.services[name].serves and _had_its_try(w, w.services[name]))
        for name in s.spec.requires
    )


def _stop(w: _Work, names: Iterable[str]) -> None:
    """Stop those of these that nobody alive depends on; leave when nothing is left."""
    for name in names:
        s = w.services[name]
        waits = bool(s.alive) and any(w.services[other].alive for other in w.dependents[name])
        busy = s.running is not None or s.waiting is not None or s.next_start is not None
        beside = s.next is not None or any(i.phase is Phase.DRAINING for i in s.former)
        busy = busy or beside
        going = (Phase.STOPPING, Phase.KILLING)
        left = [i for i in s.slots if i.phase not in AT_REST]
        all_go = bool(left) and all(i.phase in going for i in left) and not beside
        if not waits and not all_go and (busy or left):
            _turn(w, name, Stop())
    if all(_at_rest(s) for s in w.services.values()):
        w.effects.append(Leave())


def _at_rest(s: Service) -> bool:
    return not s.alive and all(i.phase in AT_REST for i in s.slots)
