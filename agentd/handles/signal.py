"""Handle ``signal``: the main process re-reads its files on a signal.

One step. Whether the signal is safe to send is looked up by the shell just before it does; whether the service took its
configuration is the evidence's question.
"""

from __future__ import annotations

from typing import ClassVar

from agentd.core.steps import SendSignal, Step
from agentd.handles.base import Options


class Signal:
    """Sends ``reload.signal`` to the main process."""

    name: ClassVar[str] = "signal"
    needs: ClassVar[str] = ""
    confirm: ClassVar[tuple[str, ...] | None] = ()

    def recipe(self, options: Options) -> tuple[Step, ...]:
        """Sent once: a second signal would start a second reload."""
        return (SendSignal(options.signal, options.signal_handled),)
