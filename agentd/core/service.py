"""The machine of one service: what is wanted, whose turn it is, and what a verdict changes.

Decides: whether a request runs, waits, joins, is held or turned away; when a start is due; what becomes ``live``, ``last_good``
and quarantined. Does not decide how an instance or a reload goes on (``instance``, ``reload``) nor who waits for whom
among services (``host``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agentd.core import facts, instance, reload, reload_act, reload_value
from agentd.core.context import parse_traceparent
from agentd.core.effects import Accepted, Answer, Arm, Disarm, Done, Effect, Note, Turned
from agentd.core.events import (
    Abort,
    Ask,
    Begin,
    Completion,
    Elapsed,
    HoldAsked,
    InstanceEnded,
    InstanceEvent,
    InstanceReady,
    Launch,
    ProcessEvent,
    ReleaseAsked,
    ReloadAsked,
    ReloadEvent,
    Reset,
    RestartAsked,
    StartAsked,
    Stop,
    StopAsked,
    Token,
    Touched,
)
from agentd.core.facts import Cause, Fact
from agentd.core.ids import Mint
from agentd.core.instance import Ending, Instance, Phase
from agentd.core.manifest import Manifest
from agentd.core.memory import Attempt, Hold, Last, Memory, Quarantine, Want
from agentd.core.reload_value import Act, Reload, Stage, View
from agentd.core.spec import Spec
from agentd.core.value import replace
from agentd.wire import ExitCode, Trigger, Verdict

AT_REST = frozenset({Phase.DOWN, Phase.BACKOFF, Phase.FAILED})
"""Where a start that was asked for can begin at once."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service: declared, wanted, observed."""

    spec: Spec
    want: Want = Want.UP
    instance: Instance = field(default_factory=Instance)
    running: Reload | None = None
    waiting: Reload | None = None
    hold: Hold | None = None
    restarts: int = 0
    live: Manifest | None = None
    last_good: Manifest | None = None
    attempted: Attempt | None = None
    quarantine: Quarantine | None = None
    last: Last | None = None
    next_start: tuple[Cause, int | None] | None = None
    """Who asked for the start that comes next, and which caller wants to know its id."""
    hold_serial: int = 0
    serial: int = 0
    """The last number that a reload of this service has put into a token: each is used once, whoever's it was."""

    @property
    def memory(self) -> Memory:
        """What must outlive the agent; the shell adds the boot."""
        i = self.instance
        return Memory(
            self.spec.name,
            "",
            self.want,
            self.hold,
            i.generation,
            self.restarts,
            i.phase.value,
            i.phase is Phase.DOWN and i.ending is Ending.BY_ITSELF,
            i.process,
            self.live,
            self.last_good,
            self.attempted,
            self.quarantine,
            self.last,
        )

    @property
    def view(self) -> View:
        """What its reload sees."""
        i = self.instance
        return View(
            self.spec,
            i.generation,
            i.process.pid if i.process else None,
            self.live,
            self.last_good,
            self.attempted,
            self.quarantine,
            i.assumed,
        )


@dataclass(slots=True)
class Turn:
    """One step of one service while it is being worked out: local to ``step``, never kept."""

    s: Service
    now: float
    mint: Mint
    may_start: bool
    """What the service depends on is there, and the agent is not ending."""
    effects: list[Effect] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def note(self, *what: Fact) -> None:
        """Tell facts about this moment."""
        self.notes += [Note(self.now, fact) for fact in what]

    def answer(self, reply: int | None, answer: Accepted | Done | Turned) -> None:
        """Tell the caller, if one waits."""
        if reply is not None:
            self.effects.append(Answer(reply, answer))


def step(t: Turn, event: Ask | Completion | ProcessEvent | Stop | None) -> None:
    """Work the event into ``t``; None only settles. Raises IllegalTransitionError for a refused pair."""
    match event:
        case ReloadAsked():
            _reload_asked(t, event)
        case StartAsked():
            _start_asked(t, event)
        case StopAsked():
            _stop_asked(t, event)
        case RestartAsked():
            _restart_asked(t, event)
        case HoldAsked():
            _hold_asked(t, event)
        case ReleaseAsked(cause=cause, reply=reply):
            _release(t, cause, reply)
        case Stop():
            _abort(t, "agentd stops")
            _give_up_start(t)
            _instance(t, event)
        case None:
            pass
        case _ if isinstance(event, ProcessEvent):
            _instance(t, event)
        case _:
            _completion(t, event)
    _settle(t)


