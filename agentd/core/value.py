"""Copies of frozen values with some fields changed: ``dataclasses.replace`` at an eighth of its price.

Every step of every machine makes several copies of an instance, a reload or a service, so this is most of what a decision
costs. These three have no slots: then a copy is one merge of dicts in C that share their keys, where slots would be set one by
one from Python. Anything else goes the long way. Decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the type checker knows this one's arguments
    from dataclasses import replace as replace  # noqa: PLC0414
else:
    import dataclasses

    _new = object.__new__

    def replace(value, **changes):  # noqa: ANN001, ANN003, ANN201
        """The same value with these fields instead. Raises TypeError for a field that it does not have."""
        cls = type(value)
        new = _new(cls)
        try:
            parts = new.__dict__
        except AttributeError:
            return dataclasses.replace(value, **changes)
        parts.update(value.__dict__)
        size = len(parts)
        parts.update(changes)
        if len(parts) != size:
            raise TypeError(f"{cls.__name__} has no such field among {', '.join(changes)}")
        return new
