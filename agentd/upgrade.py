"""The agent's own code, replaced in place: the new code is rehearsed, then executed in this very process.

Decides whether the new code may take over (it says so itself, by ``--dry-run``) and how it is executed. The pid stays, so every
service keeps its parent; what the new code finds of services, sockets and output it finds as after any other end of an agent. What
it could not find again goes along: the lock and the socket of the API, so that nobody else becomes the agent meanwhile and clients wait,
and the listeners of services that no process may have.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from agentd.core.spec import ProcessSpec
from agentd.ports import CommandOrder, Commands

KEPT = "AGENTD_KEPT"
"""The environment variable that tells the new code which descriptors are what: ``lock=3,api=7,web/http/4711=8``."""
_MOST_S = 60.0
"""How long a rehearsal may take."""
_TOLD = 20
"""Lines of a rehearsal that are handed on."""
_YES = re.compile(r"agentd (\S+) can take over")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the new code says of itself. ``why``: why it cannot take over; empty: it can."""

    version: str
    why: str
    output: tuple[str, ...] = ()


class Upgrade:
    """One for each agent: asked once, begun at most once."""

    def __init__(
        self,
        commands: Commands,
        argv: Sequence[str],
        env: Mapping[str, str],
        give_way: Callable[[], None],
    ) -> None:
        """``argv``: how this agent was started, the interpreter first. ``give_way`` makes it end and leave its services."""
        self._commands = commands
        self.argv = tuple(argv)
        self._env = tuple(env.items())
        self._give_way = give_way
        self.begun = False

    def begin(self) -> None:
        """There is no way back but the one that ``execute`` has when it fails."""
        self.begun = True
        self._give_way()

    async def rehearse(self) -> Rehearsal:
        """Run the new code up to where it would take over; nothing of this agent is touched."""
        argv = (*self.argv, "--dry-run")
        done = await self._commands.run(CommandOrder(argv, ProcessSpec(argv), self._env, _MOST_S))
        said, found = done.output[-_TOLD:], _YES.match(done.output[-1] if done.output else "")
        if done.error is not None:
            return Rehearsal("", f"it cannot be started: {done.error}", said)
        if done.timed_out:
            return Rehearsal("", f"it did not say within {_MOST_S:g}s whether it can", said)
        if done.exit_code or found is None:
            last = said[-1] if said else "it says nothing"
            return Rehearsal("", f"it ends with exit code {done.exit_code}: {last}", said)
        return Rehearsal(found[1], "", said)


def command() -> tuple[str, ...]:
    """How this process was started, with the interpreter's whole path."""
    return (sys.executable, *sys.orig_argv[1:])


def received(env: MutableMapping[str, str]) -> dict[str, int]:
    """The descriptors that an earlier image of this process left, by what they are; they are not handed on by accident."""
    found: dict[str, int] = {}
    for word in env.pop(KEPT, "").split(","):
        what, _, fd = word.partition("=")
        if fd.isdecimal():
            try:
                os.set_inheritable(int(fd), False)
            except (OSError, ValueError, OverflowError):
                continue  # it is not there: whoever set the variable was no agent
            found[what] = int(fd)
    return found


def execute(argv: Sequence[str], kept: Mapping[str, int], descriptors: tuple[int, int]) -> NoReturn:
    """Become the new code. ``descriptors``: the limits that this agent was started with. Raises OSError: nothing has changed."""
    words = ",".join(f"{what}={fd}" for what, fd in kept.items())
    here = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a handler again
    try:
        for fd in kept.values():
            os.set_inheritable(fd, True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors[0], here[1]))
        os.execve(argv[0], list(argv), {**os.environ, KEPT: words})  # noqa: S606 - our own command line
    finally:  # only when it failed
        signal.signal(signal.SIGHUP, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, here)
        for fd in kept.values():
            os.set_inheritable(fd, False)
