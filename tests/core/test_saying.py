"""What an sd_notify message means: pure, from fields to an event."""

from __future__ import annotations

import pytest

from agentd.core.events import Notified
from agentd.core.saying import heard


def said(**fields: str) -> Notified | None:
    return heard("web", 3, fields)


def test_what_bears_on_nothing_is_nothing() -> None:
    assert said(STATUS="busy", WATCHDOG="1", X_OTHER="1") is None
    assert said(READY="0", RELOADING="0", ERRNO="0", MONOTONIC_USEC="5") is None


def test_ready_and_extensions() -> None:
    assert said(READY="1") == Notified("web", 3, ready=True)
    assert said(EXTEND_TIMEOUT_USEC="2500000") == Notified("web", 3, extend=2.5)
    assert said(EXTEND_TIMEOUT_USEC="soon") is None
    assert said(EXTEND_TIMEOUT_USEC="9" * 19) is None, "a number of no clock"


def test_reloading_counts_with_its_moment_only() -> None:
    assert said(RELOADING="1", MONOTONIC_USEC="1500000") == Notified("web", 3, reloading=1.5)
    assert said(RELOADING="1") is None
    assert said(MONOTONIC_USEC="1500000") is None


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"ERRNO": "22"}, "errno 22"),
        ({"ERRNO": "22", "STATUS": " line 3 is wrong "}, "line 3 is wrong, errno 22"),
        ({"X_AGENTD_RELOAD_RESULT": "failed"}, "it says that it failed"),
        ({"X_AGENTD_RELOAD_RESULT": " Failure "}, "it says that it failed"),
        ({"X_AGENTD_RELOAD_RESULT": "error", "STATUS": "no"}, "no"),
        ({"ERRNO": "1", "STATUS": "x" * 500}, f"{'x' * 200}, errno 1"),
    ],
)
def test_a_complaint(fields: dict[str, str], why: str) -> None:
    assert heard("web", 3, fields) == Notified("web", 3, refused=why)


@pytest.mark.parametrize(
    "fields",
    [{"ERRNO": "0"}, {"ERRNO": "-1"}, {"ERRNO": "123456"}, {"X_AGENTD_RELOAD_RESULT": "applied"}],
)
def test_no_complaint(fields: dict[str, str]) -> None:
    assert heard("web", 3, fields) is None


def test_the_configuration_it_names() -> None:
    assert said(X_AGENTD_CONFIG_HASH=" abc123 ") == Notified("web", 3, hash="abc123")
