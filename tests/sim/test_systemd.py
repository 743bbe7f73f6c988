"""What the agent tells the service manager that started it, and when."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loop import VirtualLoop, virtual

from agentd.core.facts import DefinitionsTaken, PhaseEntered, Record
from agentd.core.host import Host
from agentd.core.ids import Mint
from agentd.core.instance import Instance, Phase
from agentd.core.process import Identity
from agentd.core.service import Service
from agentd.core.spec import ProcessSpec, Spec
from agentd.ports import CommandOrder, CommandResult
from agentd.systemd import AFTER_KILL_S, EXTEND_S, Systemd, summary, watchdog
from agentd.wire import Trigger

HEARD = {"NOTIFY_SOCKET": "/run/notify"}


def service(name: str, phase: Phase) -> Service:
    spec = Spec(name, ProcessSpec((name,)), stop_timeout=100.0)
    return Service(spec, instance=Instance(phase, 1, Identity(1, 1, "b", "c")))


def host(*phases: Phase) -> Host:
    services = {f"s{n}": service(f"s{n}", phase) for n, phase in enumerate(phases)}
    return Host(services, {}, Mint(b"seed", 0, 0.0))


class Commands:
    """Answers as systemctl would."""

    def __init__(self, *output: str) -> None:
        self.output = output
        self.orders: list[CommandOrder] = []

    async def run(self, order: CommandOrder) -> CommandResult:
        self.orders.append(order)
        return CommandResult(1, timed_out=False, error=None, output=self.output)


class Stage:
    """One agent's side, what it told, and the host it tells of."""

    def __init__(self, found: Host, env: dict[str, str], commands: Any = None) -> None:
        self.host = found
        self.told: list[tuple[float, str]] = []
        loop = asyncio.get_running_loop()

        def tell(message: str) -> None:
            self.told.append((loop.time(), message))

        self.systemd = Systemd(
            loop,
            lambda: self.host,
            commands or Commands(),
            env,
            tell=tell,
            booted=Path("/proc"),
        )

    def moved(self, found: Host) -> None:
        self.host = found
        fact = PhaseEntered("s0", 1, "ready", "starting", "")
        self.systemd.hear(Record(1, 0, 0.0, "boot", fact))

    @property
    def messages(self) -> list[str]:
        return [message for _, message in self.told]


def armed() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.armed()


@pytest.mark.parametrize(
    ("phases", "line"),
    [
        ((), "0 services up"),
        ((Phase.READY,), "1 service up"),
        ((Phase.READY,) * 12 + (Phase.FAILED,), "12 services up, 1 failed"),
        (
            (Phase.DOWN, Phase.STARTING, Phase.BACKOFF, Phase.KILLING),
            "0 services up, 1 starting, 1 waiting to be started again, 1 being killed",
        ),
    ],
)
def test_the_status_line(phases: tuple[Phase, ...], line: str) -> None:
    assert summary(host(*phases)) == line


def test_one_that_is_declared_no_more_counts_while_it_lives() -> None:
    gone, going = service("gone", Phase.FAILED), service("going", Phase.STOPPING)
    services = {s.spec.name: replace(s, spec=replace(s.spec, removed=True)) for s in (gone, going)}
    assert summary(Host(services, {}, Mint(b"seed", 0, 0.0))) == "0 services up, 1 stopping"


@virtual
async def test_definitions_that_are_taken_end_the_notice() -> None:
    stage = Stage(host(Phase.READY), HEARD)
    stage.systemd.notice = "the definitions on disk have mistakes"
    stage.systemd.ready()
    stage.systemd.hear(Record(2, 0, 0.0, "boot", DefinitionsTaken("root", Trigger.CLI, ())))
    await asyncio.sleep(0)
    assert [message.rpartition("STATUS=")[2] for _, message in stage.told] == [
        "1 service up; the definitions on disk have mistakes",
        "1 service up",
    ]


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_for_this_process_only(env: dict[str, str], seconds: float | None) -> None:
    assert watchdog(env, 7) == seconds


@virtual
async def test_nobody_listens_so_nothing_is_told_and_no_timer_armed() -> None:
    stage = Stage(host(Phase.READY), {"WATCHDOG_USEC": "1000000"})
    stage.systemd.ready()
    stage.moved(replace(host(Phase.FAILED), ending=True))
    with stage.systemd.reloading():
        pass
    stage.systemd.stopping()
    await asyncio.sleep(0)
    assert (stage.told, armed()) == ([], 0)


