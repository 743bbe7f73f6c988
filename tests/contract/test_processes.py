"""The real processes adapter: the shared checks in each of its ways to work, and what only Linux has."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentd.core.process import Exit, Identity
from agentd.core.spec import ProcessSpec
from agentd.ports import AdapterError, Key, SpawnError, SpawnOrder
from agentd.system import groups, proctable
from agentd.system.launcher import Launcher
from agentd.system.processes import OsProcesses
from tests.contract.checks_processes import CHECKS, KEY, Event, permit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

PATH = "/usr/local/bin:/usr/bin:/bin"
ROOT = os.geteuid() == 0
COMMANDS = {
    "lives": ("sleep", "60"),
    "exits": ("sh", "-c", "exit 7"),
    "leaves": ("sh", "-c", "sleep 60 & exit 0"),
    "missing": ("/nowhere/at-all",),
}


class OsRig:
    """A rig on this machine. Its output is a pipe that the test can read."""

    def __init__(self, base: Path | None, *, clone: bool) -> None:
        self._base = base
        self._clone = clone
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.ended: list[int] = []
        self._cookie = uuid.uuid4().hex
        self.read, self.write = os.pipe()
        self.processes = self._new()

    def _new(self) -> OsProcesses:
        loop = asyncio.get_running_loop()
        return OsProcesses(loop, self, self._base, launcher=Launcher(loop, clone=self._clone))

    @property
    def mains(self) -> OsProcesses:
        return self.processes

    def left(self) -> int:
        (only,) = self.processes.members(KEY)
        return only

    def exited(self, key: Key, exit: Exit, *, empty: bool, at: float, pid: int) -> None:  # noqa: A002
        self.ended.append(pid)
        self._events.put_nowait(("exited", key, exit, empty))

    def emptied(self, key: Key, at: float) -> None:
        self._events.put_nowait(("emptied", key))

    def order(self, behaviour: str, key: Key = KEY) -> SpawnOrder:
        return self.command(*COMMANDS[behaviour], key=key)

    def command(
        self, *command: str, key: Key = KEY, path: str = PATH, **spec: object
    ) -> SpawnOrder:
        cookie = f"{self._cookie}-{key.service}"
        process = ProcessSpec(command, **spec)  # type: ignore[arg-type]
        return SpawnOrder(key, process, cookie, (("PATH", path), ("A", "1")), self.write)

    async def event(self) -> Event:
        return await self._events.get()

    def quiet(self) -> bool:
        return self._events.empty()

    async def again(self) -> None:
        await self.processes.close()
        self.processes = self._new()

    async def output(self, order: SpawnOrder) -> str:
        """What the program says until it ends."""
        await self.processes.spawn(order, permit)
        assert (await self.event())[0] == "exited"
        return os.read(self.read, 65536).decode()

    async def line(self) -> str:
        """The next that comes through the pipe."""
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.read, ready.set)
        await ready.wait()
        loop.remove_reader(self.read)
        return os.read(self.read, 65536).decode().strip()


@contextlib.asynccontextmanager
async def rig(base: Path | None = None, *, clone: bool = True) -> AsyncIterator[OsRig]:
    async with asyncio.timeout(20):
        made = OsRig(base, clone=clone)
        try:
            yield made
        finally:
            await made.processes.close()
            os.close(made.read)
            os.close(made.write)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers are wanted


def run(
    test: Callable[[OsRig], Awaitable[None]], base: Path | None = None, *, clone: bool = True
) -> None:
    async def main() -> None:
        before = descriptors()
        async with rig(base, clone=clone) as made:
            await test(made)
        assert descriptors() == before, "a descriptor was left open"

    asyncio.run(main())


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    found = groups.find_delegated(tmp_path)
    if found is None:
        pytest.skip("no writable cgroup v2 here")
    yield found
    found.rmdir()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__.strip("_"))
@pytest.mark.parametrize("way", ["session", "two_forks", "leaf", "leaf_two_forks"])
def test_contract(check: Callable[[OsRig], Awaitable[None]], way: str, tmp_path: Path) -> None:
    found = None
    if "leaf" in way and (found := groups.find_delegated(tmp_path)) is None:
        pytest.skip("no writable cgroup v2 here")
    run(check, found, clone="two_forks" not in way)
    if found is not None:
        assert [p for p in found.iterdir() if p.is_dir()] == [], "a leaf was left"
        found.rmdir()


def test_the_child_starts_clean() -> None:
    """Own session, default signals, three descriptors, exactly its environment, a child of the agent."""

    async def test(rig: OsRig) -> None:
        program = (
            "import os,signal;s=open('/proc/self/status').read();"
            "print(sorted(os.listdir('/proc/self/fd'))[:-1]==['0','1','2'],"
            "os.readlink('/proc/self/fd/0'),os.getsid(0)==os.getpid(),os.getppid(),"
            "sorted(k+'='+v for k,v in os.environ.items() if k not in('LC_CTYPE',)))"
        )
        order = rig.command(sys.executable, "-I", "-S", "-c", program)
        said = await rig.output(order)
        env = sorted(["A=1", f"PATH={PATH}", f"AGENTD_INSTANCE={order.cookie}"])
        assert said.strip() == f"True /dev/null True {os.getpid()} {env}"
        said = await rig.output(rig.command("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"))
        assert [int(line.split()[1], 16) for line in said.splitlines()] == [0, 0]

    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    libc, action = ctypes.CDLL(None), 13 if os.uname().machine == "x86_64" else 134
    ignore = (ctypes.c_uint64 * 4)(1)
    libc.syscall(
        action, 32, ctypes.byref(ignore), None, 8
    )  # of the C library's own; some launchers ignore all there are
    try:
        run(test)
    finally:
        libc.syscall(action, 32, ctypes.byref((ctypes.c_uint64 * 4)()), None, 8)
        signal.signal(signal.SIGHUP, old)


def test_what_the_spec_asks_for_is_so(tmp_path: Path) -> None:
    async def test(rig: OsRig) -> None:
        script = "pwd; umask; nice; ulimit -n; ulimit -c; id -un"
        order = rig.command(
            "sh",
            "-c",
            script,
            cwd=str(tmp_path),
            umask=0o27,
            nice=5,
            limits=(("nofile", 77), ("core", 0)),
        )
        said = (await rig.output(order)).split()
        assert said[:5] == [str(tmp_path), "0027", "5", "77", "0"]

    run(test)


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_user_and_groups_by_name_and_number() -> None:
    async def test(rig: OsRig) -> None:
        ids = ("sh", "-c", "id -u; id -g; id -G")
        assert (await rig.output(rig.command(*ids, user="nobody"))).split()[:1] == ["65534"]
        said = await rig.output(rig.command(*ids, user="4321", group="1234"))
        assert said.split() == ["4321", "1234", "1234"]

    run(test)


@pytest.mark.parametrize(
    ("spec", "step", "part"),
    [
        ({"user": "no-such-user"}, "user", 'no user "no-such-user"'),
        ({"group": "no-such-group"}, "group", 'no group "no-such-group"'),
        ({"user": "4321"}, "user", "its group must be set"),
        ({"cwd": "/nowhere"}, "chdir", "chdir: /nowhere: No such file or directory"),
        ({"limits": (("nosuch", 1),)}, "rlimit nosuch", "no such limit"),
    ],
)
def test_the_failing_step_is_named(spec: dict[str, object], step: str, part: str) -> None:
    async def test(rig: OsRig) -> None:
        with pytest.raises(SpawnError) as error:
            await rig.processes.spawn(rig.command("true", **spec), permit)
        assert error.value.step == step
        assert part in error.value.what

    run(test)


def test_exec_errors_are_exact(tmp_path: Path) -> None:
    async def test(rig: OsRig) -> None:
        async def why(*command: str, path: str = PATH) -> tuple[int, str]:
            with pytest.raises(SpawnError) as error:
                await rig.processes.spawn(rig.command(*command, path=path), permit)
            return error.value.errno, error.value.what

        assert await why("/usr/sbin/nowhere") == (
            2,
            "cannot start web: exec: /usr/sbin/nowhere: No such file or directory",
        )
        (tmp_path / "plain").write_text("x")
        assert (await why(str(tmp_path / "plain")))[0] == 13
        (tmp_path / "bad").write_text("#!/no/such/interpreter\n")
        (tmp_path / "bad").chmod(0o755)
        assert (await why(str(tmp_path / "bad")))[1].endswith("bad: its interpreter does not exist")
        assert await why("sh", path="/nowhere") == (
            2,
            "cannot start web: exec: sh: No such file or directory in PATH /nowhere",
        )
        assert (await why("a\0b"))[0] == 22
        # a file that may not be executed does not hide the program in the next directory
        (tmp_path / "true").write_text("x")
        await rig.processes.spawn(rig.command("true", path=f"{tmp_path}:{PATH}"), permit)
        assert await rig.event() == ("exited", KEY, Exit(code=0), True)

    run(test)


def test_a_large_environment_gets_through() -> None:
    async def test(rig: OsRig) -> None:
        order = rig.command("sh", "-c", "echo ${#B1} ${#B9}")
        big = tuple((f"B{n}", "x" * 100_000) for n in range(10))
        order = SpawnOrder(order.key, order.process, order.cookie, order.env + big, order.output)
        assert await rig.output(order) == "100000 100000\n"

    run(test)


def test_the_spawners_death_is_not_noticed() -> None:
    """Idle, and with a request in its hands: stopped, then killed, so that the request is certainly unanswered."""

    async def test(rig: OsRig) -> None:
        def spawner() -> int:
            mine = proctable.children(os.getpid())
            return next(p for p in mine if b"spawner.py" in proctable.read(f"/proc/{p}/cmdline"))

        await rig.processes.spawn(rig.order("exits"), permit)
        assert (await rig.event())[0] == "exited"
        first = spawner()
        os.kill(first, signal.SIGKILL)
        await rig.processes.spawn(rig.order("exits"), permit)
        assert await rig.event() == ("exited", KEY, Exit(code=7), True)
        second = spawner()
        assert second != first
        os.kill(second, signal.SIGSTOP)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rig.processes.spawn(rig.order("exits"), permit))
            await asyncio.sleep(0)  # the request is sent in the task's first step
            os.kill(second, signal.SIGKILL)
            await task
        assert await rig.event() == ("exited", KEY, Exit(code=7), True)

    run(test)


def test_without_an_agent_a_waiting_child_leaves() -> None:
    """The agent is killed inside the permit: what was born must not execute."""
    program = f"""
