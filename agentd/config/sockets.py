"""The key ``sockets``: what the agent shall listen on for a service, and which addresses cannot be had together.

Decides the forms of ``listen`` and what goes with them. Nothing is opened here: whether an address is free is met when
the service starts.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from agentd.config.host import GROUP, USER
from agentd.config.keys import Key, Kind, table
from agentd.config.kinds import FILLED, MODE, PATH, integer, list_of
from agentd.config.problems import At, Fault, Wrong, shown
from agentd.core.spec import Family, SocketKind, SocketSpec, Spec

MOST = 100
"""Sockets of one service: they travel in one message, which the kernel bounds at 253 descriptors."""
_LONGEST_PATH = 107
_LAST_PORT = 65535
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_INET = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\s\[\]/]*)):([0-9]{1,5})", re.ASCII)
_FORMS = '"HOST:PORT", "[IPV6]:PORT", ":PORT" (all addresses), "unix:/PATH" or "udp:HOST:PORT"'


class Address(NamedTuple):
    """What ``listen`` says."""

    kind: SocketKind
    host: str = ""
    port: int = 0
    path: str = ""
    family: Family = Family.INET


def _listen(value: object) -> Address:
    written = FILLED.parse(value)
    if written.startswith(("/", "unix:")):
        return Address(SocketKind.UNIX, path=_path(written.removeprefix("unix:")))
    kind = SocketKind.UDP if written.startswith("udp:") else SocketKind.TCP
    found = _INET.fullmatch(written.removeprefix("udp:"))
    if found is None:
        raise Wrong.here(f"{shown(written)} is not an address to listen on; write {_FORMS}")
    port = int(found[3])
    if not 0 < port <= _LAST_PORT:
        raise Wrong.here(f"{shown(written)}: a port is between 1 and {_LAST_PORT}")
    host, family = _host(found[1], found[2], written)
    return Address(kind, host, port, family=family)


def _path(path: str) -> str:
    PATH.parse(path)
    if len(path.encode()) > _LONGEST_PATH:
        raise Wrong.here(
            f"is longer than the {_LONGEST_PATH} bytes that a Unix socket's path may have"
        )
    return path


def _host(six: str | None, four: str, written: str) -> tuple[str, Family]:
    """Numeric, and in one spelling: a name could mean another address at the next start."""
    try:
        if six is not None:
            packed = socket.inet_pton(socket.AF_INET6, six)
            return socket.inet_ntop(socket.AF_INET6, packed), Family.INET6
        if four in ("", "*"):
            return "::", Family.DUAL
        if four == "localhost":
            return "127.0.0.1", Family.INET
        return socket.inet_ntoa(socket.inet_pton(socket.AF_INET, four)), Family.INET
    except OSError:
        what = f"{shown(written)} names no numeric address; names are not looked up"
        raise Wrong.here(f"{what}; write {_FORMS}") from None


def _socket(
    *,
    name: str,
    listen: Address,
    mode: int | None,
    user: str | None,
    group: str | None,
    backlog: int | None,
) -> SocketSpec:
    owned = [w for w, v in (("mode", mode), ("user", user), ("group", group)) if v is not None]
    faults: list[Fault] = []
    if listen.kind is not SocketKind.UNIX:
        why = "means nothing here: only Unix sockets have an owner and a mode"
        faults += [((word,), why) for word in owned]
    if listen.kind is SocketKind.UDP and backlog is not None:
        faults.append((("backlog",), "means nothing here: nobody connects to a UDP socket"))
    if faults:
        raise Wrong(*faults)
    found = SocketSpec(name, user=user, group=group, **listen._asdict())
    return replace(
        found,
        mode=found.mode if mode is None else mode,
        backlog=found.backlog if backlog is None else backlog,
    )


def _name(value: object) -> str:
    name = FILLED.parse(value)
    if not _NAME.fullmatch(name):
        why = "cannot be a name: letters, digits and _ . - only, the first a letter or digit, at most 63"
        raise Wrong.here(f"{shown(name)} {why}")
    return name


_SOCKET = table(
    'a table such as { name = "http", listen = "0.0.0.0:8080" }',
    _socket,
    Key(
        "name",
        Kind("string", _name),
        "What the service finds in LISTEN_FDNAMES; unique within the service.",
        required='name = "http"',
    ),
    Key(
        "listen",
        Kind("address", _listen),
        f"Where: {_FORMS}. Addresses are numeric.",
        required='listen = "0.0.0.0:8080"',
    ),
    Key("mode", MODE, "Mode of a Unix socket's path.", when_unset='"0660"'),
    Key("user", USER, "Owner of a Unix socket's path.", when_unset="the service's user"),
    Key("group", GROUP, "Group of a Unix socket's path.", when_unset="the service's group"),
    Key(
        "backlog",
        integer(1, 65535),
        "How many connections may wait to be accepted; the kernel's net.core.somaxconn bounds it.",
        when_unset="4096",
    ),
)


def _sockets(value: object) -> tuple[SocketSpec, ...]:
    found = _LIST.parse(value)
    if len(found) > MOST:
        raise Wrong.here(f"has more than {MOST} sockets")
    names = [s.name for s in found]
    faults: list[Fault] = [
        ((index, "name"), f"{shown(name)} is already the name of another socket here")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    if faults:
        raise Wrong(*faults)
    return found


_LIST = list_of(_SOCKET, "a list of tables")
SOCKETS = Kind("list of tables", _sockets, _SOCKET.keys)


def clashes(specs: Mapping[str, Spec]) -> Iterator[tuple[str, At, str]]:
    """Addresses that are declared twice: the service, the place, and why they cannot be had together."""
    seen: list[tuple[str, SocketSpec]] = []
    for name, spec in specs.items():
        for index, one in enumerate(spec.sockets):
            for other, held in seen:
                if _overlap(one, held):
                    whose = "this service" if other == name else other
                    what = f"{one.address} is already listened on: {held.address} of {whose}"
                    yield name, ("service", name, "sockets", index, "listen"), what
                    break
            seen.append((name, one))


def _overlap(a: SocketSpec, b: SocketSpec) -> bool:
    if a.kind is not b.kind:
        return False
    if a.kind is SocketKind.UNIX:
        return a.path == b.path
    if a.port != b.port or not _families(a) & _families(b):
        return False
    return a.host == b.host or _every(a) or _every(b)


def _families(one: SocketSpec) -> set[Family]:
    return {Family.INET, Family.INET6} if one.family is Family.DUAL else {one.family}


def _every(one: SocketSpec) -> bool:
    return one.host in ("::", "0.0.0.0")  # noqa: S104 - compared, not bound