@virtual
async def test_without_a_watchdog_there_is_no_timer() -> None:
    stage = Stage(host(Phase.READY), HEARD)
    stage.systemd.ready()
    assert stage.messages == [f"READY=1\nMAINPID={os.getpid()}\nSTATUS=1 service up"]
    assert armed() == 0


@virtual
async def test_the_watchdog_is_fed_twice_in_each_interval() -> None:
    stage = Stage(host(Phase.READY), {**HEARD, "WATCHDOG_USEC": "4000000"})
    assert armed() == 0, "not before it is ready"
    stage.systemd.ready()
    await asyncio.sleep(9)
    pings = [at for at, message in stage.told if message == "WATCHDOG=1"]
    assert pings == [0.0, 2.0, 4.0, 6.0, 8.0]
    stage.systemd.close()
    assert armed() == 0


@virtual
async def test_the_status_line_follows_the_services_once_for_what_happens_together() -> None:
    stage = Stage(host(Phase.STARTING, Phase.STARTING), HEARD)
    stage.systemd.ready()
    stage.moved(host(Phase.READY, Phase.STARTING))
    stage.moved(host(Phase.READY, Phase.READY))
    stage.moved(host(Phase.READY, Phase.READY))
    await asyncio.sleep(0)
    assert stage.messages[1:] == ["STATUS=2 services up"]
    stage.moved(host(Phase.READY, Phase.READY))
    await asyncio.sleep(0)
    assert len(stage.told) == 2, "nothing new"


@virtual
async def test_a_reload_of_the_definitions_is_framed_and_its_reason_shown() -> None:
    stage = Stage(host(Phase.READY), HEARD)
    stage.systemd.ready()
    before = time.monotonic_ns() // 1000
    with contextlib.suppress(ValueError), stage.systemd.reloading():
        stage.systemd.notice = "the definitions on disk are not taken: line 3"
        raise ValueError("bad")
    begun, ended = stage.messages[1:]
    word, _, at = begun.partition("\nMONOTONIC_USEC=")
    assert word == "RELOADING=1"
    assert before <= int(at) <= time.monotonic_ns() // 1000
    assert ended == ("READY=1\nSTATUS=1 service up; the definitions on disk are not taken: line 3")


@virtual
async def test_services_that_stop_get_their_time_and_not_for_ever() -> None:
    stage = Stage(host(Phase.READY), HEARD)
    stage.systemd.ready()
    stage.moved(replace(host(Phase.STOPPING), ending=True))
    stage.systemd.stopping()
    await asyncio.sleep(10 * EXTEND_S)
    told = [(at, m) for at, m in stage.told if m.startswith(("STOPPING", "EXTEND"))]
    assert [m for _, m in told].count("STOPPING=1") == 1
    asked = [(at, int(m.removeprefix("EXTEND_TIMEOUT_USEC=")) / 1e6) for at, m in told[1:]]
    assert asked[0] == (0.0, EXTEND_S)
    for (at, more), (next_at, _) in itertools.pairwise(asked):
        assert next_at < at + more, "asked again before the time is up"
    last, more = asked[-1]
    assert last + more == 100.0 + AFTER_KILL_S, "and no further than the definitions say"
    assert armed() == 0


@virtual
async def test_an_agent_that_leaves_its_services_needs_no_more_time() -> None:
    stage = Stage(host(Phase.READY), HEARD)
    stage.systemd.ready()
    stage.systemd.stopping()
    assert stage.messages[1:] == ["STOPPING=1"]
    assert armed() == 0


@pytest.mark.parametrize(
    ("answer", "down"),
    [("stopping", True), ("running", False), ("degraded", False), ("", False)],
)
@virtual
async def test_whether_the_host_goes_down(answer: str, *, down: bool) -> None:
    commands = Commands(answer)
    stage = Stage(host(), {}, commands)
    assert await stage.systemd.host_goes_down() is down
    assert commands.orders[0].argv == ("systemctl", "is-system-running")


@virtual
async def test_a_user_s_manager_is_asked_by_its_own_agent() -> None:
    commands = Commands("stopping")
    stage = Stage(host(), {"MANAGERPID": "5"}, commands)
    assert await stage.systemd.host_goes_down()
    assert commands.orders[0].argv == ("systemctl", "--user", "is-system-running")


@virtual
async def test_without_systemd_nobody_is_asked() -> None:
    commands = Commands("stopping")
    loop = asyncio.get_running_loop()
    quiet = Systemd(loop, host, commands, {}, booted=Path("/nonexistent"))
    assert not await quiet.host_goes_down()
    assert commands.orders == []
