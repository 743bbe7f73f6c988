"""A reload of a service with several instances: one after the other, and what became of each.

Decides: whose turn is to come, when it stops, and that a reload which some of them took and another did not is ``partial``. What is done in
a turn is the handle's (``reload_act``, ``reload_generations``); who serves as which instance is the service's.
"""

from __future__ import annotations

from agentd.core import facts
from agentd.core.effects import Note
from agentd.core.events import OtherEnded, ReloadEvent
from agentd.core.facts import Outcome
from agentd.core.reload_value import (
    Act,
    Ending,
    Reload,
    Result,
    View,
    note,
)
from agentd.core.value import replace
from agentd.wire import Verdict

STOPPED = "service_stopped"
"""Error type of a reload that somebody took the service away from: nothing is said of its instances then."""
_SPLITS = frozenset({Verdict.REJECTED, Verdict.REFUSED, Verdict.TIMED_OUT, Verdict.FAILED})
"""The verdicts about one instance that leave a service ``partial`` when another one took it."""
_SAID = {
    "taken": "took it",
    "not_taken": "did not",
    "died": "took it and died",
    "untouched": "was not touched",
    "unverified": "cannot tell",
    "down": "was not up",
}


def begin(r: Reload, view: View, now: float) -> tuple[Reload, tuple[Note, ...]]:
    """The turn of the instance in view begins; of a start it is the only one. With one instance there are no turns."""
    if not view.others:
        return r, ()
    todo = () if r.act is Act.LAUNCH else waiting(r, view)
    r = replace(r, turn=True, todo=todo, slot=view.slot)
    told = facts.TurnBegan(view.spec.name, r.id, view.slot, view.generation, view.pid)
    return note(r, now, told)


def _end(
    r: Reload, one: Outcome, view: View, now: float, error_type: str = ""
) -> tuple[Reload, tuple[Note, ...]]:
    told = facts.TurnEnded(view.spec.name, r.id, one.instance, one.generation, one.pid, error_type)
    return note(replace(r, turn=False), now, told)


def waiting(r: Reload, view: View) -> tuple[int, ...]:
    """Those that serve and have not taken it, but for the one in view."""
    done = {one.instance for one in r.taken}
    ready = (one.instance for one in view.others if one.became == "untouched")
    return tuple(slot for slot in ready if slot not in done)


def take(r: Reload, view: View, now: float) -> tuple[Reload, tuple[Note, ...]]:
    """The instance in view took it: its turn is over."""
    mine = _mine(r, view)
    return _end(replace(r, taken=(*r.taken, mine)), mine, view, now)


def clean(r: Reload) -> Reload:
    """The service has turned to the next instance: everything about the one before is forgotten."""
    return replace(
        r,
        act=Act.RECIPE,
        baseline=None,
        step=0,
        certain=True,
        replied=False,
        said=(),
        switched=False,
        moved=False,
        looks=0,
        answered="",
        timer=None,
        awaiting=None,
    )


MOVED = "main_process_moved"
"""Another process is the main one, and did not owe itself to the act."""


def other_ended(r: Reload, event: ReloadEvent, _view: View, _now: float) -> Result:
    """One that took it and died may have died of it: nothing more is done to the others. Of another main process it is not known."""
    assert isinstance(event, OtherEnded)
    gone = [one for one in r.taken if one.instance == event.instance]
    became = "unverified" if event.error_type == MOVED else "died"
    dead = tuple(replace(one, became=became, error_type=event.error_type) for one in gone)
    kept = tuple(one for one in r.taken if one not in gone)
    return replace(r, taken=kept, died=(*r.died, *dead)), (), ()


def conclude(r: Reload, view: View, now: float) -> tuple[Reload, tuple[Note, ...]]:
    """It is over: a turn that has not ended ends with it, and the ending says what became of each."""
    assert r.ending is not None
    ending = r.ending
    notes: tuple[Note, ...] = ()
    if not view.others or ending.silent:
        return r, ()
    each = outcomes(r, view, ending)
    if ending.verdict is Verdict.APPLIED and not r.taken:  # a start that it waited for was the act
        each = tuple(
            replace(one, became="taken") if one.became == "untouched" else one for one in each
        )
    if r.turn:
        r, notes = _end(r, each[_at(each, view.slot)], view, now, ending.error_type)
    if r.act is Act.LAUNCH and r.handle != "restart":  # the others are no business of a start
        return replace(r, ending=replace(ending, instances=(each[_at(each, view.slot)],))), notes
    return replace(r, ending=_split(ending, each)), notes


def _split(ending: Ending, each: tuple[Outcome, ...]) -> Ending:
    """``partial`` where some took it and another did not, or died of it."""
    ending = replace(ending, instances=each)
    became = {one.became for one in each}
    some, doubt = became & {"taken", "died"}, became & {"unverified", "died"}
    good = ending.verdict in (Verdict.APPLIED, Verdict.UNVERIFIED)
    split = some and (ending.verdict in _SPLITS or (good and doubt))
    if ending.error_type == STOPPED or not (split or ending.verdict is Verdict.PARTIAL):
        absent = good and "down" in became
        return replace(ending, message=ending.message or told(each)) if absent else ending
    because = f": {ending.message}" if ending.message else ""
    dead = next((one.error_type for one in each if one.became == "died"), "")
    return replace(
        ending,
        verdict=Verdict.PARTIAL,
        error_type=ending.error_type or dead,
        message=told(each) + because,
        confirmation="none",
        grade=None,
        live=None,
        moved=True,
        quarantine=False,
    )


def outcomes(r: Reload, view: View, ending: Ending) -> tuple[Outcome, ...]:
    """What became of each instance, by its number."""
    mine = Outcome(view.slot, view.generation, view.pid, "untouched")
    known = {one.instance: one for one in (*view.others, mine, *r.taken, *r.died)}
    # Its next generation had its place for a moment, or it has died since: then it has not taken it.
    lost = ending.verdict in _SPLITS and (not view.serves or r.act is Act.REPLACE)
    if r.turn or (known[view.slot].became == "taken" and lost):
        became = "unverified" if ending.verdict is Verdict.UNVERIFIED else "not_taken"
        known[view.slot] = replace(mine, became=became, error_type=ending.error_type)
    return tuple(known[slot] for slot in sorted(known))


def told(each: tuple[Outcome, ...]) -> str:
    """Each instance by name, for a person."""
    return ", ".join(f"instance {one.instance} {_SAID[one.became]}" for one in each)


def _mine(r: Reload, view: View) -> Outcome:
    """The instance in view; of a replacement the generation that was started to take its place."""
    if r.act is Act.REPLACE and view.next_generation:
        return Outcome(view.slot, view.next_generation, view.next_pid, "taken")
    return Outcome(view.slot, view.generation, view.pid, "taken")


def _at(each: tuple[Outcome, ...], slot: int) -> int:
    return [one.instance for one in each].index(slot)
