"""Thin adapters, one facility of the operating system each: they act and report, ``agentd.core`` decides."""
