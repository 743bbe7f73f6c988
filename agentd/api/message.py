"""A request that was read, and an answer to be sent: values between the socket and the handlers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from agentd.api.peers import Peer
from agentd.config.access import Level

JSON = "application/json"
LINES = "application/jsonl"
REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request of somebody who may make it."""

    peer: Peer
    level: Level
    """The highest that the caller is allowed: what an answer may show depends on it."""
    args: Mapping[str, str]
    """The parts of the path that the route names."""
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    """By lower-case name; of a repeated one the last."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: bytes, or lines that go on coming."""

    body: bytes = b""
    status: int = 200
    code: int = 0
    """What ``reloadctl`` exits with."""
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    lines: AsyncGenerator[bytes, None] | None = None
    write_s: float = 0.0
    """How long the caller may take to read a piece of it; 0: as long as any."""
