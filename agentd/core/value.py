"""Copies of frozen values with some fields changed: ``dataclasses.replace`` at a third of its price.

Every step of every machine makes several copies, so this is most of what a decision costs. Decides nothing. Only for
dataclasses whose fields are all parameters of ``__init__``, as all of the core's are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the type checker knows this one's arguments
    from dataclasses import replace as replace  # noqa: PLC0414
else:
    from dataclasses import fields

    _PLACES = {}

    def replace(value, **changes):  # noqa: ANN001, ANN003, ANN201
        """The same value with these fields instead. Raises KeyError for a field that it does not have."""
        cls = type(value)
        places = _PLACES.get(cls)
        if places is None:
            places = _PLACES[cls] = {f.name: n for n, f in enumerate(fields(cls))}
        parts = [getattr(value, name) for name in places]
        for name, part in changes.items():
            parts[places[name]] = part
        return cls(*parts)
