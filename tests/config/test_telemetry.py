"""``[agent.telemetry]``: what can be written, and that a mistake is told without what may be a password."""

from __future__ import annotations

import pytest

from agentd.config.definitions import Retain, Telemetry
from agentd.config.problems import Wrong
from agentd.config.schema import AGENT
from agentd.telemetry.endpoint import targets


def parsed(**keys: object) -> Telemetry:
    return AGENT.parse({"telemetry": keys}).telemetry


def wrong(**keys: object) -> str:
    with pytest.raises(Wrong) as caught:
        parsed(**keys)
    return " ".join(f"{'.'.join(map(str, place))} {text}" for place, text in caught.value.faults)


def test_without_it_the_environment_decides_and_ninety_days_are_kept() -> None:
    assert AGENT.parse({}).telemetry == parsed() == Telemetry()
    assert Telemetry() == Telemetry(None, Retain(90 * 86400, 256 << 20, 100_000))


def test_what_is_written_is_what_holds() -> None:
    retain = {"age": "12h", "size": "1M", "count": 50}
    found = parsed(endpoint="https://otel.example:4318/in", retain=retain)
    assert found == Telemetry("https://otel.example:4318/in", Retain(43200, 1 << 20, 50))
    assert parsed(retain={"count": 7}).retain == Retain(count=7)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:4318",
        "http://[::1]:4318/",
        "https://me:pass@otel.example/in?key=1",
        "http://collector",
    ],
)
def test_what_can_be_written_can_be_sent_to(address: str) -> None:
    found = targets(parsed(endpoint=address).endpoint, {})
    assert len(found.targets) == 3
    assert found.problems == ()


@pytest.mark.parametrize(
    "address",
    [
        *("", "127.0.0.1:4318", "grpc://s3cret@x:4317", "http://", "http://s3cret@", "http://a b"),
        *(7, "http://s3cret@x:4318/v1/traces", "http://x/v1/logs/"),
    ],
)
def test_an_address_that_is_none_is_told_without_its_value(address: object) -> None:
    said = wrong(endpoint=address)
    assert said.startswith("telemetry.endpoint ")
    assert "s3cret" not in said


def test_what_would_keep_nothing_is_refused() -> None:
    assert "256K" in wrong(retain={"size": "1K"})
    assert "within 1 and" in wrong(retain={"count": 0})
    assert "longer than nothing" in wrong(retain={"age": "0s"})
    assert "unknown key" in wrong(retain={"days": 3})
