"""The rows of an instance whose main process becomes another one: a daemon that goes into the background, a new binary in place.

Decides: what shows that another process is the main one, how long that is waited for once the main process is gone, and how the instance
goes on with it. What shows it is the service's own word, its pid file, or that the main process before lives still; that but one process is
left shows nothing. Whether a process belongs to the instance, and who may say so, the shell has found out.
"""
# ruff: noqa: ARG001 - rows of a table have one signature

from __future__ import annotations

from agentd.core import instance_drain, instance_rows, instance_watchdog
from agentd.core.effects import Cancel, Effect, Follow, SeekMain
from agentd.core.events import Claimed, Exited, InstanceEvent, MainSought, Notified
from agentd.core.instance_adopt import ASSUMED_READY_AFTER
from agentd.core.instance_rows import (
    await_ready,
    enter_stopping,
    gone,
    ready,
    stays,
    token_of,
    with_timer,
)
from agentd.core.instance_value import Ending, Instance, Phase, Result
from agentd.core.process import Exit, Identity
from agentd.core.spec import ReadyNotify, Spec
from agentd.core.value import replace

WITHIN = 2.0
"""Seconds in which a ready service shows who its main process is now: gunicorn renames its pid file a second after the former one's end."""
FIRST_LOOK, SLOWEST_LOOK = 0.05, 0.5
"""The pause before the second look, and the longest one: each is about twice the one before."""