def _completion(t: Turn, event: Completion) -> None:
    match event.token.machine:
        case "instance":
            _instance(t, event)  # type: ignore[arg-type]  # only these completions answer its effects
        case "reload":
            _running(t, event)  # type: ignore[arg-type]
        case "waiting":
            _waited(t, event)
        case _:
            _hold_elapsed(t, event)


# What people and triggers ask.


def _reload_asked(t: Turn, e: ReloadAsked) -> None:
    s, watch = t.s, e.cause.trigger is Trigger.WATCH
    if s.hold and not e.force:
        _held(t, e)
    elif not _reloadable(s):
        what = f"{s.spec.name} is {s.instance.phase.value}; start it with: reloadctl start {s.spec.name}"
        t.answer(e.reply, Turned(ExitCode.NOT_RUNNING, f"cannot reload: {what}"))
    elif watch and not e.link:
        if s.spec.inputs and s.spec.watch:
            _touched(t, e)
    elif s.waiting and not s.waiting.silent:
        r = replace(
            s.waiting,
            must_act=s.waiting.must_act or _must_act(e.cause, if_changed=e.if_changed),
            require_proof=s.waiting.require_proof or e.require_proof,
        )
        t.s = replace(s, waiting=r)
        t.note(facts.Joined(s.spec.name, r.id, e.cause))
        t.answer(e.reply, Accepted(r.id, r.trace_id, joined=True))
    else:
        _drop_silent(t)
        r = _new(t, e.cause, if_changed=e.if_changed, link=e.link)
        r = replace(r, require_proof=e.require_proof)
        t.s = replace(t.s, waiting=r)
        t.notes.append(reload_value.requested(r, t.s.view, t.now))
        t.answer(e.reply, Accepted(r.id, r.trace_id, joined=False))
        if watch and t.s.spec.watch:
            _waiting(t, Begin())


def _reloadable(s: Service) -> bool:
    """Not while it is down or on its way there; a start that is under way is waited for."""
    if s.instance.phase in (Phase.STOPPING, Phase.KILLING):
        return s.want is Want.UP and s.instance.ending is not Ending.ASKED
    if s.instance.phase is Phase.DOWN:
        return s.want is Want.UP and (s.running is not None or s.next_start is not None)
    return True


def _touched(t: Turn, e: ReloadAsked) -> None:
    """A change was seen. Nothing is told of it until it turns out to matter."""
    s = t.s
    if s.waiting:
        if s.waiting.stage is Stage.SETTLING:
            _waiting(t, Touched())
    elif s.running and s.running.silent and s.running.stage is Stage.SETTLING:
        _running(t, Touched())
    else:
        r = replace(_new(t, e.cause), silent=True)
        t.s = replace(s, waiting=r)
        _waiting(t, Begin())


def _drop_silent(t: Turn) -> None:
    """What a watch began and nobody was told of gives way to somebody who waits for an answer."""
    if t.s.waiting and t.s.waiting.silent:
        _waiting(t, Abort(""))
    if t.s.running and t.s.running.silent:
        _running(t, Abort(""))


def _held(t: Turn, e: ReloadAsked) -> None:
    hold, watch = t.s.hold, e.cause.trigger is Trigger.WATCH
    assert hold is not None
    if watch and hold.pending:
        return  # what is pending already will read this change too
    r = _new(t, e.cause)
    t.notes.append(reload_value.requested(r, t.s.view, t.now))
    t.s = replace(t.s, hold=replace(hold, pending=r.id, trigger=e.cause.trigger))
    _hold_verdict(t, r)
    t.answer(e.reply, Accepted(r.id, r.trace_id, joined=False))


def _hold_verdict(t: Turn, r: Reload) -> None:
    hold = t.s.hold
    assert hold is not None
    by = f" by {hold.user}" if hold.user else ""
    because = f": {hold.reason}" if hold.reason else ""
    message = f"held{by}{because}; release it with: reloadctl release {t.s.spec.name}"
    _judge(t, r, reload_value.Ending(Verdict.HELD, message=message))


