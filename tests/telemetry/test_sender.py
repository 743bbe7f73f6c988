"""The sender against a real receiver that answers by its script: everything arrives, whatever happens, and it is said."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from agentd.core import facts as f
from agentd.core.context import span_id
from agentd.ports import AdapterError, Due, Standing
from agentd.telemetry.endpoint import targets
from agentd.telemetry.sender import Sender
from agentd.wire import Verdict

from . import stories
from .receiver import Got, Receiver, Said, receiving, silent
from .stories import AGENT

SOON = 1.0


def told(n: int, records: tuple[f.Record, ...] = stories.ALL["applied"]) -> Due:
    """The n-th reload: a story with an id of its own."""
    reload_id = f"01JD{n:022}"
    own = tuple(replace(r, fact=replace(r.fact, reload_id=reload_id)) for r in records)  # type: ignore[type-var, call-arg]
    return Due(n, reload_id, AGENT.to_text(), own, None)


@dataclass
class Rows:
    """The outbox in memory: what was delivered goes, what was set aside stays and is not due."""

    rows: dict[str, dict[int, Due]] = field(default_factory=lambda: {"traces": {}, "logs": {}})
    aside: dict[int, str] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    broken: bool = False
    news: threading.Condition = field(default_factory=threading.Condition)

    def put(self, *dues: Due) -> None:
        for due in dues:
            for rows in self.rows.values():
                rows[due.seq] = due

    def due(self, signal: str, after: int, limit: int) -> tuple[Due, ...]:
        if self.broken:
            raise AdapterError("cannot read the journal: damaged")
        found = sorted(n for n in self.rows[signal] if n > after and n not in self.aside)
        return tuple(self.rows[signal][n] for n in found[:limit])

    def delivered(self, signal: str, upto: int) -> None:
        with self.news:
            for n in [n for n in self.rows[signal] if n <= upto and n not in self.aside]:
                del self.rows[signal][n]
                self.order.append(n)
            self.news.notify_all()

    def set_aside(self, signal: str, seq: int, why: str) -> None:
        with self.news:
            self.aside[seq] = why
            self.news.notify_all()

    def standing(self, signal: str) -> Standing:
        return Standing(len(self.rows[signal]), len(self.aside), None)

    def empty(self, *signals: str) -> None:
        def there() -> bool:
            return all(not self.rows[s].keys() - self.aside.keys() for s in signals or self.rows)

        with self.news:
            assert self.news.wait_for(there, 20), {s: list(r) for s, r in self.rows.items()}


@dataclass
class Sending:
    rows: Rows
    said: list[str]
    sender: Sender

    def put(self, *dues: Due) -> None:
        self.rows.put(*dues)
        self.sender.told()


@contextlib.contextmanager
def sending(
    url: str,
    *first: Due,
    rows: Rows | None = None,
    observe: Callable[[], bytes] = lambda: b"",
    patience: float = SOON,
    **environ: str,
) -> Iterator[Sending]:
    """A sender at work. Metrics are off unless a test asks for them."""
    given = {"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TIMEOUT": "5000"} | environ
    outbox = rows or Rows()
    outbox.put(*first)
    said: list[str] = []
    to = targets(url, given)
    sender = Sender(
        to,
        outbox=lambda: outbox,
        own=AGENT,
        version="1.2",
        observe=observe,
        say=said.append,
        start_s=0.0,
        chance=lambda: 0.0,
    )
    sender.start()
    try:
        yield Sending(outbox, said, sender)
    finally:
        sender.close(patience)
        sender._thread.join(10)
        assert not sender._thread.is_alive()


def roots(got: list[Got]) -> list[str]:
    return [s.span_id.hex() for g in got for s in g.spans if s.name == "reload web"]


def root(n: int) -> str:
    return span_id(f"01JD{n:022}")


def always(status: int, *headers: tuple[str, str], body: bytes = b"") -> Callable[[Got], Said]:
    return lambda _: Said(status, headers, body)


def first(*answers: Said) -> Callable[[Got], Said]:
    """These answers for traces, then 200; events are taken at once."""
    left = list(answers)
    return lambda got: left.pop(0) if left and got.signal == "traces" else Said()


def test_what_is_due_arrives_whole_oldest_first_on_one_connection() -> None:
    with receiving() as receiver, sending(receiver.url, *map(told, range(1, 101))) as at_work:
        at_work.rows.empty()
        at_work.put(told(101))
        at_work.rows.empty()
        assert roots(receiver.of("traces")) == [root(n) for n in range(1, 102)]
        assert [e.event_name for g in receiver.of("logs") for e in g.events] == [
            "config.reload"
        ] * 101
        assert receiver.connections == 2  # one for each signal, kept
        one = receiver.got[0]
        assert one.headers["content-type"] == "application/x-protobuf"
        assert one.headers["content-encoding"] == "gzip"
        assert one.headers["user-agent"] == "agentd/1.2"
        assert at_work.said == []
        assert at_work.sender.ledgers["traces"].sent == 101


def test_what_arrives_is_what_the_fold_says() -> None:
    with receiving() as receiver, sending(receiver.url, told(1)) as at_work:
        at_work.rows.empty()
        (got,) = receiver.of("traces")
        (resource_spans,) = got.message.resource_spans[:1]
        scope = resource_spans.scope_spans[0].scope
        assert (scope.name, scope.version) == ("reload", "1")
        assert {a.key: a.value.string_value for a in resource_spans.resource.attributes} == dict(
            AGENT.attributes
        )
        assert {s.name for s in got.spans} >= {"reload web", "reload.check", "reload.instance"}
        (event,) = receiver.of("logs")[0].events
        whole = got.spans[0]
        assert (event.trace_id, event.span_id) == (whole.trace_id, whole.span_id)
        assert (event.severity_text, event.severity_number) == ("INFO", 9)
        said = {a.key: a.value for a in event.attributes}
        assert said["config.changed"].bool_value
        assert said["reload.verdict"].string_value == "applied"


def test_a_request_is_bounded_in_spans_and_in_bytes() -> None:
    wide = stories.Teller().asked(stories.CLI)
    many = tuple(stories.Change(f"/etc/{n:03}/{'x' * 2000}", "added") for n in range(100))
    wide.phase("snapshot", 1, 5, f.SnapshotTaken("web", stories.ID, *stories.NEW, 100, many))
    large = wide.judged(6, Verdict.APPLIED).records()
    dues = [*map(told, range(1, 201)), *(told(n, large) for n in range(201, 211))]
    with receiving() as receiver, sending(receiver.url, *dues) as at_work:
        at_work.rows.empty("traces")
        requests = receiver.of("traces")
        assert max(len(g.spans) for g in requests) <= 512
        assert max(len(g.raw) for g in requests) <= 1 << 19
        assert len(requests) < 30  # and not one by one either
        assert roots(requests) == [root(n) for n in range(1, 211)]


def test_nobody_listens_until_somebody_does() -> None:
    receiver = Receiver()
    receiver.start()
    receiver.stop()  # a port that refuses
    with sending(receiver.url, told(1)) as at_work:
        waited(lambda: len(at_work.said) == 2)
        assert at_work.sender.ledgers["traces"].trouble == "connection refused"
        at_work.put(told(2))
        receiver.start()
        try:
            at_work.rows.empty()
            assert roots(receiver.of("traces")) == [root(1), root(2)]
        finally:
            receiver.stop()
    traces = [line for line in at_work.said if line.startswith("traces")]
    assert traces == [
        f"traces to {receiver.url}/v1/traces: connection refused; it is kept and tried again",
        f"traces to {receiver.url}/v1/traces: telemetry is delivered again",
    ]


def waited(there: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_receiver_that_hangs_holds_nobody_and_the_next_one_gets_it_all() -> None:
    with silent() as port, contextlib.ExitStack() as stack:
        at_work = stack.enter_context(
            sending(
                f"http://127.0.0.1:{port}", told(1), patience=0.1, OTEL_EXPORTER_OTLP_TIMEOUT="300"
            )
        )
        began = time.monotonic()
        at_work.put(told(2))  # nobody waits for it
        assert time.monotonic() - began < 0.1
        waited(lambda: at_work.said)
        assert "it does not answer; it is kept" in at_work.said[0]
        assert len(at_work.rows.rows["traces"]) == 2
    with receiving() as receiver, sending(receiver.url, rows=at_work.rows) as again:
        again.rows.empty()
        assert roots(receiver.of("traces")) == [root(1), root(2)]


def test_the_end_of_the_agent_does_not_wait_for_a_receiver_that_hangs() -> None:
    with receiving(lambda _: Said(hang=True)) as receiver:
        with sending(receiver.url, told(1), patience=0.2) as at_work:
            receiver.wait(lambda: receiver.got)
            began = time.monotonic()
            at_work.sender.close(0.2)
            assert time.monotonic() - began < 0.5
        assert 1 in at_work.rows.rows["traces"]


def test_at_the_end_what_can_be_sent_is_sent_at_once() -> None:
    with receiving() as receiver, sending(receiver.url) as at_work:
        waited(lambda: all(s.idle for s in at_work.sender._signals))
        at_work.put(told(1))
        at_work.sender.close(5)
        assert roots(receiver.of("traces")) == [root(1)]
        assert len(receiver.of("logs")) == 1


def test_a_part_that_is_rejected_is_counted_said_once_and_not_sent_again() -> None:
    some = ExportTraceServiceResponse()
    some.partial_success.rejected_spans = 3
    some.partial_success.error_message = "too old"
    events = ExportLogsServiceResponse()
    events.partial_success.rejected_log_records = 1

    def script(got: Got) -> Said:
        return Said(body=(some if got.signal == "traces" else events).SerializeToString())

    with receiving(script) as receiver, sending(receiver.url, told(1)) as at_work:
        at_work.rows.empty()
        at_work.put(told(2))
        at_work.rows.empty()
        assert len(receiver.of("traces")) == 2
        assert at_work.sender.ledgers["traces"].rejected == 6
        assert at_work.sender.ledgers["logs"].rejected == 2
    traces = [line for line in at_work.said if line.startswith("traces")]
    assert len(traces) == 1
    assert "has rejected 3 of what it was sent, which is lost: too old" in traces[0]


def test_an_answer_that_is_no_protobuf_is_an_answer_all_the_same() -> None:
    with (
        receiving(always(200, body=b"\xff\xfe{}")) as receiver,
        sending(receiver.url, told(1)) as at_work,
    ):
        at_work.rows.empty()
        assert at_work.sender.ledgers["traces"].rejected == 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_poison_is_found_and_set_aside_and_all_others_arrive(status: int) -> None:
    poison = {bytes.fromhex(root(n)) for n in (3, 17, 64)}

    def script(got: Got) -> Said:
        if got.signal == "traces" and any(s.span_id in poison for s in got.spans):
            return Said(status, (("content-type", "text/plain"),), b"bad span\n")
        return Said()

    with (
        receiving(script) as receiver,
        sending(receiver.url, *map(told, range(1, 65)), told(65)) as at_work,
    ):
        at_work.rows.empty("traces")
        assert at_work.rows.aside.keys() == {3, 17, 64}
        assert at_work.rows.aside[3] == f"HTTP status {status} bad span"
        assert roots(receiver.of("traces", 200)) == [
            root(n) for n in range(1, 66) if n not in (3, 17, 64)
        ]
        alone = [g for g in receiver.of("traces", status) if len(roots([g])) == 1]
        assert sorted(roots(alone)) == sorted(root(n) for n in (3, 17, 64))  # each tried alone once
        at_work.put(told(66))
        at_work.rows.empty("traces")
        assert roots(receiver.of("traces")[-1:]) == [root(66)]


def test_what_cannot_be_encoded_is_set_aside_and_keeps_back_nobody() -> None:
    broken = replace(told(2), resource='{"attributes": 7}')
    with receiving() as receiver, sending(receiver.url, told(1), broken, told(3)) as at_work:
        at_work.rows.empty()
        assert roots(receiver.of("traces")) == [root(1), root(3)]
        assert "cannot be encoded" in at_work.rows.aside[2]
    assert any("please report this" in line for line in at_work.said)


def test_what_the_journal_does_not_tell_whole_is_set_aside_and_not_passed_over() -> None:
    torn = replace(told(1), records=told(1).records[1:])
    gone = replace(told(2), records=())  # forgotten in this moment: counted by who forgot it
    with receiving() as receiver, sending(receiver.url, torn, gone, told(3)) as at_work:
        at_work.rows.empty()
        assert roots(receiver.of("traces")) == [root(3)]
        assert at_work.rows.aside.keys() == {1}
        assert "does not tell it whole" in at_work.rows.aside[1]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_receiver_that_says_when_is_obeyed(status: int, form: str) -> None:
    def script(got: Got) -> Said:
        if got.signal == "logs" or receiver.of("traces"):
            return Said()
        # A date has whole seconds: this one is between one and two ahead.
        when = "1" if form == "seconds" else formatdate(int(time.time()) + 2, usegmt=True)
        return Said(status, (("Retry-After", when),))

    with receiving(script) as receiver, sending(receiver.url, told(1)) as at_work:
        at_work.rows.empty()
        busy, taken = receiver.of("traces")
        assert (busy.status, taken.status) == (status, 200)
        assert 0.95 <= taken.at - busy.at < 3
        assert busy.raw == taken.raw


@pytest.mark.parametrize("answer", [Said(500), Said(502), Said(408), Said(cut=True)])
def test_what_may_pass_is_tried_again_after_a_pause_with_the_same_bytes(answer: Said) -> None:
    with receiving(first(answer, answer)) as receiver, sending(receiver.url, told(1)) as at_work:
        at_work.rows.empty()
        tries = receiver.of("traces")
        assert [g.status for g in tries] == [0 if answer.cut else answer.status] * 2 + [200]
        assert 0.45 <= tries[1].at - tries[0].at < 2
        assert 0.95 <= tries[2].at - tries[1].at < 4  # twice as long
        assert len({g.raw for g in tries}) == 1
        assert at_work.sender.ledgers["traces"].trouble == ""


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_receiver_that_does_not_know_us_is_left_alone_for_long_and_loses_nothing(
    status: int,
) -> None:
    with receiving(always(status)) as receiver, sending(receiver.url, told(1)) as at_work:
        receiver.wait(lambda: receiver.of("traces") and receiver.of("logs"))
        waited(lambda: len(at_work.said) == 2)
        lanes = {s.target.signal: s.lane for s in at_work.sender._signals}
        assert lanes["traces"].not_before - time.monotonic() > 25
        at_work.put(told(2))
        assert len(at_work.rows.rows["traces"]) == 2
        assert f"HTTP status {status}" in at_work.said[0]
        assert len(receiver.got) == 2


def test_one_signal_that_nobody_takes_does_not_keep_back_the_other() -> None:
    def script(got: Got) -> Said:
        return Said(404 if got.signal == "logs" else 200)

    with receiving(script) as receiver, sending(receiver.url, told(1)) as at_work:
        at_work.rows.empty("traces")
        assert len(at_work.rows.rows["logs"]) == 1


def test_a_connection_that_was_closed_meanwhile_is_no_trouble() -> None:
    with receiving() as receiver, sending(receiver.url, told(1)) as at_work:
        at_work.rows.empty()
        receiver.stop()
        receiver.start()
        at_work.put(told(2))
        at_work.rows.empty()
        assert roots(receiver.of("traces")) == [root(1), root(2)]
    assert at_work.said == []


def test_what_is_sent_twice_is_the_same_twice_also_by_another_agent() -> None:
    """The agent is killed after the receiver has it and before that is written down."""
    sent = []
    for name in ("one", "another"):
        rows = Rows()
        rows.put(*map(told, range(1, 11)))
        own = replace(AGENT, attributes=(*AGENT.attributes, ("process.pid", len(name))))
        with receiving() as receiver:
            to = targets(receiver.url, {"OTEL_METRICS_EXPORTER": "none"})
            sender = Sender(
                to,
                outbox=lambda rows=rows: rows,  # type: ignore[misc]
                own=own,
                version=name,
                observe=bytes,
                say=print,
                start_s=0.0,
            )
            sender.start()
            rows.empty()
            sender.close(5)
            sent.append(b"".join(g.raw for g in receiver.of("traces") + receiver.of("logs")))
    assert sent[0] == sent[1]


def test_metrics_go_out_at_once_and_then_at_the_interval() -> None:
    seen = []

    def observe() -> bytes:
        seen.append(time.monotonic())
        return b""

    with receiving(lambda _: Said(503 if len(receiver.of("metrics")) == 1 else 200)) as receiver:
        quick = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
        with sending(receiver.url, observe=observe, **quick) as at_work:
            receiver.wait(lambda: len(receiver.of("metrics")) >= 4)
        pauses = [b - a for a, b in itertools.pairwise(seen)]
        assert all(pause >= 0.19 for pause in pauses)
        assert len(seen) <= len(receiver.of("metrics")) + 1  # asked anew each time
        assert any("503" in line for line in at_work.said)


def test_an_outbox_that_cannot_be_read_is_said_and_read_again() -> None:
    rows = Rows(broken=True)
    with receiving() as receiver, sending(receiver.url, told(1), rows=rows) as at_work:
        waited(lambda: at_work.said)
        assert "cannot read the journal: damaged" in at_work.said[0]
        rows.broken = False
        rows.empty()


def test_nothing_wakes_while_nothing_is_due() -> None:
    with receiving() as receiver, sending(receiver.url, told(1)) as at_work:
        at_work.rows.empty()
        waited(lambda: all(s.idle for s in at_work.sender._signals))
        number = at_work.sender._thread.native_id
        waited(lambda: wakes(number) == (threading.Event().wait(0.1), wakes(number))[1])
        before = wakes(number)
        assert not threading.Event().wait(1)
        assert wakes(number) == before
        at_work.put(told(2))
        at_work.rows.empty()
        assert wakes(number) > before


def wakes(thread: int | None) -> int:
    """How often a thread of ours went to sleep."""
    text = Path(f"/proc/self/task/{thread}/status").read_text()
    return int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_no_secret_is_said() -> None:
    with receiving(always(401)) as receiver:
        address = receiver.url.replace("://", "://me:pass@") + "/in?token=abc"
        given = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=letmein"}
        with sending(address, told(1), **given) as at_work:
            waited(lambda: len(at_work.said) == 2)
        assert receiver.got[0].headers["api-key"] == "letmein"
        assert receiver.got[0].headers["authorization"].startswith("Basic ")
        said = "".join(at_work.said)
        assert not any(word in said for word in ("pass", "abc", "letmein", "me:"))
