"""The real runtime on virtual time: scripted children, faults, and an agent that dies after every effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from agent import Life, living
from fakes import Script, World, digest
from loop import VirtualLoop, virtual

from agentd.core.events import (
    HoldAsked,
    ReleaseAsked,
    ReloadAsked,
    RestartAsked,
    ShutdownAsked,
    StartAsked,
    StopAsked,
)
from agentd.core.facts import BaselineTaken, Cause, Judged, MainMoved, PhaseEntered, Requested
from agentd.core.instance import Phase
from agentd.core.memory import Want
from agentd.core.process import Exit
from agentd.core.spec import (
    Backoff,
    Check,
    ProcessSpec,
    ReadyAfter,
    ReadyNotify,
    ReloadSpec,
    SocketKind,
    SocketSpec,
    Spec,
    StartLimit,
    WatchSpec,
)
from agentd.core.steps import Replace, Restart, RunCommand, SendSignal, Step
from agentd.evidence import Reply, Workers
from agentd.ports import Message
from agentd.wire import Trigger, Verdict

CLI = Cause(Trigger.CLI, user="ann", uid=1000)
WATCH = Cause(Trigger.WATCH)


def web(**more: object) -> Spec:
    reload = ReloadSpec(
        steps=(SendSignal("HUP"),), check=Check(("check",)), confirm=(Workers(),), timeout=5
    )
    given = {
        "ready": ReadyNotify(),
        "watch": WatchSpec(),
        "reload": reload,
        "inputs": ("/web.conf",),
    }
    return Spec("web", ProcessSpec(("web",)), **(given | more))  # type: ignore[arg-type]


def verdicts(world: World, *, starts: bool = False) -> list[tuple[Trigger, Verdict, str]]:
    judged = [f for f in world.facts(Judged) if isinstance(f, Judged)]
    return [
        (f.trigger, f.verdict, f.error_type)
        for f in judged
        if starts or f.trigger is not Trigger.START
    ]


@virtual
async def test_a_reload_is_applied_and_live_follows() -> None:
    world = World({"web": [Script(ready_after=0.1)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        assert life.phase("web") is Phase.READY
        world.text["web"] = "v2"
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(1)
        assert verdicts(world) == [(Trigger.CLI, Verdict.APPLIED, "")]
        live = life.runtime.host.services["web"].live
        assert live is not None
        assert live.hash == digest("v2") == world.running("web")[0].config


@virtual
async def test_when_all_is_settled_no_timer_is_armed() -> None:
    world = World({"web": [Script(ready_after=0.1)]})
    async with living(world, web()) as life:
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        assert loop.armed() == 0


@virtual
async def test_a_stop_while_the_spawn_is_in_flight_is_obeyed() -> None:
    world = World({"web": [Script()]})
    async with living(world, web()) as life:
        await asyncio.sleep(0.001)
        while life.phase("web") is not Phase.STARTING:
            await asyncio.sleep(0.0005)
        assert not world.running("web")
        life.post(StopAsked("web", CLI))
        await asyncio.sleep(30)
        assert life.phase("web") is Phase.DOWN
        assert not world.running("web")


@virtual
async def test_a_child_that_ignores_term_is_killed_after_the_stop_timeout() -> None:
    world = World({"web": [Script(ready_after=0.1, on={"TERM": None})]})
    async with living(world, web(stop_timeout=5)) as life:
        await asyncio.sleep(1)
        life.post(StopAsked("web", CLI))
        await asyncio.sleep(10)
        assert world.sent == [(1.0, "web", "TERM"), (6.0, "web", "KILL")]


@virtual
async def test_a_watch_settles_checks_and_tells_nothing_of_nothing() -> None:
    world = World({"web": [Script(ready_after=0.1)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        life.post(ReloadAsked("web", WATCH, if_changed=True))
        await asyncio.sleep(1)
        assert verdicts(world) == []
        world.text["web"] = "bad"
        for _ in range(10):
            life.post(ReloadAsked("web", WATCH, if_changed=True))
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert verdicts(world) == [(Trigger.WATCH, Verdict.REJECTED, "check_failed")]
        life.post(ReloadAsked("web", WATCH, if_changed=True))
        await asyncio.sleep(1)
        assert len(verdicts(world)) == 1  # quarantined: only a person tries it again
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(1)
        assert verdicts(world)[1:] == [(Trigger.CLI, Verdict.REJECTED, "check_failed")]
        assert [s for _, _, s in world.sent] == []


@virtual
async def test_a_file_that_never_rests_is_taken_at_the_settle_limit() -> None:
    world = World({"web": [Script(ready_after=0.1)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        for number in range(200):
            world.text["web"] = f"v{number}"
            life.post(ReloadAsked("web", WATCH, if_changed=True))
            await asyncio.sleep(0.05)
        assert [s for _, _, s in world.sent] == ["HUP"]
        assert 6.0 <= world.sent[0][0] <= 6.2


@virtual
async def test_a_server_that_ignores_the_signal_times_out_and_is_left_alone() -> None:
    world = World({"web": [Script(ready_after=0.1, takes_hup=False)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        world.text["web"] = "v2"
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(10)
        assert verdicts(world) == [(Trigger.CLI, Verdict.TIMED_OUT, "timeout")]
        assert life.runtime.host.services["web"].live is None
        assert life.phase("web") is Phase.READY


@virtual
async def test_workers_born_just_before_the_signal_are_no_evidence() -> None:
    world = World({"web": [Script(ready_after=0.1, takes_hup=False)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        world.text["web"] = "v2"

        def somebody_elses_reload() -> None:
            assert world.facts(BaselineTaken)
            world.running("web")[0].workers = world.worker()

        world.before_signal = somebody_elses_reload
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(10)
        assert verdicts(world) == [(Trigger.CLI, Verdict.TIMED_OUT, "timeout")]


@virtual
async def test_a_server_that_dies_of_its_reload_is_a_failure_and_is_started_again() -> None:
    world = World(
        {"web": [Script(ready_after=0.1, on={"HUP": (0.0, -1)}), Script(ready_after=0.1)]}
    )
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(5)
        assert verdicts(world) == [(Trigger.CLI, Verdict.FAILED, "service_died")]
        assert life.phase("web") is Phase.READY


@virtual
async def test_a_crash_loop_ends_at_the_start_limit_and_a_person_may_try_again() -> None:
    world = World({"web": [Script(ready_after=None, exits=(0.1, 1))]})
    async with living(world, web()) as life:
        await asyncio.sleep(60)
        assert life.phase("web") is Phase.FAILED
        assert sum(f.phase == "starting" for f in world.facts(PhaseEntered)) == 5  # type: ignore[union-attr]
        world.scripts["web"] = [Script(ready_after=0.1)]
        life.post(StartAsked("web", CLI))
        await asyncio.sleep(1)
        assert life.phase("web") is Phase.READY


@virtual
async def test_a_journal_that_cannot_be_written_keeps_services_up_and_rejects_reloads() -> None:
    world = World({"web": [Script(ready_after=0.1), Script(ready_after=0.1)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        world.store_works = False
        asked = asyncio.ensure_future(life.runtime.ask(ReloadAsked("web", CLI)))
        await asyncio.sleep(1)
        accepted = await asked
        assert [s for _, _, s in world.sent] == []
        assert any("journal cannot be written" in what for what in life.troubles)
        world.ends(
            world.running("web")[0], __import__("agentd.core.process").core.process.Exit(code=1)
        )
        await asyncio.sleep(1)
        assert life.phase("web") is Phase.READY
        last = life.runtime.host.services["web"].last
        assert last is not None
        assert (last.reload_id, last.verdict) == (accepted.reload_id, Verdict.REJECTED)  # type: ignore[union-attr]
        world.store_works = True


@virtual
async def test_shutdown_stops_in_reverse_order_and_leaves() -> None:
    order = [Script(ready_after=0.1, on={"TERM": (0.5, 0)})]
    world = World({"web": order, "db": list(order)})
    db = Spec("db", ProcessSpec(("db",)), ready=ReadyAfter(0.1))
    async with living(world, web(requires=("db",)), db) as life:
        await asyncio.sleep(1)
        life.post(ShutdownAsked(leave=False))
        await life.finished()
        assert [(service, signal) for _, service, signal in world.sent] == [
            ("web", "TERM"),
            ("db", "TERM"),
        ]
        assert not world.running("web") + world.running("db")
        world.agent.dead = True  # type: ignore[union-attr]


Story = Callable[[Life, World], "asyncio.Future[None]"]


async def _reload(life: Life, world: World) -> None:
    await asyncio.sleep(0.5)
    world.text["web"] = "v2"
    life.post(ReloadAsked("web", CLI))
    await asyncio.sleep(2)


async def _watch_bad_then_good(life: Life, world: World) -> None:
    await asyncio.sleep(0.5)
    world.text["web"] = "bad"
    life.post(ReloadAsked("web", WATCH, if_changed=True))
    await asyncio.sleep(1)
    world.text["web"] = "v3"
    life.post(ReloadAsked("web", WATCH, if_changed=True))
    await asyncio.sleep(1)


async def _hold_and_release(life: Life, world: World) -> None:
    await asyncio.sleep(0.5)
    life.post(HoldAsked("web", CLI))
    world.text["web"] = "v2"
    life.post(ReloadAsked("web", CLI))
    await asyncio.sleep(0.2)
    life.post(ReleaseAsked("web", CLI))
    await asyncio.sleep(1)


async def _restart(life: Life, world: World) -> None:
    del world
    await asyncio.sleep(0.5)
    life.post(RestartAsked("web", CLI))
    await asyncio.sleep(2)


async def _crash(life: Life, world: World) -> None:
    del life
    await asyncio.sleep(0.5)
    child = world.running("web")[0]
    world.takes(child, "KILL", group=True)
    await asyncio.sleep(2)


async def _hold_while_it_is_born(life: Life, world: World) -> None:
    """Another write of the same memory, while the process may already run and the core has not heard of it."""
    del world
    await asyncio.sleep(0.001)
    while life.phase("web") is not Phase.STARTING:
        await asyncio.sleep(0.0002)
    for _ in range(4):
        life.post(HoldAsked("web", CLI))
        await asyncio.sleep(0.0003)
        life.post(ReleaseAsked("web", CLI))
        await asyncio.sleep(0.0003)
    await asyncio.sleep(1)


async def _two_reloads(life: Life, world: World) -> None:
    await asyncio.sleep(1)
    world.text["web"] = "v2"
    life.post(ReloadAsked("web", CLI))
    await asyncio.sleep(1)
    world.text["web"] = "v3"
    life.post(ReloadAsked("web", CLI))
    await asyncio.sleep(1)


def by(step: Step, **more: object) -> Spec:
    """The same service with another handle and a socket."""
    handle = {Replace: "replace", Restart: "restart", RunCommand: "exec"}[type(step)]
    confirm = (Reply(),) if handle == "exec" else ()
    reload = ReloadSpec(handle, (step,), Check(("check",)), confirm, timeout=5)
    sockets = (SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80),)
    return web(reload=reload, sockets=sockets, **more)


@virtual
async def test_a_replacement_is_ready_before_the_old_one_goes_and_gets_the_connections() -> None:
    world = World({"web": [Script(ready_after=0.1)]})
    async with living(world, by(Replace())) as life:
        await asyncio.sleep(1)
        (old,) = world.running("web")
        world.text["web"] = "v2"
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(0.12)
        assert [c.key.generation for c in world.running("web")] == [1, 2]
        assert world.serving("web") == 1
        await asyncio.sleep(1)
        (new,) = world.running("web")
        assert world.serving("web") == new.key.generation == 2
        assert (old.alive, new.config) == (False, digest("v2"))
        assert verdicts(world) == [(Trigger.CLI, Verdict.APPLIED, "")]


@virtual
async def test_a_next_generation_that_never_gets_ready_leaves_the_old_one() -> None:
    world = World({"web": [Script(ready_after=0.1), Script(ready_after=None)]})
    async with living(world, by(Replace(), start_timeout=2)) as life:
        await asyncio.sleep(1)
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(5)
        assert [c.key.generation for c in world.running("web")] == [1]
        assert world.serving("web") == 1
        assert verdicts(world) == [(Trigger.CLI, Verdict.REFUSED, "start_timeout")]


@virtual
async def test_an_agent_without_a_journal_goes_on_with_those_who_are_there() -> None:
    world = World({"web": [Script(ready_after=0.1)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        (child,) = world.running("web")
        await life.die()
        world.memories, world.records = {}, []
        life.begin()
        await asyncio.sleep(5)
        assert world.running("web") == [child]
        assert (life.phase("web"), life.runtime.host.services["web"].live) == (Phase.READY, None)
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(1)
        assert verdicts(world) == [(Trigger.CLI, Verdict.APPLIED, "")]
        world.ends(child, Exit(code=1))
        await asyncio.sleep(5)
        assert [c.key.generation for c in world.running("web")] == [2]


@virtual
async def test_who_was_started_while_the_journal_could_not_be_written_is_not_started_again() -> (
    None
):
    world = World({"web": [Script(ready_after=0.1)]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        world.store_works = False
        world.ends(world.running("web")[0], Exit(code=1))
        await asyncio.sleep(5)
        (child,) = world.running("web")
        assert child.key.generation == 2
        await life.die()
        world.store_works = True
        life.begin()
        await asyncio.sleep(5)
        assert world.running("web") == [child]
        assert life.phase("web") is Phase.READY


@virtual
async def test_birth_files_that_cannot_be_written_are_said_once_and_keep_nobody_down() -> None:
    world = World({"web": [Script(ready_after=0.1)]})
    world.births_work = False
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        assert life.phase("web") is Phase.READY
        (said,) = life.troubles
        assert "without it a lost journal cannot be made good" in said
        world.births_work = True
        life.post(StopAsked("web", CLI))
        await asyncio.sleep(1)
        assert world.births["web"].want is Want.DOWN


def test_nobody_waits_for_a_service_that_was_given_up_whenever_the_agent_died() -> None:
    """Its sockets are closed by the next agent, if the one that gave it up did not live to do that."""
    spec = by(Restart(), start_limit=StartLimit(3, 60), backoff=Backoff(0.1))
    k = 0
    while True:
        world, k = World({"web": [Script(ready_after=None, exits=(0.1, 1))]}), k + 1
        world.die_after = k

        async def life_and_death(world: World = world) -> bool:
            died = asyncio.Event()
            world.on_death = died.set
            life = Life(world, [spec])
            life.begin()
            await asyncio.sleep(5)
            if died.is_set():
                await life.die()
                life.begin()
                await asyncio.sleep(5)
            assert life.phase("web") is Phase.FAILED
            assert "web" not in world.held
            life.post(ShutdownAsked(leave=True))
            await life.finished()
            return died.is_set()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            if not runner.run(life_and_death()):
                break
    assert k > 10


STORIES = [
    _hold_while_it_is_born,
    _reload,
    _watch_bad_then_good,
    _hold_and_release,
    _restart,
    _crash,
]


@pytest.mark.parametrize(
    "step", [Replace(), Restart(), RunCommand(("take",))], ids=lambda s: s.label
)
def test_the_agent_dies_after_every_effect_of_other_handles(step: Step) -> None:
    """As below; a next generation that was not taken is ended, whoever got the connections."""
    count = _live(_two_reloads, None, by(step))
    assert count > 10
    for k in range(1, count + 1):
        _live(_two_reloads, k, by(step))


@pytest.mark.parametrize("step", [Replace(), Restart()], ids=lambda s: s.label)
def test_the_agent_dies_after_every_effect_of_two_instances(step: Step) -> None:
    """Every instance is there in the end, in its place, with its share."""
    count = _live(_two_reloads, None, by(step, instances=2))
    assert count > 20
    for k in range(1, count + 1):
        _live(_two_reloads, k, by(step, instances=2))


@pytest.mark.parametrize("story", STORIES)
def test_the_agent_dies_after_every_effect(story: Callable[[Life, World], object]) -> None:
    """On restart it adopts or ends every child and finishes or undoes the reload, exactly once."""
    count = _live(story, None)
    assert count > 10
    for k in range(1, count + 1):
        _live(story, k)


def _live(story: Callable[[Life, World], object], k: int | None, spec: Spec | None = None) -> int:
    world = World({"web": [Script(ready_after=0.05)]})

    async def life_and_death() -> None:
        died = asyncio.Event()
        world.die_after, world.on_death = k, died.set
        life = Life(world, [spec or web()])
        life.begin()
        if k is None:
            await story(life, world)  # type: ignore[misc]
        else:
            told = asyncio.ensure_future(story(life, world))  # type: ignore[arg-type]
            await asyncio.wait(
                [told, asyncio.ensure_future(died.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            told.cancel()
            await life.die()
            await asyncio.sleep(0.01)
            life.begin()
            await asyncio.sleep(20)
        _at_rest(life, world)
        life.post(ShutdownAsked(leave=True))
        await life.finished()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(life_and_death())
    return world.effects


def _at_rest(life: Life, world: World) -> None:
    """Where everything must be when nothing more comes."""
    assert life.troubles == []
    service = life.runtime.host.services["web"]
    assert service.phase is Phase.READY
    running = {child.key.generation: child for child in world.running("web")}
    assert len(running) == len(service.slots) == service.spec.instances
    for i in service.slots:
        assert i.process is not None
        assert i.process.cookie == running[i.generation].identity.cookie
        if service.live is not None:
            assert service.live.hash == running[i.generation].config
    assert service.running is None
    assert service.waiting is None
    assert len(service.alive) == len(service.slots)
    if service.spec.sockets:
        assert world.shares("web") == [i.generation for i in service.slots]
    asked = [f.reload_id for f in world.facts(Requested)]  # type: ignore[union-attr]
    judged = [f.reload_id for f in world.facts(Judged)]  # type: ignore[union-attr]
    assert sorted(asked) == sorted(judged), (asked, judged)
    hups = sum(signal == "HUP" for _, _, signal in world.sent)
    applied = [v for v in verdicts(world) if v[1] in (Verdict.APPLIED, Verdict.FAILED)]
    assert hups <= max(len(applied), 0)


WRITTEN = "/run/web.pid"


@virtual
async def test_a_main_process_that_the_service_names_is_followed_over_the_agents_death() -> None:
    world = World({"web": [Script()]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        heir = world.heir("web")
        world.says("web", ("MAINPID", str(heir.pid)))
        await asyncio.sleep(1)
        assert world.facts(MainMoved) == [
            MainMoved("web", 1, heir.pid, heir.pid - 2, "it said MAINPID")
        ]
        await life.die()
        life.begin()
        await asyncio.sleep(1)
        instance = life.runtime.host.services["web"].instance
        assert (instance.phase, instance.process) == (Phase.READY, heir)
        world.text["web"] = "v2"
        life.post(ReloadAsked("web", CLI))
        await asyncio.sleep(1)
        assert verdicts(world) == [(Trigger.CLI, Verdict.APPLIED, "")]


@virtual
async def test_who_is_none_of_its_processes_is_not_followed_and_that_is_said_once() -> None:
    world = World({"web": [Script()]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        for pid in ("1", "1", "2", "x"):
            world.says("web", ("MAINPID", pid))
        (child,) = world.running("web")
        gone = Message((("MAINPID", str(child.identity.pid)),), 3, 0.0, member=False)
        life.runtime.notified(child.key, gone)
        await asyncio.sleep(1)
        pid = child.identity.pid
        assert life.troubles == [
            "web: MAINPID=1 is not followed: there is no process 1",
            "web: MAINPID=2 is not followed: there is no process 2",
            f"web: MAINPID={pid} is not followed: its sender, 3, is gone and cannot be told from others",
        ]
        assert world.facts(MainMoved) == []


@pytest.mark.parametrize("late", [False, True])
@virtual
async def test_a_main_process_that_the_pid_file_names_is_followed(*, late: bool) -> None:
    world = World({"web": [Script()]})
    async with living(world, web(pid_file=WRITTEN)) as life:
        await asyncio.sleep(1)
        (child,) = world.running("web")
        heir = world.heir("web")
        if not late:
            world.pid_files[WRITTEN] = heir.pid
        world.ends(child, Exit(code=0))
        await asyncio.sleep(0.5)
        assert life.runtime.host.services["web"].instance.lost == late
        world.pid_files[WRITTEN] = heir.pid
        await asyncio.sleep(1)
        instance = life.runtime.host.services["web"].instance
        assert (instance.phase, instance.process, instance.generation) == (Phase.READY, heir, 1)
        (moved,) = world.facts(MainMoved)
        assert isinstance(moved, MainMoved)
        assert moved.why == f"pid_file {WRITTEN} names it"


@virtual
async def test_a_pid_file_that_names_a_stranger_shows_nothing() -> None:
    world = World({"web": [Script(), Script()]})
    world.pid_files[WRITTEN] = 4321
    async with living(world, web(pid_file=WRITTEN)):
        await asyncio.sleep(1)
        (child,) = world.running("web")
        world.heir("web")
        world.ends(child, Exit(code=3))
        await asyncio.sleep(20)
        why = [f.why for f in world.facts(PhaseEntered) if isinstance(f, PhaseEntered)]
        said = f"exit code 3; pid_file {WRITTEN} names 4321: there is no process 4321"
        assert said in why
        assert [key.generation for key in world.children if world.children[key].alive] == [2]


@virtual
async def test_a_successor_that_ends_gives_way_to_the_one_before() -> None:
    world = World({"web": [Script()]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        (child,) = world.running("web")
        first, heir = child.identity, world.heir("web")
        world.says("web", ("MAINPID", str(heir.pid)))
        await asyncio.sleep(1)
        world.ends(child, Exit(code=1))
        await asyncio.sleep(1)
        assert life.runtime.host.services["web"].instance.process == first
        world.ends(child, Exit(code=1))
        await asyncio.sleep(1)
        assert life.runtime.host.services["web"].instance.generation == 2


@virtual
async def test_a_successor_ends_and_what_is_left_is_not_the_one_before() -> None:
    world = World({"web": [Script(), Script()]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        (child,) = world.running("web")
        heir, third = world.heir("web"), world.heir("web")
        world.says("web", ("MAINPID", str(heir.pid)))
        await asyncio.sleep(1)
        child.heirs = {third.pid: third}  # not the one before
        world.ends(child, Exit(code=1))
        await asyncio.sleep(20)
        assert life.runtime.host.services["web"].instance.generation == 2


@virtual
async def test_who_is_gone_when_it_is_to_be_followed_has_ended() -> None:
    world = World({"web": [Script(), Script()]})
    async with living(world, web()) as life:
        await asyncio.sleep(1)
        (child,) = world.running("web")
        heir = world.heir("web")
        world.says("web", ("MAINPID", str(heir.pid)))
        child.heirs.clear()
        await asyncio.sleep(2)
        assert life.runtime.host.services["web"].instance.generation == 2