def claimed(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Followed: it is the main process from now on, and the end of the former one is none of the service."""
    assert isinstance(event, Claimed)
    if i.process is None or i.process.same(event.identity):
        return i, ()
    return _follow(i, event.identity, spec, now)


def claimed_late(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It ends, and what is left of its group when the main process is gone is ended too, whoever it is."""
    return i, ()


def ended(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """The main process ended while nobody had asked it to; where another one may have taken over, that is looked for."""
    assert isinstance(event, Exited)
    why = f"{event.exit}{_left(event)}"
    i = replace(i, exit=event.exit, output=event.output, why=why)
    if event.empty:
        return gone(replace(i, ending=Ending.BY_ITSELF), event, spec, now)
    if i.process is None or not _may_go_on(i, event.exit, spec):
        return enter_stopping(replace(i, ending=Ending.BY_ITSELF), spec)
    i, cancel = _cancel(i, spec)
    i, effects = _seek(replace(i, since=now), spec, now)
    return i, (*cancel, *effects)


def sought(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Followed when it is another one; where none is shown, it is looked for again as long as it may take."""
    assert isinstance(event, MainSought)
    i = replace(i, awaiting=None)
    if event.identity is not None and i.process and not i.process.same(event.identity):
        return _follow(i, event.identity, spec, now)
    return _none(i, event.why, spec, now) if i.lost else (i, ())


def not_sought(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Nobody could look: as if none were shown."""
    return (
        _none(replace(i, awaiting=None), "", spec, now)
        if i.lost
        else (replace(i, awaiting=None), ())
    )


def unborn(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """The spawn failed; or the probe could not be done, which says nothing about the process; or nobody could look who the main one is."""
    row = not_sought if i.lost else instance_rows.unborn
    return row(i, event, spec, now)


def said(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """READY=1 makes it ready where that is declared, once it is known who its main process is; an extension moves its deadline."""
    assert isinstance(event, Notified)
    if not i.lost:
        return instance_rows.said(i, event, spec, now)
    return replace(i, said=i.said or event.ready), ()


def start_elapsed(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Ready, or the next probe is due, or too slow: then it is stopped and that counts as a failure."""
    row = look_elapsed if i.lost else instance_rows.start_elapsed
    return row(i, event, spec, now)


def due(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """It has stayed up, or was silent. Or its main process is gone, and the next look is due."""
    row = look_elapsed if i.lost else instance_watchdog.due
    return row(i, event, spec, now)


def look_elapsed(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """The next look is due; or nothing has shown in time who the main process is, and that is its end."""
    if now < _limit(i, spec) and i.awaiting is None:
        return _seek(replace(i, timer=None), spec, now)
    return _given_up(i, spec)


def emptied(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Nothing is left that could be the main process."""
    if not i.lost:  # told before another process was followed, whose own end is told next
        return i, ()
    return gone(replace(i, ending=Ending.BY_ITSELF), event, spec, now)


def drain(i: Instance, event: InstanceEvent, spec: Spec, now: float) -> Result:
    """Draining: it gets nothing new, and may finish what it has. What shares its listeners, or has no main process, is stopped at once."""
    if i.lost:
        why = "another generation has its place"
        return enter_stopping(replace(i, ending=Ending.ASKED, why=why), spec)
    i, cancel = _cancel(i, spec)
    i, effects = instance_drain.drain(i, event, spec, now)
    return i, (*cancel, *effects)


def _may_go_on(i: Instance, end: Exit, spec: Spec) -> bool:
    """Whether there is something to look at; a first process that failed has not gone into the background."""
    if i.phase is Phase.READY:
        return spec.pid_file is not None or i.before is not None
    failed = end.signal is not None or end.code not in (0, None)
    return not failed and (spec.pid_file is not None or isinstance(spec.ready, ReadyNotify))


def _limit(i: Instance, spec: Spec) -> float:
    """Until when it must show. nginx writes its file when its first process is gone already: that belongs to the start."""
    if i.phase is Phase.STARTING and spec.pid_file is not None:
        return i.deadline
    return i.since + WITHIN


def _seek(i: Instance, spec: Spec, now: float) -> Result:
    """One look; of a service that can only say MAINPID, nothing but time for it."""
    effects: tuple[Effect, ...] = ()
    if spec.pid_file is not None or i.before is not None:
        i = replace(i, serial=i.serial + 1, awaiting=i.serial + 1)
        effects = (SeekMain(token_of(i, spec, i.serial), spec, i.generation, i.before),)
    i, arm = with_timer(i, spec, _limit(i, spec) - now)
    return i, (*effects, arm)


def _none(i: Instance, why: str, spec: Spec, now: float) -> Result:
    """None is shown to be the main process: the file may still be written; that the one before is gone will not change."""
    i = replace(i, why=f"{i.exit}; {why}" if why else i.why)
    left = _limit(i, spec) - now
    if left <= 0 or spec.pid_file is None:
        return _given_up(i, spec)
    pause = min(max(now - i.since, FIRST_LOOK), SLOWEST_LOOK, left)
    i, arm = with_timer(i, spec, pause)
    return i, (arm,)


def _given_up(i: Instance, spec: Spec) -> Result:
    if i.phase is Phase.STARTING and spec.pid_file is not None:
        why = f"not ready within {spec.start_timeout:g}s: {i.why}"
        return enter_stopping(replace(i, ending=Ending.TOO_SLOW, why=why), spec)
    return enter_stopping(replace(i, ending=Ending.BY_ITSELF), spec)


def _follow(i: Instance, new: Identity, spec: Spec, now: float) -> Result:
    """Where its main process was gone it goes on as it stood; where that lives, only who it is changes."""
    follow = Follow(spec.name, i.generation, new)
    if not i.lost:
        return replace(i, process=new, before=i.process), (follow,)
    i, cancel = _cancel(i, spec)
    i = replace(i, process=new, before=None, exit=None, output=(), why="")
    i, effects = _resume(i, spec, now)
    return i, (*cancel, follow, *effects)


def _resume(i: Instance, spec: Spec, now: float) -> Result:
    if i.phase is Phase.STARTING and isinstance(spec.ready, ReadyNotify):
        if i.said:
            return ready(i, spec, now)
        i, arm = with_timer(i, spec, ASSUMED_READY_AFTER if i.adopted else i.deadline - now)
        return i, (arm,)
    if i.phase is Phase.STARTING:
        return await_ready(i, spec, now)
    return stays(i, spec, now)


def _cancel(i: Instance, spec: Spec) -> tuple[Instance, tuple[Effect, ...]]:
    if i.awaiting is None:
        return i, ()
    return replace(i, awaiting=None), (Cancel(token_of(i, spec, i.awaiting)),)


def _left(event: Exited) -> str:
    """What goes on without it, for a person; of a clean end it may be the service itself."""
    if not event.left:
        return ""
    pids = ", ".join(map(str, event.left[:_NAMED])) + (", …" if event.left[_NAMED:] else "")
    said = f"; it left {'process' if len(event.left) == 1 else 'processes'} {pids}"
    hint = ", and neither MAINPID nor a pid_file shows that one of them is the main process"
    return said + hint if event.exit.clean else said


_NAMED = 5
"""How many pids a sentence names."""
