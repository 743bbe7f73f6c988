"""The same as a WSGI application: ``gunicorn --threads 8 --chdir … wsgi:app``.

It says nothing to a supervisor: gunicorn itself says READY when its arbiter runs, and its workers serve only later, so whoever wants
to know asks by HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from said import PARTS, asked, read

SAID = read()
BODY = SAID.version.encode()


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    path, seconds = asked(f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}")
    if path == "/stream":
        start("200 OK", [])
        return stream(seconds)
    time.sleep(seconds)
    start("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]


def stream(seconds: float) -> Iterator[bytes]:
    for _ in range(PARTS):
        yield BODY
        time.sleep(seconds / PARTS)
