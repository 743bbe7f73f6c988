"""Whether a service is well with what it took: how long it is asked, what is good and what is bad."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.instance import Phase
from agentd.core.process import Exit
from agentd.core.spec import OnFailure, SocketKind, SocketSpec, Spec, TcpProbe, Verify
from agentd.core.steps import Replace
from agentd.wire import Verdict
from tests.core.make import Agent, Says, agent, identity, manifest, spec, unchecked
from tests.core.test_reload import phases

PROBE = TcpProbe("h", 1)
WELL = Verify(PROBE, 1.0, 0.4, 2)
HTTP = SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80)


def verified(s: Spec | None = None, on_failure: OnFailure = OnFailure.KEEP) -> Spec:
    s = unchecked(s or spec("web", Says()))
    return replace(s, reload=replace(s.reload, verify=WELL, on_failure=on_failure))


def by_replace(on_failure: OnFailure = OnFailure.KEEP) -> Spec:
    s = verified(spec("web", sockets=(HTTP,)), on_failure)
    return replace(s, reload=replace(s.reload, handle="replace", steps=(Replace(),)))


def up(s: Spec) -> Agent:
    """Ready, well and applied with bytes 1."""
    a = agent(s)
    a.read(1)
    a.spawned()
    a.ready()
    passes(a)
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    return a


def answer(a: Agent, why: str | None, after: float = 0.0) -> None:
    a.feed(ev.Probed(a.last(fx.Ask).token, why), after)


def passes(a: Agent) -> None:
    """To the end of its while."""
    answer(a, None)
    while a.service().running and a.service().running.timer is not None:  # type: ignore[union-attr]
        a.elapse("reload")
        answer(a, None)


def taken(a: Agent, n: int = 2) -> None:
    """To the first probe of bytes ``n``, taken in place."""
    a.reload()
    a.act(n)
    a.sight("confirmed")


def replaced(a: Agent, n: int = 2) -> None:
    """To the first probe of a next generation."""
    a.reload()
    a.read(n)
    a.spawned(8)
    a.feed(ev.Notified("web", a.service().newest, ready=True))
    a.feed(ev.Switched(a.last(fx.Switch).token, a.now, moved=True))


def fails(a: Agent, why: str = "answered 500") -> None:
    answer(a, why)
    a.elapse("reload")
    answer(a, why)


def test_it_is_asked_between_the_evidence_and_the_verdict_for_as_long_as_is_declared() -> None:
    a = up(verified())
    taken(a)
    ask = a.last(fx.Ask)
    assert (ask.probe, ask.pid, ask.generation, ask.beside) == (PROBE, 7, 1, True)
    began, pauses = a.now, []
    for _ in range(3):
        answer(a, None)
        pauses.append(a.last(fx.Arm).delay)
        a.elapse("reload")
    assert pauses == pytest.approx([0.4, 0.4, 0.2])
    assert a.now == pytest.approx(began + 1.0)
    answer(a, None)
    a.read(2)
    assert phases(a)[-7:] == [
        *("+confirm", "-confirm", "+verify", "-verify"),
        *("+commit", "-commit", "applied"),
    ]
    told = a.told(facts.Verified)[-1]
    assert (told.generation, told.passes, told.failures, told.why) == (1, 4, 0, "")
    assert a.service().last_good == manifest(2)


def test_a_failure_between_passes_is_none() -> None:
    a = up(verified())
    taken(a)
    for why in (None, "refused", None, "refused", None):
        answer(a, why)
        a.elapse("reload") if a.service().running.timer else None  # type: ignore[union-attr]
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.told(facts.Verified)[-1].failures == 2


def test_what_fails_at_the_end_of_its_while_is_asked_until_it_is_known() -> None:
    a = up(verified())
    taken(a)
    answer(a, None)
    answer_late = a.last(fx.Arm).token
    a.feed(ev.Elapsed(answer_late), 5.0)
    answer(a, "refused")
    assert a.last(fx.Arm).delay == 0.4
    a.elapse("reload")
    answer(a, None)
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED


def test_so_many_failures_in_a_row_are_bad_and_nobody_knows_how_it_goes_on() -> None:
    a = up(verified())
    taken(a)
    fails(a)
    said = (
        "web took it and is not well: answered 500, 2 times in a row; next restart loads FAILED 2"
    )
    j, s = a.judged, a.service()
    assert (j.verdict, j.error_type, j.message) == (Verdict.FAILED, "verify_failed", said)
    assert (s.live, s.last_good) == (None, manifest(1))
    assert s.quarantine is not None
    assert (s.quarantine.hash, s.quarantine.digest) == ("sha256:2", s.spec.digest)
    assert phases(a)[-3:] == ["+verify", "-verify!verify_failed", "failed"]
    assert a.told(facts.Verified)[-1].why == "answered 500"
    a.hint()
    a.elapse("waiting")
    a.read(2)
    assert a.told(facts.Skipped)[-1].why == "quarantined"


def test_one_failure_may_be_enough() -> None:
    s = verified()
    once = replace(s, reload=replace(s.reload, verify=replace(WELL, threshold=1)))
    a = up(once)
    taken(a)
    answer(a, "no answer within 2s")
    assert "no answer within 2s, 1 time in a row" in a.judged.message


def test_what_cannot_be_asked_is_no_pass() -> None:
    a = up(verified())
    taken(a)
    a.failed(fx.Ask)
    a.elapse("reload")
    a.failed(fx.Ask)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "verify_failed")
    assert "cannot do it" in a.judged.message


def test_a_death_meanwhile_is_one_of_the_reload() -> None:
    a = up(verified())
    taken(a)
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")
    assert a.judged.message.endswith("; next restart loads FAILED 2")
    assert a.service().quarantine is not None


def test_bytes_that_were_good_before_are_not_put_into_quarantine() -> None:
    a = up(verified())
    taken(a, 1)
    fails(a)
    assert a.judged.message.endswith("; these very bytes were good before")
    assert a.service().quarantine is None


def test_a_stop_ends_it() -> None:
    a = up(verified())
    taken(a)
    a.feed(ev.StopAsked("web", a.service().running.cause))  # type: ignore[union-attr]
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_stopped")
    assert a.last(fx.Cancel).token == a.last(fx.Ask).token


def test_a_start_with_other_bytes_is_verified_and_one_with_good_ones_is_not() -> None:
    a = up(verified())
    a.exited()
    a.elapse()
    a.read(1)
    a.spawned(8)
    a.ready()
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    asked = len([e for e in a.effects if isinstance(e, fx.Ask)])
    a.exited()
    a.elapse()
    a.read(2)
    a.spawned(9)
    a.ready()
    assert len([e for e in a.effects if isinstance(e, fx.Ask)]) == asked + 1
    assert a.last(fx.Ask).pid == 9


def test_the_next_generation_is_asked_and_nobody_else() -> None:
    a = up(by_replace())
    replaced(a)
    ask = a.last(fx.Ask)
    assert (ask.pid, ask.generation, ask.beside) == (8, 2, True)
    passes(a)
    a.read(2)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.service().instance.generation == 2
    assert a.told(facts.Verified)[-1].generation == 2


def test_a_next_generation_that_is_not_well_gives_the_place_back_and_may_finish() -> None:
    a = up(by_replace())
    replaced(a)
    fails(a)
    j, s = a.judged, a.service()
    said = "the next generation is not well: answered 500, 2 times in a row; the former one serves"
    assert (j.verdict, j.error_type, j.message) == (Verdict.REFUSED, "verify_failed", said)
    assert a.last(fx.Switch).generation == 1
    assert [(i.generation, i.phase) for i in s.former] == [(2, Phase.DRAINING)]
    assert (s.instance.generation, s.instance.phase, s.live) == (1, Phase.READY, manifest(1))
    assert s.quarantine is not None
    assert s.quarantine.hash == "sha256:2"


def test_a_next_generation_that_shares_its_listeners_is_stopped() -> None:
    a = up(by_replace())
    a.reload()
    a.read(2)
    a.spawned(8)
    a.feed(ev.Notified("web", 2, ready=True))
    a.feed(ev.Switched(a.last(fx.Switch).token, a.now, moved=False))
    fails(a)
    assert [i.phase for i in a.service().former] == [Phase.STOPPING]


def test_a_next_generation_that_dies_meanwhile_is_refused() -> None:
    a = up(by_replace())
    replaced(a)
    a.feed(ev.Exited("web", 2, identity_exit(), empty=True))
    j = a.judged
    assert (j.verdict, j.error_type) == (Verdict.REFUSED, "exit_3")
    assert j.message == "the next generation did not live: exit code 3; the former one serves"
    assert phases(a)[-2:] == ["-verify!exit_3", "refused"]
    assert identity(8) not in [i.process for i in a.service().alive]


def test_the_former_one_may_die_meanwhile() -> None:
    a = up(by_replace())
    replaced(a)
    a.exited()
    assert a.service().running is not None
    fails(a)
    j = a.judged
    assert (j.verdict, j.error_type) == (Verdict.FAILED, "verify_failed")
    assert j.message.startswith("web died, and its next generation is not well: answered 500")


def identity_exit() -> Exit:
    return Exit(code=3)


def in_part(on_failure: OnFailure) -> Agent:
    """By its own word it took some of bytes 2, and is about to be asked whether it is well with that."""
    s = verified(on_failure=on_failure)
    a = up(replace(s, reload=replace(s.reload, partial="contra")))
    a.reload()
    a.act(2)
    a.sight("contradicted", since=1.0)
    return a


def test_what_was_taken_in_part_is_asked_whether_it_is_well_and_is_no_more_than_that() -> None:
    a = in_part(OnFailure.RESTORE)
    passes(a)
    judged = a.judged
    assert (judged.verdict, judged.error_type) == (Verdict.PARTIAL, "contradicted")
    assert (a.service().live, a.service().last_good) == (None, manifest(1))
    assert phases(a)[-4:] == ["-confirm!contradicted", "+verify", "-verify", "partial"]


def test_what_was_taken_in_part_and_is_not_well_is_put_back() -> None:
    a = in_part(OnFailure.RESTORE)
    answer(a, "no such route")
    a.elapse("reload")
    answer(a, "no such route")
    back = a.last(fx.Restore)
    assert (back.hash, back.over) == ("sha256:1", "sha256:2")
    a.feed(ev.Restored(back.token, 1))
    a.read(1)
    a.baseline()
    a.signalled()
    a.sight("confirmed", since=1.0)
    passes(a)
    a.read(1)
    assert a.judged.verdict is Verdict.ROLLED_BACK
    assert a.service().live == manifest(1)
