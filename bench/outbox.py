"""What the receiver of telemetry does to reloads: there, gone, hanging, or none at all.

Four agents live at once and are asked in the same moment, each for a reload of a service of its own, so that what else the
machine does meets them alike. A figure is the request until the verdict, by somebody who waits for it; the service's
evidence is that it lives 200 ms after the signal, so the tool's own part is what comes on top.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bell import ENV, PATIENCE, Bell, median, milliseconds
from servers import Agent, Service
from table import Figure, at_most

if TYPE_CHECKING:
    from kit import Place

TURNS = 300
SKIPPED = 20
"""Turns that are not counted: agents that have just begun."""
GRACE_MS = 200
GOAL = 1.05
HANDLER = Path(__file__).with_name("handler.py")
SINK = Path(__file__).with_name("sink.py")


def measure(place: Place) -> list[Figure]:
    with _sink() as up, _gone() as down, _silent() as hanging:
        ports = {"up": up, "down": down, "hanging": hanging, "none": None}
        agents = {name: _agent(place, port) for name, port in ports.items()}
        with contextlib.ExitStack() as stack:
            for agent, bell in agents.values():
                stack.enter_context(agent)
                bell.wait()
            took: dict[str, list[float]] = {name: [] for name in agents}
            for _ in range(TURNS + SKIPPED):
                for name, value in _turn({n: a for n, (a, _) in agents.items()}).items():
                    took[name].append(value)
            pending = {name: _pending(agent) for name, (agent, _) in agents.items()}
    if pending["up"] or not pending["down"] or not pending["hanging"]:
        raise RuntimeError(f"the receivers were not what they should be: {pending}")
    return _figures({name: sorted(values[SKIPPED:]) for name, values in took.items()})


def _figures(took: dict[str, list[float]]) -> list[Figure]:
    p99 = {name: values[int(len(values) * 0.99) - 1] for name, values in took.items()}
    figures = []
    for name, what in (
        ("down", "refuses"),
        ("hanging", "never answers"),
    ):
        ratio = p99[name] / p99["up"]
        own = (p99[name] - GRACE_MS, p99["up"] - GRACE_MS)
        figures.append(
            Figure(
                f"p99 of a reload, the receiver {what}",
                f"{p99[name]:.1f} ms, {ratio:.3f} x up",
                f"≤ {GOAL:g} x up",
                at_most(GOAL, ratio),
                floor=f"{p99['up']:.1f} ms receiver up",
                note=f"beyond the {GRACE_MS} ms of evidence: {own[0]:.1f} and {own[1]:.1f} ms",
            )
        )
    middle = {name: median(values) for name, values in took.items()}
    figures.append(
        Figure(
            "median of a reload, the receiver up",
            f"{middle['up']:.1f} ms",
            floor=f"{middle['none']:.1f} ms no endpoint",
            note=f"p99 without an endpoint: {p99['none']:.1f} ms",
        )
    )
    return figures


def _agent(place: Place, port: int | None) -> tuple[Agent, Bell]:
    bell = Bell(place.directory())
    command = (place.python, "-I", "-S", str(HANDLER), str(bell.path))
    conf = bell.path.with_suffix(".conf")
    conf.write_text("0")
    more = f'inputs = ["{conf}"]\n[service.hears.reload]\nconfirm = ["delivered"]\n'
    agent = place.agent([Service("hears", command, more)])
    if port is not None:
        file = agent.dir / "agentd.toml"
        head = f'[agent.telemetry]\nendpoint = "http://127.0.0.1:{port}"\n'
        file.write_text(head + file.read_text())
    return agent, bell


def _turn(agents: dict[str, Agent]) -> dict[str, float]:
    """A reload in each, all in the same moment: milliseconds until the verdict is there."""
    asked = {}
    for name, agent in agents.items():
        asked[name] = (time.monotonic_ns(), agent.send("POST", "/v1/services/hears/reload", "{}"))
    took = {}
    poll = select.poll()
    by_fd = {}
    for name, (_, peer) in asked.items():
        poll.register(peer.fileno(), select.POLLIN)
        by_fd[peer.fileno()] = name
    while by_fd:
        ready = poll.poll(PATIENCE * 1000)
        if not ready:
            raise TimeoutError(f"no verdict from {', '.join(by_fd.values())}")
        for fd, _ in ready:
            name = by_fd.pop(fd)
            began, peer = asked[name]
            took[name] = milliseconds(began)
            poll.unregister(fd)
            with peer:
                reply = b"".join(iter(lambda peer=peer: peer.recv(1 << 16), b""))  # type: ignore[misc]
            if b'"verdict": "applied"' not in reply:
                raise RuntimeError(f"{name}: {reply[-500:].decode(errors='replace')}")
    return took


def _pending(agent: Agent) -> int:
    """What waits to be sent, given a moment for the last."""
    end = time.monotonic() + 3
    while True:
        told = json.loads(agent.ask("GET", "/v1/status"))["agent"]["telemetry"]
        waits = told["pending"] if told else 0
        if not waits or time.monotonic() > end:
            return int(waits)
        time.sleep(0.1)


@contextlib.contextmanager
def _sink() -> Iterator[int]:
    sink = subprocess.Popen(
        [sys.executable, str(SINK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENV
    )
    assert sink.stdin is not None
    assert sink.stdout is not None
    try:
        yield int(sink.stdout.readline())
    finally:
        sink.stdin.close()
        sink.wait(PATIENCE)
        sink.stdout.close()


@contextlib.contextmanager
def _gone() -> Iterator[int]:
    """A port that refuses: bound, so that nobody else gets it, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def _silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening.getsockname()[1]
