"""Hypothesis keeps nothing on disk, for tests also run as users who may not write here, and draws the same examples every time.

``HYPOTHESIS=random`` looks further: what it finds becomes a test of its own.
"""

import os

from hypothesis import settings

settings.register_profile(
    "agentd", database=None, deadline=None, derandomize=os.environ.get("HYPOTHESIS") != "random"
)
settings.load_profile("agentd")
