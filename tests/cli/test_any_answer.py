"""Whatever the agent answers, or who else sits on its socket: reloadctl has an answer or a failure of its own, never a bug."""

from __future__ import annotations

import socket
import tempfile
import threading
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reloadctl.client import Reply, get, stream
from reloadctl.failure import Fail, sentence
from reloadctl.jsontext import loads

HEAD = b"HTTP/1.1 200 OK\r\n"
MARKS = [b"HTTP/1.1 ", b"200", b"404 no", b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
         b"Reloadctl-Exit: ", b"\xb2", b"1", b"-1", b"_", b"9" * 5000, b"5\r\nhello\r\n", b"0\r\n\r\n", b"{}", b":", b";"]  # fmt: skip
ANSWER = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(MARKS), max_size=12).map(b"".join),
    st.lists(st.sampled_from(MARKS), max_size=12).map(lambda marks: HEAD + b"".join(marks)),
)


def told(options: dict[str, object]) -> tuple[int, str]:
    """The exit code and what is said with it."""
    try:
        reply = get(options, "/v1/status")
    except Fail as fail:
        return fail.code, sentence(fail)
    assert isinstance(reply, Reply)
    return reply.exit, "a reply"


@given(ANSWER)
@example(HEAD + b"Content-Length: \xb2\r\n\r\n")
@example(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")
@example(HEAD + b"Reloadctl-Exit: \xb2\r\nContent-Length: 0\r\n\r\n")
@example(b"HTTP/1.1 2\xb20 OK\r\n\r\n")
@example(HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n0\r\n\r\n")
@example(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n\r\n0\r\n\r\n")
@settings(max_examples=150)
def test_any_bytes_are_a_reply_or_a_failure(answer: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()

        def serve() -> None:
            for _ in range(2):
                conn, _ = listener.accept()
                with conn, suppress(OSError):
                    conn.recv(65536)
                    conn.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        options: dict[str, object] = {"socket": f"{folder}/s"}
        code, said = told(options)
        assert code in range(256)
        assert said
        with suppress(Fail):
            assert all(isinstance(line, bytes) for line in stream(options, "/v1/events"))
        server.join(10)
        assert not server.is_alive()


@given(st.one_of(st.binary(max_size=40), st.lists(st.sampled_from([*b'{}[]:,"\\u19e.-tn']), max_size=20).map(bytes)))  # fmt: skip
@example(b'{"a": ' + b"9" * 5000 + b"}")
def test_any_bytes_are_one_object_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(loads(data), dict)


def test_brackets_without_end_are_refused() -> None:
    with suppress(ValueError):
        loads(b'{"a":' * 100_000)
