"""What a service is asked about the configuration it runs, and what it said.

Who asks, how long, whose answer counts and how it is read is the shell's work; what it proves is the evidence's. What is kept of an answer
is short, since it stands in the journal and in messages: a long one is kept as a digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from agentd.core.spec import ExecProbe, HttpProbe

LONGEST = 80
"""Characters of an answer that are kept as they are: a whole hash, and a version of any sort."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request or one command, and where in the answer the value stands."""

    probe: HttpProbe | ExecProbe
    path: str = ""
    """JMESPath expression into a JSON document; empty: the answer itself."""
    metric: str = ""
    """Name of a metric in Prometheus' text format, with its labels as the page writes them or with none."""
    mark: str = ""
    """Path or metric, as the value has it, of something that changes with every configuration taken; empty: nothing."""
    names: bool = False
    """Whether the value names a configuration, and not a result or a count."""


@dataclass(frozen=True, slots=True)
class Said:
    """What was answered."""

    value: str | None = None
    mark: str | None = None
    why: str = ""
    """Why there is no value, as a clause."""
    known: bool = True
    """Whether it is known what the service says. False: it did not answer in time, or somebody else did."""


def kept(text: str) -> str:
    """What may stand in a record: short and printable as it is, anything else by its digest."""
    text = text.strip()
    if len(text) <= LONGEST and text.isprintable():
        return text
    return f"text:{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:16]}"


def same(one: str, other: str) -> bool:
    """Equal as written, or as numbers: Prometheus writes 1 as ``1`` or ``1.0``."""
    if one == other:
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False
