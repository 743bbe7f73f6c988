"""The rows of an instance, each named for what happened: from launch to the last process reaped.

Decides: the stop signal and when KILL follows, what ready means, backoff, when to give up. Which row answers which event in which phase is
``instance``'s table.
"""
# ruff: noqa: ARG001 - rows of a table have one signature

from __future__ import annotations

from agentd.core import backoff
from agentd.core.effects import Arm, Ask, Cancel, Disarm, Effect, Forget, Kill, SeekMain, Spawn
from agentd.core.events import (
    EffectFailed,
    Exited,
    InstanceEvent,
    Launch,
    Notified,
    Probed,
    Spawned,
    Token,
)
from agentd.core.instance_value import Ending, Instance, Phase, Result
from agentd.core.spec import ReadyAfter, ReadyNotify, ReadyProbe, Restart, Spec
from agentd.core.value import replace


def launch(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Starting: the next generation is spawned, and must be ready within the start timeout."""
    assert isinstance(event, Launch)
    new = Instance(
        phase=Phase.STARTING,
        generation=event.generation,
        slot=i.slot,
        takeovers=event.takeovers,
        machine=i.machine,
        beside=event.beside,
        failures=i.failures,
        starts=(*backoff.recent(i.starts, now, spec.start_limit), now),
        deadline=now + spec.start_timeout,
        watchdog=spec.process.watchdog,
        serial=i.serial + 1,
        awaiting=i.serial + 1,
    )
    token = token_of(new, spec, new.serial)
    cookie, beside, origin = event.cookie, event.beside, event.origin
    spawn = Spawn(token, spec, new.generation, cookie, beside, origin, new.slot, event.takeovers)
    new, arm = with_timer(new, spec, spec.start_timeout)
    return new, (spawn, arm)


def born(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """There is a process now; it is waited for until it is ready as declared."""
    assert isinstance(event, Spawned)
    i = replace(i, process=event.identity, awaiting=None)
    return ready(i, spec, now) if i.said else await_ready(i, spec, now)


def await_ready(i: Instance, spec: Spec, now: float) -> Result:
    """What to wait for now that the process runs. Spawned is not ready."""
    match spec.ready:
        case ReadyAfter(seconds=0):
            return ready(i, spec, now)
        case ReadyAfter(seconds=seconds):
            i, arm = with_timer(i, spec, seconds)
            return i, (arm,)
        case ReadyProbe():
            return _ask(i, spec, now)
        case _:
            return i, ()


def _ask(i: Instance, spec: Spec, now: float) -> Result:
    assert isinstance(spec.ready, ReadyProbe)
    assert i.process is not None
    pid = i.process.pid
    i = replace(i, serial=i.serial + 1, awaiting=i.serial + 1)
    token = token_of(i, spec, i.serial)
    ask = Ask(token, spec, spec.ready.probe, pid, i.generation, i.beside)
    i, arm = with_timer(i, spec, i.deadline - now)
    return i, (ask, arm)


def probed(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Ready when it passed; otherwise it is asked again after a pause."""
    assert isinstance(event, Probed)
    if event.why is None:
        return ready(i, spec, now)
    return _not_yet(i, event.why, spec, now)


def _not_yet(i: Instance, why: str, spec: Spec, now: float) -> Result:
    assert isinstance(spec.ready, ReadyProbe)
    i = replace(i, awaiting=None, why=why)
    i, arm = with_timer(i, spec, min(spec.ready.interval, i.deadline - now))
    return i, (arm,)


def ready(i: Instance, spec: Spec, now: float) -> Result:
    """It is ready; who its main process is may be written down by now."""
    why = "assumed: alive, but its READY=1 may have met no agent" if _assumes(i, spec) else ""
    i = replace(i, phase=Phase.READY, why=why, awaiting=None)
    seek: tuple[Effect, ...] = ()
    if spec.pid_file is not None:
        i = replace(i, serial=i.serial + 1, awaiting=i.serial + 1)
        seek = (SeekMain(token_of(i, spec, i.serial), spec, i.generation),)
    i, effects = stays(i, spec, now)
    return i, (*seek, *effects)


def stays(i: Instance, spec: Spec, now: float) -> Result:
    """It is ready from now on: its failures are forgotten after a while, and where it is watched it must be heard of."""
    settles = now + spec.backoff.reset if i.failures else None
    return next_due(replace(i, settles=settles, heard=now), spec, now)


def next_due(i: Instance, spec: Spec, now: float) -> Result:
    """The timer of one that is ready, for what is due first; where nothing ever is, there is none."""
    due = [at for at in (i.settles, i.silent) if at is not None]
    if not due:
        return replace(i, timer=None), (Disarm(spec.name, i.machine),)
    i, armed = with_timer(i, spec, min(due) - now)
    return i, (armed,)


def said(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """READY=1 makes it ready where that is declared; an extension moves its deadline."""
    assert isinstance(event, Notified)
    if i.phase is not Phase.STARTING or not isinstance(spec.ready, ReadyNotify):
        return i, ()
    if event.ready and i.process is None:
        return replace(i, said=True), ()
    if event.ready:
        return ready(replace(i, adopted=False), spec, now)
    if not event.extend:
        return i, ()
    i = replace(i, deadline=max(i.deadline, now + event.extend))
    i, arm = with_timer(i, spec, i.deadline - now)
    return i, (arm,)


def start_elapsed(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Ready, or the next probe is due, or too slow: then it is stopped and that counts as a failure."""
    if i.process is not None:
        if isinstance(spec.ready, ReadyAfter) or _assumes(i, spec):
            return ready(i, spec, now)
        if isinstance(spec.ready, ReadyProbe) and i.awaiting is None and now < i.deadline:
            return _ask(i, spec, now)
    because = f": {i.why}" if i.why else ""
    return enter_stopping(
        replace(
            i, ending=Ending.TOO_SLOW, why=f"not ready within {spec.start_timeout:g}s{because}"
        ),
        spec,
    )


def stop_asked(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Stopping: the stop signal, and a grace before KILL."""
    return enter_stopping(replace(i, ending=Ending.ASKED, why="asked"), spec)


def stop_asked_too(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It ends already; now it is not started again."""
    return replace(i, ending=Ending.ASKED), ()


def enter_stopping(i: Instance, spec: Spec, signal: str | None = None) -> Result:
    """Enter stopping: the stop signal (or this one) to the main process, or to what is left of the group when the main process is gone."""
    effects: tuple[Effect, ...] = ()
    if i.awaiting is not None and i.process is not None:
        effects = (Cancel(token_of(i, spec, i.awaiting)),)
        i = replace(i, awaiting=None)
    if i.beside and i.phase is Phase.STARTING:  # it was to take a place, and serves nobody
        i = replace(i, phase=Phase.KILLING, timer=None)
        effects = (*effects, Disarm(spec.name, i.machine))
        if i.process is not None:
            effects = (*effects, Kill(spec.name, i.generation, "KILL", group=True))
        return i, effects
    i, armed = with_timer(replace(i, phase=Phase.STOPPING), spec, spec.stop_timeout)
    if i.process is None:
        return i, (armed,)
    gone = i.exit is not None
    kill = Kill(spec.name, i.generation, signal or spec.stop_signal, group=gone)
    return i, (*effects, kill, armed)


def ended_stopping(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """The main process is gone; what is left of its group is ended too."""
    assert isinstance(event, Exited)
    # The KILL is the agent's own then, whoever else of it the kernel had ended.
    end = replace(event.exit, killed=0) if i.phase is Phase.KILLING else event.exit
    i = replace(i, exit=end, output=event.output)
    if event.empty:
        return gone(i, event, spec, now)
    signal = "KILL" if i.phase is Phase.KILLING else spec.stop_signal
    return i, (Kill(spec.name, i.generation, signal, group=True),)


def born_stopping(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It was told to stop while it was being born: now there is somebody to tell."""
    assert isinstance(event, Spawned)
    signal = "KILL" if i.phase is Phase.KILLING else spec.stop_signal
    i = replace(i, process=event.identity, awaiting=None)
    group = i.phase is Phase.KILLING or i.exit is not None
    return i, (Kill(spec.name, i.generation, signal, group=group),)


def unborn(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """The spawn failed; or the probe could not be done, which says nothing about the process."""
    assert isinstance(event, EffectFailed)
    if i.process is not None:
        return _not_yet(i, event.message, spec, now)
    return gone(replace(i, awaiting=None, why=event.message), event, spec, now)


def too_stubborn(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Killing: the grace is over, KILL to the whole group."""
    i = replace(i, phase=Phase.KILLING, timer=None)
    if i.process is None:
        return i, ()
    return i, (Kill(spec.name, i.generation, "KILL", group=True),)


def gone(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Nothing of it is left: where to rest."""
    effects: tuple[Effect, ...] = (Forget(spec.name, i.generation),)
    if i.awaiting is not None:
        effects = (Cancel(token_of(i, spec, i.awaiting)), *effects)
    i = replace(i, process=None, awaiting=None)
    if i.ending is Ending.ASKED or i.beside:
        return _rest(i, Phase.DOWN, spec, effects)
    clean = i.ending is Ending.BY_ITSELF and i.exit is not None and i.exit.clean
    if spec.restart is Restart.NEVER or (clean and spec.restart is Restart.ON_FAILURE):
        return _rest(i, Phase.DOWN if clean else Phase.FAILED, spec, effects)
    if backoff.exhausted(i.starts, now, spec.start_limit):
        limit = spec.start_limit
        why = f"{i.why}; {limit.burst} starts within {limit.interval:g}s"
        return _rest(replace(i, why=why), Phase.FAILED, spec, effects)
    i = replace(i, phase=Phase.BACKOFF, failures=i.failures + 1)
    i, arm = with_timer(i, spec, backoff.delay(i.failures, spec.backoff))
    return i, (*effects, arm)


def _rest(i: Instance, phase: Phase, spec: Spec, effects: tuple[Effect, ...]) -> Result:
    return replace(i, phase=phase, timer=None), (*effects, Disarm(spec.name, i.machine))


def due(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Down: the pause is over, the service may start it again."""
    return replace(i, phase=Phase.DOWN, ending=None, timer=None), ()


def reset(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Down, as if nothing had ever failed."""
    i = replace(i, failures=0, starts=(), ending=None)
    return _rest(i, Phase.DOWN, spec, ())


def forgive(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Its failures are forgotten; where it stands does not change."""
    return replace(i, failures=0, starts=()), ()


def stay_down(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Down, and not started again unasked."""
    return _rest(replace(i, ending=Ending.ASKED, why="asked"), Phase.DOWN, spec, ())


def _assumes(i: Instance, spec: Spec) -> bool:
    return i.adopted and isinstance(spec.ready, ReadyNotify)


def token_of(i: Instance, spec: Spec, serial: int) -> Token:
    """What an effect of this instance goes by."""
    return Token(spec.name, i.machine, serial)


def with_timer(i: Instance, spec: Spec, delay: float) -> tuple[Instance, Arm]:
    """Its one timer, set anew; ``delay`` in seconds."""
    i = replace(i, serial=i.serial + 1, timer=i.serial + 1)
    return i, Arm(token_of(i, spec, i.serial), max(delay, 0.0))
