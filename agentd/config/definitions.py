"""What loading the agent's own files gives: the agent's part, and one Spec per service."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from agentd.config.access import Access
from agentd.core.spec import Spec


class OnTerminate(StrEnum):
    """What SIGTERM to the agent means for its services."""

    STOP = "stop"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Retain:
    """How much history is kept: seconds, bytes and reloads, whichever is reached first."""

    age: float = 90 * 86_400.0
    size: int = 256 << 20
    count: int = 100_000


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where traces, events and metrics go, and how long they are kept here."""

    endpoint: str | None = None
    """None: what OTEL_EXPORTER_OTLP_ENDPOINT says."""
    retain: Retain = field(default_factory=Retain)


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """The agent's own part."""

    include: tuple[str, ...] = ()
    """As written: relative to the file that says so."""
    on_terminate: OnTerminate | None = None
    """None: what the command line says."""
    access: Access = field(default_factory=Access)
    telemetry: Telemetry = field(default_factory=Telemetry)


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything an operator declared, in the order of the files."""

    agent: AgentSpec
    services: tuple[Spec, ...]
    warnings: tuple[str, ...] = ()
    """What can be loaded but is probably not meant, one sentence each."""
