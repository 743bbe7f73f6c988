"""What the agent and the service manager that started it tell each other: sd_notify(3), sd_watchdog_enabled(3).

Decides when to speak and what the status line says, and whether a SIGTERM means that the host goes down. Does not decide
what is done about it, nor how definitions are read again: whoever does that says so with ``reloading``. Without
NOTIFY_SOCKET nothing is sent and no timer exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from agentd.core.facts import DefinitionsTaken, PhaseEntered, Record
from agentd.core.host import Host
from agentd.core.instance import ALIVE, Phase
from agentd.core.spec import ProcessSpec
from agentd.ports import CommandOrder, Commands
from agentd.system import sdnotify

EXTEND_S = 30.0
"""How much more time is asked for at once while services stop."""
AFTER_KILL_S = 15.0
"""Beyond its stop timeout, until even a KILL must have ended a service; after that no more time is asked for."""
_ASK_S = 5.0
_BOOTED = Path("/run/systemd/system")
"""sd_booted(3)."""
_WORDS = {
    Phase.READY: "up",
    Phase.STARTING: "starting",
    Phase.BACKOFF: "waiting to be started again",
    Phase.STOPPING: "stopping",
    Phase.KILLING: "being killed",
    Phase.FAILED: "failed",
}
"""What a phase is called in the status line; who is down is not mentioned."""


def summary(host: Host) -> str:
    """How many services stand how, in one line."""
    there = (s for s in host.services.values() if not s.spec.removed or s.alive)
    found = Counter(s.phase for s in there)
    up, *others = [(word, found[phase]) for phase, word in _WORDS.items()]
    noun = "service" if up[1] == 1 else "services"
    return ", ".join([f"{up[1]} {noun} {up[0]}", *(f"{n} {word}" for word, n in others if n)])


def watchdog(env: Mapping[str, str], pid: int) -> float | None:
    """Seconds within which the manager wants to hear from this process; None: it does not."""
    asked = env.get("WATCHDOG_USEC", "")
    whom = env.get("WATCHDOG_PID") or str(pid)
    return int(asked) / 1e6 if asked.isdecimal() and int(asked) and whom == str(pid) else None


class Systemd:
    """One agent's side. Everything here happens on the event loop's thread: a loop that is stuck sends no ping."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: Callable[[], Host],
        commands: Commands,
        env: Mapping[str, str],
        *,
        tell: Callable[[str], None] = sdnotify.tell,
        booted: Path = _BOOTED,
    ) -> None:
        """``host``: all services as they are now; ``tell`` sends one message; ``booted`` exists where systemd runs the host."""
        self.notice = ""
        """A sentence for the status line beside the counts, such as why the definitions on disk are not taken."""
        self._loop, self._host, self._commands = loop, host, commands
        self._env, self._tell, self._booted = env, tell, booted
        self._heard = bool(env.get("NOTIFY_SOCKET"))
        self._interval = watchdog(env, os.getpid()) if self._heard else None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._extend_timer: asyncio.TimerHandle | None = None
        self._shown = ""
        self._due = self._stops = False

    def ready(self) -> None:
        """The agent answers. From now on the watchdog is fed."""
        if not self._heard:
            return
        self._shown = self._status()
        self._tell(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={self._shown}")
        if self._interval is not None:
            self._ping()

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """While the agent's own definitions are read and applied; may be held over awaits."""
        if self._heard:
            self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            if self._heard:
                self._shown = self._status()
                self._tell(f"READY=1\nSTATUS={self._shown}")

    def hear(self, record: Record) -> None:
        """Listen to the journal: the status line follows the services, one message for whatever happens at once."""
        if isinstance(record.fact, DefinitionsTaken):
            self.notice = ""  # whoever had them read
        if self._heard and isinstance(record.fact, PhaseEntered | DefinitionsTaken):
            if self._host().ending:
                self.stopping()
            if not self._due:
                self._due = True
                self._loop.call_soon(self._show)

    def stopping(self) -> None:
        """The agent ends, its services perhaps with it: they get the time that their definitions give them."""
        if not self._heard or self._stops:
            return
        self._stops = True
        self._tell("STOPPING=1")
        alive = [
            s for s in self._host().services.values() if any(i.phase in ALIVE for i in s.slots)
        ]
        if self._host().ending and alive:
            most = sum(s.spec.stop_timeout + AFTER_KILL_S for s in alive)
            self._extend(self._loop.time() + most)

    def upgrading(self) -> None:
        """Other code takes over in this process, and says READY=1 when it does."""
        if self._heard:
            now = time.monotonic_ns() // 1000
            self._tell(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=other code takes over")

    def close(self) -> None:
        """Nothing more is told."""
        for timer in (self._ping_timer, self._extend_timer):
            if timer is not None:
                timer.cancel()
        self._heard = False

    async def host_goes_down(self) -> bool:
        """Whether the manager is about to stop everything (poweroff, reboot, the end of a user's session).

        systemd says so itself, over its private socket and without D-Bus. An answer that does not come is a no: the
        services then get their SIGTERM from systemd at the very end.
        """
        if not self._booted.is_dir():
            return False
        whose = ("--user",) if "MANAGERPID" in self._env else ()
        argv = ("systemctl", *whose, "is-system-running")
        order = CommandOrder(argv, ProcessSpec(argv), tuple(self._env.items()), _ASK_S)
        result = await self._commands.run(order)
        return "stopping" in result.output

    def _status(self) -> str:
        return "; ".join(filter(None, (summary(self._host()), self.notice)))

    def _show(self) -> None:
        self._due = False
        if self._heard and (status := self._status()) != self._shown:
            self._shown = status
            self._tell(f"STATUS={status}")

    def _ping(self) -> None:
        assert self._interval is not None
        self._tell("WATCHDOG=1")
        self._ping_timer = self._loop.call_later(self._interval / 2, self._ping)

    def _extend(self, until: float) -> None:
        left = until - self._loop.time()
        if left > 0:
            self._tell(f"EXTEND_TIMEOUT_USEC={round(min(EXTEND_S, left) * 1e6)}")
            self._extend_timer = self._loop.call_later(EXTEND_S / 2, self._extend, until)
