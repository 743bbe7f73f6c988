"""Trace context as text: reading a caller's, and the ids of our own spans before these have ended.

Span ids follow from the reload's id and the span's place in the tree, so a context can be handed to a check or to a new
process while its span is still open, and a trace that is sent twice is the same trace. Flags are always 01: callers that
sample nothing still get their reload recorded, and old parsers drop a header whose flags are 03.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

# W3C Trace Context level 1, §3.2: lower case only; a version above 00 may be followed by more fields.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})="
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MEMBERS = 32


@dataclass(frozen=True, slots=True)
class Context:
    """One span of somebody's trace."""

    trace_id: str
    span_id: str


def parse_traceparent(header: str) -> Context | None:
    """None for anything that the specification calls invalid: then there is no parent."""
    found = _TRACEPARENT.fullmatch(header)
    if found is None or (found[1] == "00" and found[4]):
        return None
    return Context(found[2], found[3])


def parse_tracestate(header: str) -> str:
    """The header in its canonical form; empty when any member is invalid, as the specification asks."""
    members = [member.strip(" \t") for member in header.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    well_formed = all(_MEMBER.fullmatch(member) for member in members)
    if not well_formed or len(keys) != len(members) or len(members) > _MEMBERS:
        return ""
    return ",".join(members)


def span_id(reload_id: str, path: str = "") -> str:
    """16 hex digits, never all zero. ``path`` is the span's place: "" the root, "check", "check/command", "apply/process.start"."""
    digest = sha256(f"{reload_id}/{path}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") or 1).to_bytes(8, "big").hex()


def traceparent(trace_id: str, reload_id: str, path: str = "") -> str:
    """What a check, a call or a new process gets as TRACEPARENT."""
    return f"00-{trace_id}-{span_id(reload_id, path)}-01"
