"""Where telemetry goes: the receivers of each signal, from ``[agent.telemetry]`` and OpenTelemetry's variables.

Pure. What the file says stands above the environment; without either there is no receiver and nothing is sent. Variables
of one signal (``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) stand above those of all, and their address is used as it is
(OpenTelemetry, "OTLP Exporter Configuration"). What may be a secret, the user and the query of an address and every
header, is never shown.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNALS = ("traces", "logs", "metrics")
_TIMEOUT_S = 10.0
_INTERVAL_S = 60.0
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """The receiver of one signal."""

    signal: str
    secure: bool
    host: str
    port: int
    path: str
    """With the query."""
    headers: tuple[tuple[str, str], ...]
    timeout_s: float
    shown: str
    """The address without what may be a secret."""
    compressed: bool
    authority: str
    """Certificates that are trusted instead of the host's own: a file, or empty."""


class Targets(NamedTuple):
    """All receivers, and a sentence for each that cannot be used."""

    targets: tuple[Target, ...] = ()
    problems: tuple[str, ...] = ()
    interval_s: float = _INTERVAL_S
    """From one export of metrics to the next."""


def targets(endpoint: str | None, environ: Mapping[str, str]) -> Targets:
    """``endpoint`` is what the file says."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Targets()
    found: list[Target] = []
    problems: list[str] = []
    for signal in SIGNALS:
        address = _address(signal, endpoint, environ)
        if address is None or _given(environ, f"OTEL_{signal.upper()}_EXPORTER") == "none":
            continue
        try:
            found.append(_target(signal, address, environ))
        except ValueError as why:
            problems.append(f"{signal} are not exported to {scrubbed(address)}: {why}")
    interval = _milliseconds(_given(environ, "OTEL_METRIC_EXPORT_INTERVAL"), _INTERVAL_S)
    return Targets(tuple(found), tuple(problems), interval)


def scrubbed(address: str) -> str:
    """An address as it may be shown: without user, password, query and fragment."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        scheme, rest = "", address
    # Everything up to the last "@", also where a slash or a question mark of a password comes before it.
    place, query, _ = rest.rpartition("@")[2].partition("#")[0].partition("?")
    return f"{scheme}{mark}{place}{query and '?…'}"


def _address(signal: str, endpoint: str | None, environ: Mapping[str, str]) -> str | None:
    if endpoint is None:
        own = _given(environ, f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        if own:
            return own
        endpoint = _given(environ, "OTEL_EXPORTER_OTLP_ENDPOINT") or None
    if endpoint is None:
        return None
    base, mark, query = endpoint.partition("?")
    return f"{base.rstrip('/')}/v1/{signal}{mark}{query}"


def _target(signal: str, address: str, environ: Mapping[str, str]) -> Target:
    """Raises ValueError with the reason."""
    parts, port = _parts(address)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError("its path has characters that must be written with percent signs")
    own = _given(environ, f"OTEL_EXPORTER_OTLP_{signal.upper()}_HEADERS")
    headers = _headers(_given(environ, "OTEL_EXPORTER_OTLP_HEADERS")) | _headers(own)
    return Target(
        signal=signal,
        secure=parts.scheme == "https",
        host=parts.hostname or "",
        port=port,
        path=path,
        headers=tuple((_authorization(parts) | headers).items()),
        timeout_s=_milliseconds(_own(environ, signal, "TIMEOUT"), _TIMEOUT_S),
        shown=scrubbed(address),
        compressed=_own(environ, signal, "COMPRESSION") != "none",
        authority=_own(environ, signal, "CERTIFICATE"),
    )


def _parts(address: str) -> tuple[SplitResult, int]:
    """The address in pieces, and the port. The library's own errors may name a part of a password."""
    with suppress(ValueError):
        parts = urlsplit(address)
        port = parts.port
        if parts.scheme in _PORTS and parts.hostname:
            return parts, port or _PORTS[parts.scheme]
    raise ValueError("it is no address of the form http://HOST:PORT or https://HOST:PORT")


def _own(environ: Mapping[str, str], signal: str, name: str) -> str:
    """A variable of one signal; else that of all."""
    own = _given(environ, f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}")
    return own or _given(environ, f"OTEL_EXPORTER_OTLP_{name}")


def _given(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _authorization(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _headers(text: str) -> dict[str, str]:
    """``name=value`` pairs with percent escapes; names in lower case. Raises ValueError, without the value."""
    found = {}
    for pair in text.split(",") if text else ():
        name, mark, value = pair.partition("=")
        name, value = name.strip().lower(), unquote(value.strip())
        if not name and not mark:
            continue
        sound = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not mark or not sound or not value.isprintable() or not value.isascii():
            raise ValueError(
                "OTEL_EXPORTER_OTLP_HEADERS is not a list of NAME=VALUE, with commas between"
            )
        found[name] = value
    return found


def _milliseconds(text: str, otherwise: float) -> float:
    """Durations are whole milliseconds in OpenTelemetry's variables; what is none leaves the default."""
    return int(text) / 1000 if text.isascii() and text.isdigit() and int(text) else otherwise
