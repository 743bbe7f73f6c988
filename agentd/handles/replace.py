"""Handle ``replace``: the next generation is started and ready before the old one is drained and stopped.

With ``overlap = false`` the old one has to end first: that is a restart, with the sockets kept open meanwhile.
"""

from __future__ import annotations

from typing import ClassVar

from agentd.core.steps import Replace as ReplaceStep
from agentd.core.steps import Restart, Step
from agentd.handles.base import Options


class Replace:
    """A new process takes the old one's place."""

    name: ClassVar[str] = "replace"
    needs: ClassVar[str] = ""
    confirm: ClassVar[tuple[str, ...] | None] = None

    def recipe(self, options: Options) -> tuple[Step, ...]:
        """The new generation's own answer is the evidence."""
        return (ReplaceStep() if options.overlap else Restart(),)
