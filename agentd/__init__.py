"""agentd: supervises local processes and owns how each of them is reloaded."""

__version__ = "0.1.0"
