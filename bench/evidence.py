"""What each kind of evidence costs: the request until the verdict, and the agent's own processor time for it.

One agent has the same small service once for each kind, and each is reloaded in turn with a new file, so that what else the machine does
meets all alike. The service takes its file in a fraction of a millisecond, so the figures are the evidence's.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bell import median, milliseconds
from kernel import cpu_ms
from servers import Agent, Service
from table import Figure

if TYPE_CHECKING:
    from kit import Place

TURNS = 40
SKIPPED = 5
"""Turns that are not counted."""
NAMING = Path(__file__).with_name("naming.py")
HTTP = '{{ http = "http://127.0.0.1:{port}/", {what} }}'
KINDS: dict[str, str] = {
    "version": HTTP.format(port="@PORT@", what='expect = "{version}"'),
    "version by a command": '{ exec = ["cat", "@FILE@.said"], expect = "{version}" }',
    "changes": HTTP.format(port="@PORT@", what="changes = true"),
    "notify": '"notify"',
    "workers": '"workers"',
    "reread": '"reread"',
    "log": '{ log = "^loaded" }',
    "delivered": '"delivered"',
}
NOTES = {
    "delivered": "waits 200 ms to see whether it dies",
    "reread": "waits 200 ms to see whether it dies",
    "version by a command": "the command's own processor time is not in it",
}


def measure(place: Place) -> list[Figure]:
    kinds = [kind for kind in KINDS if kind != "reread" or os.geteuid() == 0]
    directory, services = place.directory(), []
    for n, kind in enumerate(kinds):
        services.append(_service(place, directory / f"{n}.json", f"e{n}", KINDS[kind]))
    agent = place.agent(services)
    with agent:
        took: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for turn in range(TURNS + SKIPPED):
            for n, kind in enumerate(kinds):
                took[kind].append(_reload(agent, directory / f"{n}.json", f"e{n}", turn + 2))
    figures = []
    for kind, values in took.items():
        ms, cpu = zip(*values[SKIPPED:], strict=True)
        figures.append(
            Figure(
                f"a reload known by {kind}",
                f"{median(ms):.1f} ms, {sum(cpu) / len(cpu):.1f} ms of CPU",
                note=NOTES.get(kind, ""),
            )
        )
    return figures


def _service(place: Place, file: Path, name: str, evidence: str) -> Service:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _write(file, 1)
    confirm = evidence.replace("@PORT@", str(port)).replace("@FILE@", str(file))
    more = f"""inputs = ["{file}"]
version = {{ file = "{file}", path = "version" }}
[service.{name}.reload]
timeout = "3s"
confirm = [{confirm}]
"""
    command = (place.python, "-I", "-S", str(NAMING), str(file), str(port))
    return Service(name, command, more)


def _write(file: Path, version: int) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"version": f"v{version}"}))
    new.rename(file)


def _reload(agent: Agent, file: Path, name: str, version: int) -> tuple[float, float]:
    """Milliseconds until its verdict, and of the agent's processor time."""
    _write(file, version)
    before = cpu_ms(agent.process.pid)
    began = time.monotonic_ns()
    with agent.send("POST", f"/v1/services/{name}/reload", "{}") as peer:
        reply = b"".join(iter(lambda: peer.recv(1 << 16), b""))
    took = milliseconds(began)
    if b'"verdict": "applied"' not in reply:
        raise RuntimeError(f"{name}: {reply[-700:].decode(errors='replace')}")
    return took, cpu_ms(agent.process.pid) - before
