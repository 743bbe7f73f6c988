"""One receiver over HTTP and over TLS: connections that are closed, answers that are odd, and a library that is kept out."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.telemetry.endpoint import Target, targets
from agentd.telemetry.post import Post

from .receiver import Receiver, Said, receiving, silent

ROOT = Path(__file__).parents[2]


def target(url: str, **environ: str) -> Target:
    return targets(url, environ).targets[0]


def post(receiver: Receiver, **environ: str) -> Post:
    return Post(target(receiver.url, **environ), "1")


def test_a_connection_is_kept_and_opened_again_when_it_was_closed() -> None:
    closing = (("connection", "close"),)
    with receiving(lambda _: Said(headers=closing if len(receiver.got) == 2 else ())) as receiver:
        sender = post(receiver)
        assert [sender.send(b"")[0].status for _ in range(5)] == [200] * 5
        assert receiver.connections == 2
        sender.close()


def test_what_is_small_or_not_to_be_compressed_is_sent_as_it_is() -> None:
    with receiving() as receiver:
        for sender, data in (
            (post(receiver), b""),
            (post(receiver), b"\0" * 4096),
            (post(receiver, OTEL_EXPORTER_OTLP_COMPRESSION="none"), b"\0" * 4096),
        ):
            sender.send(data)
            sender.close()
        assert [g.headers.get("content-encoding") for g in receiver.got] == [None, "gzip", None]
        assert [len(g.raw) for g in receiver.got] == [0, 4096, 4096]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Said(400, (("content-type", "text/plain"),), b"bad\n span"), "bad span"),
        (Said(400, (("content-type", "application/json"),), b'{"a":1}'), '{"a":1}'),
        (Said(400, (), b"\x08\x03"), "Bad Request"),
        (Said(400, (("content-type", "text/plain"),), b"x" * 999), "x" * 199 + "…"),
    ],
)
def test_an_error_is_told_in_the_receivers_words(said: Said, why: str) -> None:
    with receiving(lambda _: said) as receiver:
        sender = post(receiver)
        answer, _ = sender.send(b"")
        sender.close()
    assert (answer.status, answer.why) == (400, why)


def test_an_answer_that_is_too_long_is_read_in_part_and_the_next_is_whole() -> None:
    with receiving(lambda _: Said(body=b"x" * (1 << 20))) as receiver:
        sender = post(receiver)
        assert len(sender.send(b"")[1]) == 1 << 16
        assert sender.send(b"")[0].status == 200
        sender.close()


def test_a_page_for_people_is_told_from_an_answer() -> None:
    page = Said(headers=(("content-type", "text/html; charset=utf-8"),), body=b"<html>")
    with receiving(lambda _: page) as receiver:
        sender = post(receiver)
        assert sender.send(b"")[0].foreign
        sender.close()


def test_who_does_not_answer_is_left_in_time() -> None:
    with silent() as port:
        sender = Post(target(f"http://127.0.0.1:{port}", OTEL_EXPORTER_OTLP_TIMEOUT="200"), "1")
        began = time.monotonic()
        answer, _ = sender.send(b"")
        assert (answer.status, answer.why) == (None, "it does not answer")
        assert time.monotonic() - began < 2


def test_a_request_that_hangs_can_be_cut_off_from_another_thread() -> None:
    with receiving(lambda _: Said(hang=True)) as receiver:
        sender = post(receiver)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(sender.send(b"")[0]))
        thread.start()
        receiver.wait(lambda: receiver.got)
        sender.abort()
        thread.join(5)
        assert [a.status for a in answers] == [None]
        assert len(receiver.got) == 1


@pytest.mark.parametrize("host", ["127.0.0.1:1", "name.invalid"])
def test_where_nobody_is_that_is_said(host: str) -> None:
    answer, _ = Post(target(f"http://{host}"), "1").send(b"")
    assert answer.status is None
    assert answer.why
    assert "Errno" not in answer.why


needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed"
)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", paths[0], "-out", paths[1], "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return paths


def secured(receiver: Receiver, certificate: tuple[Path, Path]) -> str:
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    assert receiver._server is not None
    receiver._server.socket = context.wrap_socket(receiver._server.socket, server_side=True)
    return f"https://localhost:{receiver.port}"


@needs_openssl
def test_tls_is_spoken_with_whom_we_trust_also_after_a_connection_was_closed(
    certificate: tuple[Path, Path],
) -> None:
    closing = Said(headers=(("connection", "close"),))
    with receiving(lambda _: closing) as receiver:
        url = secured(receiver, certificate)
        trusted = target(url, OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificate[1]))
        assert trusted.secure
        sender = Post(trusted, "1")
        assert [sender.send(b"")[0].status for _ in range(3)] == [200] * 3
        sender.close()
        stranger = Post(replace(trusted, authority=""), "1")
        assert "certificate verify failed" in stranger.send(b"")[0].why.lower()
        assert len(receiver.got) == 3


@needs_openssl
def test_tls_is_loaded_in_an_agent_that_does_without_until_then(
    certificate: tuple[Path, Path],
) -> None:
    program = """
import sys
import agentd.slim
import asyncio, hashlib
from agentd.telemetry.endpoint import targets
from agentd.telemetry.post import Post
assert sys.modules["ssl"] is None
post = Post(targets(sys.argv[1], {"OTEL_EXPORTER_OTLP_CERTIFICATE": sys.argv[2]}).targets[0], "1")
print(post.send(b"")[0].status)
"""
    with receiving() as receiver:
        url = secured(receiver, certificate)
        argv = [sys.executable, "-c", program, url, certificate[1]]
        got = subprocess.run(
            argv, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
        )
    assert (got.stdout, got.stderr) == ("200\n", "")
