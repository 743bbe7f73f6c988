"""The key ``sockets``: every form of ``listen``, every mistake in one, and addresses that two services want."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.config.loader import ConfigErrors, load
from agentd.config.problems import Wrong
from agentd.config.sockets import MOST, SOCKETS
from agentd.core.spec import Family, SocketKind, SocketSpec

TCP, UDP, UNIX = SocketKind.TCP, SocketKind.UDP, SocketKind.UNIX


def one(listen: str, **more: object) -> SocketSpec:
    (found,) = SOCKETS.parse([{"name": "http", "listen": listen, **more}])
    return found


def mistakes(value: object) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(Wrong) as caught:
        SOCKETS.parse(value)
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("listen", "spec", "address"),
    [
        ("0.0.0.0:8080", SocketSpec("http", TCP, "0.0.0.0", 8080), "0.0.0.0:8080"),
        ("localhost:80", SocketSpec("http", TCP, "127.0.0.1", 80), "127.0.0.1:80"),
        (
            "[0:0:0:0:0:0:0:1]:80",
            SocketSpec("http", TCP, "::1", 80, family=Family.INET6),
            "[::1]:80",
        ),
        (":8080", SocketSpec("http", TCP, "::", 8080, family=Family.DUAL), ":8080"),
        ("*:8080", SocketSpec("http", TCP, "::", 8080, family=Family.DUAL), ":8080"),
        (
            "unix:/run/a b.sock",
            SocketSpec("http", UNIX, path="/run/a b.sock"),
            "unix:/run/a b.sock",
        ),
        ("/run/x.sock", SocketSpec("http", UNIX, path="/run/x.sock"), "unix:/run/x.sock"),
        ("udp:127.0.0.1:53", SocketSpec("http", UDP, "127.0.0.1", 53), "udp:127.0.0.1:53"),
        ("udp::53", SocketSpec("http", UDP, "::", 53, family=Family.DUAL), "udp::53"),
    ],
)
def test_forms_of_listen(listen: str, spec: SocketSpec, address: str) -> None:
    assert one(listen) == spec
    assert spec.address == address


def test_what_goes_with_them() -> None:
    assert one("/run/x", mode="0600", user="root", group="0", backlog=7) == SocketSpec(
        "http", UNIX, path="/run/x", mode=0o600, user="root", group="0", backlog=7
    )
    assert SOCKETS.parse([]) == ()


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        ("8080", "is not an address to listen on; write"),
        ("http://127.0.0.1:80/", "is not an address to listen on"),
        ("::1:80", "is not an address to listen on"),
        ("example.org:80", "names are not looked up"),
        ("127.1:80", "names are not looked up"),
        ("[::g]:80", "is not an address to listen on"),
        ("[1::2::3]:80", "names no numeric address"),
        ("127.0.0.1:0", "a port is between 1 and 65535"),
        ("127.0.0.1:65536", "a port is between 1 and 65535"),
        ("unix:run/x.sock", "is relative"),
        ("/" + "x" * 107, "is longer than the 107 bytes"),
        ("", "is empty"),
    ],
)
def test_mistakes_in_listen(listen: str, says: str) -> None:
    ((at, message),) = mistakes([{"name": "http", "listen": listen}])
    assert at == (0, "listen")
    assert says in message


def test_mistakes_beside_listen() -> None:
    tcp = {"name": "a", "listen": ":80"}
    assert [at for at, _ in mistakes([tcp | {"mode": "0660", "user": "root"}])] == [
        (0, "mode"),
        (0, "user"),
    ]
    assert mistakes([{"name": "a", "listen": "udp::53", "backlog": 5}])[0][0] == (0, "backlog")
    assert "is already the name" in mistakes([tcp, {"name": "a", "listen": ":81"}])[0][1]
    assert "cannot be a name" in mistakes([{"name": "a:b", "listen": ":81"}])[0][1]
    assert 'such as "0660"' in mistakes([{"name": "a", "listen": "/x", "mode": 432}])[0][1]
    many = [{"name": f"s{n}", "listen": f":{n + 1}"} for n in range(MOST + 1)]
    assert len(SOCKETS.parse(many[:MOST])) == MOST
    assert f"has more than {MOST} sockets" in mistakes(many)[0][1]
    assert [at for at, _ in mistakes([{}])] == [(0, "name"), (0, "listen")]


def services(tmp_path: Path, *listens: str) -> Path:
    path = tmp_path / "agentd.toml"
    path.write_text(
        "".join(
            f'[service.s{n}]\ncommand = ["x"]\nready = {{ after = "0s" }}\n'
            f'sockets = [{{ name = "a", listen = "{listen}" }}]\n'
            for n, listen in enumerate(listens)
        )
    )
    return path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        (":80", "127.0.0.1:80"),
        ("[::1]:80", ":80"),
        ("/run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_two_services_cannot_have_one_address(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(services(tmp_path, first, second))
    (problem,) = caught.value.errors
    assert problem.key == "service.s1.sockets[0].listen"
    assert problem.line == 8
    assert problem.message.endswith("of s0")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("0.0.0.0:80", "[::]:80"),
        ("127.0.0.1:80", "[::1]:80"),
        ("127.0.0.1:80", "udp:127.0.0.1:80"),
        (":80", ":81"),
    ],
)
def test_two_services_can_have_what_is_apart(tmp_path: Path, first: str, second: str) -> None:
    assert len(load(services(tmp_path, first, second)).services) == 2


def test_generations(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text(
        '[service.a]\ncommand = ["x"]\noverlap = false\nmax_generations = 2\ndrain_timeout = "1m"\n'
        '[service.b]\ncommand = ["x"]\n'
    )
    a, b = load(path).services
    assert (a.overlap, a.max_generations, a.drain_timeout) == (False, 2, 60.0)
    assert (b.overlap, b.max_generations, b.drain_timeout) == (True, 3, 30.0)
    path.write_text('[service.a]\ncommand = ["x"]\nmax_generations = 1\n')
    with pytest.raises(ConfigErrors, match="is not within 2 and 100"):
        load(path)
