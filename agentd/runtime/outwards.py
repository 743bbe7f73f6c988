"""What a reload tells those it starts or asks: W3C trace context, the configuration's version, and the state file.

Pure: it makes texts. The state file is for a process that runs on (a signal carries no environment): before the signal it holds the context
of the reload and the version that is to be taken, so that the process can join the trace and knows what it runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

from agentd.core.context import traceparent
from agentd.core.events import Origin
from agentd.core.spec import Spec

STATE_FILE = "AGENTD_STATE_FILE"
"""The variable that names the file."""
NUMBER = "AGENTD_INSTANCE_NUMBER"
"""The variable that says which of several instances it is, or is for."""
TAKEOVERS = "AGENTD_TAKEOVERS"
"""The variable that says how many generations in a row have taken over by themselves with this one."""
_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"
_NEW_PROCESS = frozenset({"restart", "replace"})
"""Handles after which a process runs one configuration for its whole life; elsewhere a resource attribute would become a lie."""


def context(origin: Origin, place: str) -> dict[str, str]:
    """The environment of what belongs below the span at this place of the reload."""
    return {"TRACEPARENT": traceparent(origin.trace_id, origin.reload_id, place)}


def attributes(
    spec: Spec, origin: Origin, instance_id: str, env: Mapping[str, str]
) -> dict[str, str]:
    """OTEL_RESOURCE_ATTRIBUTES of a new process: what the definition says, and what only the agent knows."""
    ours = {"service.instance.id": instance_id}
    if spec.reload.handle in _NEW_PROCESS and origin.version:
        ours["config.version"] = origin.version
        ours["config.hash"] = origin.hash
    given = [pair for pair in env.get(_ATTRIBUTES, "").split(",") if pair.strip()]
    kept = [pair for pair in given if pair.partition("=")[0].strip() not in ours]
    return {_ATTRIBUTES: ",".join([*kept, *(f"{k}={quote(v, safe=':')}" for k, v in ours.items())])}


def state_name(service: str, slot: int) -> str:
    """Of the state file: each instance has its own. No service is called so."""
    return f"{service}@{slot}" if slot else service


def state(origin: Origin, place: str, instance_id: str, wall_ns: int) -> str:
    """The state file's text: one JSON object."""
    return json.dumps(
        {
            "reload_id": origin.reload_id,
            "traceparent": traceparent(origin.trace_id, origin.reload_id, place),
            "config_version": origin.version,
            "config_hash": origin.hash,
            "service_instance_id": instance_id,
            "written_at_unix_ns": wall_ns,
        }
    )
