"""What the agent kept for its own telemetry, whatever became of it meanwhile: it is read, or counting begins anew."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentd.telemetry import resource, tally
from agentd.telemetry.endpoint import Target, targets
from agentd.telemetry.post import Post

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))
VALUE = st.recursive(SCALAR, lambda v: st.lists(v, max_size=4), max_leaves=8)
KEPT = json.loads(tally.Tally(1, 2).to_text())


@given(st.sampled_from(sorted(KEPT)), VALUE)
@example("asked", "[" * 5)
def test_any_count_is_read_or_begun_anew(name: str, value: object) -> None:
    tally.from_text(json.dumps({**KEPT, name: value}))
    tally.from_text(json.dumps(value))


def test_brackets_without_end_are_no_count() -> None:
    assert tally.from_text("[" * 100_000) is None


@given(st.dictionaries(st.sampled_from(["attributes", "host_id"]), VALUE))
def test_any_resource_is_read_or_refused(kept: dict[str, object]) -> None:
    try:
        resource.from_text(json.dumps(kept))
    except ValueError:
        return
    assert isinstance(kept["attributes"], dict)


ADDRESS = st.one_of(
    st.text(max_size=12),
    st.lists(
        st.sampled_from(
            [
                "http://",
                "https://",
                "h",
                ":",
                "@",
                "/",
                "?",
                "#",
                "[",
                "::1",
                "]",
                "%00",
                "99999",
                "\xb2",
                "\udcff",
            ]
        ),
        max_size=8,
    ).map("".join),
)


@given(ADDRESS, ADDRESS, ADDRESS)
def test_any_address_of_a_receiver_is_one_or_a_sentence(
    address: str, headers: str, number: str
) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_HEADERS": headers,
        "OTEL_EXPORTER_OTLP_TIMEOUT": number,
        "OTEL_METRIC_EXPORT_INTERVAL": number,
    }
    found = targets(None, environ)
    assert all(one.host and 0 <= one.port < 1 << 16 for one in found.targets)
    assert found.targets or found.problems or not address.strip()


MARKS = [b"HTTP/1.1 ", b"200", b"429", b" OK", b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"Content-Type: text/plain", b":",
         b"-1", b"Content-Type: ", b"; charset=x", b"Retry-After: ", b"Transfer-Encoding: chunked", b"5", b"\xb2", b"\0",
         b"9" * 400]  # fmt: skip


@given(
    st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(MARKS), max_size=16).map(b"".join))
)
@settings(max_examples=100)
def test_any_bytes_of_a_receiver_are_an_answer(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            conn, _ = listener.accept()
            with conn, suppress(OSError):
                conn.recv(65536)
                conn.sendall(said)

        server = threading.Thread(target=serve)
        server.start()
        port = listener.getsockname()[1]
        post = Post(Target("traces", False, "127.0.0.1", port, "/", (), 5.0, "", False, ""), "1")
        answer, _ = post.send(b"x")
        post.close()
        server.join(10)
        assert not server.is_alive()
        assert answer.status is not None or answer.why
