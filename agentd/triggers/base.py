"""What every trigger is. It only ever asks: whether, when and with which verdict is the core's decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """A reason to reload a service. ``at``: seconds of CLOCK_MONOTONIC at which the newest cause of it was seen."""

    service: str
    at: float


class Trigger(Protocol):
    """One reason to reload. Iterating waits for the next one; closing stops watching and ends the iteration."""

    name: ClassVar[str]

    def requests(self) -> AsyncIterator[ReloadRequest]:
        """The requests from now on; one consumer."""

    def close(self) -> None:
        """Stop; callable more than once."""
