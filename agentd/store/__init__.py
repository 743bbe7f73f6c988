"""The durable journal and the agent's own state."""