import asyncio, os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.contract.test_processes import rig
async def main():
    async with rig() as r:
        async def permit(identity):
            print(identity.pid, flush=True)
            await asyncio.sleep(100)
        await r.processes.spawn(r.command("touch", sys.argv[1]), permit)
asyncio.run(main())
"""
    marker = Path(f"/tmp/agentd-test-{uuid.uuid4().hex}")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(marker)], stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout is not None
        child = os.pidfd_open(int(agent.stdout.readline()))
        agent.kill()
        agent.wait()
    poll = select.poll()
    poll.register(child, select.POLLIN)
    assert poll.poll(10_000), "the child waits for ever"
    os.close(child)
    assert not marker.exists()


def test_orphans_are_reaped_and_nobodys_status_is_stolen() -> None:
    async def test(rig: OsRig) -> None:
        script = "(setsid sh -c 'echo $$; exit 3' &) ; exec sleep 60"
        with subprocess.Popen(["sh", "-c", "exit 3"]) as other:  # noqa: ASYNC220 - in our session, and not ours to reap
            await rig.processes.spawn(rig.command("sh", "-c", script), permit)
            orphan = int(await rig.line())
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(orphan)
                await readable(fd)
                os.close(fd)
            rig.processes.signal(KEY, "TERM", group=False)
            assert await rig.event() == ("exited", KEY, Exit(signal="TERM"), True)
            assert proctable.stat(orphan) is None
            assert other.wait() == 3

    run(test)


def test_a_sweep_leaves_a_claimed_zombie_to_its_watcher() -> None:
    async def test(rig: OsRig) -> None:
        identity = await rig.processes.spawn(rig.order("exits"), permit)
        poll = select.poll()
        poll.register(pidfd := os.pidfd_open(identity.pid), select.POLLIN)
        assert poll.poll(10_000)  # it ended, and the loop does not know yet
        os.close(pidfd)
        rig.processes.launcher.reaper.sweep()
        assert await rig.event() == ("exited", KEY, Exit(code=7), True)

    run(test)


async def readable(fd: int) -> None:
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ready.set)
    await ready.wait()
    loop.remove_reader(fd)


@pytest.mark.parametrize("way", ["session", "leaf"])
def test_a_daemon_that_left_the_session_still_belongs(way: str, base: Path) -> None:
    async def test(rig: OsRig) -> None:
        await rig.processes.spawn(
            rig.command("sh", "-c", "setsid sh -c 'echo $$; exec sleep 60' & exit 0"), permit
        )
        assert await rig.event() == ("exited", KEY, Exit(code=0), False)
        daemon = int(await rig.line())
        assert proctable.stat(daemon) is not None
        rig.processes.signal(KEY, "TERM", group=True)
        assert await rig.event() == ("emptied", KEY)

    run(test, base if way == "leaf" else None)


def test_a_group_signal_arrives_once_in_each_member(base: Path) -> None:
    """A second TERM means "at once" to many servers."""
    script = (
        "import os,signal,sys\n"
        "def child():\n"
        "    got=0; signal.pthread_sigmask(signal.SIG_BLOCK,[1,15,10]); print('up',flush=True)\n"
        "    while signal.sigwait([1,10])!=10: got+=1\n"
        "    os.write(1,b'got %d\\n'%got)\n"
        "if os.fork()==0: os.setpgid(0,0); child(); os._exit(0)\n"
        "child(); os.wait()\n"
    )

    async def test(rig: OsRig) -> None:
        await rig.processes.spawn(rig.command(sys.executable, "-I", "-S", "-c", script), permit)
        said = ""
        while said.count("up") < 2:
            said += await rig.line()
        rig.processes.signal(KEY, "HUP", group=True)
        rig.processes.signal(KEY, "USR1", group=True)
        assert await rig.event() == ("exited", KEY, Exit(code=0), True)
        assert os.read(rig.read, 4096) == b"got 1\ngot 1\n"

    run(test)
    run(test, base)


def test_a_stranger_is_adopted_with_its_status(base: Path) -> None:
    """Not our child: as after the agent's death. The parent reaps late, so the status comes late too."""
    program = (
        "import os,sys,time\n"
        "r,w=os.pipe()\n"
        "pid=os.fork()\n"
        "if pid==0:\n"
        "    os.setsid(); os.read(r,1); os._exit(7)\n"
        "print(pid,flush=True)\n"
        "sys.stdin.readline(); os.write(w,b'x'); sys.stdin.readline(); os.waitpid(pid,0); sys.stdin.readline()\n"
    )

    async def test(rig: OsRig) -> None:
        with subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-I", "-S", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as parent:
            assert parent.stdin is not None
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            s = proctable.stat(pid)
            assert s is not None
            boot = proctable.read("/proc/sys/kernel/random/boot_id").decode().strip()
            assert rig.processes.adopt(KEY, Identity(pid, s.started, boot, "unknown"))
            fd = os.pidfd_open(pid)
            parent.stdin.write(b"\n")
            parent.stdin.flush()
            await readable(fd)  # a zombie now
            os.close(fd)
            assert rig.quiet()
            parent.stdin.write(b"\n")
            parent.stdin.flush()
            event = await rig.event()
            parent.stdin.write(b"\n")
        major, minor = map(int, os.uname().release.split(".")[:2])
        status = Exit(code=7) if (major, minor) >= (6, 15) else Exit()
        assert event == ("exited", KEY, status, True)

    run(test, base)


