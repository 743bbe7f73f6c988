"""The demo's traffic: a steady stream of requests, each on a new connection, with every failure counted."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from typing import Self


class Load:
    """Requests from one thread until it is stopped."""

    def __init__(self, port: int, per_second: float) -> None:
        self._port = port
        self._pause = 1 / per_second
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join(5)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._halt.wait(max(0.0, due - time.monotonic())):
            due += self._pause
            try:
                self.answers[self._ask()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failed[type(error).__name__] += 1

    def _ask(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise http.client.HTTPException(str(answer.status))
            return answer.read().decode(errors="replace")
        finally:
            connection.close()
