"""From the documents of the agent to text for people; asks nobody anything."""
