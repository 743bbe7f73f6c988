"""How durations and sizes are written in files: ``"1h30m"``, ``"250ms"``, ``"64M"``.

Decides the two spellings, both ways. It does not decide which keys take them or within which bounds. Units are always
written: systemd reads a bare number as seconds, nginx some as milliseconds, and nobody remembers which.
"""

from __future__ import annotations

import re

_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PART = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,15}))?(ms|s|m|h|d|w)")
_LONGEST = 10 * 365 * _MS["d"]
_SIZE = re.compile(r"([0-9]{1,18})([KMGT]?)")
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError with the reason; nothing is finer than a millisecond or longer than ten years."""
    total = at = 0
    while at < len(text) or not text:
        part = _PART.match(text, at)
        if part is None:
            raise ValueError('is not a duration; write for example "5s", "250ms" or "1h30m"')
        whole, fraction, unit = part.groups()
        total += int(whole) * _MS[unit]
        if fraction:
            scaled, rest = divmod(int(fraction) * _MS[unit], 10 ** len(fraction))
            if rest:
                raise ValueError("is finer than a millisecond")
            total += scaled
        at = part.end()
    if total > _LONGEST:
        raise ValueError("is longer than ten years")
    return total / 1000


def format_duration(seconds: float) -> str:
    """The shortest spelling in whole units: 90.0 is ``1m30s``; rounded to milliseconds."""
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    out = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, _MS[unit])
        if count:
            out += f"{count}{unit}"
    return out


def parse_size(text: str) -> int:
    """Bytes; K, M, G and T are powers of 1024. Raises ValueError with the reason."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(
            'is not a size; write for example "10M" (K, M, G and T are powers of 1024)'
        )
    return int(found[1]) * _BYTES[found[2]]


def format_size(size: int) -> str:
    """The shortest exact spelling: 10485760 is ``10M``."""
    for unit in ("T", "G", "M", "K"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)
