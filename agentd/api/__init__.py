"""HTTP over the agent's Unix socket: who may ask for what, and what they are told."""
