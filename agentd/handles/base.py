"""What a handle is, and what it may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from agentd.core.steps import CallHttp, Step


@dataclass(frozen=True, slots=True)
class Options:
    """What ``[service.NAME.reload]`` says to the handle, and what it must know of the service."""

    signal: str = "HUP"
    """Without ``SIG``."""
    signal_handled: bool = False
    """The operator knows that the signal is handled, although it cannot be seen."""
    command: tuple[str, ...] = ()
    request: CallHttp | None = None
    overlap: bool = True
    """Whether two generations of the service may be alive at a time."""


class Handle(Protocol):
    """One way to make a running service take up its new configuration."""

    name: ClassVar[str]
    needs: ClassVar[str]
    """The key it cannot do without, and no other handle takes; empty: none."""
    confirm: ClassVar[tuple[str, ...] | None]
    """The kinds of evidence that it brings along, where none is declared; None: a new process is its own evidence, others are not asked."""

    def recipe(self, options: Options) -> tuple[Step, ...]:
        """The steps to perform in order, once the check has passed."""
