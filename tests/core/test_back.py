"""The way back from what was found bad: the files, the act, the verdict; and what an agent does that finds one on its way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.instance import Phase
from agentd.core.manifest import Missing
from agentd.core.reload_value import Stage
from agentd.core.spec import Check, OnFailure
from agentd.core.steps import Baseline, Grade, Restart
from agentd.wire import Trigger, Verdict
from tests.core.make import BAD, PERSON, Agent, Says, agent, manifest, spec, survivor
from tests.core.test_reload import phases
from tests.core.test_verify import by_replace, fails, passes, replaced, taken, up, verified

if TYPE_CHECKING:
    from agentd.core.spec import Spec

BACK = OnFailure.RESTORE
WHY = "web took it and is not well: answered 500, 2 times in a row"
KEPT = "/var/lib/agentd/rejected/web/2"


def restored(a: Agent, n: int = 1, kept: str = KEPT) -> None:
    a.feed(ev.Restored(a.last(fx.Restore).token, 1, kept))
    if a.service().running is not None:
        a.read(n)


def bad(s: Spec | None = None) -> Agent:
    """To the restore of bytes 1, after bytes 2 were taken and found bad."""
    a = up(s or verified(on_failure=BACK))
    taken(a)
    fails(a)
    return a


def acts_again(a: Agent) -> None:
    a.baseline()
    a.signalled()
    a.sight("confirmed")
    passes(a)
    a.read(1)


def died(s: Spec | None = None, *, empty: bool = True) -> Agent:
    """To the restore of bytes 1, after it died of bytes 2."""
    a = up(s or verified(on_failure=BACK))
    a.reload()
    a.act(2)
    a.exited(empty=empty)
    return a


def test_what_is_bad_is_put_back_taken_and_verified_again() -> None:
    a = bad()
    back = a.last(fx.Restore)
    assert (back.hash, back.over) == ("sha256:1", "sha256:2")
    s = a.service()
    assert s.quarantine is not None
    assert (s.quarantine.hash, s.quarantine.reason) == ("sha256:2", WHY)
    told = a.told(facts.RollingBack)[-1]
    assert (told.hash, told.version, told.verdict) == ("sha256:1", "1", Verdict.FAILED)
    assert (told.error_type, told.message, told.down) == ("verify_failed", WHY, False)
    restored(a)
    sent = len([e for e in a.effects if isinstance(e, fx.SendReloadSignal)])
    a.baseline()
    assert a.last(fx.SendReloadSignal).origin.hash == "sha256:1"
    assert len([e for e in a.effects if isinstance(e, fx.SendReloadSignal)]) == sent + 1
    a.signalled()
    a.sight("confirmed")
    passes(a)
    a.read(1)
    j, s = a.judged, a.service()
    assert (j.verdict, j.error_type) == (Verdict.ROLLED_BACK, "verify_failed")
    assert j.message == f"{WHY}; 1 was put back and is live again; what was there is kept in {KEPT}"
    assert (j.confirmation, j.grade, j.hash_after) == ("says", Grade.OBSERVED, "sha256:2")
    assert (s.live, s.last_good, s.attempted.hash) == (manifest(1), manifest(1), "sha256:2")  # type: ignore[union-attr]
    assert s.quarantine is not None
    assert phases(a)[-15:] == [
        *("+rollback", "+restore", "-restore", "+snapshot", "-snapshot", "+apply", "-apply"),
        *("+confirm", "-confirm", "+verify", "-verify", "+commit", "-commit", "-rollback"),
        "rolled_back",
    ]


class Opens(Says):
    opens: ClassVar[bool] = True


@pytest.mark.parametrize("again", [True, False])
def test_who_opens_the_files_is_asked_no_more_as_often_as_it_was(*, again: bool) -> None:
    s = verified(on_failure=BACK)
    a = bad(replace(s, reload=replace(s.reload, confirm=(Opens(),))))
    if again:
        restored(a)
        acts_again(a)
    else:
        a.failed(fx.Restore, "inputs_moved")
    watched = [e for e in a.effects if isinstance(e, fx.TakeBaseline) and e.watch]
    assert len(watched) == len([e for e in a.effects if isinstance(e, fx.Unwatch)]) == 1 + again


def test_its_own_write_triggers_nothing_and_the_same_bytes_are_not_tried_again() -> None:
    a = bad()
    a.hint()
    restored(a)
    acts_again(a)
    assert a.judged.verdict is Verdict.ROLLED_BACK
    a.elapse("waiting")
    a.read(1)
    assert a.told(facts.Skipped)[-1].why == "unchanged"
    a.hint()
    a.elapse("waiting")
    a.read(2)
    assert a.told(facts.Skipped)[-1].why == "quarantined"
    a.hint()
    a.elapse("waiting")
    a.read(3)
    assert a.service().running is not None


def test_a_start_with_the_same_good_bytes_does_not_lift_the_quarantine() -> None:
    a = bad()
    restored(a)
    acts_again(a)
    a.exited()
    a.elapse()
    a.read(1)
    a.spawned(8)
    a.ready()
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    assert a.service().quarantine is not None
    a.exited()
    a.elapse()
    a.read(3)
    a.spawned(9)
    a.ready()
    passes(a)
    a.read(3)
    assert a.service().quarantine is None


def test_proof_is_demanded_of_what_was_asked_for_and_not_of_the_way_back() -> None:
    s = verified(spec("web", Says(Grade.PROVEN)), BACK)
    a = up(s)
    a.reload(require_proof=True)
    a.act(2)
    a.sight("confirmed")
    fails(a)
    restored(a)
    acts_again(a)
    assert a.judged.verdict is Verdict.ROLLED_BACK


def test_a_second_failure_is_the_last() -> None:
    a = bad()
    restored(a)
    a.baseline()
    a.signalled()
    a.sight("confirmed")
    fails(a)
    j, s = a.judged, a.service()
    assert (j.verdict, j.error_type) == (Verdict.FAILED, "rollback_failed")
    assert j.message.startswith(f"{WHY}; 1 could not be put back: {WHY}")
    assert (s.live, s.running, s.waiting) == (None, None, None)
    assert s.attempted is not None
    assert s.attempted.back == "sha256:1"
    assert phases(a)[-2:] == ["-rollback!verify_failed", "failed"]
    a.hint()
    a.elapse("waiting")
    a.read(1)
    assert a.told(facts.Skipped)[-1].why == "quarantined"


def test_what_cannot_be_put_back_stays() -> None:
    a = bad()
    a.failed(fx.Restore, "restore_refused")
    j, s = a.judged, a.service()
    assert (j.verdict, j.error_type) == (Verdict.FAILED, "rollback_failed")
    assert j.message == f"{WHY}; 1 could not be put back: cannot do it"
    assert s.attempted is not None
    assert s.attempted.back == ""
    assert phases(a)[-3:] == ["-restore!restore_refused", "-rollback!restore_refused", "failed"]
    assert a.service().waiting is None


def test_bytes_that_changed_meanwhile_are_not_overwritten_but_tried() -> None:
    a = bad()
    a.failed(fx.Restore, "inputs_moved")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "rollback_failed")
    assert a.service().running is not None
    a.read(3)
    assert a.service().running.manifest == manifest(3)  # type: ignore[union-attr]


@pytest.mark.parametrize("found", [manifest(3), Missing("missing_input", "it is gone")])
def test_bytes_that_change_after_they_were_put_back_are_not_called_good(found: object) -> None:
    a = bad()
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.read(found)  # type: ignore[arg-type]
    assert (
        a.judged.message
        == f"{WHY}; 1 could not be put back: the inputs changed while they were put back"
    )
    assert a.service().running is not None


def test_what_was_put_back_must_be_readable() -> None:
    a = bad()
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.failed(fx.TakeSnapshot, "snapshot_failed")
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "rollback_failed")


def test_with_nothing_known_to_be_good_nothing_is_put_back_and_that_is_said() -> None:
    a = agent(verified(on_failure=BACK))
    a.read(1)
    a.spawned()
    a.ready()
    fails(a)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "verify_failed")
    assert a.judged.message == f"{WHY}; no configuration is known to be good, so none is put back"
    assert a.service().last_good is None


def test_a_roll_back_is_not_rolled_back() -> None:
    a = up(verified(on_failure=BACK))
    a.reload(restore="sha256:0")
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.act(9)
    a.sight("confirmed")
    fails(a)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "verify_failed")
    assert a.judged.message == f"{WHY}; a roll-back is not rolled back"


def test_the_very_bytes_that_were_good_are_not_put_back_over_themselves() -> None:
    a = up(verified(on_failure=BACK))
    taken(a, 1)
    fails(a)
    assert a.judged.message == f"{WHY}; these very bytes were good before"
    assert a.told(facts.RollingBack) == []


def test_a_service_that_died_of_it_is_started_once_with_what_was_good() -> None:
    a = died()
    told = a.told(facts.RollingBack)[-1]
    assert (told.down, told.error_type) == (True, "service_died")
    assert told.message == "web died: exit code 3"
    assert told.output == ("last words",)
    assert a.phase() == "backoff"
    restored(a)
    launched = a.last(fx.Spawn)
    assert (launched.generation, launched.origin.hash) == (2, "sha256:1")  # type: ignore[union-attr]
    a.spawned(8)
    a.ready()
    passes(a)
    a.read(1)
    j, s = a.judged, a.service()
    assert (j.verdict, j.error_type, j.pid) == (Verdict.ROLLED_BACK, "service_died", 8)
    assert j.output == ("last words",)
    assert (s.live, s.instance.failures) == (manifest(1), 0)


def test_it_is_waited_for_the_rest_of_its_group() -> None:
    a = died(empty=False)
    assert a.phase() == "stopping"
    restored(a)
    assert a.service().running.stage is Stage.ENDING  # type: ignore[union-attr]
    a.emptied()
    a.spawned(8)
    a.ready()
    passes(a)
    a.read(1)
    assert a.judged.verdict is Verdict.ROLLED_BACK


def test_one_that_ended_before_its_birth_was_told_is_waited_for() -> None:
    a = up(verified(on_failure=BACK))
    a.exited()
    a.elapse()
    a.read(2)
    a.exited(empty=False)
    assert a.service().instance.process is None
    restored(a)
    assert a.service().running.stage is Stage.ENDING  # type: ignore[union-attr]


def test_its_start_limit_does_not_count_the_bad_bytes() -> None:
    s = verified(on_failure=BACK)
    a = died(replace(s, start_limit=replace(s.start_limit, burst=1)))
    assert a.phase() == "failed"
    restored(a)
    a.spawned(8)
    a.ready()
    passes(a)
    a.read(1)
    assert a.judged.verdict is Verdict.ROLLED_BACK
    assert a.phase() == "ready"


def test_one_that_dies_of_what_was_good_too_is_left_to_its_backoff() -> None:
    a = died()
    restored(a)
    a.spawned(8)
    a.exited()
    j = a.judged
    assert (j.verdict, j.error_type) == (Verdict.FAILED, "rollback_failed")
    assert j.message.startswith("web died: exit code 3; 1 could not be put back: exit code 3")
    assert a.phase() == "backoff"


def test_a_death_on_the_way_back_makes_it_a_start() -> None:
    a = bad()
    a.exited()
    restored(a)
    a.spawned(8)
    a.ready()
    passes(a)
    a.read(1)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.ROLLED_BACK, "verify_failed")


def test_a_death_while_nothing_is_put_back_is_what_it_was() -> None:
    a = up(verified(on_failure=BACK))
    a.reload(restore="sha256:0")
    a.exited()
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "service_died")


def test_a_stop_on_the_way_back_is_obeyed() -> None:
    a = bad()
    a.feed(ev.StopAsked("web", PERSON))
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "rollback_failed")
    assert a.judged.message == f"{WHY}; 1 could not be put back: stop of web was asked for"
    assert a.phase() == "stopping"


def test_the_way_back_is_not_cancelled_half_way() -> None:
    a = bad()
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.feed(ev.CancelAsked("web", a.service().running.id, PERSON, 5))  # type: ignore[union-attr]
    assert a.service().running is not None


def test_what_was_refused_is_put_back_and_nothing_more_is_done() -> None:
    a = up(verified(on_failure=BACK))
    a.reload()
    a.act(2)
    a.sight("contradicted")
    told = a.told(facts.RollingBack)[-1]
    assert (told.verdict, told.down) == (Verdict.REFUSED, False)
    restored(a)
    j, s = a.judged, a.service()
    assert (j.verdict, j.error_type) == (Verdict.REFUSED, "contradicted")
    assert (
        j.message
        == f"says contradicts it; the inputs are 1 again; what was there is kept in {KEPT}"
    )
    assert (s.live, s.last_good) == (manifest(1), manifest(1))
    assert s.quarantine is not None
    assert phases(a)[-5:] == ["+rollback", "+restore", "-restore", "-rollback", "refused"]


def test_a_refusal_stays_one_when_the_files_cannot_be_put_back() -> None:
    a = up(verified(on_failure=BACK))
    a.reload()
    a.act(2)
    a.sight("contradicted")
    a.failed(fx.Restore, "restore_refused")
    assert a.judged.verdict is Verdict.REFUSED
    assert a.judged.message == "says contradicts it; 1 could not be put back: cannot do it"


def test_what_had_refused_and_then_dies_is_started_with_what_was_good() -> None:
    a = up(verified(on_failure=BACK))
    a.reload()
    a.act(2)
    a.sight("contradicted")
    a.exited()
    restored(a)
    a.spawned(8)
    a.ready()
    passes(a)
    a.read(1)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.ROLLED_BACK, "service_died")
    assert a.judged.message.startswith("says contradicts it; then web died: exit code 3; 1 was")


def test_a_next_generation_gives_way_before_the_files_are_put_back() -> None:
    a = up(by_replace(BACK))
    replaced(a)
    fails(a)
    assert a.service().running is not None
    assert a.last(fx.Switch).generation == 1
    assert [(i.generation, i.phase) for i in a.service().former] == [(2, Phase.DRAINING)]
    back = a.last(fx.Restore)
    a.feed(ev.Switched(a.last(fx.Switch).token, a.now, moved=True))  # nobody waits for it
    assert a.last(fx.Switch).token.serial != back.token.serial
    restored(a)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REFUSED, "verify_failed")
    assert a.judged.message.endswith(
        f"the former one serves; the inputs are 1 again; what was there is kept in {KEPT}"
    )
    assert len([e for e in a.effects if isinstance(e, fx.Switch)]) == 2


def test_when_the_former_one_is_gone_too_what_was_good_is_started() -> None:
    a = up(by_replace(BACK))
    replaced(a)
    a.exited()
    fails(a)
    assert a.told(facts.RollingBack)[-1].down
    restored(a)
    assert a.last(fx.Spawn).generation == 3
    a.spawned(9)
    a.ready()
    passes(a)
    a.read(1)
    assert a.judged.verdict is Verdict.ROLLED_BACK
    assert a.service().instance.generation == 3


def test_a_next_generation_whose_spawn_failed_blames_no_bytes() -> None:
    a = up(by_replace(BACK))
    a.reload()
    a.read(2)
    a.failed(fx.Spawn, "spawn_failed")
    assert a.judged.verdict is Verdict.REFUSED
    assert a.told(facts.RollingBack) == []


def test_a_service_without_steps_that_is_not_well_is_restarted_with_what_was_good() -> None:
    s = verified(on_failure=BACK)
    a = up(replace(s, reload=replace(s.reload, steps=())))
    a.exited()
    a.elapse()
    a.read(2)
    a.spawned(8)
    a.ready()
    fails(a)
    restored(a)
    a.feed(ev.WrittenDown(a.last(fx.WriteDown).token))
    a.exited(BAD)
    a.spawned(9)
    a.ready()
    passes(a)
    a.read(1)
    assert a.judged.verdict is Verdict.ROLLED_BACK


def two(s: Spec) -> Agent:
    """Both instances of it, up with bytes 1."""
    a = agent(replace(s, instances=2))
    for slot in range(2):
        a.read(1)
        a.spawned(7 + slot)
        a.feed(ev.Notified("web", slot + 1, ready=True))
        if not slot:
            passes(a)
        a.read(1)
    return a


def test_of_several_instances_what_was_bad_is_put_back_by_another_reload() -> None:
    """Two configurations run meanwhile: the verdict says so, and the roll-back goes through all of them."""
    a = two(verified(on_failure=BACK))
    taken(a)
    a.feed(ev.HoldAsked("web", PERSON))
    fails(a)
    j, s = a.judged, a.service()
    assert j.verdict is Verdict.FAILED
    assert j.message.endswith("2 times in a row; 1 is put back by a reload of its own")
    assert [one.became for one in j.instances] == ["not_taken", "untouched"]
    assert s.quarantine is not None
    assert (s.quarantine.hash, s.live) == ("sha256:2", None)
    assert a.told(facts.RollingBack) == []
    back = a.told(facts.Requested)[-1]
    assert (back.cause.trigger, back.link, back.restore) == (
        Trigger.ROLLBACK,
        j.reload_id,
        "sha256:1",
    )
    assert back.cause.reason == j.message
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.read(1)
    for _ in range(2):
        a.baseline()
        a.signalled()
        a.sight("confirmed")
        passes(a)
    a.read(1)
    assert (a.judged.verdict, a.service().live) == (Verdict.APPLIED, manifest(1))
    assert a.service().quarantine is not None
    assert len(a.verdicts) == 4


def test_of_several_instances_none_is_touched_where_none_has_taken_it() -> None:
    a = two(verified(on_failure=BACK))
    a.reload()
    a.act(2)
    a.sight("contradicted")
    assert a.judged.verdict is Verdict.REFUSED
    assert "; no instance has taken it, and the inputs stay as they are" in a.judged.message
    assert (a.service().running, a.service().waiting) == (None, None)


def test_several_instances_with_nothing_good_to_put_back_stay() -> None:
    a = two(verified(on_failure=BACK))
    taken(a, 1)
    fails(a)
    assert a.judged.message.endswith("; these very bytes were good before")
    assert a.service().waiting is None


def test_of_several_instances_each_is_asked_in_its_turn() -> None:
    a = two(verified())
    taken(a)
    passes(a)
    a.baseline()
    a.signalled()
    a.sight("confirmed")
    assert a.last(fx.Ask).pid == 8
    fails(a)
    j = a.judged
    assert (j.verdict, j.error_type) == (Verdict.PARTIAL, "verify_failed")
    assert [one.became for one in j.instances] == ["taken", "not_taken"]


def test_a_start_of_bytes_in_quarantine_is_one_of_the_last_good_ones() -> None:
    a = bad()
    restored(a)
    acts_again(a)
    a.exited()
    a.elapse()
    a.read(2)  # somebody has written them once more
    assert (a.last(fx.Restore).hash, a.last(fx.Restore).over) == ("sha256:1", "sha256:2")
    restored(a)
    a.spawned(8)
    a.ready()
    a.read(1)
    j = a.judged
    assert (j.verdict, j.hash_after) == (Verdict.APPLIED, "sha256:1")
    assert j.message == f"what was there is kept in {KEPT}"
    assert a.service().quarantine is not None
    assert len(a.told(facts.Quarantined)) == 1


def test_a_start_goes_on_with_what_is_there_when_it_cannot_be_put_back() -> None:
    a = bad()
    restored(a)
    acts_again(a)
    a.exited()
    a.elapse()
    a.read(2)
    a.failed(fx.Restore, "restore_refused")
    a.spawned(8)
    a.ready()
    passes(a)
    a.read(2)
    j, s = a.judged, a.service()
    assert (j.verdict, j.message) == (Verdict.APPLIED, "cannot do it")
    assert s.last_good == manifest(1)


def test_a_start_whose_check_says_no_is_one_of_the_last_good_ones() -> None:
    s = verified(on_failure=BACK)
    a = up(s)
    checked = replace(s, reload=replace(s.reload, check=Check(("check",))))
    a.feed(ev.DefinitionsLoaded((checked,), PERSON))
    a.exited()
    a.elapse()
    a.read(2)
    a.check(1)
    restored(a)
    a.spawned(8)
    a.ready()
    a.read(1)
    assert a.judged.verdict is Verdict.APPLIED
    q = a.service().quarantine
    assert q is not None
    assert (q.hash, q.reason) == ("sha256:2", "the check of a start said no")


def test_a_start_that_fails_with_other_bytes_is_repeated_with_the_last_good_ones() -> None:
    a = up(verified(on_failure=BACK))
    a.exited()
    a.elapse()
    a.read(2)
    a.spawned(8)
    a.exited()
    restored(a)
    a.spawned(9)
    a.ready()
    passes(a)
    a.read(1)
    assert (a.judged.verdict, a.judged.handle) == (Verdict.ROLLED_BACK, "start")
    assert a.service().live == manifest(1)


# An agent that finds one on its way.


def test_the_next_agent_writes_the_files_once_more_and_acts() -> None:
    a = bad()
    b = survivor(a)
    assert (b.last(fx.Restore).hash, b.last(fx.Restore).over) == ("sha256:1", "sha256:2")
    restored(b)
    acts_again(b)
    j = b.judged
    assert (j.verdict, j.error_type, j.hash_after) == (
        Verdict.ROLLED_BACK,
        "verify_failed",
        "sha256:2",
    )
    assert b.service().live == manifest(1)


def test_the_next_agent_begins_the_way_back_anew_whatever_was_done_of_it() -> None:
    a = bad()
    restored(a)
    a.feed(ev.BaselineDone(a.last(fx.TakeBaseline).token, Baseline(0)))
    a.signalled()
    b = survivor(a)
    assert [f.phase for f in b.told(facts.PhaseEnded)] == ["confirm"]
    restored(b)
    acts_again(b)
    assert b.judged.verdict is Verdict.ROLLED_BACK


def test_the_next_agent_puts_back_what_was_refused() -> None:
    a = up(verified(on_failure=BACK))
    a.reload()
    a.act(2)
    a.sight("contradicted")
    b = survivor(a)
    restored(b)
    assert b.judged.verdict is Verdict.REFUSED


@pytest.mark.parametrize("ready", [False, True])
def test_the_next_agent_waits_for_what_was_started(*, ready: bool) -> None:
    a = died()
    restored(a)
    a.spawned(8)
    if ready:
        a.ready()
    b = survivor(a)
    if not ready:
        b.ready()
    passes(b)
    b.read(1)
    assert (b.judged.verdict, b.judged.error_type) == (Verdict.ROLLED_BACK, "service_died")


def test_what_got_ready_without_a_record_goes_on_too() -> None:
    a = died()
    restored(a)
    a.spawned(8)
    b = survivor(a, phase="ready")
    passes(b)
    b.read(1)
    assert b.judged.verdict is Verdict.ROLLED_BACK


def test_the_next_agent_goes_on_at_the_commit() -> None:
    a = died()
    restored(a)
    a.spawned(8)
    a.ready()
    passes(a)
    b = survivor(a)
    assert isinstance(b.effects[-1], fx.TakeSnapshot)
    b.read(1)
    assert b.judged.verdict is Verdict.ROLLED_BACK


def test_where_nobody_is_left_the_next_start_puts_it_back() -> None:
    b = survivor(died())
    j = b.judged
    assert (j.verdict, j.error_type, j.hash_after) == (
        Verdict.FAILED,
        "agent_interrupted",
        "sha256:2",
    )
    assert j.message.endswith(
        "the agent died while it put back what was good; the next start loads that"
    )
    b.read(2)
    assert b.last(fx.Restore).hash == "sha256:1"


def test_a_start_that_is_verified_goes_on_under_the_next_agent() -> None:
    a = agent(verified())
    a.read(1)
    a.spawned()
    a.ready()
    b = survivor(a)
    assert [f.phase for f in b.told(facts.PhaseEnded)] == ["verify"]
    passes(b)
    b.read(1)
    assert b.judged.verdict is Verdict.APPLIED


def test_the_next_instance_has_its_turn_though_the_agent_died_while_one_was_verified() -> None:
    s = replace(verified(), instances=2)
    a = agent(replace(s, reload=replace(s.reload, handle="restart", steps=(Restart(),))))
    for slot in range(2):
        a.read(1)
        a.spawned(7 + slot)
        a.feed(ev.Notified("web", slot + 1, ready=True))
        if not slot:
            passes(a)
        a.read(1)
    a.reload()
    a.read(1)
    a.feed(ev.WrittenDown(a.last(fx.WriteDown).token))
    a.feed(ev.Exited("web", 1, BAD, empty=True))
    a.spawned(9)
    a.feed(ev.Notified("web", 3, ready=True))
    assert a.service().running.stage is Stage.VERIFYING  # type: ignore[union-attr]
    b = survivor(a, there={("web", 2)})
    assert b.told(facts.TurnBegan)[-1].instance == 1


def test_one_that_was_alone_when_it_acted_is_known_by_what_it_took() -> None:
    a = up(verified())
    taken(a)
    b = survivor(a, specs=(replace(a.specs[0], instances=2),))
    b.sight("confirmed")
    passes(b)
    b.read(3)
    assert b.judged.verdict is Verdict.UNVERIFIED
    assert [one.became for one in b.judged.instances] == ["taken", "down"]
    assert b.service().live is None


def test_a_next_generation_that_was_started_on_the_way_back_gives_way() -> None:
    s = by_replace(BACK)
    a = up(s)
    a.exited()
    a.elapse()
    a.read(2)
    a.spawned(8)
    a.ready()
    fails(a)
    restored(a)
    a.spawned(9)
    b = survivor(a)
    assert b.last(fx.Restore).hash == "sha256:1"
    assert [i.generation for i in b.service().former] == [3]


def test_a_good_configuration_that_is_forgotten_is_still_known_by_its_hash() -> None:
    b = survivor(bad(), last_good=manifest(5))
    assert b.last(fx.Restore).hash == "sha256:1"
