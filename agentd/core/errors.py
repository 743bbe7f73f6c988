"""The errors of the core: there is one, and it is a bug of ours."""

from __future__ import annotations


class IllegalTransitionError(Exception):
    """An event met a phase that has no row for it. The shell drops the event and says so: supervision goes on."""
