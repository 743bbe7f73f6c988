"""The kinds of evidence that a reload took effect: one file each, one line here.

Each is a frozen value that implements ``agentd.core.steps.Evidence``: a pure judgement of what the shell saw.
Nothing here looks at the machine, and which evidence a service gives is decided by its definition or recipe.
"""

from __future__ import annotations

from agentd.evidence.base import Hints, Kind
from agentd.evidence.delivered import Delivered
from agentd.evidence.log import Log
from agentd.evidence.notify import Notify
from agentd.evidence.reply import Reply
from agentd.evidence.reread import Reread
from agentd.evidence.version import Changes, Version
from agentd.evidence.workers import Workers

__all__ = [
    "KINDS",
    "Changes",
    "Delivered",
    "Hints",
    "Kind",
    "Log",
    "Notify",
    "Reply",
    "Reread",
    "Version",
    "Workers",
]

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Notify, Reply, Workers, Reread, Log, Delivered)
}
"""Those that are declared by their name; ``version`` and ``changes`` are made from the question that is declared."""
