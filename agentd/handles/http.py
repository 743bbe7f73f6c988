"""Handle ``http``: one request to the service's own administration makes it reload; the status is a yes or a no."""

from __future__ import annotations

from typing import ClassVar

from agentd.core.steps import Step
from agentd.handles.base import Options


class Http:
    """Sends ``reload.request``."""

    name: ClassVar[str] = "http"
    needs: ClassVar[str] = "request"
    confirm: ClassVar[tuple[str, ...] | None] = ()

    def recipe(self, options: Options) -> tuple[Step, ...]:
        """One step; a 200 proves something only where the definition says so (``confirm = ["reply"]``)."""
        assert options.request is not None
        return (options.request,)
