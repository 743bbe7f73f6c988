"""The three small servers of ``apps/``: how each is started on an inherited socket, and requests that take their time meanwhile."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from pathlib import Path
from typing import Any

from host import HERE

HOME = HERE / "apps"
PLAIN = (sys.executable, str(HOME / "plain.py"))
UVICORN = (
    *(sys.executable, "-m", "uvicorn", "--fd", "3", "--app-dir", str(HOME)),
    *("--log-level", "warning", "asgi:app"),
)
GUNICORN = (
    *(sys.executable, "-m", "gunicorn", "--threads", "16", "--keep-alive", "5"),
    *("--chdir", str(HOME), "--log-level", "warning", "wsgi:app"),
)
COMMANDS = {"plain": PLAIN, "uvicorn": UVICORN, "gunicorn": GUNICORN}


class Told:
    """The file of a server, replaced whole as an operator would."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "app.json"
        self(version="1")

    def __call__(self, **said: Any) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(said))
        new.rename(self.path)


class Asked(threading.Thread):
    """One request under way; ``answer`` waits for the whole of it."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._at = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._at.request("GET", path)
        self._got = "nothing"
        self.start()

    def run(self) -> None:
        try:
            self._got = self._at.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._got = repr(error)
        finally:
            self._at.close()

    def answer(self) -> str:
        self.join(30)
        return self._got


def get(port: int, path: str = "/") -> str:
    return Asked(port, path).answer()
