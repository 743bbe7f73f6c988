"""A steady stream of HTTP requests, each on a new connection, at a fixed rate; counts every failure.

    load.py PORT PER_SECOND      until SIGTERM; then prints one JSON object

A program of its own so that the tests' own work does not slow it down.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def ask(port: int, good: Counter[str], bad: Counter[str]) -> None:
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as error:
        bad[type(error).__name__] += 1
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200"):
        good[body.decode()] += 1
    else:
        bad[head[:40].decode(errors="replace") or "empty answer"] += 1


async def main(port: int, per_second: float) -> None:
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    due = began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        while not stop.is_set():
            tasks.create_task(ask(port, good, bad))
            due += 1 / per_second
            await asyncio.sleep(max(0.0, due - loop.time()))
    seconds = loop.time() - began
    total = sum(good.values())
    print(json.dumps({"good": total, "bad": dict(bad), "bodies": good, "rate": total / seconds}))


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
