"""Whatever bytes come to the agent's socket, each connection gets an answer of HTTP or none, and no handler makes a mistake."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentd.api.routes import ROUTES
from tests.api.stage import Stage, looped, ready, request, serving

TARGETS = sorted({f"/{'/'.join(route.path)}" for route in ROUTES})
