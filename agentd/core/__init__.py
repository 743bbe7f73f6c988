"""The pure core: every decision of the supervisor, as values in and values out.

Nothing here knows asyncio, a clock, the operating system or a logger; ``tests/core/test_layers.py`` holds that.
"""
