"""Other users of the host, and strangers on the socket: who may do what, and whom they can disturb."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import As, Host, answer, host, public_directory, request, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be other users")

SERVICES = """
[service.web]
command = ["/bin/sh", "-c", "echo the password is hunter2; trap : HUP; while :; do sleep 1000 & wait; done"]
inputs = ["@DIR@/web.conf"]
ready = { after = "0s" }
[service.web.reload]
check = ["/bin/sh", "-c", "cat @DIR@/web.conf; grep -q ok @DIR@/web.conf"]
confirm = ["delivered"]
"""


@contextlib.contextmanager
def public(access: str = "") -> Iterator[Host]:
    with public_directory() as directory:
        (directory / "web.conf").write_text("ok")
        (directory / "web.conf").chmod(0o600)
        with host(directory, f"[agent]\n{access}\n{SERVICES}") as running:
            running.ready("web")
            yield running


def ask(running: Host, who: As, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The answer to another user: its exit code and its document."""
    s = who.connect(running.socket)
    s.sendall(request(method, path, json.dumps(body).encode() if body is not None else b""))
    _, headers, document = answer(s)
    return int(headers["reloadctl-exit"]), document


def test_another_user_may_look_but_not_touch(tmp_path: Path) -> None:
    nobody = As("nobody")
    with public() as running:
        (running.dir / "web.conf").write_text("hunter2 is no longer it")
        assert running.ctl("reload", "web")[0] == 150
        before = running.service("web")
        assert ask(running, nobody, "GET", "/v1/status")[0] == 0
        for verb in ("reload", "start", "stop", "restart", "check", "hold", "release"):
            code, document = ask(running, nobody, "POST", f"/v1/services/web/{verb}", {})
            assert (code, document["status"]) == (77, 403), verb
            assert "operate in [agent.access]" in document["detail"]
            assert ask(running, nobody, "POST", f"/v1/services/nowhere/{verb}", {})[0] == 77
        assert ask(running, nobody, "POST", "/v1/reload", {"all": True})[0] == 77
        code, document = ask(running, nobody, "GET", "/v1/services/web/logs")
        assert (code, "inspect" in document["detail"]) == (77, True)
        assert running.service("web")["instances"][0]["pid"] == before["instances"][0]["pid"]
        assert running.service("web")["held"] is False
        got = nobody.text(running, "stop", "web")
        assert (got.returncode, got.stdout) == (77, "")
        assert "you may not want a service down" in got.stderr
        got = nobody.text(running, "--json", "reload", "web")
        assert (got.returncode, json.loads(got.stdout)["exit"]) == (77, 77)


def test_who_may_only_read_sees_no_output_and_no_secret_anywhere(tmp_path: Path) -> None:
    nobody = As("nobody")
    with public() as running:
        (running.dir / "web.conf").write_text("hunter2")
        code, rejected = running.ctl("reload", "web", "--reason", "a good one")
        assert (code, rejected["output"]) == (150, ["hunter2"])
        for path in (
            "/v1/status",
            "/v1/services/web",
            "/v1/reloads",
            "/v1/reloads/web",
            f"/v1/reloads/{rejected['reload_id']}/otlp",
        ):
            code, document = ask(running, nobody, "GET", path)
            assert code in (0, 150), (path, document)
            assert "hunter2" not in json.dumps(document), path


@pytest.mark.parametrize(
    ("access", "who", "codes"),
    [
        ('access.operate = ["user:nobody"]', As("nobody"), (0, 0, 0)),
        ('access.operate = ["group:daemon"]', As("nobody"), (0, 77, 77)),
        ('access.operate = ["group:daemon"]', As("nobody", "daemon"), (0, 0, 0)),
        ('access.inspect = ["user:nobody"]', As("nobody"), (0, 0, 77)),
        ("access.read = []", As("nobody"), (77, 77, 77)),
        ('access.read = ["user:daemon"]', As("nobody"), (77, 77, 77)),
    ],
)
def test_each_level_is_for_whom_the_file_names(
    access: str, who: As, codes: tuple[int, ...]
) -> None:
    asked = (
        ("GET", "/v1/status"),
        ("GET", "/v1/services/web/logs"),
        ("POST", "/v1/services/web/hold"),
    )
    with public(access) as running:
        for (method, path), code in zip(asked, codes, strict=True):
            try:
                found = ask(running, who, method, path, {} if method == "POST" else None)[0]
            except PermissionError:
                found = 77  # the socket's own mode keeps out those whom no rule can name
            assert found == code, (method, path)


