"""What the kernel tells of a group that it enforces something on, and where the agent's groups may be."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.core.spec import ProcessSpec, Spec
from agentd.ports import SpawnError
from agentd.system import bounds, controllers, groups
from agentd.system.ooms import RECENT, Ooms
from tests.contract.checks_processes import permit
from tests.contract.test_processes import OsRig, run


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A group of cgroup v2 of the test's own."""
    base = groups.find_delegated(tmp_path)
    if base is None:
        pytest.skip("no writable cgroup v2 here")
    made = base / "group"
    made.mkdir()
    yield made
    groups.prune(made)
    made.rmdir()
    base.rmdir()


def test_the_kernel_tells_of_a_change_and_nothing_is_asked(group: Path) -> None:
    """By a counter that any group has; that of memory is told in the same way."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ooms = Ooms(loop, group, "cgroup.events", "frozen")
        (group / "cgroup.freeze").write_text("1")
        async with asyncio.timeout(5):
            while not ooms._rises:
                await asyncio.sleep(0)
        assert ooms.recent() == 1
        ooms.close()

    asyncio.run(main())


class _Clock(asyncio.SelectorEventLoop):
    """A loop whose time a test can move."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_who_was_ended_before_or_long_ago_does_not_count(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"

    def count(n: int) -> None:
        events.write_text(f"low 0\nhigh 3\nmax 9\noom 1\noom_kill {n}\noom_group_kill 7\n")

    with asyncio.Runner(loop_factory=_Clock) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, _Clock)
        count(2)
        ooms = Ooms(loop, tmp_path)
        assert ooms.recent() == 0, "those were ended before anybody counted"
        count(5)
        assert ooms.recent() == 3
        loop.ahead = RECENT - 1
        count(6)
        assert ooms.recent() == 4
        loop.ahead = RECENT + 1
        assert ooms.recent() == 1
        events.unlink()
        events.write_text("")
        ooms.close()
        without = Ooms(loop, tmp_path / "none")
        assert without.recent() == 0
        without.close()


def imitation(path: Path, *, there: str, on: str = "") -> Path:
    path.mkdir()
    (path / "cgroup.controllers").write_text(there)
    (path / "cgroup.subtree_control").write_text(on)
    return path


def test_a_controller_is_enabled_on_the_whole_way_down(tmp_path: Path) -> None:
    unit = imitation(tmp_path / "unit", there="cpu memory", on="cpu")
    base = imitation(unit / "base", there="cpu memory", on="")
    assert controllers.enable(base, ("memory",)) == ""
    written = [(g / "cgroup.subtree_control").read_text() for g in (unit, base)]
    assert written == ["+memory", "+memory"]


def test_why_a_controller_cannot_be_enabled_is_said(tmp_path: Path) -> None:
    unit = imitation(tmp_path / "unit", there="cpu", on="cpu")
    base = imitation(unit / "base", there="cpu", on="cpu")
    assert controllers.enable(base, ("cpu",)) == "", "it works already, and nothing is written"
    why = controllers.enable(base, ("cpu", "memory"))
    assert why == f"no controller 'memory' in {unit}, the agent's part of cgroup v2"
    assert (base / "cgroup.subtree_control").read_text() == "cpu"


LIMITS = (("nofile", 9), ("memory_max", 1 << 20), ("memory_high", -1), ("pids_max", 3))


def test_limits_of_the_group_are_written_to_its_files(tmp_path: Path) -> None:
    bounds.write(tmp_path, LIMITS)
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {"memory.max": "1048576", "memory.high": "max", "pids.max": "3"}


def test_a_definition_that_asks_for_what_this_host_has_not_is_doubted(tmp_path: Path) -> None:
    unit = imitation(tmp_path / "unit", there="pids", on="pids")
    base = imitation(unit / "base", there="pids", on="pids")
    process = ProcessSpec(("x",), limits=LIMITS)
    specs = [Spec("web", process), Spec("db", ProcessSpec(("x",), limits=(("pids_max", 3),)))]
    told = list(bounds.doubts(base, specs))
    names = "memory_max, memory_high, pids_max"
    why = f"no controller 'memory' in {unit}, the agent's part of cgroup v2"
    assert told == [f"service.web.limits: {names} cannot be set, it runs without: {why}"]
    assert [line.partition(":")[0] for line in bounds.doubts(None, specs)] == [
        "service.web.limits",
        "service.db.limits",
    ]
    assert "no part of cgroup v2" in next(iter(bounds.doubts(None, specs)))
    assert not list(bounds.doubts(None, [Spec("web", ProcessSpec(("x",)))]))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("unmake", "its control group cannot be made"),
        ("refuse", "pids.max: "),
        ("outside", "it did not get into its control group"),
    ],
)
def test_a_service_whose_limits_could_be_set_and_are_not_does_not_start(
    spoil: str, why: str, tmp_path: Path
) -> None:
    """In plain directories, which no process can enter."""
    unit = imitation(tmp_path / "unit", there="pids", on="pids")
    base = imitation(unit / "base", there="pids", on="pids")
    if spoil == "unmake":
        (base / "web.1").write_text("in the way")
    elif spoil == "refuse":
        (base / "web.1" / "pids.max").mkdir(parents=True)

    async def test(rig: OsRig) -> None:
        order = rig.order("lives")
        limited = replace(order.process, limits=(("pids_max", 3),))
        with pytest.raises(SpawnError, match=why):
            await rig.processes.spawn(replace(order, process=limited), permit)

    run(test, base)


def test_a_group_with_a_process_in_it_has_no_controllers_below(group: Path) -> None:
    """The kernel's own rule, where it has a controller that could be enabled."""
    here = (group.parent.parent / "cgroup.controllers").read_text().split()
    mine = (group / "cgroup.controllers").read_text().split()
    below = group / "below"
    below.mkdir()
    if not mine:
        why = controllers.enable(below, (here[0] if here else "memory",))
        assert why.startswith("no controller"), why
        return
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (group / "cgroup.procs").write_text(str(process.pid))
    why = controllers.enable(below, mine[:1])
    process.communicate(b"\n")
    assert "DelegateSubgroup=agent" in why


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mark a group that is root's own")
def test_leaves_are_made_above_the_agent_s_own_group_where_that_is_delegated(group: Path) -> None:
    own = group / "agent"
    own.mkdir()
    assert controllers.place(group.parent, own) == own, "nobody has given the group above away"
    os.setxattr(group, "trusted.delegate", b"0")
    assert controllers.place(group.parent, own) == own
    os.setxattr(group, "trusted.delegate", b"1")
    assert controllers.place(group.parent, own) == group
    assert controllers.place(own, own) == own, "there is nothing above the mount"
