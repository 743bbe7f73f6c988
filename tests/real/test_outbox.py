"""The receiver of telemetry is down, hangs and refuses, and the agent is killed: every span arrives, the same each time."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from host import PATIENCE, Host, answer, host, request, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed

from tests.telemetry.receiver import Got, Receiver, Said, receiving, silent

SERVICES = 10
RELOADS = 500
HEARS = (
    "import signal; signal.signal(signal.SIGHUP, lambda *_: None); open(__import__('sys').argv[1], 'w')\n"
    "while True: signal.pause()"
)


def definitions(directory: Path, count: int, endpoint: str, more: str = "") -> str:
    """Services that hear SIGHUP, and are ready when they do."""
    (directory / "hears.py").write_text(HEARS)
    text = f'[agent.telemetry]\nendpoint = "{endpoint}"\n{more}\n'
    for n in range(count):
        text += f"""[service.s{n}]
command = ["{sys.executable}", "-I", "-S", "@DIR@/hears.py", "@DIR@/s{n}.hears"]
inputs = ["@DIR@/hears.py"]
ready = {{ exec = ["test", "-e", "@DIR@/s{n}.hears"], interval = "50ms" }}
[service.s{n}.reload]
confirm = ["delivered"]
"""
    return text


def asked(running: Host, path: str, method: str = "POST") -> Any:
    """The document; None: there was no agent to answer."""
    with contextlib.suppress(OSError, ValueError, IndexError), socket.socket(socket.AF_UNIX) as s:
        s.connect(str(running.socket))
        s.settimeout(PATIENCE)
        body = b"{}" if method == "POST" else b""
        s.sendall(request(method, path, body, "Connection: close"))
        return answer(s)[2]
    return None


class Reloading:
    """Every service is reloaded again and again, until so many verdicts are there."""

    def __init__(self, running: Host, services: int, count: int) -> None:
        self.running = running
        self.verdicts: list[str] = []
        self._left = threading.Semaphore(count)
        names = [f"s{n}" for n in range(services)]
        self.threads = [  # a test that fails must not wait for verdicts that nobody will give
            threading.Thread(target=self._go, args=(name,), daemon=True) for name in names
        ]
        for thread in self.threads:
            thread.start()

    def _go(self, service: str) -> None:
        while self._left.acquire(blocking=False):
            verdict = None
            while verdict is None:
                document = asked(self.running, f"/v1/services/{service}/reload")
                verdict = (document or {}).get("verdict")
                if verdict is None:  # no agent, or one that has just begun
                    time.sleep(0.05)
            self.verdicts.append(verdict)

    def until(self, count: int) -> None:
        until(lambda: len(self.verdicts) >= count, f"{count} verdicts", 60)

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def spans_of(got: list[Got]) -> dict[str, list[Any]]:
    """Every span that came, with its resource, by trace and id."""
    found = defaultdict(list)
    for g in got:
        for r in g.message.resource_spans:
            for scope in r.scope_spans:
                for span in scope.spans:
                    key = f"{span.trace_id.hex()}/{span.span_id.hex()}"
                    found[key].append(
                        (
                            r.resource.SerializeToString(deterministic=True),
                            span.SerializeToString(deterministic=True),
                        )
                    )
    return found


def events_of(got: list[Got]) -> dict[str, list[bytes]]:
    found = defaultdict(list)
    for g in got:
        for event in g.events:
            key = f"{event.trace_id.hex()}/{event.span_id.hex()}"
            found[key].append(event.SerializeToString(deterministic=True))
    return found


def expected(running: Host) -> tuple[set[str], int]:
    """The ids of all spans as the agent itself tells them, and the number of reloads and starts."""
    ids = set()
    document = asked(running, "/v1/reloads?limit=1000&starts=1", "GET")
    for reload in document["reloads"]:
        told = asked(running, f"/v1/reloads/{reload['reload_id']}/otlp", "GET")
        for r in told["resourceSpans"]:
            for scope in r["scopeSpans"]:
                ids |= {f"{s['traceId']}/{s['spanId']}" for s in scope["spans"]}
    return ids, len(document["reloads"])


def ending(running: Host) -> float:
    """Seconds from the end of the last service to that of the agent, which is told to end."""
    assert running.agent is not None
    running.agent.terminate()
    until(lambda: "agentd stopped" in running.log(), "the services are done")
    began = time.monotonic()
    assert running.agent.wait(PATIENCE) == 0
    return time.monotonic() - began


def telemetry(running: Host) -> Any:
    return running.ctl("status")[1]["agent"]["telemetry"]


@pytest.mark.slow
def test_five_hundred_reloads_two_kills_and_a_receiver_that_is_hardly_ever_there(
    tmp_path: Path,
) -> None:
    receiver = Receiver()
    receiver.start()
    receiver.stop()  # its port refuses
    text = definitions(tmp_path, SERVICES, receiver.url)
    with host(tmp_path, text, OTEL_EXPORTER_OTLP_TIMEOUT="1000") as running:
        for n in range(SERVICES):
            running.ready(f"s{n}")
        reloading = Reloading(running, SERVICES, RELOADS)
        reloading.until(100)
        assert telemetry(running)["last_error"] == "connection refused"
        running.kill()
        with silent(receiver.port):
            running.start()
            reloading.until(250)
            until(lambda: telemetry(running)["last_error"] == "it does not answer", "it is said")
        reloading.until(350)
        assert telemetry(running)["pending"] >= 700  # traces and events of 350
        # It hears the first requests and the agent is killed before it is told so.
        heard = iter(range(8))
        receiver.script = lambda _: Said(hang=next(heard, None) is not None)
        running.kill()
        receiver.start()
        running.start()
        receiver.wait(lambda: receiver.of("traces") and receiver.of("logs"))
        running.kill()
        running.start()
        reloading.until(450)
        receiver.stop()
        reloading.end()
        receiver.start()
        running.kill()
        running.start()
        until(lambda: telemetry(running)["pending"] == 0, "all is delivered", 60)
        stands = telemetry(running)
        ids, count = expected(running)
        took = ending(running)
        receiver.stop()
    spans, events = spans_of(receiver.of("traces")), events_of(receiver.of("logs"))
    assert set(reloading.verdicts) <= {"applied", "failed"}
    assert reloading.verdicts.count("failed") <= 4 * SERVICES  # under way when the agent was killed
    assert count >= RELOADS + SERVICES
    assert ids - spans.keys() == set()
    assert len(events) == count
    resent = {key: found for key, found in spans.items() if len(found) > 1}
    assert resent
    assert all(len(set(found)) == 1 for found in (*spans.values(), *events.values()))
    assert (stands["dropped"], stands["aside"], stands["last_error"]) == (0, 0, None)
    assert took < 1
    print(
        f"{count} reloads and starts, {len(ids)} spans, {len(resent)} sent again; stopped in {took:.2f} s"
    )


def test_the_end_does_not_wait_for_a_receiver_that_hangs(tmp_path: Path) -> None:
    with receiving(lambda _: Said(hang=True)) as receiver:
        text = definitions(tmp_path, 1, receiver.url)
        with host(tmp_path, text) as running:
            running.ready("s0")
            receiver.wait(lambda: receiver.of("traces"))  # a request is under way
            assert ending(running) < 1


def scraped(running: Host) -> dict[str, float]:
    s = running.connect()
    s.sendall(request("GET", "/metrics", b"", "Accept: application/openmetrics-text"))
    data = b""
    with s:
        while chunk := s.recv(65536):
            data += chunk
    _, _, left = data.partition(b"\r\n\r\n")
    text = b""
    while left:
        size, _, left = left.partition(b"\r\n")
        text += left[: int(size, 16)]
        left = left[int(size, 16) + 2 :]
    return {
        f"{x.name}{json.dumps(x.labels, sort_keys=True)}": x.value
        for family in parsed(text.decode())
        for x in family.samples
    }


def test_counters_go_on_where_the_last_agent_was_killed(tmp_path: Path) -> None:
    with receiving() as receiver:
        text = definitions(tmp_path, 1, receiver.url)
        with host(tmp_path, text, OTEL_METRIC_EXPORT_INTERVAL="300") as running:
            running.ready("s0")
            for _ in range(2):
                running.ctl("reload", "s0")
            before = scraped(running)
            running.kill()
            running.start()
            running.ctl("reload", "s0")
            after = scraped(running)
            document = running.ctl("history", "s0", "-n", "100")[1]
            receiver.wait(lambda: counts(receiver) == 4, "the metrics of all four")
    of_cli = [k for k in after if k.startswith("reload_count_total") and "manual_api_call" in k]
    assert [before[k] for k in of_cli] == [2]
    assert [after[k] for k in of_cli] == [3] == [len(document["reloads"])]
    created = {k: v for k, v in before.items() if k.startswith("reload_count_created")}
    assert created.items() <= after.items()


def counts(receiver: Receiver) -> int:
    """Reloads and starts in the newest metrics that came."""
    total = 0
    for g in receiver.of("metrics")[-1:]:
        for r in g.message.resource_metrics:
            for metric in r.scope_metrics[0].metrics:
                if metric.name == "reload.count":
                    total += sum(p.as_int for p in metric.sum.data_points)
    return total
