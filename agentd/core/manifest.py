"""What a snapshot found: the canonical list of input files and the hash over them. Bytes never enter the core."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One input file under its logical name (symlinks are not replaced by their target in it)."""

    path: str
    hash: str
    """sha256 of the bytes, 64 hex digits; of secret inputs an HMAC with the host's key."""
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One consistent reading of a service's inputs."""

    hash: str
    """``sha256:`` and 64 hex digits over the canonical form of the entries."""
    version: str
    entries: tuple[Entry, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    """What the operator declared to be read from these bytes (``model.version``); what could not be read is not here."""
    unlisted: str = ""
    """Why it is not known which files these include, as a sentence; empty: it is known, or nobody asked.

    The hash is then one of its own: what is read under it is never mistaken for the same entries with nothing left out.
    """


@dataclass(frozen=True, slots=True)
class Missing:
    """The inputs could not be read as a whole."""

    error_type: str
    """missing_input, unreadable_input, oversized_input, unstable_input."""
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """How one input differs between two manifests."""

    path: str
    change: str
    """added, removed, modified."""


def changes(before: Manifest | None, after: Manifest) -> tuple[Change, ...]:
    """The inputs that differ, in path order; against nothing, every input is ``added``."""
    old = {e.path: e.hash for e in before.entries} if before else {}
    new = {e.path: e.hash for e in after.entries}
    added = [Change(p, "added") for p in new if p not in old]
    removed = [Change(p, "removed") for p in old if p not in new]
    modified = [Change(p, "modified") for p in new if p in old and new[p] != old[p]]
    return tuple(sorted(added + removed + modified, key=lambda c: c.path))


def lost(before: Manifest | None, after: Manifest) -> str:
    """An input that had bytes and is empty now, or the only ones that are gone: an accident, not a configuration. Else empty."""
    had = {e.path for e in before.entries if e.size} if before else set()
    if had and not after.entries:
        return min(had)
    return next((e.path for e in after.entries if not e.size and e.path in had), "")
