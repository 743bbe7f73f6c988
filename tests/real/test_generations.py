"""Several generations of a service at once: every kind of socket, too many of them, and who ends while another one drains."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from apps_run import HOME, PLAIN, Asked, Told, get
from host import Host, free_port, host, until
from seen import alive, exported

from tests.telemetry.receiver import Receiver, receiving

NOBODY = "nobody"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")


def definition(listen: str, *more: str, argv: tuple[str, ...] = PLAIN) -> str:
    return "\n".join(
        (
            "[service.app]",
            f"command = {json.dumps(argv)}",
            'env = { APP_FILE = "@DIR@/app.json" }',
            'inputs = ["@DIR@/app.json"]',
            f'sockets = [{{ name = "main", {listen} }}]',
            'ready = "notify"',
            *more,
            "[service.app.reload]",
            'handle = "replace"',
            "",
        )
    )


@contextlib.contextmanager
def serving(directory: Path, port: int, *more: str) -> Iterator[tuple[Host, Told]]:
    told = Told(directory)
    with host(directory, definition(f'listen = "127.0.0.1:{port}"', *more)) as running:
        running.ready("app")
        yield running, told


def replaced(running: Host, told: Told, version: int) -> Any:
    told(version=version)
    code, reload = running.ctl("reload", "app")
    assert (code, reload["verdict"]) == (0, "applied"), reload
    return reload


def instances(running: Host) -> list[tuple[int, str]]:
    found = running.service("app")["instances"]
    return sorted((i["generation"], i["phase"]) for i in found)


def pids(running: Host) -> list[int]:
    return [i["pid"] for i in running.service("app")["instances"]]


def alone(running: Host) -> None:
    until(lambda: len(instances(running)) == 1, "one generation is left")


def ask(family: socket.AddressFamily, where: Any) -> str:
    with socket.socket(family) as s:
        s.settimeout(10)
        s.connect(where)
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while chunk := s.recv(4096):
            data += chunk
        return data.rpartition(b"\r\n\r\n")[2].decode()


@needs_root
def test_a_unix_socket_keeps_its_owner_and_mode_over_generations(tmp_path: Path) -> None:
    told, path = Told(tmp_path), tmp_path / "app.sock"
    listen = f'listen = "unix:{path}", mode = "0640", user = "{NOBODY}"'
    with host(tmp_path, definition(listen)) as running:
        running.ready("app")
        first = path.stat()
        assert stat.S_IMODE(first.st_mode) == 0o640
        assert first.st_uid == pwd.getpwnam(NOBODY).pw_uid
        for version in range(2, 5):
            replaced(running, told, version)
            alone(running)
            assert ask(socket.AF_UNIX, str(path)) == str(version)
            now = path.stat()
            assert (now.st_ino, now.st_mode, now.st_uid) == (
                first.st_ino,
                first.st_mode,
                first.st_uid,
            )
        running.ctl("stop", "app")
        assert not path.exists(), "nobody is to connect to a service that is stopped"


def test_on_a_shared_listener_the_old_one_s_answer_is_not_the_next_one_s(tmp_path: Path) -> None:
    """A Unix socket has one queue for all: the probe is answered, and by the wrong process."""
    told, path = Told(tmp_path), tmp_path / "app.sock"
    probe = f'ready = {{ http = "http+unix://{quote(str(path), safe="")}/" }}'
    text = definition(f'listen = "unix:{path}"', 'start_timeout = "1s"')
    with host(tmp_path, text.replace('ready = "notify"', probe)) as running:
        before = running.ready("app")["instances"][0]["pid"]
        for number in range(5):
            told(version=100 + number, never_ready=True)
            code, reload = running.ctl("reload", "app")
            assert (code, reload["verdict"]) == (151, "refused"), reload
            assert ask(socket.AF_UNIX, str(path)) == "1"
            alone(running)
            assert running.pid("app") == before
        replaced(running, told, 2)
        alone(running)
        assert ask(socket.AF_UNIX, str(path)) == "2"


def test_an_ipv6_socket(tmp_path: Path) -> None:
    told, port = Told(tmp_path), free_port()
    with host(tmp_path, definition(f'listen = "[::1]:{port}"')) as running:
        running.ready("app")
        for version in range(2, 5):
            replaced(running, told, version)
            assert ask(socket.AF_INET6, ("::1", port)) == str(version)
            alone(running)


def test_a_udp_socket_is_inherited_and_no_datagram_is_refused(tmp_path: Path) -> None:
    told, port = Told(tmp_path), free_port()
    argv = (sys.executable, f"{HOME}/echo.py")
    with (
        host(tmp_path, definition(f'listen = "udp:127.0.0.1:{port}"', argv=argv)) as running,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s,
    ):
        running.ready("app")
        s.settimeout(10)
        s.connect(("127.0.0.1", port))  # connected: an ICMP refusal would be an error here
        for version in range(2, 5):
            replaced(running, told, version)
            alone(running)
            s.send(b"?")
            assert s.recv(100).decode() == f"{version} {running.pid('app')}"


def test_clients_that_never_leave_are_cut_where_there_are_too_many_generations(
    tmp_path: Path,
) -> None:
    port = free_port()
    more = ('drain_timeout = "60s"', 'stop_timeout = "300ms"', "max_generations = 3")
    with serving(tmp_path, port, *more) as (running, told):
        clients = [Asked(port, "/stream?s=60")]
        for version in range(2, 7):
            replaced(running, told, version)
            assert get(port) == str(version)
            clients.append(Asked(port, "/stream?s=60"))
            found = instances(running)
            assert len(found) <= 3, found
            assert (version, "ready") in found
            assert found.count((version - 1, "draining")) == 1, found
        assert instances(running) == [(4, "draining"), (5, "draining"), (6, "ready")]
        for client in clients[:3]:
            assert "IncompleteRead" in client.answer()
        assert all(client.is_alive() for client in clients[3:])


def test_stop_ends_what_drains_and_restart_lets_it_finish(tmp_path: Path) -> None:
    port = free_port()
    more = ('drain_timeout = "60s"', 'stop_timeout = "300ms"')
    with serving(tmp_path, port, *more) as (running, told):
        endless = Asked(port, "/stream?s=60")
        replaced(running, told, 2)
        code, _ = running.ctl("restart", "app")
        assert code == 0
        assert instances(running) == [(1, "draining"), (3, "ready")]
        assert get(port) == "2"
        assert endless.is_alive()
        former = pids(running)
        began = time.monotonic()
        code, _ = running.ctl("stop", "app")
        assert code == 0
        until(lambda: not instances(running), "both have ended")
        assert time.monotonic() - began < 10, "it was waited for who never leaves"
        assert not any(alive(pid) for pid in former)
        assert "IncompleteRead" in endless.answer()
        assert running.service("app")["phase"] == "down"


@pytest.mark.parametrize("leave", [False, True])
def test_the_end_of_the_agent_while_one_drains(leave: bool, tmp_path: Path) -> None:  # noqa: FBT001
    port, told = free_port(), Told(tmp_path)
    head = f'[agent]\non_terminate = "{"leave" if leave else "stop"}"\n'
    more = ('drain_timeout = "60s"', 'stop_timeout = "300ms"')
    text = head + definition(f'listen = "127.0.0.1:{port}"', *more)
    with host(tmp_path, text) as running:
        running.ready("app")
        endless = Asked(port, "/stream?s=60")
        replaced(running, told, 2)
        former = pids(running)
        assert len(former) == 2
        assert running.stop() == 0
        assert [alive(pid) for pid in former] == [leave, leave]
        if leave:
            assert get(port) == "2"
            running.start()
            until(lambda: instances(running) == [(1, "draining"), (2, "ready")], "both are known")
            assert sorted(pids(running)) == sorted(former)
            assert endless.is_alive()
            running.define(text.replace('"leave"', '"stop"'))
            running.stop()
            running.start()


def drains(running: Host, reload: Any) -> list[tuple[int, int]]:
    """What was open and what was cut, of each generation that drained for this reload."""
    found = [s for s in exported(running, reload["reload_id"]) if s["name"] == "reload.drain"]
    return [(s["said"]["reload.drain.open"], s["said"]["reload.drain.cut"]) for s in found]


def test_what_drained_and_what_was_cut_is_counted_truly(tmp_path: Path) -> None:
    port = free_port()
    more = ('drain_timeout = "2s"', 'stop_timeout = "300ms"')
    with serving(tmp_path, port, *more) as (running, told):
        slow = [Asked(port, "/slow?s=1") for _ in range(5)]
        reload = replaced(running, told, 2)
        alone(running)
        assert [one.answer() for one in slow] == ["1"] * 5
        assert drains(running, reload) == [(5, 0)]
        endless = [Asked(port, "/stream?s=60") for _ in range(3)]
        slow = [Asked(port, "/slow?s=1") for _ in range(2)]
        reload = replaced(running, told, 3)
        alone(running)
        assert [one.answer() for one in slow] == ["2"] * 2
        assert all("IncompleteRead" in one.answer() for one in endless)
        assert drains(running, reload) == [(5, 3)]
        reload = replaced(running, told, 4)
        alone(running)
        assert drains(running, reload) == [(0, 0)]


def test_what_drained_after_the_verdict_reaches_a_receiver_by_itself(tmp_path: Path) -> None:
    port = free_port()
    with receiving() as receiver:
        exports = f'[agent.telemetry]\nendpoint = "{receiver.url}"\n'
        text = definition(f'listen = "127.0.0.1:{port}"', 'drain_timeout = "10s"')
        told = Told(tmp_path)
        with host(tmp_path, exports + text) as running:
            running.ready("app")
            slow = Asked(port, "/slow?s=2")
            reload = replaced(running, told, 2)
            receiver.wait(lambda: reload["trace_id"] in sent(receiver, "reload app"), "it was sent")
            assert "reload.drain" not in {name for _, name in spans_sent(receiver)}
            assert slow.answer() == "1"
            receiver.wait(
                lambda: reload["trace_id"] in sent(receiver, "reload.drain"),
                "the drain was sent though nothing was reloaded since",
            )


def spans_sent(receiver: Receiver) -> list[tuple[str, str]]:
    """Trace id and name of each that has arrived."""
    arrived = receiver.of("traces", 200)
    return [(span.trace_id.hex(), span.name) for got in arrived for span in got.spans]


def sent(receiver: Receiver, name: str) -> set[str]:
    return {trace_id for trace_id, found in spans_sent(receiver) if found == name}


def test_a_busy_address_is_one_sentence_that_names_who_has_it(tmp_path: Path) -> None:
    Told(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        with host(tmp_path, definition(f'listen = "127.0.0.1:{port}"')) as running:
            why = f"cannot listen on 127.0.0.1:{port} for app: the address is in use by "
            until(lambda: why in running.service("app")["why"], "it says why")
            found = running.service("app")["why"]
            assert f"pid {os.getpid()}" in found, found
            assert "stop that, or choose another" in found


def test_two_agents_on_one_address_the_second_says_who_has_it_and_the_first_serves(
    tmp_path: Path,
) -> None:
    port = free_port()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    Told(tmp_path / "two")
    text = definition(f'listen = "127.0.0.1:{port}"')
    with (
        serving(tmp_path / "one", port) as (first, told),
        host(tmp_path / "two", text) as second,
    ):
        until(lambda: "the address is in use by" in second.service("app")["why"], "it says why")
        why = second.service("app")["why"]
        assert f"cannot listen on 127.0.0.1:{port} for app" in why
        replaced(first, told, 2)
        assert get(port) == "2"
        first.ctl("stop", "app")
        code, started = second.ctl("start", "app")
        assert code == 0, started
        assert get(port) == "1"