def _start_asked(t: Turn, e: StartAsked) -> None:
    _want(t, Want.UP, e.cause)
    _instance(t, Reset())
    if t.s.running is not None and t.s.running.act is Act.LAUNCH:
        _drop_silent(t)
    running = t.s.running
    if t.s.instance.phase is Phase.READY:
        t.answer(e.reply, Done())
    elif running is not None and running.act is Act.LAUNCH:
        t.answer(e.reply, Accepted(running.id, running.trace_id, joined=True))
    elif t.s.instance.phase is Phase.STARTING:  # adopted: nothing of this agent's began it
        t.answer(e.reply, Done())
    else:
        _ask_start(t, e.cause, e.reply)


def _restart_asked(t: Turn, e: RestartAsked) -> None:
    _want(t, Want.UP, e.cause)
    _abort(t, f"restart of {t.s.spec.name} was asked for")
    _instance(t, Reset())
    _instance(t, Stop())
    _ask_start(t, e.cause, e.reply)


def _ask_start(t: Turn, cause: Cause, reply: int | None) -> None:
    _give_up_start(t)
    t.s = replace(t.s, next_start=(cause, reply))


def _stop_asked(t: Turn, e: StopAsked) -> None:
    _want(t, Want.DOWN, e.cause)
    _abort(t, f"stop of {t.s.spec.name} was asked for")
    _give_up_start(t)
    _instance(t, Stop())
    t.answer(e.reply, Done())


def _give_up_start(t: Turn) -> None:
    if t.s.next_start is not None:
        t.answer(t.s.next_start[1], Done())
        t.s = replace(t.s, next_start=None)


def _want(t: Turn, want: Want, cause: Cause) -> None:
    if t.s.want is not want:
        t.s = replace(t.s, want=want)
        t.note(facts.WantSet(t.s.spec.name, want.value, cause.user))


def _hold_asked(t: Turn, e: HoldAsked) -> None:
    serial = t.s.hold_serial + 1
    hold = Hold(e.cause.reason, e.cause.user)
    if t.s.hold is not None:
        hold = replace(hold, pending=t.s.hold.pending, trigger=t.s.hold.trigger)
    t.s = replace(t.s, hold=hold, hold_serial=serial)
    t.note(facts.HoldSet(t.s.spec.name, held=True, reason=hold.reason, user=hold.user))
    if e.seconds is None:
        t.effects.append(Disarm(t.s.spec.name, "hold"))
    else:
        t.effects.append(Arm(Token(t.s.spec.name, "hold", serial), e.seconds))
    waiting = t.s.waiting
    if waiting is not None:
        t.s = replace(t.s, waiting=None)
        t.effects.append(Disarm(t.s.spec.name, "waiting"))
        _, notes = reload_value.speak(waiting, t.s.view)  # a change that was seen is not forgotten
        t.notes += notes
        pending = replace(hold, pending=waiting.id, trigger=waiting.cause.trigger)
        t.s = replace(t.s, hold=pending)
        _hold_verdict(t, waiting)
    t.answer(e.reply, Done())


def _hold_elapsed(t: Turn, event: Completion) -> None:
    if isinstance(event, Elapsed) and event.token.serial == t.s.hold_serial and t.s.hold:
        _release(t, Cause(Trigger.TIMER), None)


def _release(t: Turn, cause: Cause, reply: int | None) -> None:
    hold = t.s.hold
    if hold is None:
        t.answer(reply, Done())
        return
    t.s = replace(t.s, hold=None)
    t.effects.append(Disarm(t.s.spec.name, "hold"))
    t.note(facts.HoldSet(t.s.spec.name, held=False, reason=cause.reason, user=cause.user))
    if hold.trigger is None or not _reloadable(t.s):
        t.answer(reply, Done())
        return
    cause = replace(cause, trigger=hold.trigger)
    if_changed = not hold.trigger.person
    _reload_asked(
        t, ReloadAsked(t.s.spec.name, cause, reply, if_changed=if_changed, link=hold.pending)
    )


# Its machines.