def test_the_same_key_twice_and_an_unknown_signal_are_refused() -> None:
    async def test(rig: OsRig) -> None:
        await rig.processes.spawn(rig.order("lives"), permit)
        with pytest.raises(SpawnError, match="generation 1 is still there"):
            await rig.processes.spawn(rig.order("lives"), permit)
        with pytest.raises(AdapterError, match='"NOPE": no such signal'):
            rig.processes.signal(KEY, "NOPE", group=True)
        rig.processes.signal(KEY, "KILL", group=True)
        await rig.event()

    run(test)


def test_no_delegation_is_no_failure(tmp_path: Path) -> None:
    """A base that cannot be used, for whatever reason: the service runs without a leaf."""

    async def test(rig: OsRig) -> None:
        await rig.processes.spawn(rig.order("leaves"), permit)
        assert await rig.event() == ("exited", KEY, Exit(code=0), False)
        rig.processes.signal(KEY, "KILL", group=True)
        assert await rig.event() == ("emptied", KEY)

    run(test, tmp_path)  # a plain directory: clone3 and cgroup.procs refuse it
    run(test, tmp_path, clone=False)
    run(test, tmp_path / "missing")


SUCCESSOR = """
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
if (new := os.fork()) == 0:
    if "leave" in sys.argv:
        os.setsid()
    executed, until = os.pipe()
    if (worker := os.fork()) == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execve("/bin/sleep", ["sleep", "60"], {})
    os.close(until)
    os.read(executed, 1)
    os.write(1, b"%d %d\\n" % (os.getpid(), worker))
signal.sigwait([signal.SIGUSR1, signal.SIGTERM])
os._exit(0 if new else 5)
"""


