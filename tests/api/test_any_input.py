"""Whatever comes to the agent's socket: an answer of HTTP or none, and never a mistake of the agent's own."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.api.exchange import Limits
from agentd.api.routes import ROUTES
from agentd.core.events import ReloadAsked
from tests.api.stage import ID, ready, serving

MEMBERS = ["reason", "attributes", "if_changed", "force", "require_proof", "wait", "timeout_s", "services", "to",
           "confirm_within_s", "all", "parallel", "keep_going", "cause", "x"]  # fmt: skip
QUERY = [
    "lines",
    "follow",
    "service",
    "from",
    "to",
    "limit",
    "starts",
    "verdict",
    "since",
    "timeout_s",
    "x",
]
SCALAR = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=5)),
    st.sampled_from(["web", "\ud800", "\0", "cicd.a"]),
)
BODY = st.one_of(
    st.dictionaries(
        st.sampled_from(MEMBERS),
        st.one_of(
            SCALAR,
            st.lists(SCALAR, max_size=3),
            st.dictionaries(st.text(max_size=8), SCALAR, max_size=2),
        ),
        max_size=4,
    ).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=20),
)
PART = st.one_of(
    st.sampled_from(["web", ID, ID[:6], "..", ""]), st.text(max_size=5), st.binary(max_size=5)
)
HEADERS = st.lists(
    st.sampled_from(["Content-Type: application/json", "Content-Length: 1", "Expect: 100-continue", "Host: b",
                     "traceparent: 00", "baggage: \xb2", "Transfer-Encoding: chunked", "Connection: upgrade", ":"]),
    max_size=3, unique=True,
)  # fmt: skip
MARKS = [b"GET ", b"POST ", b"/v1/status", b" HTTP/1.1", b" HTTP/9.9", b"\r\n", b"\n", b"Host: a", b"Content-Length: ",
         b"Transfer-Encoding: chunked", b"0", b"\xb2", b"\0", b"-1", b"9" * 400, b"{}", b": ", b"\x16\x03\x01"]  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One of the routes, asked in any way."""
    route = draw(st.sampled_from(ROUTES))
    path = "/".join(
        quote(draw(PART), safe="") if part.startswith("{") else part
        for part in route.path.split("/")
    )
    pairs = draw(st.lists(st.tuples(st.sampled_from(QUERY), PART), max_size=2))
    query = "&".join(f"{name}={quote(value)}" for name, value in pairs)
    body = draw(BODY) if route.method == "POST" else b""
    more = [line + "\r\n" for line in draw(HEADERS)]
    head = f"{route.method} {path}?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    kind = "Content-Type: application/json\r\n" if body else ""
    return (head + kind + "".join(more) + "\r\n").encode("latin-1") + body


async def asked(data: bytes) -> tuple[bytes, list[Any]]:
    """The first line of the answer, and what the loop was told of."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    limits = Limits(head_s=0.5, body_s=0.5, linger_s=0.01)
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder), ready("web"), limits=limits) as stage:
            accepts = stage.runtime.accepts()

            async def answer(event: Any) -> Any:
                return await (accepts if isinstance(event, ReloadAsked) else stage.runtime.done)(
                    event
                )

            stage.runtime.answer = answer
            reader, writer = await stage.connect()
            with suppress(ConnectionError):
                writer.write(data)
                writer.write_eof()
            first = b""
            with suppress(ConnectionError):
                first = await asyncio.wait_for(reader.readline(), 10)
            writer.close()
            assert (await stage.get("/v1/status")).status == 200
    return first, told


@given(
    st.one_of(
        requests(),
        st.binary(max_size=60),
        st.lists(st.sampled_from(MARKS), max_size=14).map(b"".join),
    )
)
@settings(max_examples=200)
def test_any_bytes_have_an_answer_or_none(data: bytes) -> None:
    first, told = asyncio.run(asked(data))
    assert first == b"" or first.startswith(b"HTTP/1.1 ")
    assert b" 500 " not in first
    assert not told
