"""Hypothesis keeps nothing on disk: tests also run as users who may not write here."""

from hypothesis import settings

settings.register_profile("agentd", database=None, deadline=None)
settings.load_profile("agentd")
