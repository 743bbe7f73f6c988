"""The reloads that an earlier agent left without a verdict.

Decides: which of them goes on where it was, which begins anew, and which can only be ended truthfully. Never acts twice. Who is adopted is
``boot``'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentd.core import facts, reload_turns
from agentd.core.facts import Record
from agentd.core.instance import ALIVE, Phase
from agentd.core.manifest import Manifest
from agentd.core.reload_value import Act, Ending, Reload, Stage
from agentd.core.service import Turn, conclude, go_on
from agentd.core.service_slots import turn_to
from agentd.core.service_verdict import set_live
from agentd.core.spec import Spec
from agentd.core.steps import CallHttp, Replace, RunCommand
from agentd.core.value import replace
from agentd.wire import Verdict


def resume(t: Turn, records: Sequence[Record], boot: str) -> None:
    """Finish a reload that an earlier agent began, or end it truthfully; never act twice."""
    asked = records[0].fact
    if not isinstance(asked, facts.Requested) or asked.service != t.s.spec.name:
        return
    r = _rebuild(asked, records, t)
    lately = _last_turn(records)
    began = any(isinstance(x.fact, facts.StepBegan) for x in lately)
    if not t.s.running:
        _turn_back(t, lately[0].fact)
    r = _taken_over(t, _where_it_was(t, r), records)
    if r.taken:
        _mixed(t, r)
    same_boot = records[-1].boot == boot
    alive = t.s.instance.phase in ALIVE and same_boot
    phase = _open_phase(records)
    if r.act is Act.REPLACE and t.s.next is not None:
        t.s = replace(t.s, running=replace(r, stage=Stage.REPLACING))
    elif r.fault is not None:
        _go_on_back(t, r, phase, alive=alive)
    else:
        _go_on(t, r, phase, alive=alive, began=began)


def _taken_over(t: Turn, r: Reload, records: Sequence[Record]) -> Reload:
    """A next generation that took the place by itself, before or after the agent died, is like one that was started in it."""
    i, flipped = t.s.instance, 0
    if r.act is not Act.REPLACE or not i.takeovers:
        return r
    for record in records:
        match record.fact:
            case facts.StepBegan(step="process.start"):
                flipped = 0  # what one before it had taken counts no more
            case facts.Flipped(generation=generation):
                flipped = generation
            case _:
                pass
    has_it = i.phase is Phase.STARTING or i.generation == flipped
    return replace(r, act=Act.LAUNCH) if has_it else r


def _go_on(t: Turn, r: Reload, phase: str, *, alive: bool, began: bool) -> None:
    unstopped = r.handle == "restart" and t.s.instance.phase is Phase.READY
    if r.act is Act.REPLACE or (unstopped and alive and r.act is Act.RECIPE):
        _begin_anew(t, r, phase)  # whatever was started beside the one that serves is being ended
    elif r.act is Act.LAUNCH:  # of several instances another one may be there
        _launched(t, r, phase, alive=alive and began)
    elif not began:
        _begin_anew(t, r, phase)
    elif alive and r.baseline is not None and t.s.instance.phase is Phase.READY and not t.s.running:
        alone = t.s.others and not r.turn  # when it began; now it is the turn of one of several
        if phase != "confirm" or alone:
            _close(t, r, phase)
            if alone:
                r, notes = reload_turns.begin(r, t.s.view, t.now)
                t.notes += notes
                r = replace(r, todo=())
            t.note(facts.PhaseBegan(t.s.spec.name, r.id, "confirm"))
        go_on(t, replace(r, stage=Stage.CONFIRMING))
    else:
        _interrupted(t, r)


def _launched(t: Turn, r: Reload, phase: str, *, alive: bool) -> None:
    """A process that was started lives, and its start goes on; or it is gone, and is started anew by another reload."""
    if alive and t.s.instance.phase is Phase.STARTING and r.manifest:
        t.s = replace(t.s, running=replace(r, stage=Stage.LAUNCHING))
    elif alive and t.s.instance.phase is Phase.READY and r.manifest:
        if phase in _PLACES:
            _close(t, r, phase)
        go_on(t, replace(r, stage=_PLACES.get(phase, Stage.LAUNCHING)))
    else:
        _interrupted(t, r)


_PLACES = {"commit": Stage.COMPARING, "verify": Stage.VERIFYING}
"""Where a start goes on whose process had been ready."""


def _go_on_back(t: Turn, r: Reload, phase: str, *, alive: bool) -> None:
    """A way back that an earlier agent had begun. The files are written once more: twice is once.

    Where a process had been started with them, that is waited for. Where nobody is left, the next start is the way: what was tried is in
    quarantine, so it puts back what this one had not.
    """
    i, started = t.s.instance, r.act is Act.LAUNCH
    assert r.fault is not None
    if not alive or not t.s.wanted or i.phase not in (Phase.STARTING, Phase.READY):
        became = "the agent died while it put back what was good; the next start loads that"
        message = f"{r.fault.message}; {became}"
        ending = Ending(Verdict.FAILED, "agent_interrupted", message, moved=True)
        conclude(t, replace(r, act=Act.RECIPE, manifest=r.poison), ending)
    elif started:
        _launched(t, r, phase, alive=alive)
    else:
        _close(t, r, phase)
        go_on(t, replace(r, stage=Stage.RESTORING))


def _last_turn(records: Sequence[Record]) -> Sequence[Record]:
    """What was done with the last of several instances; of one, all of it."""
    begun = [at for at, x in enumerate(records) if isinstance(x.fact, facts.TurnBegan)]
    return records[begun[-1] :] if begun else records


def _turn_back(t: Turn, fact: facts.Fact) -> None:
    """It is the turn of the instance that the earlier agent had turned to."""
    if isinstance(fact, facts.TurnBegan):
        its = next((i for i in t.s.slots if i.slot == fact.instance), t.s.instance)
        turn_to(t, its)


def _where_it_was(t: Turn, r: Reload) -> Reload:
    """Who took it and lives, who took it and died since, and whose turn is to come."""
    there = {(i.slot, i.generation): i.phase in ALIVE for i in t.s.slots}
    known = [(one, there.get((one.instance, one.generation))) for one in r.taken]
    taken = tuple(one for one, alive in known if alive)
    died = tuple(replace(one, became="died") for one, alive in known if alive is False)
    r = replace(r, taken=taken, died=died)
    rolls = r.turn and r.handle != "start"
    return replace(r, todo=reload_turns.waiting(r, t.s.view) if rolls else ())


def _mixed(t: Turn, r: Reload) -> None:
    """Some run what it brought, and others do not or are gone since: what is live is not known before its verdict."""
    took = {one.instance for one in r.taken}
    each = [replace(i, runs=None) if i.slot in took else i for i in (t.s.instance, *t.s.others)]
    t.s = replace(t.s, instance=each[0], others=tuple(each[1:]))
    set_live(t, None, f"the agent died within reload {r.id}")


def _begin_anew(t: Turn, r: Reload, phase: str) -> None:
    """It had touched nothing: it waits for its turn; of two, the first goes on with what either of them demanded."""
    first = t.s.waiting
    if first is None:
        _close(t, r, phase)
        if r.turn:
            mine = t.s.instance
            name, slot, generation = t.s.spec.name, mine.slot, mine.generation
            why = "agent_interrupted"
            t.note(facts.TurnEnded(name, r.id, slot, generation, error_type=why))
            r = replace(r, turn=False)
        t.s = replace(t.s, waiting=replace(r, machine="waiting", step=0, certain=True))
        return
    must_act = first.must_act or r.must_act
    require_proof = first.require_proof or r.require_proof
    within = first.confirm_within or r.confirm_within
    first = replace(first, must_act=must_act, require_proof=require_proof, confirm_within=within)
    t.s = replace(t.s, waiting=first)
    message = "the agent died while it waited for its turn; another one reads the same inputs"
    conclude(t, r, Ending(Verdict.CANCELLED, "agent_interrupted", message))


def _open_phase(records: Sequence[Record]) -> str:
    """The phase that the earlier agent died in, the innermost of two; empty: none."""
    open_ = [""]
    for record in records:
        if isinstance(record.fact, facts.PhaseBegan):
            open_.append(record.fact.phase)
        elif isinstance(record.fact, facts.PhaseEnded):
            open_ = [phase for phase in open_ if phase != record.fact.phase]
    return open_[-1]


def _close(t: Turn, r: Reload, phase: str) -> None:
    """A phase that is not gone on with, but begun anew or left."""
    if phase:
        t.note(facts.PhaseEnded(t.s.spec.name, r.id, phase, "agent_interrupted"))


def _rebuild(asked: facts.Requested, records: Sequence[Record], t: Turn) -> Reload:
    """The reload as its records tell it."""
    r = Reload(
        asked.reload_id,
        asked.trace_id,
        asked.cause,
        begun=t.now,
        link=asked.link,
        handle=asked.handle,
        machine="reload",
        act=Act.LAUNCH if asked.handle == "start" else Act.RECIPE,
        must_act=asked.must_act,
        require_proof=asked.require_proof,
        restore=asked.restore,
        confirm_within=asked.confirm_within,
        definition=asked.definition,
        serial=t.s.serial,
        deadline=t.now + t.s.spec.reload.timeout,
    )
    for record in records:
        match record.fact:
            case facts.Joined() as joined:
                r = replace(
                    r,
                    must_act=joined.must_act,
                    require_proof=joined.require_proof,
                    confirm_within=joined.confirm_within,
                    definition=joined.definition,
                )
            case facts.RollingBack() as back:
                r = _back(r, back, t)
            case facts.SnapshotTaken(hash=hash_, version=version) if r.fault is None:
                r = replace(r, manifest=Manifest(hash_, version))
            case facts.BaselineTaken(baseline=baseline, at=at):
                r = replace(r, baseline=baseline, sent_at=at)
            case facts.TurnBegan() | facts.TurnEnded() as turn:
                r = _turned(r, turn)
            case facts.StepBegan(step="process.start") if _beside(r, t.s.spec):
                r = replace(r, act=Act.REPLACE)
            case facts.StepBegan(step="process.start"):
                r = replace(r, act=Act.LAUNCH)
            case facts.StepEnded(at=at, error_type=""):
                step = t.s.spec.reload.steps[r.step : r.step + 1]
                yes = any(isinstance(one, RunCommand | CallHttp) for one in step)
                r = replace(r, sent_at=at, step=r.step + 1, replied=yes)
            case _:
                pass
    return replace(r, certain=r.step >= len(t.s.spec.reload.steps))


def _back(r: Reload, told: facts.RollingBack, t: Turn) -> Reload:
    """Rolling back from here on: what was done before counts no more."""
    good = t.s.last_good
    known = good is not None and good.hash == told.hash
    return replace(
        r,
        fault=Ending(told.verdict, told.error_type, told.message, output=told.output),
        poison=r.manifest,
        manifest=good if known else Manifest(told.hash, told.version),
        act=Act.RECIPE,
        step=0,
    )


def _beside(r: Reload, spec: Spec) -> bool:
    """Whether a process that was started was to take another one's place."""
    return r.handle == "replace" if r.fault is None else spec.reload.steps == (Replace(),)


def _turned(r: Reload, turn: facts.TurnBegan | facts.TurnEnded) -> Reload:
    """Each instance has its own baseline and steps; who took it has taken it."""
    if isinstance(turn, facts.TurnBegan):
        act = r.act if r.handle == "start" else Act.RECIPE
        return replace(reload_turns.clean(r), act=act, turn=True, slot=turn.instance)
    one = facts.Outcome(turn.instance, turn.generation, turn.pid, "taken")
    return replace(r, turn=False, taken=r.taken if turn.error_type else (*r.taken, one))


def _interrupted(t: Turn, r: Reload) -> None:
    moved = r.act is Act.RECIPE
    message = "the agent died in between and cannot tell what runs now"
    if r.act is Act.LAUNCH:
        message = "the agent died before the service was ready; it is started again"
    conclude(t, r, Ending(Verdict.FAILED, "agent_interrupted", message, moved=moved))
