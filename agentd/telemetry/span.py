"""A span as a value: what the folds give and the exporters take. No behaviour, and no SDK."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentd.core.context import Context
    from agentd.telemetry.resource import Attributes, Resource, Value


class Kind(IntEnum):
    """The kinds as OTLP numbers them."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Event:
    """A moment within a span."""

    name: str
    at_ns: int
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A span elsewhere that has to do with this one."""

    to: Context
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended, or is drawn as far as it is known. Ids in hex, times in Unix nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    kind: Kind
    start_ns: int
    end_ns: int
    attributes: Attributes
    resource: Resource
    error: str | None = None
    """The status's message when it is Error; None: unset."""
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    remote_parent: bool = False
    trace_state: str = ""

    def get(self, name: str) -> Value | None:
        """One attribute."""
        return dict(self.attributes).get(name)
