"""Puts one agent together from real adapters and runs it. Sees everything, decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from agentd import __version__, upgrade
from agentd.api.server import Api
from agentd.applying import Applying
from agentd.config.definitions import Definitions, OnTerminate
from agentd.config.problems import ConfigErrors, describe
from agentd.core.boot import Left, boot
from agentd.core.effects import Note
from agentd.core.events import ReloadAsked, ShutdownAsked
from agentd.core.facts import AgentStarted, AgentStopped, Cause, Record
from agentd.core.host import Step
from agentd.core.ids import Mint
from agentd.core.memory import Memory
from agentd.exporting import Exporting
from agentd.journal import Journal
from agentd.options import Options
from agentd.ports import AdapterError, Key, Message
from agentd.retention import Retention
from agentd.runtime.listing import Listing
from agentd.runtime.machine import Machine
from agentd.runtime.runtime import Runtime
from agentd.store.births import OsBirthFiles
from agentd.store.sqlite import SqliteStore
from agentd.system import bounds, lock
from agentd.system.calls import OsCalls
from agentd.system.commands import OsCommands
from agentd.system.fdstore import FdStore
from agentd.system.files import OsFiles
from agentd.system.groups import find_delegated
from agentd.system.listeners import OsListeners
from agentd.system.notify import NotifySockets
from agentd.system.opens import FanotifyOpens
from agentd.system.output import SplicedOutput
from agentd.system.pidfile import OsPidFiles
from agentd.system.probes import OsProbes
from agentd.system.processes import OsProcesses
from agentd.system.proctable import OsProcessTable
from agentd.system.stages import StagedCopies
from agentd.system.states import StateFiles
from agentd.systemd import Systemd
from agentd.takeover import Marks, TakenOver, signs_of, take_over
from agentd.telemetry.loglines import LogLines, stderr_is_the_journal
from agentd.telemetry.resource import instance_id, read_host_id
from agentd.triggers.timer import Timer
from agentd.triggers.watch import FileWatch
from agentd.wire import ExitCode, Trigger


def run(options: Options, definitions: Definitions) -> int:
    """Run one agent to its end; the exit code. What goes wrong before it supervises is one sentence."""
    try:
        lock.directory(options.state_dir, 0o700)
        lock.directory(options.runtime_dir, 0o755)
        lock.directory(options.socket.parent, 0o755)
        kept = upgrade.received(os.environ)
        held = lock.take(options.state_dir, kept.pop("lock", None))
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
        while True:
            agent = _Agent(options, definitions, kept)
            with asyncio.Runner(debug=False) as runner:
                kept = runner.run(agent.run())
            if not agent.upgrade.begun:
                break
            try:
                upgrade.execute(agent.upgrade.argv, kept | {"lock": held}, descriptors)
            except OSError as error:
                _write(f"agentd: the upgrade failed, this agentd goes on: {error}")
                definitions = agent.definitions
    except AdapterError as error:
        _write(f"agentd: {error.what}")
        return ExitCode.BUG
    except BaseExceptionGroup as errors:
        _write(
            f"agentd: internal error, please report this: {_first(errors)}; services go on without it"
        )
        if os.environ.get("AGENTD_DEBUG"):
            traceback.print_exception(errors)
        return ExitCode.BUG
    return ExitCode.OK


def _first(error: BaseException) -> str:
    """What is at the bottom of a group of errors, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}{_where(error)}"


def _where(error: BaseException) -> str:
    if error.__traceback__ is None:
        return ""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" at {Path(frame.filename).name}:{frame.lineno}"


