"""From what earlier agents left behind to a host that goes on where they were.

Decides: who is adopted, what an interrupted reload becomes, and that a service which is no longer declared is stopped. Does not find out
whether a process is still there (the shell has, in ``found``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from agentd.core import facts, instance
from agentd.core.effects import Effect, Note
from agentd.core.events import Adopt, Orphaned, Stop
from agentd.core.facts import Record
from agentd.core.host import Host, Step, settle
from agentd.core.ids import Mint
from agentd.core.instance import Phase
from agentd.core.manifest import Manifest
from agentd.core.memory import Memory
from agentd.core.order import dependents, start_order
from agentd.core.reload_value import Act, Ending, Reload, Stage
from agentd.core.service import Service, Turn, conclude, go_on
from agentd.core.service_clocks import rearm
from agentd.core.service_generations import switch_back
from agentd.core.service_value import remembered
from agentd.core.spec import ProcessSpec, Spec
from agentd.core.steps import CallHttp, RunCommand
from agentd.core.value import replace
from agentd.wire import Verdict


@dataclass(frozen=True, slots=True)
class Left:
    """What earlier agents left."""

    memories: Mapping[str, Memory]
    found: Collection[str]
    """The services whose remembered process is alive and truly theirs."""
    open_reloads: Sequence[Sequence[Record]] = ()
    boot: str = ""
    """This boot's id: moments of another boot mean nothing now."""
    found_beside: Collection[tuple[str, int]] = ()
    """The same of other generations of theirs: service and generation."""


def boot(specs: Sequence[Spec], left: Left, mint: Mint, now: float) -> Step:
    """The host an agent starts with, and what it must do first."""
    specs = (*specs, *_removed(specs, left))
    by_name = {spec.name: spec for spec in specs}
    effects: list[Effect] = []
    notes: list[Note] = []
    services: dict[str, Service] = {}
    for name in start_order(specs):
        t = Turn(remembered(by_name[name], left.memories.get(name)), now, mint, may_start=False)
        _take_over(t, left)
        _take_over_others(t, left)
        rearm(t)
        for records in left.open_reloads:
            _resume(t, records, left)
        services[name], mint = t.s, t.mint
        effects += t.effects
        notes += t.notes
    host = Host(services, dependents(specs), mint)
    first = settle(host, now)
    return replace(
        first,
        effects=(*effects, *first.effects),
        notes=(*notes, *first.notes),
        touched=tuple(services),
    )


def _removed(specs: Sequence[Spec], left: Left) -> tuple[Spec, ...]:
    """Services that are no longer declared but still run, or owe a verdict: kept only to be stopped."""
    declared = {spec.name for spec in specs}
    owing = (records[0].fact for records in left.open_reloads)
    beside = (name for name, _ in left.found_beside)
    names = (*left.found, *beside, *(f.service for f in owing if isinstance(f, facts.Requested)))
    return tuple(removed(name) for name in dict.fromkeys(names) if name not in declared)


def removed(name: str) -> Spec:
    """What is left of a definition that is gone: enough to stop its processes."""
    return Spec(name, ProcessSpec(()), removed=True)


def _take_over(t: Turn, left: Left) -> None:
    """The instance as it is now: adopted, gone while nobody looked, or never there."""
    s = t.s
    m = left.memories.get(s.spec.name)
    if m is None:
        return
    found = s.spec.name in left.found
    if m.process is None or (m.boot != left.boot and not found):
        _rest(t, m, same_boot=m.boot == left.boot)
        return
    t.note(facts.Adopted(s.spec.name, m.generation, m.process.pid, found))
    event = Adopt(m.process, m.generation, m.phase) if found else Orphaned(m.generation)
    after, effects = instance.step(s.instance, event, s.spec, t.now)
    if not s.wanted and after.phase not in (Phase.DOWN, Phase.STOPPING, Phase.KILLING):
        after, more = instance.step(after, Stop(), s.spec, t.now)
        effects = (*effects, *more)
    live = s.live if found else None
    t.s = replace(s, instance=after, live=live)
    t.effects += effects
    if after.phase.value != m.phase:
        t.note(
            facts.PhaseEntered(
                s.spec.name, m.generation, after.phase.value, m.phase, after.why, None, after.exit
            )
        )


