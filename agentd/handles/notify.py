"""Handle ``notify``: a signal, and the service says itself that it has reloaded (systemd.service(5), Type=notify-reload).

The moment before the signal is taken by the shell; what the service says after it is judged by the evidence ``notify``.
"""

from __future__ import annotations

from typing import ClassVar

from agentd.core.steps import SendSignal, Step
from agentd.handles.base import Options


class Notify:
    """Sends ``reload.signal``, and brings the evidence along."""

    name: ClassVar[str] = "notify"
    needs: ClassVar[str] = ""
    confirm: ClassVar[tuple[str, ...] | None] = ("notify",)

    def recipe(self, options: Options) -> tuple[Step, ...]:
        """As for ``signal``: what differs is how it is confirmed."""
        return (SendSignal(options.signal, options.signal_handled),)