@pytest.mark.parametrize("way", ["session", "leaf"])
@pytest.mark.parametrize("leave", [(), ("leave",)], ids=["", "in a session of its own"])
def test_one_that_takes_over_is_followed_with_what_it_starts(
    way: str, leave: tuple[str, ...], base: Path
) -> None:
    """The former one's end is none; the worker shows neither session nor environment of the first, and belongs all the same."""

    async def test(rig: OsRig) -> None:
        order = rig.command(sys.executable, "-I", "-S", "-c", SUCCESSOR, *leave)
        first = await rig.processes.spawn(order, permit)
        new, worker = map(int, (await rig.line()).split())
        identity = rig.processes.identify(KEY, new)
        assert rig.processes.has(KEY, worker) == (way == "leaf" or not leave)
        rig.processes.follow(KEY, identity)
        assert rig.processes.has(KEY, worker)
        former = os.pidfd_open(first.pid)
        os.kill(first.pid, signal.SIGUSR1)
        await readable(former)
        os.close(former)
        assert not zombie(first.pid)
        assert rig.quiet(), "its end is none"
        rig.processes.signal(KEY, "USR1", group=False)
        assert await rig.event() == ("exited", KEY, Exit(code=5), False)
        assert rig.ended == [new]
        assert rig.processes.members(KEY) == (worker,)
        rig.processes.signal(KEY, "TERM", group=True)
        assert await rig.event() == ("emptied", KEY)

    run(test, base if way == "leaf" else None)


