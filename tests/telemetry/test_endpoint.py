"""Where telemetry goes, from the file and the environment; and that no address shows a secret."""

from __future__ import annotations

import pytest

from agentd.telemetry.endpoint import Target, scrubbed, targets

HERE = "http://127.0.0.1:4318"
ALL = "OTEL_EXPORTER_OTLP_"


def one(endpoint: str | None, **environ: str) -> Target:
    return next(t for t in targets(endpoint, environ).targets if t.signal == "traces")


def paths(endpoint: str | None, **environ: str) -> list[str]:
    return [f"{t.host}:{t.port}{t.path}" for t in targets(endpoint, environ).targets]


def test_with_neither_a_key_nor_a_variable_nothing_is_sent() -> None:
    assert targets(None, {}).targets == ()
    assert targets(None, {f"{ALL}ENDPOINT": " "}).targets == ()
    assert targets(None, {f"{ALL}HEADERS": "a=b"}).targets == ()


def test_the_signals_have_their_places_below_the_address() -> None:
    below = [f"127.0.0.1:4318/v1/{signal}" for signal in ("traces", "logs", "metrics")]
    assert paths(HERE) == paths(HERE + "/") == paths(None, **{f"{ALL}ENDPOINT": HERE}) == below
    assert paths("https://otel.example/in?key=1")[0] == "otel.example:443/in/v1/traces?key=1"
    assert paths("http://[::1]")[0] == "::1:80/v1/traces"
    assert one("https://otel.example").secure


def test_the_address_of_one_signal_is_used_as_it_is() -> None:
    own = {f"{ALL}TRACES_ENDPOINT": "http://t:1/here"}
    assert paths(None, **own) == ["t:1/here"]
    with_all = own | {f"{ALL}ENDPOINT": HERE}
    assert paths(None, **with_all)[:2] == ["t:1/here", "127.0.0.1:4318/v1/logs"]


def test_the_file_stands_above_the_environment() -> None:
    said = {f"{ALL}ENDPOINT": "http://other", f"{ALL}TRACES_ENDPOINT": "http://t:1/here"}
    assert paths(HERE, **said) == paths(HERE)


def test_it_can_be_switched_off_as_a_whole_and_signal_by_signal() -> None:
    assert paths(HERE, OTEL_SDK_DISABLED="true") == paths(HERE, OTEL_SDK_DISABLED="TRUE") == []
    assert paths(HERE, OTEL_SDK_DISABLED="no") != []
    off = targets(HERE, {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "otlp"})
    assert [t.signal for t in off.targets] == ["traces", "logs"]


def test_headers_and_times_are_read() -> None:
    given = {
        f"{ALL}HEADERS": "Api-Key=s%20ecret, x=1=2",
        f"{ALL}TRACES_HEADERS": "x=3",
        f"{ALL}TIMEOUT": "2500",
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
    }
    assert one(HERE, **given).headers == (("api-key", "s ecret"), ("x", "3"))
    assert one(HERE, **given).timeout_s == 2.5
    assert targets(HERE, given).interval_s == 5
    assert one(HERE, **{f"{ALL}TIMEOUT": "soon", f"{ALL}TRACES_TIMEOUT": "70"}).timeout_s == 0.07
    assert one(HERE, **{f"{ALL}TIMEOUT": "0"}).timeout_s == 10


@pytest.mark.parametrize("text", ["secret", "a=se\ncret", "a b=secret", "a=sécret", "=secret"])
def test_headers_that_are_none_are_said_without_their_value(text: str) -> None:
    found = targets(HERE, {f"{ALL}HEADERS": text})
    assert found.targets == ()
    assert len(found.problems) == 3
    assert "NAME=VALUE" in found.problems[0]
    assert "cret" not in "".join(found.problems)


@pytest.mark.parametrize(
    "address",
    ["collector:4318", "grpc://x:1", "http://", "http://x:y", "http://[::1", "http://x/a b"],
)
def test_an_address_that_is_none_is_said(address: str) -> None:
    found = targets(None, {f"{ALL}TRACES_ENDPOINT": address})
    assert found.targets == ()
    (problem,) = found.problems
    assert problem.startswith("traces are not exported to ")


def test_no_address_shows_a_secret() -> None:
    target = one("https://me:pass%20word@otel.example/in?token=abc")
    assert target.shown == "https://otel.example/in/v1/traces?…"
    assert target.headers == (("authorization", "Basic bWU6cGFzcyB3b3Jk"),)
    for address in ("http://a:b@h", "http://a:s/b@h:x/?token=t", "http://a:b@[::1", "a:b@h?token"):
        assert "a:" not in scrubbed(address)
        assert "token" not in scrubbed(address)
        said = targets(None, {f"{ALL}TRACES_ENDPOINT": address}).problems
        assert not any("a:" in text or "token" in text or "'s" in text for text in said)