def test_no_file_of_the_agent_can_be_read_or_replaced_by_others(tmp_path: Path) -> None:
    with public() as running:
        running.ctl("reload", "web")
        for directory, folders, files in os.walk(running.dir / "state"):
            assert stat.S_IMODE(Path(directory).stat().st_mode) & 0o077 == 0 or any(
                stat.S_IMODE(p.stat().st_mode) & 0o077 == 0 for p in Path(directory).parents
            )
            for name in (*folders, *files):
                path = Path(directory, name)
                assert path.stat().st_mode & 0o022 == 0, path
        for path in (running.dir / "state" / "snapshots").rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path


def disturb_nobody(running: Host, seconds: float = 2.0) -> None:
    """Asked while strangers do what they do."""
    began = time.monotonic()
    assert running.ctl("status")[0] == 0
    code, reload = running.ctl("reload", "web")
    assert (code, reload["verdict"]) == (0, "applied")
    assert time.monotonic() - began < seconds + float(reload["duration_ms"]) / 1000


def test_silent_half_open_and_slow_connections_keep_nobody_out(tmp_path: Path) -> None:
    nobody = As("nobody")
    with public() as running, contextlib.ExitStack() as strangers:
        for number in range(200):
            with contextlib.suppress(OSError):
                s = strangers.enter_context(nobody.connect(running.socket))
                s.setblocking(False)
                s.send(
                    (b"", b"GET /v1/sta", request("POST", "/v1/reload") + b"\0", b"\xff")[
                        number % 4
                    ]
                )
        for number in range(200):  # the agent's own user may have more of them
            s = strangers.enter_context(running.connect())
            s.send((b"", b"P", b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: ")[number % 3])
        disturb_nobody(running)
        slow = running.connect()
        strangers.enter_context(contextlib.closing(slow))
        slow.sendall(request("GET", "/v1/events"))  # and never reads an answer
        disturb_nobody(running)
        assert "internal error" not in running.log()
        assert "please report" not in running.log()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/status\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /v1/" + b"a" * 50_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (request("POST", "/v1/reload", b"{" * 60_000), 400),
        (request("POST", "/v1/reload", b"[" * 60_000 + b"]" * 2_000), 400),
        (request("POST", "/v1/services/web/reload", b'{"timeout_s": 1e999}'), 400),
        (request("POST", "/v1/services/web/reload", b'{"timeout_s": NaN}'), 400),
        (request("POST", "/v1/services/web/reload", b'{"timeout_s": -5}'), 400),
        (request("POST", "/v1/services/web/reload", b'{"reason": 5}'), 400),
        (request("POST", "/v1/services/web/reload", b'{"raeson": "x"}'), 400),
        (request("POST", "/v1/services/web/reload", b'{"reason": "\xff"}'), 400),
        (request("POST", "/v1/services/web/hold", b'{"for_s": 1e300}'), 400),
        (request("GET", "/v1/services/%2e%2e%2f%00/logs"), 404),
        (request("GET", "/v1/services/web/logs?lines=99999999999999999999"), 400),
        (request("GET", "/v1/reloads?limit=-1"), 400),
        (request("GET", "/v1/reloads?limit=1&limit=x%00"), 400),
        (request("GET", "/v1/reloads/%25'%20OR%201=1"), 404),
        (request("DELETE", "/v1/status"), 405),
        (request("PUT", "/v1/services/web/reload"), 405),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_no_client_should_send_is_refused_and_forgotten(
    guarded: Host, sent: bytes, status: int
) -> None:
    s = guarded.connect()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        s.sendall(sent)
    found, headers, document = answer(s)
    assert found == status, document
    assert document["detail"]
    assert headers["content-type"] == "application/problem+json"
    assert document["exit"] == int(headers["reloadctl-exit"]) != 0
    assert guarded.ctl("status")[0] == 0
    assert "please report" not in guarded.log()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Host]:
    with public() as running:
        yield running


def test_a_reason_cannot_forge_a_line_or_colour_the_terminal(guarded: Host) -> None:
    nasty = "x\x1b[2J\x1b]0;owned\x07\nweb  applied\r\u202e"
    s = guarded.connect()
    s.sendall(request("POST", "/v1/services/web/reload", json.dumps({"reason": nasty}).encode()))
    status, _, reload = answer(s)
    assert (status, reload["verdict"]) == (200, "applied")
    for words in (("show",), ("history", "web"), ("status",)):
        got = guarded.text("--color", "always", *words)
        assert got.returncode == 0
        for bad in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\r"):
            assert bad not in got.stdout, (words, bad)
    assert not any(line.startswith("web  applied") for line in guarded.log().splitlines())
    assert "\x1b" not in guarded.log()


def test_a_client_that_goes_away_leaves_its_reload_to_end(guarded: Host) -> None:
    before = len(guarded.history("web"))
    s = guarded.connect()
    s.sendall(request("POST", "/v1/services/web/reload", b"{}"))
    s.close()
    until(lambda: len(guarded.history("web")) == before + 1, "it was asked")
    until(lambda: guarded.history("web")[0]["verdict"] == "applied", "it ends")


def test_many_at_once_are_all_answered(guarded: Host) -> None:
    codes: list[int] = []

    def look() -> None:
        s = guarded.connect()
        s.sendall(request("GET", "/v1/status"))
        codes.append(answer(s)[0])

    threads = [threading.Thread(target=look) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert codes == [200] * 100


def starts_to_its_end(other: Host) -> None:
    """Whoever answers at its socket may be another."""
    other.start()
    until(other._ended, "it gives up")


def test_the_socket_of_a_dead_agent_is_taken_and_that_of_a_live_one_is_not(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    idle = '[service.idle]\ncommand = ["sleep", "1000"]\nready = { after = "0s" }\n'
    with host(first, idle) as running:
        other = Host(second, idle)
        other.socket = running.socket
        with pytest.raises(AssertionError, match="cannot listen on"):
            starts_to_its_end(other)
        running.ready("idle")
        running.kill()
        assert stat.S_ISSOCK(running.socket.stat().st_mode)
        assert running.text("status").returncode == 156
        running.start()
        running.ready("idle")


def test_a_file_at_the_place_of_the_socket_is_not_deleted(tmp_path: Path) -> None:
    precious = tmp_path / "agentd.sock"
    precious.write_text("precious")
    lonely = Host(tmp_path, "")
    with pytest.raises(AssertionError, match="cannot listen on"):
        lonely.start()
    assert precious.read_text() == "precious"
    with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as s:
        s.connect(str(precious))


@pytest.mark.parametrize(("name", "mode"), [("state", 0o777), ("state", 0o1777), ("run", 0o777)])
def test_a_directory_that_everybody_can_write_to_is_not_trusted(
    tmp_path: Path, name: str, mode: int
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name).chmod(mode)
    lonely = Host(tmp_path, "")
    with pytest.raises(AssertionError, match=f"cannot use .*/{name}: everybody on this host"):
        lonely.start()
    assert list((tmp_path / name).iterdir()) == []


def test_the_socket_may_be_in_a_directory_such_as_tmp(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    running = Host(tmp_path, "")
    running.socket = shared / "agentd.sock"
    running.start()
    assert running.text("status").returncode == 0
    assert running.stop() == 0