class _Agent:
    """The parts of one agent while it runs."""

    def __init__(self, options: Options, definitions: Definitions, kept: dict[str, int]) -> None:
        """``kept``: descriptors that the code before this one left in this process."""
        self._options = options
        self._definitions = definitions
        self._kept = kept
        self._taken_over: TakenOver
        self._terminated = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._lines = LogLines(
            as_json=options.log_format == "json", with_time=not stderr_is_the_journal(os.environ)
        )

    @property
    def definitions(self) -> Definitions:
        """Those in force."""
        return self._applying.definitions

    async def run(self) -> dict[str, int]:
        """Bind, take over what earlier agents left, supervise, let go. What new code in this process is to keep."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        self._open(loop)
        self._runtime.begin(self._take_over(loop))
        self._on_signals(loop)
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(_ask(self._watch, Trigger.WATCH, self._runtime)),
                tasks.create_task(_ask(self._timer, Trigger.TIMER, self._runtime)),
                tasks.create_task(self._hang_ups()),
                tasks.create_task(self._retention.run()),
                tasks.create_task(self._end_when_told()),
            ]
            await self._api.start()
            loop.call_soon(self._systemd.ready)
            gc.collect()
            gc.freeze()  # what is there now stays: later collections need not look at it
            await self._runtime.run()
            if self.upgrade.begun:
                self._systemd.upgrading()
            else:
                self._systemd.stopping()
            await self._say_goodbye(loop)
            self._watch.close()
            self._timer.close()
            for task in beside:
                task.cancel()
            kept = {"api": self._api.keep()} | self._listeners.keep() if self.upgrade.begun else {}
            await self._api.close()
        await self._let_go()
        self._systemd.close()
        return kept

    async def _end_when_told(self) -> None:
        """SIGTERM: leave the services to the next agent, if that is wanted and there will be one."""
        while await self._terminated.wait():
            self._terminated.clear()
            wish = self._applying.definitions.agent.on_terminate or self._options.on_terminate
            leave = wish is OnTerminate.LEAVE and not await self._systemd.host_goes_down()
            self._runtime.post(ShutdownAsked(leave=leave))

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the parts. Raises AdapterError for what an agent cannot do without."""
        options, state = self._options, self._options.state_dir
        self._exporting = Exporting(
            self._definitions.agent.telemetry.endpoint, os.environ, self._boot
        )
        self._store = SqliteStore(state / "journal.db", outbox=self._exporting.due)
        self._journal = Journal(
            self._store, self._boot, self._store.journal.last_seq(), time.time_ns
        )
        self._journal.listen(self._tell)
        hub = _Hub()
        self._marks = Marks(state / "host.key", self._say)
        self._births = OsBirthFiles(options.runtime_dir / "births")
        group = find_delegated(options.runtime_dir)
        self._processes = OsProcesses(loop, hub, group, mark=self._marks)
        listeners = {name: fd for name, fd in self._kept.items() if "/" in name}
        store = FdStore(os.environ, self._say, kept=listeners)
        _allow_many_descriptors()  # after these took note of what children, and the next agent, get
        table = OsProcessTable()
        commands = OsCommands(loop, self._processes.launcher)
        self._output = SplicedOutput(loop, state / "logs")
        self._calls = OsCalls()
        self._opens = FanotifyOpens(loop)
        self._listeners = OsListeners(options.runtime_dir / "listeners", self._say, store=store)
        self._files = OsFiles(
            state / "snapshots",
            state / "host.key",
            rejected=state / "rejected",
            included=state / "included",
            run=Listing(commands, os.environ).run,
        )
        self._notify = NotifySockets(
            loop, options.runtime_dir / "notify", hub.notified, self._processes.has
        )
        self._machine = Machine(
            processes=self._processes,
            table=table,
            commands=commands,
            probes=OsProbes(commands, table),
            output=self._output,
            logs=self._output,
            notify=self._notify,
            files=self._files,
            members=self._processes,
            listeners=self._listeners,
            held=self._listeners,
            openings=self._listeners,
            calls=self._calls,
            states=StateFiles(options.runtime_dir / "state"),
            opens=self._opens,
            mains=self._processes,
            pid_files=OsPidFiles(),
            births=self._births,
            stages=StagedCopies(options.runtime_dir / "staged", self._files.snapshots),
        )
        self._runtime = hub.runtime = Runtime(
            self._machine,
            self._journal,
            self._boot,
            self._say,
            os.environ,
            identify=partial(instance_id, read_host_id()),
        )
        self._systemd = Systemd(loop, lambda: self._runtime.host, commands, os.environ)
        self._journal.listen(self._systemd.hear)
        self._api = Api(
            self._runtime,
            self._store.journal,
            self._output,
            self._definitions.agent.access,
            options.socket,
            archive=self._files.snapshots,
            telemetry=self._exporting,
        )
        self._api.bind(self._kept.pop("api", None))
        self.upgrade = upgrade.Upgrade(
            commands,
            upgrade.command(),
            os.environ,
            lambda: self._runtime.post(ShutdownAsked(leave=True)),
        )
        self._api.upgrade(self.upgrade)
        self._watch = FileWatch(loop, self._files, self._say)
        self._files.lists.changed = self._watch.relisted
        self._timer = Timer(loop, _at_most)
        self._applying = Applying(
            options.config,
            self._definitions,
            self._runtime,
            self._remembered,
            self._api.allow,
            doubts=partial(bounds.doubts, group),
        )
        for doubt in bounds.doubts(group, self._definitions.services):
            self._say(f"warning: {doubt}")
        self._applying.tell(self._watch, self._timer)
        self._journal.listen(self._applying.hear)
        self._api.define(self._applying)
        retain = self._definitions.agent.telemetry.retain
        self._retention = Retention(
            self._store, self._files.snapshots, self._say, retain, self._exporting
        )
        self._journal.listen(self._retention.hear)
        for problem in self._exporting.problems:
            self._say(problem)
        self._exporting.open(self._store, self._api.measured, self._say)
        self._journal.listen(self._exporting.hear)

    def _take_over(self, loop: asyncio.AbstractEventLoop) -> Step:
        """Adopt what earlier agents left; what to do first."""
        services, store = self._definitions.services, self._store
        memories = store.memories()
        signs = None
        if store.forgetful and not self._births.shared:
            signs = signs_of(self._options.runtime_dir, self._marks.key, self._boot)
        self._listeners.take_back(services)
        taken = take_over(
            self._machine, services, memories, signs=signs, boot=self._boot, say=self._say
        )
        self._taken_over = taken
        self._listeners.settle()
        left = Left(
            taken.memories,
            taken.found,
            store.open_reloads(),
            self._boot,
            taken.beside,
            taken.unknown,
        )
        notices = [*filter(None, (store.notice, self._births.notice)), *taken.notices]
        for notice in notices:
            self._say(notice)
        if store.aside is not None:
            notices.insert(0, store.aside.text)
            self._journal.add((Note(loop.time(), store.aside),), ())
        self._api.notice(notices)
        mint = Mint(os.urandom(16), time.time_ns() // 1_000_000, loop.time())
        adopted = len(taken.found) + len(taken.beside)
        started = AgentStarted(__version__, os.getpid(), adopted)
        self._journal.add((Note(loop.time(), started),), ())
        return boot(services, left, mint, loop.time())

    def _remembered(self) -> tuple[Memory, ...]:
        """What is known of services that were here before."""
        known = {memory.service: memory for memory in self._store.memories()}
        return tuple((self._taken_over.memories | known).values())

    async def _say_goodbye(self, loop: asyncio.AbstractEventLoop) -> None:
        left = any(s.alive for s in self._runtime.host.services.values())
        stopped = Note(loop.time(), AgentStopped(left=left))
        await asyncio.wait([self._journal.add((stopped,), ())], timeout=1)

    async def _let_go(self) -> None:
        """Close everything; services that are left live on."""
        await self._processes.close()
        self._notify.close()
        self._output.stop()
        self._births.close()
        self._files.close()
        self._listeners.close()
        self._calls.close()
        self._opens.close()
        await asyncio.to_thread(self._exporting.close)
        await self._store.close()

    def _tell(self, record: Record) -> None:
        line = self._lines.line(record)
        if line is not None:
            _write(line)

    def _say(self, what: str) -> None:
        _write(self._lines.said(what, time.time_ns()))

    def _on_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGTERM, self._terminated.set)
        loop.add_signal_handler(signal.SIGINT, self._runtime.post, ShutdownAsked(leave=False))
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)

    async def _hang_ups(self) -> None:
        """SIGHUP: the definitions are read again, whole or not at all."""
        while await self._hung_up.wait():
            self._hung_up.clear()
            with self._systemd.reloading():
                try:
                    planned = (await self._applying.apply(Cause(Trigger.HANGUP))).planned
                except ConfigErrors as errors:
                    self._systemd.notice = "the definitions on disk have mistakes and are not taken"
                    for line in describe(errors).splitlines():
                        self._say(line)
                else:
                    self._systemd.notice = ""
                    for warning in planned.definitions.warnings:
                        self._say(f"warning: {warning}")
                    for name in planned.later:
                        self._say(f"agent.{name} takes effect when agentd is started again")

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A bug of ours in a callback: said in one line, and supervision goes on."""
        error = context.get("exception")
        if error is not None and os.environ.get("AGENTD_DEBUG"):
            traceback.print_exception(error)
        what = _first(error) if error is not None else context.get("message")
        self._say(f"internal error, please report this: {what}")


class _Hub:
    """Hands what the adapters report to the runtime, which is made after them."""

    runtime: Runtime

    def exited(self, key: Key, end: Any, *, empty: bool, at: float, pid: int) -> None:
        self.runtime.exited(key, end, empty=empty, at=at, pid=pid)

    def emptied(self, key: Key, at: float) -> None:
        self.runtime.emptied(key, at)

    def notified(self, key: Key, message: Message) -> None:
        self.runtime.notified(key, message)


async def _ask(of: FileWatch | Timer, trigger: Trigger, runtime: Runtime) -> None:
    """Every reason that a trigger sees is asked for once; the core decides what becomes of it."""
    async for request in of.requests():
        runtime.post(ReloadAsked(request.service, Cause(trigger), if_changed=True))


def _at_most(seconds: float) -> float:
    """A delay drawn by chance, from none to this long."""
    return int.from_bytes(os.urandom(4)) / (1 << 32) * seconds


def _allow_many_descriptors() -> None:
    """Three descriptors for each service: use what the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _write(line: str) -> None:
    """To stderr, whole; a log that cannot be written must not end supervision."""
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="backslashreplace"))
