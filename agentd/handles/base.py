"""What a handle is, and what it may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from agentd.core.steps import Step


@dataclass(frozen=True, slots=True)
class Options:
    """What ``[service.NAME.reload]`` says to the handle."""

    signal: str = "HUP"
    """Without ``SIG``."""
    signal_handled: bool = False
    """The operator knows that the signal is handled, although it cannot be seen."""


class Handle(Protocol):
    """One way to make a running service take up its new configuration."""

    name: ClassVar[str]

    def recipe(self, options: Options) -> tuple[Step, ...]:
        """The steps to perform in order, once the check has passed."""
