from __future__ import annotations

import pytest

from agentd.core.steps import CallHttp, Replace, Restart, RunCommand, SendSignal, Step
from agentd.evidence import KINDS
from agentd.handles import HANDLES, Options

CALL = CallHttp("POST", "http://h/-/reload")
GIVEN = Options("USR1", signal_handled=True, command=("take", "it"), request=CALL)


def test_a_handle_is_known_by_its_own_name() -> None:
    assert {name: handle.name for name, handle in HANDLES.items()} == {n: n for n in HANDLES}
    assert sorted(HANDLES) == ["exec", "http", "notify", "replace", "restart", "signal"]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("signal", SendSignal("USR1", assume_handled=True)),
        ("notify", SendSignal("USR1", assume_handled=True)),
        ("exec", RunCommand(("take", "it"))),
        ("http", CALL),
        ("restart", Restart()),
        ("replace", Replace()),
    ],
)
def test_each_is_one_step(name: str, step: Step) -> None:
    assert HANDLES[name].recipe(GIVEN) == (step,)


def test_without_overlap_a_replacement_is_a_restart() -> None:
    assert HANDLES["replace"].recipe(Options(overlap=False)) == (Restart(),)


def test_a_signal_is_hup_and_must_be_seen_to_be_handled() -> None:
    assert HANDLES["signal"].recipe(Options()) == (SendSignal("HUP", assume_handled=False),)


def test_evidence_that_comes_along_is_known() -> None:
    brought = {kind for handle in HANDLES.values() for kind in handle.confirm or ()}
    assert brought == {"notify"}
    assert brought <= set(KINDS)
