"""Handle ``exec``: a command makes the service reload; its exit code is a yes or a no.

It runs as the service's user, with the service's environment, and everything it started ends with the reload's timeout.
"""

from __future__ import annotations

from typing import ClassVar

from agentd.core.steps import RunCommand, Step
from agentd.handles.base import Options


class Exec:
    """Runs ``reload.command``."""

    name: ClassVar[str] = "exec"
    needs: ClassVar[str] = "command"
    confirm: ClassVar[tuple[str, ...] | None] = ()

    def recipe(self, options: Options) -> tuple[Step, ...]:
        """One step; exit code 0 proves something only where the definition says so (``confirm = ["reply"]``)."""
        return (RunCommand(options.command),)