def _take_over_others(t: Turn, left: Left) -> None:
    """A former generation drains on; so does one that had not taken the other's place yet.

    Connections may have gone to that already, a moment before the agent died or ever since: they are taken away from it first. Where
    nobody is left to get them, it is stopped.
    """
    name = t.s.spec.name
    m = left.memories.get(name)
    replacing = _replacing(name, left) if name in left.found else ""
    if m and any((m.service, other.generation) in left.found_beside for other in m.others):
        switch_back(t)  # first: what is ended now may be what gets the connections
    for other in m.others if m else ():
        found = (t.s.spec.name, other.generation) in left.found_beside
        t.note(facts.Adopted(t.s.spec.name, other.generation, other.process.pid, found))
        if not found:
            continue
        id_ = other.reload_id or replacing
        drains = t.s.wanted and id_ and other.phase not in (Phase.STOPPING, Phase.KILLING)
        phase = Phase.DRAINING if drains else Phase.STOPPING
        machine = f"instance.{other.generation}"
        adopt = Adopt(other.process, other.generation, phase, machine, id_)
        after, effects = instance.step(instance.Instance(), adopt, t.s.spec, t.now)
        t.s = replace(t.s, former=(*t.s.former, after))
        t.effects += effects
        if after.phase.value != other.phase:
            name, why = t.s.spec.name, after.why
            t.note(facts.PhaseEntered(name, other.generation, after.phase.value, other.phase, why))


def _replacing(name: str, left: Left) -> str:
    """The reload that had started a next generation; empty: none had."""
    for asked, *records in left.open_reloads:
        started = any(isinstance(x.fact, facts.StepBegan) for x in records)
        if isinstance(asked.fact, facts.Requested) and asked.fact.service == name and started:
            return asked.fact.reload_id
    return ""


def _rest(t: Turn, m: Memory, *, same_boot: bool) -> None:
    """It had no process. What was given up or had finished in this boot of the host stays so until somebody asks."""
    i = t.s.instance
    if same_boot and m.phase == Phase.FAILED:
        i = replace(i, phase=Phase.FAILED, why="failed before agentd was restarted")
    if same_boot and m.finished:
        i = replace(i, ending=instance.Ending.BY_ITSELF)
    t.s = replace(t.s, live=None, instance=i)


def _resume(t: Turn, records: Sequence[Record], left: Left) -> None:
    """Finish a reload that an earlier agent began, or end it truthfully; never act twice."""
    asked = records[0].fact
    if not isinstance(asked, facts.Requested) or asked.service != t.s.spec.name:
        return
    r = _rebuild(asked, records, t)
    began = any(isinstance(x.fact, facts.StepBegan) for x in records)
    same_boot = records[-1].boot == left.boot
    alive = t.s.spec.name in left.found and same_boot
    phase = _open_phase(records)
    unstopped = asked.handle == "restart" and t.s.instance.phase is Phase.READY
    if r.act is Act.REPLACE or (unstopped and alive and r.act is Act.RECIPE):
        _begin_anew(t, r, phase)  # whatever was started beside the one that serves is being ended
    elif r.act is Act.LAUNCH:
        if alive and t.s.instance.phase is Phase.STARTING and r.manifest:
            t.s = replace(t.s, running=replace(r, stage=Stage.LAUNCHING))
        elif alive and t.s.instance.phase is Phase.READY and r.manifest:
            if phase == "commit":
                _close(t, r, phase)
            go_on(t, replace(r, stage=Stage.COMPARING if phase == "commit" else Stage.LAUNCHING))
        else:
            _interrupted(t, r)
    elif not began:
        _begin_anew(t, r, phase)
    elif alive and r.baseline is not None and t.s.instance.phase is Phase.READY and not t.s.running:
        if phase != "confirm":
            _close(t, r, phase)
            t.note(facts.PhaseBegan(t.s.spec.name, r.id, "confirm"))
        go_on(t, replace(r, stage=Stage.CONFIRMING))
    else:
        _interrupted(t, r)


def _begin_anew(t: Turn, r: Reload, phase: str) -> None:
    """It had touched nothing: it waits for its turn; of two, the first goes on with what either of them demanded."""
    first = t.s.waiting
    if first is None:
        _close(t, r, phase)
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
    """The phase that the earlier agent died in; empty: none."""
    phase = ""
    for record in records:
        if isinstance(record.fact, facts.PhaseBegan):
            phase = record.fact.phase
        elif isinstance(record.fact, facts.PhaseEnded):
            phase = ""
    return phase


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
                )
            case facts.SnapshotTaken(hash=hash_, version=version):
                r = replace(r, manifest=Manifest(hash_, version))
            case facts.BaselineTaken(baseline=baseline, at=at):
                r = replace(r, baseline=baseline, sent_at=at)
            case facts.StepBegan(step="process.start") if asked.handle == "replace":
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


def _interrupted(t: Turn, r: Reload) -> None:
    moved = r.act is Act.RECIPE
    message = "the agent died in between and cannot tell what runs now"
    if r.act is Act.LAUNCH:
        message = "the agent died before the service was ready; it is started again"
    conclude(t, r, Ending(Verdict.FAILED, "agent_interrupted", message, moved=moved))
