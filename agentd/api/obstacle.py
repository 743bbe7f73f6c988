"""What keeps a service down that will not end by itself: somebody who asks for a start or a reload is told, and does not wait for ever.

Decides nothing: the core goes on wanting the service up, and starts it as soon as what it requires is ready.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentd.core.host import AT_REST
from agentd.core.instance import Ending, Phase
from agentd.core.memory import Want
from agentd.core.service import Service


def obstacle(services: Mapping[str, Service], name: str) -> str:
    """One sentence; empty when it is on its way, or when what it waits for is."""
    s = services.get(name)
    if s is None or s.instance.phase not in AT_REST or s.running is not None:
        return ""
    stuck = next((other for r in s.spec.requires if (other := _stuck(services, r))), "")
    if not stuck:
        return ""
    i = services[stuck].instance
    how = f"{i.phase.value}: {i.why}" if i.why else i.phase.value
    return f"{name} waits for {stuck}, which is {how}; start it with: reloadctl start {stuck}"


def _stuck(services: Mapping[str, Service], name: str) -> str:
    """The service at the end of the chain that nobody will start; definitions without a way out are refused at load."""
    s = services.get(name)
    if s is None or s.instance.phase not in (Phase.DOWN, Phase.FAILED) or s.running is not None:
        return ""
    if s.instance.phase is Phase.FAILED or s.want is Want.DOWN:
        return name
    if s.instance.ending is Ending.BY_ITSELF:
        return name
    return next((other for r in s.spec.requires if (other := _stuck(services, r))), "")
