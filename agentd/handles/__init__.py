"""The ways to make a running service take up its new configuration: one file each, one line here.

A handle is expanded to steps when the definitions are loaded, so the core knows steps only.
"""

from __future__ import annotations

from agentd.handles.base import Handle, Options
from agentd.handles.exec import Exec
from agentd.handles.http import Http
from agentd.handles.notify import Notify
from agentd.handles.replace import Replace
from agentd.handles.restart import Restart
from agentd.handles.signal import Signal

__all__ = [
    "HANDLES",
    "Exec",
    "Handle",
    "Http",
    "Notify",
    "Options",
    "Replace",
    "Restart",
    "Signal",
]

_ALL: tuple[Handle, ...] = (Signal(), Notify(), Exec(), Http(), Restart(), Replace())
HANDLES: dict[str, Handle] = {handle.name: handle for handle in _ALL}
