"""Short stories of one or two services, each told once through and once with the agent's death after every effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agentd.core import events as ev
from agentd.core.spec import (
    Alive,
    Backoff,
    Check,
    OnFailure,
    ProcessSpec,
    ReadyNotify,
    ReadyProbe,
    ReloadSpec,
    SocketKind,
    SocketSpec,
    Spec,
    StartLimit,
    TcpProbe,
    Verify,
    WatchSpec,
)
from agentd.core.steps import Evidence, Grade, Replace, Restart, RunCommand, SendSignal, Step
from agentd.evidence import Notify, Reply, Reread
from tests.core.make import BAD
from tests.sim import invariants, machine
from tests.sim.chaos import HANDLE, NAMES, REPORT
from tests.sim.children import FOREVER, Lived, Moves, Script, Shown, Taken
from tests.sim.world import PERSON, WATCH, World

Deed = Callable[[World], object]


def declared(name: str = "web", confirm: tuple[Evidence, ...] = (Taken(Grade.PROVEN),)) -> Spec:
    """A service as most are: it says when it is ready, has a check and gives evidence."""
    return Spec(
        name,
        ProcessSpec((name,)),
        inputs=(f"/etc/{name}.conf",),
        ready=ReadyNotify(),
        start_timeout=2.0,
        stop_timeout=1.0,
        backoff=Backoff(0.1, 2.0, 1.0, 5.0),
        start_limit=StartLimit(4, 60.0),
        watch=WatchSpec(0.2, 1.0),
        reload=ReloadSpec(
            steps=(SendSignal("HUP"),),
            check=Check((f"check-{name}",)),
            confirm=confirm,
            timeout=2.0,
            missing_grace=0.5,
        ),
    )


def unchecked(step: Step) -> ReloadSpec:
    """Bad bytes get as far as the service."""
    return ReloadSpec(handle="replace", steps=(step,), timeout=2.0, missing_grace=0.5)


@dataclass(frozen=True)
class Story:
    """What the children do, and who does what when (seconds after the first start)."""

    scripts: tuple[Script, ...] = (Script(),)
    deeds: tuple[tuple[float, Deed], ...] = ()
    specs: tuple[Spec, ...] = (declared(),)
    up: bool = True
    """Whether everything is ready in the end, with the bytes that are on disk, and known to be."""


def reload(w: World) -> object:
    return w.ask(ev.ReloadAsked("web", PERSON))


def edit(w: World) -> object:
    w.write("web")
    return w.feed(ev.ReloadAsked("web", WATCH, if_changed=True))


def spoil(w: World) -> object:
    w.write("web", bad=True)
    return reload(w)


def lose(w: World) -> object:
    w.inputs["web"] = None
    return w.feed(ev.ReloadAsked("web", WATCH, if_changed=True))


def write(w: World) -> object:
    return w.write("web")


def start(w: World) -> object:
    return w.ask(ev.StartAsked("web", PERSON))


def stop(w: World) -> object:
    return w.ask(ev.StopAsked("web", PERSON))


def restart(w: World) -> object:
    return w.ask(ev.RestartAsked("web", PERSON))


def hold(w: World) -> object:
    return w.ask(ev.HoldAsked("web", PERSON))


def release(w: World) -> object:
    return w.ask(ev.ReleaseAsked("web", PERSON))


def meddle(w: World) -> None:
    """Somebody else makes it read its file."""
    w.write("web")
    child = w.main("web")
    if child is not None:
        child.meddled = True
        machine.reads(w, child, child.asked)


def look_round(w: World) -> None:
    """Somebody asks how it stands: what others did is noticed."""
    child, s = w.main("web"), w.host.services["web"] if w.host else None
    if child is None or s is None:
        return
    workers = machine.seen_workers(w, "web", child.identity.pid)
    w.feed(ev.WorkersSeen("web", child.generation, workers))
    known = s.workers.get(child.generation, ())
    if child.meddled and known and workers != known:
        assert w.host is not None
        assert w.host.services["web"].live is None, "it was not noticed"
        child.meddled = False


def shutdown(w: World) -> object:
    return w.feed(ev.ShutdownAsked(leave=False))


def fewer(w: World) -> object:
    return w.define([replace(s, instances=1) for s in w.specs])


def more(w: World) -> object:
    return w.define([replace(s, instances=3) for s in w.specs])


CRASH = Script(ready=None, exits=0.02, code=1)
CHAIN = (declared("db"), replace(declared("web"), requires=("db",)))
PROBED = replace(declared(), ready=ReadyProbe(TcpProbe("h", 1), 0.1))

SOCKET = (SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80),)


def redefine(*words: str) -> Deed:
    """Somebody applies another command of every service."""

    def deed(w: World) -> None:
        command = [ProcessSpec((s.name, *words)) for s in w.specs]
        digest = " ".join(words)
        w.define(
            [replace(s, process=p, digest=digest) for s, p in zip(w.specs, command, strict=True)]
        )

    return deed


def crash(w: World) -> None:
    """What serves ends by itself."""
    for child in w.children["web"]:
        machine.ends(w, child, BAD)


def by(step: Step, *confirm: Evidence, **more: Any) -> Spec:
    """A service with another handle, and a held socket."""
    s = replace(declared(confirm=confirm), sockets=SOCKET, **more)
    return replace(s, reload=replace(s.reload, handle=HANDLE[type(step)], steps=(step,)))


def verified(s: Spec, on_failure: OnFailure = OnFailure.RESTORE, *, check: bool = True) -> Spec:
    """It is asked for half a second whether it is well, and what is bad is put back."""
    told = replace(s.reload, verify=Verify(TcpProbe("h", 1), 0.5, 0.1, 2), on_failure=on_failure)
    return replace(s, reload=told if check else replace(told, check=None))


def soaked(s: Spec, on_failure: OnFailure = OnFailure.RESTORE) -> Spec:
    """It is looked after for two seconds after the verdict."""
    told = replace(s.reload, soak=Verify(TcpProbe("h", 1), 2.0, 0.4, 2), on_failure=on_failure)
    return replace(s, reload=told)


def sicken(w: World) -> object:
    w.write("web", sick=True)
    return reload(w)


def spoil_unseen(w: World) -> object:
    w.write("web", bad=True)
    return None


SEVERAL = (replace(declared(), instances=3),)
NAMING = declared(confirm=(NAMES,))


def reporting() -> Spec:
    s = declared()
    return replace(s, reload=replace(s.reload, report=REPORT))


def in_part(**more: Any) -> Spec:
    """It says itself when it took only some of it."""
    s = declared(confirm=(Taken(),))
    return replace(s, reload=replace(s.reload, partial=machine.HALVES, **more))


def staged() -> Spec:
    s = declared()
    return replace(s, reload=replace(s.reload, check=Check(("check", "{staged}/x"))))


WRITTEN = replace(declared(), pid_file="/run/web.pid")


def followed(*moves: Moves, **more: Any) -> tuple[Script, ...]:
    """One whose main process becomes another one; whatever is started in its stead does not."""
    return Script(moves=moves, **more), Script()


REPLACED = (by(Replace()),)
TAKEN_OVER = (replace(by(Replace()), sockets=(), takes_over=True),)
WELL = (verified(declared()),)
SOAKED = (soaked(declared()),)
BUSY = Script(busy=4)
HALF = Script(takes=0.05, halves=True, keeps=("port",))
TWICE = ((1, write), (1, reload), (1.2, write), (1.2, reload), (1.4, write), (1.4, reload))

STORIES: dict[str, Story] = {
    "replace": Story(specs=REPLACED, deeds=((1, write), (1, reload))),
    "replace of a busy one": Story(
        specs=REPLACED, scripts=(BUSY,), deeds=((1, write), (1, reload), (1.05, write), (3, reload))
    ),
    "replaces in a row": Story(specs=REPLACED, scripts=(BUSY,), deeds=TWICE),
    "replace by two at most": Story(
        specs=(by(Replace(), max_generations=2),), scripts=(Script(busy=9),), deeds=TWICE
    ),
    "takeover": Story(specs=TAKEN_OVER, deeds=((1, write), (1, reload), (3, write), (3, reload))),
    "takeovers in a row": Story(specs=TAKEN_OVER, deeds=TWICE),
    "takeover from one that is stopped before its time": Story(
        specs=(replace(TAKEN_OVER[0], drain_timeout=0.1),), deeds=((1, write), (1, reload))
    ),
    "takeover by a bad one": Story(
        specs=(replace(TAKEN_OVER[0], reload=unchecked(Replace())),),
        deeds=((1, spoil), (3, edit)),
    ),
    "takeover that never gets ready": Story(
        specs=TAKEN_OVER,
        scripts=(Script(), Script(ready=None), Script()),
        deeds=((1, reload), (5, write), (5, reload)),
    ),
    "takeover found bad": Story(
        specs=(verified(TAKEN_OVER[0], OnFailure.KEEP),), deeds=((1, sicken), (3, edit))
    ),
    "takeover found bad and put back": Story(
        specs=(verified(TAKEN_OVER[0]),), deeds=((1, sicken), (5, edit))
    ),
    "takeover that dies within its reload": Story(
        specs=(verified(TAKEN_OVER[0], OnFailure.KEEP),),
        scripts=(Script(), Script(exits=0.2, code=1), Script()),
        deeds=((1, write), (1, reload)),
    ),
    "replace by a bad one": Story(
        specs=(by(Replace(), reload=unchecked(Replace())),), deeds=((1, spoil), (3, edit))
    ),
    "replace that never gets ready": Story(
        specs=REPLACED,
        scripts=(Script(), Script(ready=None), Script()),
        deeds=((1, reload), (5, write), (5, reload)),
    ),
    "replace that dies at once": Story(
        specs=REPLACED,
        scripts=(Script(), Script(ready=0.05, exits=0.051, code=1), Script()),
        deeds=((1, reload), (5, write), (5, reload)),
    ),
    "replaced dies meanwhile": Story(
        specs=REPLACED,
        scripts=(Script(exits=1.1, code=1), Script(ready=0.3), Script()),
        deeds=((1, write), (1, reload)),
    ),
    "replaced dies meanwhile and leaves a member behind": Story(
        specs=REPLACED,
        scripts=(
            Script(exits=1.1, code=1, leaves=FOREVER, member_obeys=False),
            Script(ready=0.3),
            Script(),
        ),
        deeds=((1, write), (1, reload)),
    ),
    "start of one that is being replaced": Story(
        specs=REPLACED,
        scripts=(Script(exits=1.05, code=1), Script(ready=0.3), Script()),
        deeds=((1, write), (1, reload), (1.1, start)),
    ),
    "start of one that is being restarted": Story(
        specs=(by(Restart()),),
        scripts=(Script(term=0.1), Script()),
        deeds=((1, write), (1, reload), (1.05, start)),
    ),
    "replace and stop": Story(
        specs=REPLACED,
        scripts=(Script(), Script(ready=0.3)),
        deeds=((1, reload), (1.1, stop)),
        up=False,
    ),
    "replace and restart": Story(
        specs=REPLACED, scripts=(BUSY, BUSY, Script()), deeds=((1, reload), (1.12, restart))
    ),
    "shutdown while it drains": Story(
        specs=REPLACED, scripts=(BUSY,), deeds=((1, reload), (1.2, shutdown)), up=False
    ),
    "restart by reload": Story(specs=(by(Restart()),), deeds=((1, write), (1, reload))),
    "restart by reload of a stubborn one": Story(
        specs=(by(Restart()),),
        scripts=(Script(term=None), Script()),
        deeds=((1, write), (1, reload)),
    ),
    "restart by reload that fails once": Story(
        specs=(by(Restart()),),
        scripts=(Script(), CRASH, Script()),
        deeds=((1, write), (1, reload), (3, start)),
    ),
    "by command": Story(
        specs=(by(RunCommand(("take",)), Reply()),), deeds=((1, write), (1, reload))
    ),
    "by notify": Story(
        specs=(declared(confirm=(Notify(),)),),
        scripts=(Script(takes=0.2),),
        deeds=((1, write), (1, reload)),
    ),
    "verified": Story(specs=WELL, deeds=((1, write), (1, reload))),
    "verified replace": Story(
        specs=(verified(by(Replace())),), deeds=((1, write), (1, reload), (1.3, reload))
    ),
    "not well, and kept": Story(
        specs=(verified(declared(), OnFailure.KEEP),), deeds=((1, sicken), (3, edit))
    ),
    "not well, and put back": Story(specs=WELL, deeds=((1, sicken),)),
    "not well, put back, and mended": Story(specs=WELL, deeds=((1, sicken), (3, edit))),
    "not well, put back and edited meanwhile": Story(specs=WELL, deeds=((1, sicken), (1.12, edit))),
    "next one not well, and kept": Story(
        specs=(verified(by(Replace()), OnFailure.KEEP),),
        scripts=(BUSY,),
        deeds=((1, sicken), (3, edit)),
    ),
    "next one not well, and put back": Story(
        specs=(verified(by(Replace())),), scripts=(BUSY,), deeds=((1, sicken),)
    ),
    "next one dies while it is verified": Story(
        specs=(verified(by(Replace())),),
        scripts=(Script(), Script(exits=0.3, code=1), Script()),
        deeds=((1, write), (1, reload)),
    ),
    "both die while the next one is verified": Story(
        specs=(verified(by(Replace())),),
        scripts=(Script(exits=1.2, code=1), Script(exits=0.3, code=1), Script()),
        deeds=((1, write), (1, reload)),
    ),
    "not well after a restart, and put back": Story(
        specs=(verified(by(Restart())),), deeds=((1, sicken),)
    ),
    "dies of its reload, and is put back": Story(
        specs=(verified(declared(), check=False),),
        scripts=(Script(takes=0.1, dies_of_bad=True), Script()),
        deeds=((1, spoil),),
    ),
    "dies of its reload, leaves a member behind, and is put back": Story(
        specs=(verified(declared(), check=False),),
        scripts=(
            Script(takes=0.1, dies_of_bad=True, leaves=FOREVER, member_obeys=False),
            Script(),
        ),
        deeds=((1, spoil),),
    ),
    "dies while it is verified, and is put back": Story(
        specs=WELL, scripts=(Script(exits=1.3, code=1), Script()), deeds=((1, write), (1, reload))
    ),
    "put back in vain": Story(
        specs=(verified(declared(), check=False),),
        scripts=(Script(takes=0.1, dies_of_bad=True), CRASH, Script()),
        deeds=((1, spoil),),
    ),
    "bad restart, and put back": Story(
        specs=(verified(by(Restart()), check=False),), deeds=((1, spoil),)
    ),
    "crash with a bad file on the disk": Story(
        specs=(verified(declared(), check=False),),
        scripts=(Script(exits=2.0, code=1), Script()),
        deeds=((1, spoil_unseen),),
    ),
    "crash with a rejected file on the disk": Story(
        specs=WELL, scripts=(Script(exits=2.0, code=1), Script()), deeds=((1, spoil),)
    ),
    "stop while it is put back": Story(specs=WELL, deeds=((1, sicken), (1.115, stop)), up=False),
    "restart while it is put back": Story(specs=WELL, deeds=((1, sicken), (1.115, restart))),
    "refused, and put back": Story(
        specs=(verified(declared(confirm=(Notify(),)), check=False),), deeds=((1, spoil),)
    ),
    "several not well, and put back": Story(
        specs=(replace(WELL[0], instances=2),), deeds=((3, sicken),)
    ),
    "several by replace not well, and put back": Story(
        specs=(replace(verified(by(Replace())), instances=2),), deeds=((3, sicken),), up=False
    ),
    "soaks well": Story(specs=SOAKED, deeds=((3, write), (3, reload), (4, reload))),
    "soaks badly, and is put back": Story(specs=SOAKED, deeds=((3, sicken),)),
    "soaks badly, and is kept": Story(
        specs=(soaked(declared(), OnFailure.KEEP),), deeds=((3, sicken), (6, edit))
    ),
    "soaks badly after a replace, and is put back": Story(
        specs=(soaked(by(Replace())),), scripts=(BUSY,), deeds=((3, sicken),)
    ),
    "several soak badly, and are put back": Story(
        specs=(replace(SOAKED[0], instances=2),), deeds=((3, sicken),)
    ),
    "ends while it soaks, and starts with what was good": Story(
        specs=SOAKED, scripts=(Script(exits=4.0, code=1), Script()), deeds=((3, write), (3, reload))
    ),
    "other bytes overtake what soaks": Story(
        specs=SOAKED, deeds=((3, sicken), (3.5, write), (3.5, reload))
    ),
    "restart of one that soaks badly": Story(specs=SOAKED, deeds=((3, sicken), (3.5, restart))),
    "stop of one that soaks": Story(
        specs=SOAKED, deeds=((3, write), (3, reload), (4, stop)), up=False
    ),
    "reloaded behind the agent's back": Story(
        deeds=((1, look_round), (2, meddle), (3, look_round), (4, reload))
    ),
    "reloaded behind the agent's back after one of ours": Story(
        deeds=((1, write), (1, reload), (2, meddle), (3, look_round), (4, reload))
    ),
    "by who reads the file": Story(
        specs=(declared(confirm=(Reread(),)),), deeds=((1, write), (1, reload), (2, reload))
    ),
    "three instances": Story(specs=SEVERAL),
    "three instances take it in turn": Story(
        specs=SEVERAL, deeds=((1, write), (1, reload), (2, edit))
    ),
    "three instances by command": Story(
        specs=(by(RunCommand(("take",)), Reply(), instances=3),), deeds=((1, write), (1, reload))
    ),
    "the second of three refuses": Story(
        specs=SEVERAL,
        scripts=(Script(), Script(takes=None), Script()),
        deeds=((1, write), (1, reload)),
        up=False,
    ),
    "the second of three dies of its reload": Story(
        specs=SEVERAL,
        scripts=(Script(), Script(takes=0.1, dies_of_bad=True), Script()),
        deeds=((1, write), (1.01, reload), (1.02, lambda w: w.bad.add(w.version)), (3, edit)),
        up=False,
    ),
    "one of three crashes": Story(
        specs=SEVERAL, scripts=(Script(), Script(exits=1.0, code=1), Script())
    ),
    "three instances are replaced": Story(
        specs=(by(Replace(), instances=3),), scripts=(BUSY,), deeds=((1, write), (1, reload))
    ),
    "the second of three is not replaced": Story(
        specs=(by(Replace(), instances=3),),
        scripts=(*(Script(),) * 4, Script(ready=None), Script()),
        deeds=((1, write), (1, reload), (5, write), (5, reload)),
    ),
    "two instances are restarted": Story(
        specs=(by(Restart(), instances=2),), deeds=((1, write), (1, reload))
    ),
    "two instances are stopped while they are restarted": Story(
        specs=(by(Restart(), instances=2),),
        deeds=((1, write), (1, reload), (1.04, stop), (2, start)),
    ),
    "fewer and more": Story(
        specs=(by(Replace(), instances=2),), scripts=(BUSY,), deeds=((1, fewer), (1.2, more))
    ),
    "by version": Story(specs=(NAMING,), deeds=((1, write), (1, reload), (2, reload))),
    "by version, slowly": Story(
        specs=(NAMING,), scripts=(Script(takes=0.4),), deeds=((1, write), (1, reload))
    ),
    "by version of one that reads its file when it is asked": Story(
        specs=(NAMING,),
        scripts=(Script(takes=None, reads_when_asked=True),),
        deeds=((1, write), (1, reload)),
        up=False,
    ),
    "another main process, which says so": Story(
        scripts=followed(Moves(1.0), Moves(2.0)), deeds=((3, write), (3, reload), (4, restart))
    ),
    "another main process, by its file": Story(
        specs=(WRITTEN,), scripts=followed(Moves(1.0, Shown.FILE)), deeds=((2, write), (2, reload))
    ),
    "another main process, by a file that is written late": Story(
        specs=(WRITTEN,), scripts=followed(Moves(1.0, Shown.LATE)), deeds=((2, write), (2, reload))
    ),
    "another main process, which nothing shows": Story(
        specs=(WRITTEN,), scripts=followed(Moves(1.0, Shown.NOT)), deeds=((6, start),)
    ),
    "another main process, that ends before the former one": Story(
        scripts=followed(Moves(1.0, overlap=FOREVER, dies=0.1)), deeds=((2, write), (2, reload))
    ),
    "another main process within a reload": Story(
        scripts=followed(Moves(1.15, overlap=0.1), takes=0.2),
        deeds=((1.1, write), (1.1, reload), (2, reload)),
    ),
    "another main process that had read before a reload told the former one": Story(
        specs=(replace(declared(confirm=(Lived(),)), pid_file="/run/web.pid"),),
        scripts=followed(Moves(1.0, Shown.FILE, 0.25)),
        deeds=((1.1, write), (1.1, reload)),
        up=False,
    ),
    "another main process, and stop": Story(
        scripts=followed(Moves(1.0, overlap=5.0)), deeds=((1.1, stop),), up=False
    ),
    "another main process is looked for, and stop": Story(
        specs=(WRITTEN,),
        scripts=followed(Moves(1.0, Shown.LATE)),
        deeds=((1.2, stop),),
        up=False,
    ),
    "into the background, and a file that is written late": Story(
        specs=(WRITTEN,), scripts=followed(Moves(0.02, Shown.LATE, 0.0), ready=0.5)
    ),
    "into the background, and it says so": Story(
        scripts=followed(Moves(0.02, overlap=0.0), ready=0.1)
    ),
    "into the background, and nothing shows it": Story(
        scripts=followed(Moves(0.02, Shown.NOT, 0.0)), deeds=((4, start),)
    ),
    "first start": Story(),
    "probed start": Story(specs=(PROBED,), scripts=(Script(ready=0.25),)),
    "start with ready before spawned": Story(scripts=(Script(early=True),)),
    "start of a chain": Story(specs=CHAIN),
    "reload": Story(deeds=((1, write), (1, reload))),
    "reload of the same bytes": Story(deeds=((1, reload),)),
    "slow reload": Story(scripts=(Script(takes=0.4),), deeds=((1, write), (1, reload))),
    "watched edits": Story(deeds=((1, edit), (1.1, edit), (1.5, edit), (1.6, edit))),
    "edit while starting": Story(deeds=((0.02, edit), (0.03, reload))),
    "edit during a reload": Story(scripts=(Script(takes=0.2),), deeds=((1, reload), (1.1, edit))),
    "two reloads": Story(scripts=(Script(takes=0.3),), deeds=((1, reload), (1.1, reload))),
    "rejected": Story(deeds=((1, spoil),), up=False),
    "rejected and mended": Story(deeds=((1, spoil), (2, write), (2, reload))),
    "timed out": Story(scripts=(Script(takes=None),), deeds=((1, reload),), up=False),
    "checked on a copy while it is edited": Story(
        specs=(staged(),), deeds=((1, write), (1, reload), (1.005, write))
    ),
    "some settings want a restart": Story(
        specs=(reporting(),),
        scripts=(Script(keeps=("port",)),),
        deeds=((1, write), (1, reload), (2, restart)),
    ),
    "takes some of it by its own word": Story(
        specs=(in_part(),), scripts=(HALF, Script()), deeds=((1, edit), (2, restart))
    ),
    "takes some of it and names what is missing": Story(
        specs=(in_part(report=REPORT),), scripts=(HALF, Script()), deeds=((1, edit), (2, restart))
    ),
    "takes some of it and is well with that": Story(
        specs=(verified(in_part(report=REPORT)),),
        scripts=(HALF, Script()),
        deeds=((1, edit), (3, restart)),
    ),
    "takes some of it, is not well with that, and goes back": Story(
        specs=(verified(in_part()),),
        scripts=(replace(HALF, keeps=()),),
        deeds=((1, sicken), (4, edit)),
    ),
    "evidence that comes late": Story(
        scripts=(Script(takes=5.0),), deeds=((1, write), (1, reload), (20, reload))
    ),
    "evidence that comes late, and another edit": Story(
        scripts=(Script(takes=5.0),), deeds=((1, write), (1, reload), (4, write)), up=False
    ),
    "unverified": Story(specs=(declared(confirm=()),), deeds=((1, reload),), up=False),
    "dies of its reload": Story(
        scripts=(Script(takes=0.1, dies_of_bad=True), Script()),
        deeds=((1, reload), (1.05, write), (1.05, lambda w: w.bad.add(w.version)), (2, edit)),
    ),
    "missing at the start": Story(
        deeds=((0, lambda w: w.inputs.update(web=None)), (3, edit), (3, start)), up=False
    ),
    "missing for long": Story(deeds=((1, lose),), up=False),
    "stop": Story(deeds=((1, stop),), up=False),
    "stop while being born": Story(deeds=((0.004, stop), (1, start))),
    "stop and start": Story(deeds=((1, stop), (1.01, start))),
    "restart": Story(deeds=((1, restart),)),
    "restart during a reload": Story(
        scripts=(Script(takes=0.3),), deeds=((1, reload), (1.2, restart))
    ),
    "stubborn": Story(scripts=(Script(term=None), Script()), deeds=((1, restart),)),
    "leaves a member behind": Story(
        scripts=(Script(leaves=FOREVER, member_obeys=False), Script()), deeds=((1, restart),)
    ),
    "crashes once": Story(scripts=(Script(exits=1.0, code=1), Script())),
    "falls silent once": Story(
        specs=(replace(declared(), process=ProcessSpec(("web",), watchdog=20.0)),),
        scripts=(Script(silent=0.0), Script()),
    ),
    "hangs once": Story(
        specs=(replace(declared(), alive=Alive(TcpProbe("h", 1), 20.0, 2)),),
        scripts=(Script(hangs=1.0), Script()),
        deeds=((30, reload),),
    ),
    "crash loop": Story(scripts=(CRASH,), up=False),
    "crash loop mended by a reload": Story(
        scripts=(*(CRASH,) * 3, Script()), deeds=((0.25, edit), (0.26, reload))
    ),
    "held": Story(deeds=((1, hold), (1.2, edit), (1.3, reload), (2, release))),
    "held while it settles": Story(deeds=((1, edit), (1.1, hold), (2, release))),
    "another command": Story(
        specs=(by(Replace()),), deeds=((1, redefine("-v")), (3, edit), (5, redefine()))
    ),
    "a command that never comes up, and a crash": Story(
        specs=(by(Replace()),),
        deeds=((1, redefine(machine.BAD)), (3, crash), (6, redefine("-v"))),
    ),
    "a command that never comes up, of two instances": Story(
        specs=(replace(by(Replace()), instances=2),),
        deeds=(
            (1, redefine(machine.BAD)),
            (1.02, redefine("-v")),
            (3, redefine(machine.BAD)),
            (6, redefine()),
        ),
    ),
    "another command while the former one is restarted": Story(
        deeds=((1, redefine("-v")), (1.01, redefine("-q")))
    ),
    "shutdown": Story(specs=CHAIN, deeds=((1, shutdown),), up=False),
}


def tell(name: str, die_at: int = 0, *, lost: bool = False) -> World:
    """The story to its end, then rest; with ``die_at`` the agent dies after its k-th effect and another one begins.

    ``lost``: without its journal.
    """
    story = STORIES[name]
    w = World(story.specs, seed=1)
    w.keep_notes = True
    w.die_at, w.loses = die_at, lost
    for spec in story.specs:
        w.scripts[spec.name] = list(story.scripts)
    for at, deed in story.deeds:
        w.after(at, deed, w)
    w.start()
    w.run(300.0)
    if w.host is not None and (w.left or w.host.ending):
        w.die()
        w.start()
        w.run(300.0)
    invariants.rest(w)
    assert w.host is not None
    if story.up and die_at == 0:  # otherwise a deed may have met no agent, and so may a READY
        for s in w.host.services.values():
            for i in s.slots:
                child = w.main(s.spec.name, i.generation)
                assert child, f"{s.spec.name} is {i.phase}: {i.why}"
                assert child.taken == w.hash(s.spec.name), f"it runs {child.taken}"
            assert s.live is not None, "nobody knows what it runs"
    return w
