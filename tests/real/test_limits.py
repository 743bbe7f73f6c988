"""What a service as a whole may take: its control group is bounded before it executes, or its definition says why not."""

from __future__ import annotations

import sys
from pathlib import Path

from host import host, until

from tests.real.delegated import delegated, lacking, leaf

APP = f"""\
[service.app]
command = ["{sys.executable}", "-c", '''
import signal
print("up", flush=True)
signal.pause()''']
ready = {{ after = "10ms" }}
limits = {{ memory_max = "64M", memory_swap_max = "0K", pids_max = 7, cpu_weight = 50, nofile = 99 }}
"""
GREEDY = f"""\
[service.app]
command = ["{sys.executable}", "-c", '''
taken = []
while True:
    taken.append(bytearray(b"x" * (1 << 20)))''']
ready = {{ after = "100s" }}
start_timeout = "200s"
limits = {{ memory_max = "48M" }}
restart = "never"
"""


def test_its_group_is_bounded(tmp_path: Path) -> None:
    with delegated(tmp_path, APP) as running:
        running.ready("app")
        group = leaf(running.pid("app"))
        found = {
            name: (group / name).read_text().strip()
            for name in ("memory.max", "pids.max", "cpu.weight")
        }
        assert found == {"memory.max": str(64 << 20), "pids.max": "7", "cpu.weight": "50"}
        assert "cannot be set" not in running.log()
        assert not [w for w in running.ctl("plan")[1]["warnings"] if "limits" in w]
        text = (tmp_path / "agentd.toml").read_text()
        running.define(text.replace("pids_max = 7", "pids_max = 9"))
        assert running.ctl("apply")[0] == 0
        running.ready("app")
        assert (leaf(running.pid("app")) / "pids.max").read_text() == "9\n"


def test_it_never_gets_more_memory(tmp_path: Path) -> None:
    with delegated(tmp_path, GREEDY) as running:
        why = "SIGKILL by the kernel, out of memory"
        until(lambda: f"app exited: {why}" in running.log(), "it is ended")
        assert running.service("app")["why"] == why


def test_where_it_cannot_be_bounded_the_definition_says_why(tmp_path: Path) -> None:
    if not lacking():
        return  # the others tell
    with host(tmp_path, APP) as running:
        running.ready("app")
        names = "memory_max, memory_swap_max, pids_max, cpu_weight"
        told = f"service.app.limits: {names} cannot be set, it runs without: "
        assert f"warning: {told}" in running.log()
        (warning,) = (w for w in running.ctl("plan")[1]["warnings"] if "limits" in w)
        assert warning.startswith(told)
        assert running.text("apply").returncode == 0
