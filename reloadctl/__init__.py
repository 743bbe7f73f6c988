"""reloadctl: asks agentd, and tells people and scripts what it answered."""
