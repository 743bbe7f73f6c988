"""The agent's own definitions: from files to frozen values, or to every mistake in them with its place.

``loader.load`` is the way in; ``schema`` is the one table of keys. Nothing here starts, signals or watches anything.
"""
