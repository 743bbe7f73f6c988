"""Who a span is about: the agent itself, or an instance of a service it speaks for.

Built by hand and not by the SDK's detectors, which start threads and prepend a random ``service.instance.id``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMESPACE = bytes.fromhex("4d63009a8d0f11eeaad74c796ed8e320")
"""Semantic conventions, service.instance.id: the namespace for UUIDs that follow from an inherent id."""

Value = str | bool | int | float | tuple[str, ...]
Attributes = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """Attributes in the order of their names, and the host they stand on."""

    attributes: Attributes
    host_id: str

    def lasting(self) -> Resource:
        """For what goes on over the agent's own restart, as its counters do: one agent of one host, not one run of it."""
        own = {k: v for k, v in self.attributes if k != "process.pid"}
        own["service.instance.id"] = _uuid5(f"{self.host_id}/agentd")
        return Resource(tuple(sorted(own.items())), self.host_id)

    def to_text(self) -> str:
        """For the outbox: what is sent again names the agent of then."""
        return json.dumps({"host_id": self.host_id, "attributes": dict(self.attributes)})

    def instance(self, service: str, generation: int, pid: int | None) -> Resource:
        """The resource of one generation of a service, on the same host."""
        shared = ("host.", "deployment.", "os.")
        own: dict[str, Value] = {k: v for k, v in self.attributes if k.startswith(shared)}
        own["service.name"] = service
        own["service.instance.id"] = instance_id(self.host_id, service, generation)
        if pid is not None:
            own["process.pid"] = pid
        return Resource(tuple(sorted(own.items())), self.host_id)


def from_text(text: str) -> Resource:
    """What ``to_text`` gave. Raises ValueError."""
    try:
        found = json.loads(text)
        return Resource(tuple(found["attributes"].items()), found["host_id"])
    except (TypeError, KeyError, AttributeError, RecursionError) as why:
        raise ValueError(f"it is no resource: {why!r}") from why


def instance_id(host_id: str, service: str, generation: int) -> str:
    """``service.instance.id``: the same over in-place reloads, another for each new process."""
    return _uuid5(f"{host_id}/{service}/0/{generation}")


def agent_resource(
    version: str, started: str, environ: Mapping[str, str], host_id: str = ""
) -> Resource:
    """The agent's own. ``started`` tells this run of it from every other: boot id and pid, say.

    OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are honoured; what the agent knows of itself stands above the latter.
    """
    uname = os.uname()
    host_id = host_id or read_host_id()
    given = dict(_given(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    own: dict[str, Value] = {
        "service.name": given.get("service.name", "agentd"),
        "host.name": uname.nodename,
        "host.id": host_id,
        **given,
        "service.version": version,
        "service.instance.id": _uuid5(f"{host_id}/agentd/{started}"),
        "process.pid": os.getpid(),
        "os.type": "linux",
    }
    if name := environ.get("OTEL_SERVICE_NAME"):
        own["service.name"] = name
    return Resource(tuple(sorted(own.items())), host_id)


def read_host_id(
    places: tuple[Path, ...] = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")),
) -> str:
    """machine-id(5); the node's name where there is none, as in many containers."""
    for place in places:
        try:
            found = place.read_text("ascii").strip()
        except (OSError, UnicodeError):
            continue
        if found:
            return found
    return os.uname().nodename


def _given(text: str) -> list[tuple[str, str]]:
    """``key=value`` pairs with percent escapes (OpenTelemetry resource SDK); pairs that are none are passed over."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    return [
        (key.strip(), unquote(value.strip())) for key, sep, value in pairs if sep and key.strip()
    ]


def _uuid5(name: str) -> str:
    """RFC 9562 §5.5, without the import of ``uuid``."""
    raw = bytearray(sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
