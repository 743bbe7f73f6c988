"""How long until a service hears: from a command to its SIGHUP handler, and from a rename of its input to the same.

The floor is the signal itself, sent by the smallest program there is for it. A watch waits for its debounce on
purpose; what is measured is what comes on top.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bell import ENV, Bell, median, milliseconds
from servers import Agent, Service, Supervisor
from table import Figure, at_most

if TYPE_CHECKING:
    from kit import Place

TURNS = 15
DEBOUNCE_MS = 50
RENAME_GOAL = 3.0
HANDLER = Path(__file__).with_name("handler.py")


def measure(place: Place) -> list[Figure]:
    home = place.directory()
    bells = {"agentd": Bell(home), "supervisord": Bell(home)}
    conf = home / "service.conf"
    conf.write_text("0")
    watch = f'{{ debounce = "{DEBOUNCE_MS}ms", settle_limit = "5s" }}'
    reload = '[service.hears.reload]\nconfirm = ["delivered"]\n'
    more = f'inputs = ["{conf}"]\nwatch = {watch}\n{reload}'

    def service(name: str) -> Service:
        command = (place.python, "-I", "-S", str(HANDLER), str(bells[name].path))
        return Service("hears", command, more)

    agent = place.agent([service("agentd")])
    supervisor = place.supervisor([service("supervisord")])
    with agent, supervisor:
        pid = int(bells["agentd"].wait()[1])
        bells["supervisord"].wait()
        return [
            *_commands(place, agent, supervisor, bells, pid),
            _renames(agent, bells["agentd"], conf),
        ]


def _commands(
    place: Place, agent: Agent, supervisor: Supervisor, bells: dict[str, Bell], pid: int
) -> list[Figure]:
    ours, theirs = bells["agentd"], bells["supervisord"]
    kill = shutil.which("kill") or "/bin/kill"
    took: dict[str, list[float]] = {"kill": [], "reload": [], "post": [], "peer": [], "bare": []}
    for _ in range(TURNS):
        took["kill"].append(_run([kill, "-HUP", str(pid)], ours))
        agent.idle("hears")
        took["reload"].append(_run(agent.ctl("reload", "hears"), ours))
        agent.idle("hears")
        took["post"].append(_post(agent, ours))
        agent.idle("hears")
        took["peer"].append(_run(supervisor.ctl("signal", "HUP", "hears"), theirs))
        began = time.monotonic_ns()
        os.waitpid(os.posix_spawn(place.python, [place.python, "-c", "pass"], ENV), 0)
        took["bare"].append(milliseconds(began))
    middle = {name: median(values[1:]) for name, values in took.items()}
    return [
        Figure(
            "reloadctl reload → handler",
            f"{middle['reload']:.1f} ms",
            supervisord=f"{middle['peer']:.0f} ms",
            floor=f"{middle['kill']:.1f} ms kill -HUP",
            note=f"python -c pass alone: {middle['bare']:.1f} ms",
        ),
        Figure(
            "POST …/reload → handler (no client's start)",
            f"{middle['post']:.1f} ms",
            note="snapshot, journal and signal",
        ),
    ]


def _run(argv: list[str], bell: Bell) -> float:
    """Milliseconds from the command's spawn until the handler ran."""
    bell.clear()
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(2)]
    began = time.monotonic_ns()
    pid = os.posix_spawn(argv[0], argv, ENV, file_actions=null)
    at, _ = bell.wait()
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{argv} exits {os.waitstatus_to_exitcode(status)}")
    return (at - began) / 1e6


def _post(agent: Agent, bell: Bell) -> float:
    bell.clear()
    began = time.monotonic_ns()
    with agent.send("POST", "/v1/services/hears/reload", '{"wait": false}') as peer:
        at, _ = bell.wait()
        while peer.recv(1 << 16):
            pass
    return (at - began) / 1e6


def _renames(agent: Agent, bell: Bell, conf: Path) -> Figure:
    took = []
    for turn in range(TURNS + 1):
        agent.idle("hears")
        bell.clear()
        new = conf.with_suffix(".new")
        new.write_text(str(turn + 1))
        began = time.monotonic_ns()
        new.rename(conf)
        at, _ = bell.wait()
        took.append((at - began) / 1e6 - DEBOUNCE_MS)
    late = median(took[1:])
    return Figure(
        "rename → handler, beyond the debounce",
        f"{late:.1f} ms",
        f"≤ {RENAME_GOAL:g} ms",
        at_most(RENAME_GOAL, late),
        "cannot",
    )
