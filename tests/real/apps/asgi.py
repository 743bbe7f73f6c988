"""The same as an ASGI application: ``uvicorn --fd 3 --app-dir … asgi:app``.

uvicorn does not say READY, and accepts only some turns of the loop after its lifespan began: the app waits for those before it says so.
"""

from __future__ import annotations

import asyncio
from typing import Any

from said import PARTS, asked, read, ready

SAID = read()
BODY = SAID.version.encode()
TURNS = 20
"""Four are enough for the uvicorn of today."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path, seconds = asked(f"{scope['path']}?{scope['query_string'].decode()}")
    start = {"type": "http.response.start", "status": 200}
    if path == "/stream":
        await send(start | {"headers": []})
        for _ in range(PARTS):
            await send({"type": "http.response.body", "body": BODY, "more_body": True})
            await asyncio.sleep(seconds / PARTS)
        await send({"type": "http.response.body", "body": b""})
        return
    if seconds:
        await asyncio.sleep(seconds)
    await send(start | {"headers": [(b"content-length", str(len(BODY)).encode())]})
    await send({"type": "http.response.body", "body": BODY})


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    for _ in range(TURNS):
        await asyncio.sleep(0)
    ready()
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
