"""How long ``status`` takes, with 1, 100 and 1,000 services, against the bare start of the same Python.

The agents of all sizes and their peers live at once and are asked in turn, so that a slow moment of the machine meets
them alike; a figure is the median of ratios, each taken within one turn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from bell import ENV, median, milliseconds
from servers import sleepers
from table import Figure, at_most

if TYPE_CHECKING:
    from kit import Place

SIZES = (1, 100, 1000)
TURNS = 15
PEER_TURNS = 4
GOALS = {"--json": 1.3, "piped": 2.0, "on a terminal": 4.0}
GROWTH = 1.5
_NULL = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]


def piped(argv: list[str]) -> float:
    """Milliseconds from spawn to exit with stdout in a pipe that is read as fast as it fills."""
    began = time.monotonic_ns()
    read, write = os.pipe()
    actions = [*_NULL, (os.POSIX_SPAWN_DUP2, write, 1)]
    pid = os.posix_spawn(argv[0], argv, ENV, file_actions=actions)
    os.close(write)
    return _ended(pid, read, began, argv)


def on_terminal(argv: list[str]) -> float:
    """The same on a terminal of 120 columns."""
    began = time.monotonic_ns()
    read, write = os.openpty()
    fcntl.ioctl(write, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    actions = [(os.POSIX_SPAWN_DUP2, write, n) for n in range(3)]
    env = ENV | {"TERM": "xterm-256color"}
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    os.close(write)
    return _ended(pid, read, began, argv)


def _ended(pid: int, read: int, began: int, argv: list[str]) -> float:
    with contextlib.suppress(OSError):  # EIO: the other side of the terminal is closed
        while os.read(read, 1 << 20):
            pass
    _, status = os.waitpid(pid, 0)
    took = milliseconds(began)
    os.close(read)
    if status:
        raise RuntimeError(f"{argv} exits {os.waitstatus_to_exitcode(status)}")
    return took


def measure(place: Place) -> list[Figure]:
    with contextlib.ExitStack() as stack:
        agents = {size: place.agent(sleepers(size)) for size in SIZES}
        peers = {size: place.supervisor(sleepers(size)) for size in SIZES}
        for server in (*agents.values(), *peers.values()):
            stack.enter_context(server)
        ways = {
            "--json": (piped, ("--json", "status")),
            "piped": (piped, ("status",)),
            "on a terminal": (on_terminal, ("status",)),
        }
        bare: list[float] = []
        took: dict[tuple[str, int], list[float]] = defaultdict(list)
        theirs: dict[int, list[float]] = defaultdict(list)
        asked: dict[int, list[float]] = defaultdict(list)
        for turn in range(TURNS + 1):
            bare.append(piped([place.python, "-c", "pass"]))
            for size, agent in agents.items():
                for way, (run, words) in ways.items():
                    took[way, size].append(run(agent.ctl(*words)))
                began = time.monotonic_ns()
                agent.ask("GET", "/v1/status")
                asked[size].append(milliseconds(began))
            if turn < PEER_TURNS:
                for size, peer in peers.items():
                    theirs[size].append(piped(peer.ctl("status")))
    figures = [
        _figure(size, way, took[way, size], bare, theirs[size]) for size in SIZES for way in ways
    ]
    figures += [_growth(way, took[way, 1000], took[way, 100]) for way in ways]
    return figures + [
        Figure(f"agent's answer to GET /v1/status, {size}", f"{median(asked[size][1:]):.1f} ms")
        for size in SIZES
    ]


def _figure(
    size: int, way: str, ours: list[float], bare: list[float], theirs: list[float]
) -> Figure:
    ratio = median(a / b for a, b in zip(ours[1:], bare[1:], strict=True))
    peer = ""
    if way == "piped":
        times = median(a / b for a, b in zip(theirs, bare, strict=False))
        peer = f"{times:.1f}x ({median(theirs):.0f} ms)"
    return Figure(
        f"status of {size}, {way}",
        f"{ratio:.2f}x ({median(ours[1:]):.1f} ms)",
        f"≤ {GOALS[way]:g}x",
        at_most(GOALS[way], ratio),
        peer,
        f"{median(bare[1:]):.1f} ms python -c pass",
    )


def _growth(way: str, thousand: list[float], hundred: list[float]) -> Figure:
    ratio = median(a / b for a, b in zip(thousand[1:], hundred[1:], strict=True))
    name = f"status of 1000 against 100, {way}"
    return Figure(name, f"{ratio:.2f}x", f"≤ {GROWTH:g}x", at_most(GROWTH, ratio))
