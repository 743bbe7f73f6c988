"""Held sockets reach the process by the socket activation protocol: in order, from 3 on, and nothing beside them."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.core.process import Identity
from agentd.ports import SpawnError, SpawnOrder
from agentd.system import groups, proctable
from tests.contract.checks_processes import permit
from tests.contract.test_processes import OsRig, run

SAYS = """
import json, os
links = {}
for name in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        links[name] = os.readlink("/proc/self/fd/" + name)
    except FileNotFoundError:
        pass  # the listing's own
env = {k: v for k, v in os.environ.items() if k.startswith("LISTEN_")}
print(json.dumps([os.getpid(), links, env, [os.get_inheritable(int(n)) for n in links]]))
"""


def program(rig: OsRig, sockets: list[socket.socket]) -> SpawnOrder:
    order = rig.command(sys.executable, "-I", "-S", "-c", SAYS)
    names = tuple((f"n{i}", s.fileno()) for i, s in enumerate(sockets))
    return replace(order, sockets=names)


def spawner() -> int:
    """The agent's only child that is left."""
    (found,) = [
        pid
        for pid in proctable.pids()  # of others, too, which may end meanwhile
        if b"spawner.py" in proctable.read(f"/proc/{pid}/cmdline", 4096)
        and b"PPid:\t%d\n" % os.getpid() in proctable.read(f"/proc/{pid}/status", 4096)
    ]
    return found


@pytest.mark.parametrize("count", [1, 2, 6, 100])
@pytest.mark.parametrize("way", ["session", "two_forks", "leaf"])
def test_the_sockets_are_there_and_nothing_else(tmp_path: Path, count: int, way: str) -> None:
    base = None
    if way == "leaf" and (base := groups.find_delegated(tmp_path)) is None:
        pytest.skip("no writable cgroup v2 here")

    async def test(rig: OsRig) -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        order = program(rig, sockets)
        pids = []
        for _ in range(2):  # the spawner must not keep anything of the first
            said = await rig.output(order)
            pid, links, env, inheritable = json.loads(said)
            pids.append(pid)
            assert list(links) == [str(n) for n in range(3 + count)]
            wanted = [f"socket:[{os.fstat(s.fileno()).st_ino}]" for s in sockets]
            assert list(links.values())[3:] == wanted
            assert all(inheritable)
            names = ":".join(f"n{i}" for i in range(count))
            assert env == {
                "LISTEN_FDS": str(count),
                "LISTEN_PID": str(pid),
                "LISTEN_FDNAMES": names,
            }
        assert pids[0] != pids[1]
        kept = Path(f"/proc/{spawner()}/fd")
        assert not [fd for fd in kept.iterdir() if str(fd.readlink()) in wanted]
        for s in sockets:
            s.close()

    run(test, base, clone=way != "two_forks")
    if base is not None:
        base.rmdir()


def test_without_sockets_what_the_operator_says_stays() -> None:
    async def test(rig: OsRig) -> None:
        order = rig.command(sys.executable, "-I", "-S", "-c", SAYS)
        order = replace(order, env=(*order.env, ("LISTEN_FDS", "7")))
        _, links, env, _ = json.loads(await rig.output(order))
        assert env == {"LISTEN_FDS": "7"}
        assert list(links) == ["0", "1", "2"]

    run(test)


def test_another_user_gets_them_too() -> None:
    if os.geteuid():
        pytest.skip("needs root")

    async def test(rig: OsRig) -> None:
        with socket.create_server(("127.0.0.1", 0)) as s:
            script = 'id -un; test $$ = "$LISTEN_PID" && readlink /proc/$$/fd/3'
            order = rig.command("sh", "-c", script, user="nobody")
            said = await rig.output(replace(order, sockets=(("a", s.fileno()),)))
            assert said.split() == ["nobody", f"socket:[{os.fstat(s.fileno()).st_ino}]"]

    run(test)


def test_a_failed_exec_is_still_told_and_the_channel_does_not_leak() -> None:
    async def test(rig: OsRig) -> None:
        with socket.create_server(("127.0.0.1", 0)) as s:
            order = replace(rig.order("missing"), sockets=(("a", s.fileno()),))
            with pytest.raises(SpawnError, match="/nowhere/at-all: No such file") as caught:
                await rig.processes.spawn(order, permit)
            assert caught.value.step == "exec"

            async def no(_: Identity) -> None:
                raise ValueError

            with pytest.raises(ValueError):
                await rig.processes.spawn(replace(order, process=rig.order("lives").process), no)

    run(test)


def test_too_few_descriptors_for_all_of_them_is_a_sentence() -> None:
    async def test(rig: OsRig) -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(60)]
        await rig.output(rig.command("echo", "there"))
        resource.prlimit(spawner(), resource.RLIMIT_NOFILE, (100, 100))
        order = program(rig, sockets)
        with pytest.raises(SpawnError, match="descriptors: ") as caught:
            await asyncio.wait_for(rig.processes.spawn(order, permit), 5)
        assert caught.value.step == "descriptors"
        for s in sockets:
            s.close()

    run(test)
