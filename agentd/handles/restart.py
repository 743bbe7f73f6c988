"""Handle ``restart``: stop, then start. For services that read their configuration only once and cannot run twice.

Between the two nobody serves: sockets that the agent holds keep clients waiting instead of refusing them.
"""

from __future__ import annotations

from typing import ClassVar

from agentd.core.steps import Restart as RestartStep
from agentd.core.steps import Step
from agentd.handles.base import Options


class Restart:
    """The instance is stopped, and the next one is started when nothing is left of it."""

    name: ClassVar[str] = "restart"
    needs: ClassVar[str] = ""
    confirm: ClassVar[tuple[str, ...] | None] = None

    def recipe(self, options: Options) -> tuple[Step, ...]:  # noqa: ARG002 - part of the Protocol
        """The start is the evidence."""
        return (RestartStep(),)
