"""Import this first: keeps OpenSSL out of the agent, 5 MiB that every host would pay for nothing.

The agent speaks TLS to a receiver of telemetry (``telemetry.post``) and to an https URL that a reload calls (``system.tls``): each
loads it then, and asyncio does without ``ssl`` when it is not there. hashlib falls back to the interpreter's own SHA-256: some
hundred MB a second, in a thread, which is ample for configuration files.
"""

from __future__ import annotations

import sys

for _name in ("ssl", "_ssl", "_hashlib"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # None is how a module is said to be missing
