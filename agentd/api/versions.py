"""Which configuration is meant by a word, and which of a service's are known: pure functions of what the journal says.

A configuration is known by its hash; one hash may have been read many times. What is kept of it, and how two of them
differ, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from agentd.ports import Reading
from agentd.wire import Verdict

NAMES = ("live", "last_good", "on_disk", "desired", "last_attempted")
"""What stands for a configuration whichever it is just now; ``desired`` is what is on disk, files being the source of truth."""
SHORTEST = 6
"""Characters of a prefix."""
_SAYS_LITTLE = frozenset({None, Verdict.UNCHANGED, Verdict.HELD, Verdict.CANCELLED})
"""Of the bytes, that is."""


def distinct(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """Each configuration once, the one that was read last first: with its newest verdict that is about its bytes."""
    found: dict[str, Reading] = {}
    for one in readings:
        known = found.setdefault(one.hash, one)
        if known.verdict in _SAYS_LITTLE and one.verdict not in _SAYS_LITTLE:
            found[one.hash] = one
    return tuple(found.values())


def meant(word: str, known: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The hashes that a hash, a version or the beginning of one may mean; ``known`` are hashes with their versions.

    What is written in full goes before what only begins so.
    """
    digits = word.lower().removeprefix("sha256:")
    pairs = dict.fromkeys(known)
    whole = [hash_ for hash_, _ in pairs if hash_.removeprefix("sha256:") == digits]
    named = whole or [hash_ for hash_, version in pairs if version == word]
    if not named and len(digits) >= SHORTEST:
        named = [
            hash_
            for hash_, version in pairs
            if hash_.removeprefix("sha256:").startswith(digits) or version.startswith(word)
        ]
    return tuple(dict.fromkeys(named))


def is_secret(path: str, patterns: Iterable[str]) -> bool:
    """Whether an input is declared secret now, though its bytes may have been kept before it was.

    Wider than the wildcards of a definition are: here ``*`` takes ``/`` as well. Hiding too much harms nobody.
    """
    return any(
        path == pattern
        or path.startswith(f"{pattern.rstrip('/')}/")
        or fnmatchcase(path, pattern)
        or fnmatchcase(path, f"{pattern}/*")
        for pattern in patterns
    )
