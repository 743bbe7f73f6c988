"""The ways to make a running service take up its new configuration: one file each, one line here.

A handle is expanded to steps when the definitions are loaded, so the core knows steps only.
"""

from __future__ import annotations

from agentd.handles.base import Handle, Options
from agentd.handles.signal import Signal

__all__ = ["HANDLES", "Handle", "Options", "Signal"]

HANDLES: dict[str, Handle] = {handle.name: handle for handle in (Signal(),)}