def zombie(pid: int) -> bool:
    """Still, after the loop had its chance to reap it."""
    s = proctable.stat(pid)
    return s is not None and s.state == b"Z"


def test_a_group_signal_reaches_a_main_process_that_leads_no_group() -> None:
    async def test(rig: OsRig) -> None:
        order = rig.command(sys.executable, "-I", "-S", "-c", SUCCESSOR)
        first = await rig.processes.spawn(order, permit)
        new, _ = map(int, (await rig.line()).split())
        rig.processes.follow(KEY, rig.processes.identify(KEY, new))
        rig.processes.signal(KEY, "TERM", group=True)
        event = await rig.event()
        assert event[:3] == ("exited", KEY, Exit(code=5))
        if not event[3]:
            assert await rig.event() == ("emptied", KEY)
        assert not Path(f"/proc/{first.pid}").exists() or zombie(first.pid)

    run(test)


def test_the_one_before_is_followed_again_and_its_end_is_told_once() -> None:
    async def test(rig: OsRig) -> None:
        order = rig.command(sys.executable, "-I", "-S", "-c", SUCCESSOR)
        first = await rig.processes.spawn(order, permit)
        new, _ = map(int, (await rig.line()).split())
        rig.processes.follow(KEY, rig.processes.identify(KEY, new))
        os.kill(new, signal.SIGKILL)
        event = await rig.event()  # its parent does not ask how it ended, so nobody can know
        assert (event[:2], event[3]) == (("exited", KEY), False)
        rig.processes.follow(KEY, rig.processes.identify(KEY, first.pid))
        rig.processes.signal(KEY, "KILL", group=True)
        event = await rig.event()
        assert event[:3] == ("exited", KEY, Exit(signal="KILL"))
        if not event[3]:
            assert await rig.event() == ("emptied", KEY)
        assert rig.quiet()
        assert rig.ended == [new, first.pid]

    run(test)


def test_what_a_main_process_left_while_no_agent_was_there_is_found_by_its_session() -> None:
    """Its session is that of the first process, which is gone since; its worker has cleared its environment."""

    async def test(rig: OsRig) -> None:
        order = rig.command(sys.executable, "-I", "-S", "-c", SUCCESSOR)
        first = await rig.processes.spawn(order, permit)
        new, worker = map(int, (await rig.line()).split())
        identity = rig.processes.identify(KEY, new)
        assert identity.session == first.pid
        rig.processes.follow(KEY, identity)
        await rig.again()
        for pid in (first.pid, new):
            gone = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            await readable(gone)
            os.close(gone)
        assert rig.processes.adopt(KEY, identity)
        event = await rig.event()
        assert event[:2] == ("exited", KEY)
        assert event[3] is False
        assert rig.processes.members(KEY) == (worker,)
        rig.processes.signal(KEY, "KILL", group=True)
        assert await rig.event() == ("emptied", KEY)

    run(test)


def test_two_that_take_turns_cost_a_descriptor_each() -> None:
    async def test(rig: OsRig) -> None:
        order = rig.command(sys.executable, "-I", "-S", "-c", SUCCESSOR)
        first = await rig.processes.spawn(order, permit)
        new, _ = map(int, (await rig.line()).split())
        rig.processes.follow(KEY, rig.processes.identify(KEY, new))
        before = descriptors()
        for pid in (first.pid, new) * 50:
            rig.processes.follow(KEY, rig.processes.identify(KEY, pid))
        assert descriptors() == before
        rig.processes.signal(KEY, "KILL", group=True)
        event = await rig.event()
        assert event[:2] == ("exited", KEY)
        if not event[3]:
            assert await rig.event() == ("emptied", KEY)
        assert rig.ended == [new]

    run(test)
