from __future__ import annotations

from agentd.core.steps import SendSignal
from agentd.handles import HANDLES, Options


def test_a_handle_is_known_by_its_own_name() -> None:
    assert {name: handle.name for name, handle in HANDLES.items()} == {"signal": "signal"}


def test_signal_sends_what_was_declared_once() -> None:
    assert HANDLES["signal"].recipe(Options()) == (SendSignal("HUP"),)
    wanted = Options(signal="USR1", signal_handled=True)
    assert HANDLES["signal"].recipe(wanted) == (SendSignal("USR1", assume_handled=True),)
