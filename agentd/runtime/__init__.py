"""The imperative shell around the core: the only writer of state."""
