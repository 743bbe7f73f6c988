"""Fuzzing, bounded in time: every property test on other examples each time, and a real agent that is sent whatever comes to mind.

    run.py [--seconds N] [NAME ...]

Parts: ``parsers`` (the property tests of the whole suite, over and over), ``api`` (requests and bytes at the agent's socket), ``notify``
(datagrams from a service), ``openapi`` (what schemathesis makes of the agent's own description). Ends with 1 when something was found:
the example is printed, and belongs into a test of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

from relay import relay  # noqa: E402 - found only now
from target import MOST_FDS, MOST_KIB, Agent, agent, clean_env  # noqa: E402

from tests.api.test_any_input import MARKS, requests  # noqa: E402

LONG = settings(
    max_examples=400,
    deadline=None,
    database=None,
    derandomize=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
SCHEMATHESIS = ROOT / ".venv/fuzz/bin/schemathesis"
NAMES = ["READY", "RELOADING", "STOPPING", "STATUS", "ERRNO", "MAINPID", "WATCHDOG", "WATCHDOG_USEC", "EXTEND_TIMEOUT_USEC",
         "MONOTONIC_USEC", "BARRIER", "FDSTORE", "FDNAME", "X_AGENTD_RELOAD_RESULT", "X_AGENTD_CONFIG_HASH", "", "x"]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(["1", "0", "-1", "trigger", "reload failed", "99999999999", "9" * 3000, ""]),
    *(st.text(max_size=10), st.integers().map(str)),
)
LINE = st.builds(lambda name, value: f"{name}={value}", st.sampled_from(NAMES), VALUES)
DATAGRAM = st.one_of(
    st.lists(LINE, max_size=6).map(lambda lines: "\n".join(lines).encode(errors="surrogatepass")),
    st.binary(max_size=100),
    st.integers(4000, 9000).map(lambda length: b"x=" + b"y" * length),
)
BYTES = st.one_of(
    requests().filter(lambda data: b"/v1/shutdown" not in data and b"/v1/upgrade" not in data),
    st.binary(max_size=200),
    st.lists(st.sampled_from(MARKS), max_size=30).map(b"".join),
)
"""Not what ends the agent, which is what was asked for then."""


def api(one: Agent, until: float, sent: Callable[[], None]) -> None:
    """Requests and bytes, each on a connection of its own; half of them end there, others stay open for a moment."""
    held: list[socket.socket] = []

    @LONG
    @given(BYTES, st.booleans())
    def send(data: bytes, ended: bool) -> None:  # noqa: FBT001
        if time.monotonic() > until:
            return
        sent()
        s = one.connect(1.0)
        held.append(s)
        with suppress(OSError):
            s.sendall(data)
            if ended:
                s.shutdown(socket.SHUT_WR)
                first = s.recv(4096)
                assert b"HTTP/1.1 500" not in first, first
        while len(held) > 20:
            held.pop(0).close()
        one.well()

    over_and_over(send, until)
    for s in held:
        s.close()


def notify(one: Agent, until: float, sent: Callable[[], None]) -> None:
    """Datagrams of a service, with descriptors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.bind("")  # any name of the kernel's, for the answer that it was sent on
        mouth.connect(str(one.dir / "parrot.sock"))
        mouth.settimeout(5)

        @LONG
        @given(DATAGRAM, st.integers(0, 3))
        def send(data: bytes, fds: int) -> None:
            if time.monotonic() > until:
                return
            sent()
            socket.send_fds(mouth, [data or b"\n"], [0] * fds)
            mouth.recv(1)
            one.well()

        over_and_over(send, until)


def over_and_over(send: Callable[[], None], until: float) -> None:
    while time.monotonic() < until:
        send()


def openapi(one: Agent, until: float, sent: Callable[[], None]) -> None:
    """Schemathesis by the agent's description; only what is a mistake of a server counts: the answers' shapes are the API tests'."""
    if not SCHEMATHESIS.exists():
        raise SystemExit(f"there is no {SCHEMATHESIS}; run it by make fuzz")
    description = one.dir / "openapi.json"
    with relay(one.socket, sent) as port:
        with one.connect() as s:
            s.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: agentd\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: s.recv(1 << 16), b""))
        description.write_bytes(answer.partition(b"\r\n\r\n")[2])
        words = [
            *(SCHEMATHESIS, "run", description, "--url", f"http://127.0.0.1:{port}"),
            *(
                "--checks",
                "not_a_server_error,content_type_conformance,response_schema_conformance",
            ),
            *("--exclude-path-regex", "^/v1/(shutdown|upgrade|events)$"),
            *("--max-time", str(max(1, round(until - time.monotonic())))),
            *("--suppress-health-check", "all", "--generation-database", "none"),
            *(
                "--request-timeout",
                "15",
                "--continue-on-failure",
                "--no-color",
                "--warnings",
                "off",
            ),
        ]
        done = subprocess.run(words, cwd=one.dir, env=clean_env(), check=False)
    one.well()
    assert done.returncode == 0, f"schemathesis found something (exit code {done.returncode})"


def parsers(until: float) -> int:
    """The property tests of the suite, which look at other examples each time."""
    places = [path for path in ROOT.glob("tests/*") if path.name not in ("fuzz", "real", "servers")]
    rounds = 0
    while not rounds or time.monotonic() < until:
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "hypothesis",
            "-p",
            "no:cacheprovider",
            *places,
        ]
        done = subprocess.run(
            words, cwd=ROOT, env=os.environ | {"HYPOTHESIS": "random"}, check=False
        )
        assert done.returncode == 0, "a property does not hold"
        rounds += 1
    return rounds


PARTS: dict[str, Callable[[Agent, float, Callable[[], None]], None]] = {
    "api": api,
    "notify": notify,
    "openapi": openapi,
}


def on_an_agent(name: str, seconds: float) -> str:
    """A third of the time to warm up; what is held then is what is held at the end. Raises AssertionError."""
    with agent() as one:
        begun, count = one.held(), itertools.count()
        PARTS[name](one, time.monotonic() + seconds / 3, lambda: next(count))
        warm = one.settled()
        PARTS[name](one, time.monotonic() + seconds * 2 / 3, lambda: next(count))
        end = one.settled()
        one.well()
        told = f"{name}: {next(count)} sent; begun {begun}; warm {warm}; end {end}"
        grown = end.pss_kib - warm.pss_kib > MOST_KIB or end.fds - warm.fds > MOST_FDS
        assert not grown, f"{told}: it grows"
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description="No crash, no hang, no growth, whatever comes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(("parsers", *PARTS)))
    parser.add_argument("--seconds", type=float, default=600, metavar="N", help="for each part")
    wanted = parser.parse_args()
    if unknown := set(wanted.names) - {"parsers", *PARTS}:
        parser.error(f"{', '.join(sorted(unknown))} is unknown; known: parsers, {', '.join(PARTS)}")
    failed = 0
    for name in wanted.names or ("parsers", *PARTS):
        try:
            if name == "parsers":
                print(f"parsers: {parsers(time.monotonic() + wanted.seconds)} rounds", flush=True)
            else:
                print(on_an_agent(name, wanted.seconds), flush=True)
        except AssertionError as found:
            print(f"{name}: FOUND: {found}", *getattr(found, "__notes__", ()), sep="\n", flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
