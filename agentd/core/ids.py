"""Ids without a clock or a source of randomness: a seed from the shell, counted and hashed.

Reload ids are ULIDs (github.com/ulid/spec): 48 bits of milliseconds, 80 bits that nobody else has, in Crockford's base 32, so that
they sort by time. Trace ids are 16 bytes as W3C Trace Context wants them.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True)
class Mint:
    """Where new ids come from. ``wall_ms`` is Unix time at ``mono``; a later step of the wall clock does not reach ids."""

    seed: bytes
    wall_ms: int
    mono: float
    count: int = 0

    def next(self) -> Mint:
        """The mint after one more id was taken."""
        return Mint(self.seed, self.wall_ms, self.mono, self.count + 1)

    def wall_ns(self, now: float) -> int:
        """Unix time in ns, whole milliseconds, at this moment."""
        return (self.wall_ms + int((now - self.mono) * 1000)) * 1_000_000

    def reload_id(self, now: float) -> str:
        """The ULID for this count."""
        number = (self.wall_ns(now) // 1_000_000 << 80) | int.from_bytes(
            self._bytes("reload")[:10], "big"
        )
        return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))

    def trace_id(self) -> str:
        """32 hex digits, never all zero (sha256 of nothing we feed it ends in 16 zero bytes)."""
        return self._bytes("trace")[:16].hex()

    def share(self) -> float:
        """A number from 0 on and below 1, another one for each count and each agent."""
        return int.from_bytes(self._bytes("share")[:4], "big") / (1 << 32)

    def cookie(self) -> str:
        """What a later agent finds in the environment of an instance."""
        return self._bytes("cookie")[:12].hex()

    def _bytes(self, what: str) -> bytes:
        return sha256(b"%s %s %d" % (self.seed, what.encode(), self.count)).digest()
