"""What the machine does when it is asked: children are born, signalled and reaped, files are read, timers fire.

Faults are drawn here. Functions of the world, so that the world itself stays on one screen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core.facts import Cause
from agentd.core.process import Exit, Identity
from agentd.core.question import Said
from agentd.core.steps import Baseline, Sight, Worker
from agentd.core.value import replace
from agentd.wire import Trigger
from tests.sim import invariants, moving
from tests.sim.children import DOUBT, FOREVER, Child, Script

if TYPE_CHECKING:
    from tests.sim.world import World

HALVES = "took only some of it"
"""What a child says of itself."""


def arm(w: World, e: fx.Arm) -> None:
    assert e.delay >= 0
    w.armed[e.token.service, e.token.machine] = e.token
    w.agent_after(e.delay, fire, w, e.token)


def fire(w: World, token: ev.Token) -> None:
    """Also those that were disarmed or replaced: their event may have been in the mailbox."""
    key = token.service, token.machine
    if w.armed.get(key) == token:
        del w.armed[key]
    elif w.rng.random() < 0.5:
        return
    w.feed(ev.Elapsed(token))


def disarm(w: World, e: fx.Disarm) -> None:
    w.armed.pop((e.service, e.machine), None)


def cancel(w: World, e: fx.Cancel) -> None:
    assert w.outstanding.pop(e.token, None), f"{e.token} is not awaited"
    w.cancelled.add(e.token)


BAD = "bad"
"""A word in the command of a definition of which no process comes up."""


def spawn(w: World, e: fx.Spawn) -> None:
    if w.fault(0.05):
        w.fail(e.token, "spawn_failed")
    else:
        w.agent_after(w.soon(), birth, w, e)


def birth(w: World, e: fx.Spawn) -> None:
    name = e.token.service
    if w.journal_down:  # it would run without a record, and the next agent beside it
        w.fail(e.token, "journal_unavailable")
        return
    if not e.beside:
        former = {i.generation for i in w.host.services[name].former} if w.host else set()
        there = [c for c in w.children[name] if c.main and c.generation not in former]
        assert e.slot not in {c.slot for c in there}, f"two processes of {name}"
        invariants.paused(w, name, e.slot)
        w.serving.setdefault(name, {})[e.slot] = e.generation
    alive = sum(c.main for c in w.children[name] if c.slot == e.slot)
    most = max(e.spec.max_generations, 2)
    assert not e.beside or alive < most, f"{alive} generations of {name} and one more"
    w.pid += 1
    identity = Identity(w.pid, w.ticks, w.boot_id, e.cookie)
    scripts = w.scripts.get(name) or [Script()]
    script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
    child = Child(
        name, e.generation, identity, script,
        taken=w.hash(name), slot=e.slot, takeovers=e.takeovers, born=w.now,
    )  # fmt: skip
    w.children[name] = [c for c in w.children[name] if c.there or not c.told] + [child]
    w.born[name, e.generation] = identity
    w.slot[name, e.generation] = e.slot
    w.takeovers[name, e.generation] = e.takeovers
    if e.spec.sockets:
        w.listening.add(name)
    w.record_birth(name, e.generation, identity)
    told = w.soon()
    w.answer(e.token, told, ev.Spawned(e.token, identity))
    if script.ready is not None:
        w.after(0.0 if script.early else told + script.ready, says_ready, w, child)
    if w.inputs[name] is None or w.inputs[name] in w.bad or BAD in e.spec.process.command:
        w.after(0.01, ends, w, child, Exit(code=1))
    elif script.exits is not None:
        w.after(script.exits, ends, w, child, Exit(code=script.code))
    moving.plan(w, child)
    if e.spec.process.watchdog is not None:
        pings(w, child, e.spec.process.watchdog / 2)


def pings(w: World, child: Child, every: float) -> None:
    """It says that it lives, twice in each interval, until it falls silent."""
    if not child.serves:
        return
    silent = child.silent(w.now)
    if not silent or child.script.triggers:
        ping = ev.Pinged(child.service, child.generation, trigger=silent)
        w.agent_after(0.0, w.feed, ping)
    w.after(every, pings, w, child, every)


def says_ready(w: World, child: Child) -> None:
    if child.serves and child.takeovers:
        takes_over(w, child)
    if child.serves or w.fault(0.3):  # a READY may be read after the exit
        child.ready = True
        w.agent_after(0.0, w.feed, ev.Notified(child.service, child.generation, ready=True))


HAND_OVER = 0.2
"""Seconds after which one that took over ends the former one."""


def takes_over(w: World, child: Child) -> None:
    """It accepts from now on, and the one before it does no more; later it ends that one, with or without an agent."""
    for former in w.children[child.service]:
        if former.main and former.takeovers == child.takeovers - 1 and former is not child:
            w.serving[child.service][child.slot] = child.generation
            w.after(HAND_OVER, ends_former, w, child, former)


def ends_former(w: World, child: Child, former: Child) -> None:
    """Where somebody else has ended it before, it takes that badly."""
    if former.main:
        ends(w, former, Exit(code=0))
    elif child.main:
        ends(w, child, Exit(signal="ABRT"))


def kill(w: World, e: fx.Kill) -> None:
    for child in w.children[e.service]:
        if child.generation == e.generation:
            signal(w, child, e.signal, group=e.group)


def signal(w: World, child: Child, signal: str, *, group: bool) -> None:
    if signal == "KILL":
        w.after(0.001, ends, w, child, Exit(signal="KILL"))
        if group:
            w.after(0.002, member_ends, w, child)
        return
    if child.main and child.script.term is not None:
        w.after(child.script.term, ends, w, child, Exit(signal=signal))
    if group and child.script.member_obeys:
        w.after(0.005, member_ends, w, child)


def ends(w: World, child: Child, how: Exit) -> None:
    if not child.main:
        return
    child.main = False
    if child.script.leaves is not None and not child.member:
        child.member = True
        if child.script.leaves < FOREVER:
            w.after(child.script.leaves, member_ends, w, child)
    pid = child.identity.pid
    event = ev.Exited(child.service, child.generation, how, not child.member, ("bye",), pid)
    w.agent_after(w.soon(), told, w, child, event)


def told(w: World, child: Child, event: ev.Exited) -> None:
    mine = event.pid == child.identity.pid
    child.told = child.told or mine
    w.feed(event)
    if mine and not event.empty and not child.member:
        w.feed(ev.Emptied(child.service, child.generation))


def member_ends(w: World, child: Child) -> None:
    if child.member:
        child.member, child.heir = False, None
        if child.told:
            w.agent_after(0.0, w.feed, ev.Emptied(child.service, child.generation))


def perish(child: Child) -> None:
    """It and all of its group, and no agent hears of it."""
    child.main, child.member, child.heir, child.told = False, False, None, True


def forget(w: World, e: fx.Forget) -> None:
    there = [c for c in w.children[e.service] if c.generation == e.generation and c.main]
    assert not there, f"{e} while it lives"


def send_reload_signal(w: World, e: fx.SendReloadSignal) -> None:
    child = w.main(e.token.service, e.generation)
    if child is None or w.fault(0.03):
        w.fail(e.token, "no_such_process" if child is None else "signal_unsafe")
        return
    mains = {one.pid for one in (child.identity, child.was) if one is not None}
    assert e.pid in mains
    child.asked += 1
    if e.token.service in w.watched:
        watch(w, e.token.service)
    if child.script.takes is not None:
        w.after(child.script.takes, reads, w, child, child.asked)
    before = Baseline(w.ticks, seen_workers(w, e.token.service, e.pid))
    w.answer(e.token, w.soon(), ev.Signalled(e.token, w.now, before))


def reads(w: World, child: Child, asked: int) -> None:
    value = w.inputs[child.service]
    if not child.main or asked != child.asked:
        return
    bad = value is None or value in w.bad
    if bad and child.script.dies_of_bad:
        ends(w, child, Exit(code=1))
        return
    if not bad:
        child.taken = w.hash(child.service)
        child.takes += 1
        if child.script.halves and child.takes == 1:
            child.halved_at = w.now
    speaks(w, child, "it is bad" if bad else "")


def speaks(w: World, child: Child, refused: str) -> None:
    """The handshake of notify-reload, in two messages."""
    name, generation = child.service, child.generation
    for event in (
        ev.Notified(name, generation, reloading=w.now),
        ev.Notified(name, generation, ready=True, refused=refused),
    ):
        w.agent_after(0.0, w.feed, event)


def perform(w: World, e: fx.Perform) -> None:
    """A command that makes the service read its inputs, and says whether it did."""
    child = w.main(e.token.service, e.generation)
    if child is None or w.fault(0.03):
        w.fail(e.token, "spawn_failed")
        return
    w.after(w.soon(), performs, w, e, child, w.now)


def performs(w: World, e: fx.Perform, child: Child, at: float) -> None:
    value = w.inputs[child.service]
    if w.fault(0.03):
        done = ev.Performed(e.token, at, None, timed_out=True)
    elif w.fault(0.03):
        done = ev.Performed(e.token, at, None, error="closed without an answer")
    elif not child.main or value is None or value in w.bad:
        done = ev.Performed(e.token, at, 1, output=("bad",))
    else:
        child.taken = w.hash(child.service)
        child.takes += 1
        done = ev.Performed(e.token, at, 0)
    w.agent_after(0.0, w.answered, e.token, done)


def switch(w: World, e: fx.Switch) -> None:
    """At once; whoever is gone cannot be switched to. Back to who had the place a moment ago it does not fail."""
    slots = w.host.services[e.token.service].slots if w.host else ()
    back = any(i.generation == e.generation for i in slots)  # another one may have its turn by now
    there = any(c.there and c.generation == e.generation for c in w.children[e.token.service])
    if not there or (not back and w.fault(0.03)):
        w.fail(e.token, "switch_failed")
        return
    slot = w.slot[e.token.service, e.generation]
    if not w.takeovers[e.token.service, e.generation]:  # it has them by itself
        w.serving.setdefault(e.token.service, {})[slot] = e.generation
    w.answer(e.token, w.soon(), ev.Switched(e.token, w.now, moved=w.rng.random() < 0.8))


def withdraw(w: World, e: fx.Withdraw) -> None:
    """The others get its share."""
    shares = w.serving.get(e.service, {})
    for slot in [slot for slot, generation in shares.items() if generation == e.generation]:
        del shares[slot]


def write_down(w: World, e: fx.WriteDown) -> None:
    w.answer(e.token, w.soon(), ev.WrittenDown(e.token))


def close_sockets(w: World, e: fx.CloseSockets) -> None:
    assert not any(c.main for c in w.children[e.service]), f"{e} while somebody serves"
    w.serving.pop(e.service, None)
    w.listening.discard(e.service)


def keep_sockets(w: World, e: fx.KeepSockets) -> None:
    """Every socket of a service is one queue here: none is closed while there is a definition."""


def count(w: World, e: fx.Count) -> None:
    serves = e.generation in w.serving[e.token.service].values()
    slot = w.slot[e.token.service, e.generation]
    assert not serves or not w.instance(e.token.service, slot), "what serves is drained"
    if w.fault(0.05):
        w.fail(e.token, "count_failed")
        return
    child = w.main(e.token.service, e.generation)
    left = 0 if child is None else max(child.script.busy - child.counted, 0)
    if child is not None:
        child.counted += 1
    w.answer(e.token, w.soon(), ev.Counted(e.token, left, 0))


def restore(w: World, e: fx.Restore) -> None:
    """The inputs are what they were when they had this hash; the watch sees it, too."""
    if w.fault(0.05) or e.hash not in w.kept:
        w.fail(e.token, "restore_refused")
        return
    name = e.spec.name
    if e.over and w.hash(name) not in (e.over.removesuffix(DOUBT), e.hash):
        w.fail(e.token, "inputs_moved")
        return
    w.inputs[name] = w.kept[e.hash]
    w.agent_after(0.001, w.feed, ev.ReloadAsked(name, Cause(Trigger.WATCH), if_changed=True))
    w.answer(e.token, w.soon(), ev.Restored(e.token, 1))


def take_snapshot(w: World, e: fx.TakeSnapshot) -> None:
    if w.fault(0.02):
        w.fail(e.token, "snapshot_failed")
        return
    w.answer(e.token, w.soon(), ev.SnapshotDone(e.token, w.reading(e.spec.name)))


def run_check(w: World, e: fx.RunCheck) -> None:
    value = w.kept[e.hash.removesuffix(DOUBT)] if e.check.staged else w.inputs[e.spec.name]
    token, after = e.token, w.rng.random() * 0.02
    if w.fault(0.05):
        done = ev.CheckDone(token, None, timed_out=True)
    elif w.fault(0.05):
        done = ev.CheckDone(token, None, error="cannot run it")
    elif w.fault(0.03):
        w.fail(token, "check_failed_to_start")
        return
    else:
        done = ev.CheckDone(token, int(value is None or value in w.bad), output=("line",))
    w.answer(token, after, done)


def seen_workers(w: World, service: str, pid: int) -> tuple[Worker, ...]:
    child = next((c for c in w.children[service] if c.main and c.identity.pid == pid), None)
    return (Worker(child.identity.pid, child.takes, ""),) if child else ()


def answers(w: World, inquiry: fx.Inquiry | None) -> tuple[Said | None, ...]:
    """What a child says it runs; a liar reads its file when it is asked."""
    if inquiry is None:
        return ()
    name = inquiry.spec.name
    child = w.main(name, inquiry.generation)
    if w.fault(0.03):
        said = Said(why="no answer within 2s", known=False)
    elif child is None:
        said = Said(why="connection refused")
    else:
        runs = w.hash(name) if child.script.reads_when_asked else child.taken
        said = Said((runs or "")[7:])
    return tuple(said if question else None for question in inquiry.questions)


def watch(w: World, name: str) -> None:
    """From now on it matters whether the child reads its input."""
    child = w.main(name)
    w.watched[name] = child.takes if child else 0


def unwatch(w: World, e: fx.Unwatch) -> None:
    assert w.watched.pop(e.service, None) is not None, f"{e} is watched by nobody"


def opened(w: World, name: str) -> frozenset[str] | None:
    before, child = w.watched.get(name), w.main(name)
    if before is None or w.fault(0.02):
        return None
    return frozenset({f"/etc/{name}.conf"} if child and child.takes > before else ())


def take_baseline(w: World, e: fx.TakeBaseline) -> None:
    if e.watch:
        watch(w, e.token.service)
    seen = Baseline(w.ticks, seen_workers(w, e.token.service, e.pid), answers=answers(w, e.inquiry))
    if w.fault(0.02):
        w.fail(e.token, "baseline_failed")
    else:
        w.answer(e.token, w.soon(), ev.BaselineDone(e.token, seen))


def look(w: World, e: fx.Look) -> None:
    workers = seen_workers(w, e.token.service, e.pid)
    sight = Sight(bool(workers), w.now - e.sent_at, workers)
    hung = 3.0 if w.fault(0.02) else w.soon()
    if w.fault(0.01):
        w.fail(e.token, "look_failed")
    else:
        said = answers(w, e.inquiry) or (None,) * len(e.patterns)
        if e.opens:
            sight = replace(sight, opened=opened(w, e.token.service))
        child = w.main(e.token.service)
        if child and child.halved_at > e.sent_at:
            sight = replace(sight, matched=HALVES)
        sights = tuple(replace(sight, said=one) for one in said)
        w.answer(e.token, hung, ev.Sighted(e.token, sights))


def ask_report(w: World, e: fx.AskReport) -> None:
    child = w.main(e.token.service, e.generation)
    names = None if child is None or w.fault(0.03) else child.script.keeps
    w.answer(e.token, w.soon(), ev.Reported(e.token, names, "connection refused"))


def probe(w: World, e: fx.Ask) -> None:
    child = w.main(e.token.service, e.generation)
    why = None if child and child.ready else "connection refused"
    if child and e.token.machine in ("reload", "soak"):  # whether it is well with what it runs
        why = "answered 500" if child.taken in w.sick or w.fault(0.1) else None
    if child and e.token.machine.startswith("alive."):
        why = "no answer" if child.hung(w.now) else None
    if w.fault(0.02):
        w.fail(e.token, "probe_failed")
    else:
        w.answer(e.token, 5.0 if w.fault(0.03) else w.soon(), ev.Probed(e.token, why))


def answer(w: World, e: fx.Answer) -> None:
    w.callers.pop(e.reply)
    w.answers[e.reply] = e.answer
    if isinstance(e.answer, fx.Accepted):
        assert w.open.knows(e.answer.reload_id), f"{e.answer} promises an unknown reload"


def leave(w: World, e: fx.Leave) -> None:
    assert not w.left
    w.left = True


DOES: dict[type, Callable[[World, Any], None]] = {
    fx.Arm: arm,
    fx.Disarm: disarm,
    fx.Cancel: cancel,
    fx.Spawn: spawn,
    fx.Kill: kill,
    fx.SeekMain: moving.seek_main,
    fx.Follow: moving.follow,
    fx.Forget: forget,
    fx.SendReloadSignal: send_reload_signal,
    fx.Perform: perform,
    fx.Switch: switch,
    fx.Withdraw: withdraw,
    fx.Count: count,
    fx.WriteDown: write_down,
    fx.CloseSockets: close_sockets,
    fx.KeepSockets: keep_sockets,
    fx.Restore: restore,
    fx.TakeSnapshot: take_snapshot,
    fx.RunCheck: run_check,
    fx.TakeBaseline: take_baseline,
    fx.Unwatch: unwatch,
    fx.AskReport: ask_report,
    fx.Look: look,
    fx.Ask: probe,
    fx.Answer: answer,
    fx.Leave: leave,
}
