"""What a configuration says of itself, as span attributes: declared by the operator, read from the inputs.

Decides the names: of the configuration that was before (``model.previous_version``, as ``config.previous_version``), and the twins
that OpenTelemetry's conventions for generative AI have for three of them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

Pairs = Iterable[tuple[str, str]]

TWINS = {
    "model.version": "gen_ai.request.model",
    "prompt.template.id": "gen_ai.prompt.name",
    "prompt.template.version": "gen_ai.prompt.version",
}
"""Emitted beside the name, unless the operator declared the twin too."""


def attributes(before: Pairs, now: Pairs) -> dict[str, str]:
    """Those of now under their names and twins; those of before under theirs."""
    found = {previous(name): value for name, value in before}
    said = dict(now)
    found |= {TWINS[name]: value for name, value in said.items() if name in TWINS}
    return found | said


def previous(name: str) -> str:
    """``model.version`` before the reload is ``model.previous_version``."""
    above, _, last = name.rpartition(".")
    return f"{above}.previous_{last}"


def changes(before: Pairs, now: Pairs) -> list[dict[str, str | None]]:
    """Each attribute with its value before and after, by name; None: it was not there."""
    old, new = dict(before), dict(now)
    return [
        {"name": name, "before": old.get(name), "after": new.get(name)}
        for name in sorted({*old, *new})
    ]
