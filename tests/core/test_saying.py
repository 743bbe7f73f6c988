"""From the fields of a message to what it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.events import Notified
from agentd.core.saying import heard, main_pid

TIME = {"RELOADING": "1", "MONOTONIC_USEC": "2500000"}


def said(fields: dict[str, str]) -> Notified:
    found = heard("web", 3, fields)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"STATUS": "Processing requests"},
        {"READY": "0"},
        {"RELOADING": "1"},
        {"RELOADING": "1", "MONOTONIC_USEC": "soon"},
        {"MONOTONIC_USEC": "2500000"},
        {"ERRNO": "0"},
        {"ERRNO": "-22"},
        {"WATCHDOG": "1"},
        {"X_AGENTD_RELOAD_RESULT": "ok"},
    ],
)
def test_what_bears_on_nothing_is_not_heard(fields: dict[str, str]) -> None:
    assert heard("web", 3, fields) is None


def test_what_is_said_of_phases() -> None:
    assert said({"READY": "1"}) == Notified("web", 3, ready=True)
    assert said({"EXTEND_TIMEOUT_USEC": "1500000"}) == Notified("web", 3, extend=1.5)
    assert said(TIME) == Notified("web", 3, reloading=2.5)
    assert said({**TIME, "READY": "1"}) == Notified("web", 3, ready=True, reloading=2.5)
    assert said({"X_AGENTD_CONFIG_HASH": " sha256:ab "}) == Notified("web", 3, hash="sha256:ab")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"ERRNO": "22"}, "errno 22"),
        ({"ERRNO": "22", "STATUS": "port out of range"}, "port out of range, errno 22"),
        ({"X_AGENTD_RELOAD_RESULT": "failed"}, "it says that it failed"),
        ({"X_AGENTD_RELOAD_RESULT": "Failed", "STATUS": "no pool"}, "no pool"),
        ({"READY": "1", "STATUS": "Reload failed!"}, "Reload failed!"),  # HAProxy 3.0
        ({"STATUS": "reloading failed: line 3"}, "reloading failed: line 3"),
        ({"STATUS": "Failed to reload a.conf"}, "Failed to reload a.conf"),
        ({"STATUS": "cannot load a.conf"}, "cannot load a.conf"),
        ({"STATUS": "cannot load " + "a" * 500}, "cannot load " + "a" * 188),
    ],
)
def test_what_a_service_complains_of(fields: dict[str, str], why: str) -> None:
    assert said(fields).refused == why


@pytest.mark.parametrize(
    "status",
    [
        "Ready.",
        "Reloading Configuration.",
        "0 reloads failed",
        "ready; last reload failed on Monday",
        "loaded, 3 checks failed",
        "reload failedover",
    ],
)
def test_a_status_that_tells_of_something_else_is_no_complaint(status: str) -> None:
    assert said({"READY": "1", "STATUS": status}).refused == ""


NAMES = ["READY", "RELOADING", "MONOTONIC_USEC", "EXTEND_TIMEOUT_USEC", "ERRNO", "STATUS", "MAINPID",
         "X_AGENTD_RELOAD_RESULT", "X_AGENTD_CONFIG_HASH"]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(NAMES), st.one_of(st.text(max_size=20), st.integers().map(str)))
)
def test_any_fields_bear_on_something_or_on_nothing(fields: dict[str, str]) -> None:
    found = heard("web", 3, fields)
    assert found is None or (found.extend >= 0 and (found.reloading or 0) >= 0)
    assert 0 < (main_pid(fields) or 1) < 10**10