def _instance(t: Turn, event: InstanceEvent) -> None:
    """Step the instance, and tell the reload that runs what became of it."""
    s, before = t.s, t.s.instance
    after, effects = instance.step(before, event, s.spec, t.now)
    t.s = replace(s, instance=after)
    t.effects += effects
    if (after.phase, after.generation) == (before.phase, before.generation):
        return
    pid = after.process.pid if after.process else None
    t.note(
        facts.PhaseEntered(
            s.spec.name,
            after.generation,
            after.phase.value,
            before.phase.value,
            after.why,
            pid,
            after.exit,
        )
    )
    if before.phase in instance.ALIVE and after.phase not in instance.ALIVE:
        _live(t, None, "not running")
    if t.s.running is None:
        return
    if after.phase is Phase.READY:
        _running(t, InstanceReady())
    elif before.phase in (Phase.STARTING, Phase.READY):
        _running(t, InstanceEnded(_error_type(after), after.why, after.output))


def _error_type(i: Instance) -> str:
    if i.ending is Ending.TOO_SLOW:
        return "start_timeout"
    if i.exit is None:
        return "spawn_failed"
    if i.exit.signal is not None:
        return f"signal_{i.exit.signal}"
    return "exit_unknown" if i.exit.code is None else f"exit_{i.exit.code}"


def _running(t: Turn, event: ReloadEvent) -> None:
    r = t.s.running
    if r is None:
        return  # it has ended, and this answers an effect it had cancelled
    launching = r.stage is Stage.LAUNCHING
    r, effects, notes = reload.step(r, event, t.s.view, t.now)
    t.s = replace(t.s, running=r, serial=max(t.s.serial, r.serial))
    t.effects += effects
    t.notes += notes
    if r.ending is not None:
        t.s = replace(t.s, running=None)
        _end(t, r, r.ending)
    elif r.stage is Stage.LAUNCHING and not launching:
        _launch(t)


def _waiting(t: Turn, event: ReloadEvent) -> None:
    """Step the one that waits: it can only settle or be given up."""
    assert t.s.waiting is not None
    r, effects, notes = reload.step(t.s.waiting, event, t.s.view, t.now)
    t.effects += effects
    t.notes += notes
    t.s = replace(t.s, waiting=None if r.ending else r, serial=max(t.s.serial, r.serial))
    if r.ending:
        _end(t, r, r.ending)


def _waited(t: Turn, event: Completion) -> None:
    """The inputs have been quiet: it is due, as soon as it is its turn."""
    r = t.s.waiting
    if r is not None and isinstance(event, Elapsed) and event.token.serial == r.timer:
        t.s = replace(t.s, waiting=replace(r, timer=None))


def _abort(t: Turn, message: str) -> None:
    if t.s.running:
        _running(t, Abort(message))
    if t.s.waiting:
        _waiting(t, Abort(message))


def _launch(t: Turn) -> None:
    if t.s.instance.phase is not Phase.DOWN:
        _instance(t, Reset())
    if t.s.instance.failures:
        t.s = replace(t.s, restarts=t.s.restarts + 1)
    t.mint = t.mint.next()
    _instance(t, Launch(t.mint.cookie()))


# Whose turn it is.


def _settle(t: Turn) -> None:
    """Begin what is due: a start of what is wanted and down, else the reload that waits."""
    s = t.s
    if s.running is not None:
        return
    if s.next_start is not None and t.may_start and s.instance.phase in AT_REST:
        _instance(t, Reset())  # it ended by itself after somebody had asked for its start
    s, phase = t.s, t.s.instance.phase
    if phase is Phase.DOWN:
        if s.want is Want.DOWN or s.instance.ending is Ending.BY_ITSELF:
            _abort(t, f"{s.spec.name} is down")
        elif t.may_start:
            _begin_start(t)
        return
    r = s.waiting
    if r is None or r.timer is not None:
        return
    if phase is Phase.READY or (t.may_start and phase in (Phase.BACKOFF, Phase.FAILED)):
        act = Act.RECIPE if phase is Phase.READY else Act.LAUNCH
        r = replace(r, machine="reload", act=act, serial=max(r.serial, s.serial))
        t.s = replace(s, waiting=None, running=r)
        _running(t, Begin())


def _begin_start(t: Turn) -> None:
    cause, reply = t.s.next_start or (Cause(Trigger.START), None)
    r = _new(t, replace(cause, trigger=Trigger.START))
    r = replace(r, act=Act.LAUNCH, machine="reload", handle="start")
    t.s = replace(t.s, running=r, next_start=None)
    t.notes.append(reload_value.requested(r, t.s.view, t.now))
    t.answer(reply, Accepted(r.id, r.trace_id, joined=False))
    _running(t, Begin())


def _new(t: Turn, cause: Cause, *, if_changed: bool = False, link: str = "") -> Reload:
    t.mint = t.mint.next()
    caller = parse_traceparent(cause.traceparent)
    return Reload(
        t.mint.reload_id(t.now),
        caller.trace_id if caller else t.mint.trace_id(),
        cause,
        begun=t.now,
        must_act=_must_act(cause, if_changed=if_changed),
        link=link,
        handle=t.s.spec.reload.handle,
        serial=t.s.serial,
    )


def _must_act(cause: Cause, *, if_changed: bool) -> bool:
    return (cause.trigger.person or cause.trigger is Trigger.START) and not if_changed


# What an earlier agent left unfinished.


def go_on(t: Turn, r: Reload) -> None:
    """Take up a reload after its act: ask the evidence, do not act again."""
    t.s = replace(t.s, running=r)
    if r.stage is Stage.LAUNCHING:
        _running(t, InstanceReady())
    else:
        view = t.s.view
        looks = r.stage is Stage.CONFIRMING
        r, effects, notes = (
            reload_act.look(r, view) if looks else reload_act.compare(r, view, t.now)
        )
        t.s = replace(t.s, running=r, serial=r.serial)
        t.effects += effects
        t.notes += notes


def conclude(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    """End a reload that cannot be taken up."""
    _end(t, r, ending)


# What a verdict changes.


def _end(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    if ending.silent:
        if ending.silent != "cancelled":
            t.note(facts.Skipped(t.s.spec.name, r.cause.trigger, ending.silent))
        return
    s = t.s
    if r.manifest and ending.verdict not in (Verdict.UNCHANGED, Verdict.CANCELLED, Verdict.HELD):
        found = r.manifest
        s = replace(s, attempted=Attempt(found.hash, found.version, ending.verdict))
        if ending.verdict is Verdict.APPLIED:
            s = replace(s, last_good=found)
            if s.quarantine and s.quarantine.hash == found.hash:
                s = replace(s, quarantine=None)
        if ending.quarantine:
            q = Quarantine(found.hash, found.version, s.spec.digest, ending.message)
            s = replace(s, quarantine=q)
            t.note(facts.Quarantined(s.spec.name, found.hash, ending.message))
    t.s = s
    if ending.moved:
        _live(t, ending.live, f"{ending.verdict.value} {r.id}")
    _judge(t, r, ending)
    waiting = t.s.waiting
    if r.act is Act.LAUNCH and ending.verdict is Verdict.APPLIED and waiting:
        confirmed = (ending.confirmation, ending.grade)
        t.s = replace(t.s, waiting=replace(waiting, started_with=confirmed))
    if ending.again and waiting is None and not r.link and t.s.spec.reload.steps:
        follow = ReloadAsked(t.s.spec.name, r.cause, if_changed=True, link=r.id)
        _reload_asked(t, follow)


def _live(t: Turn, live: Manifest | None, why: str) -> None:
    before = t.s.live
    t.s = replace(t.s, live=live)
    if (before.hash if before else None) != (live.hash if live else None):
        version = live.version if live else None
        t.note(facts.LiveChanged(t.s.spec.name, live.hash if live else None, version, why))


def _judge(t: Turn, r: Reload, ending: reload_value.Ending) -> None:
    s, i = t.s, t.s.instance
    if r.cause.trigger is not Trigger.START:
        wall_ms = t.mint.wall_ms + int((t.now - t.mint.mono) * 1000)
        last = Last(r.id, ending.verdict, r.cause.trigger, wall_ms * 1_000_000, ending.message)
        t.s = replace(s, last=last)
    t.note(
        facts.Judged(
            s.spec.name,
            r.id,
            ending.verdict,
            r.handle,
            r.cause.trigger,
            i.generation,
            i.process.pid if i.process else None,
            ending.confirmation,
            ending.grade,
            ending.error_type,
            ending.message,
            r.manifest.hash if r.manifest else None,
            r.manifest.version if r.manifest else None,
            ending.output,
        )
    )
