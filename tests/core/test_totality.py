"""Every pair of both tables is a row or refused by name; what is late is dropped before the table is asked."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest

from agentd.core import events as ev
from agentd.core import instance, reload
from agentd.core.errors import IllegalTransitionError
from agentd.core.instance import Instance, Phase
from agentd.core.manifest import Missing
from agentd.core.process import Exit
from agentd.core.reload_value import PHASE, Act, Reload, Stage, View
from agentd.core.spec import ReadyNotify, ReadyProbe, TcpProbe, Verify
from agentd.core.steps import Baseline, RunCommand, Sight
from agentd.core.value import replace
from tests.core.make import PERSON, Says, identity, manifest, spec

TOKEN = ev.Token("web", "x", 5)
SAMPLES: dict[type[Any], Any] = {
    ev.Launch: ev.Launch("cookie", 2),
    ev.Drain: ev.Drain("R", moved=True),
    ev.Counted: ev.Counted(TOKEN, 1, 0),
    ev.Stop: ev.Stop(),
    ev.Reset: ev.Reset(),
    ev.Adopt: ev.Adopt(identity(), 3, "ready"),
    ev.Orphaned: ev.Orphaned(3),
    ev.Spawned: ev.Spawned(TOKEN, identity()),
    ev.EffectFailed: ev.EffectFailed(TOKEN, "broken", "cannot"),
    ev.Probed: ev.Probed(TOKEN, "refused"),
    ev.MainSought: ev.MainSought(TOKEN, None, "it does not exist"),
    ev.Elapsed: ev.Elapsed(TOKEN),
    ev.Exited: ev.Exited("web", 1, Exit(code=1), empty=True),
    ev.Emptied: ev.Emptied("web", 1),
    ev.Notified: ev.Notified("web", 1, ready=True),
    ev.Unwell: ev.Unwell("not alive"),
    ev.Pinged: ev.Pinged("web", 1),
    ev.Claimed: ev.Claimed("web", 1, identity(8)),
    ev.Begin: ev.Begin(),
    ev.Touched: ev.Touched(),
    ev.Abort: ev.Abort("asked"),
    ev.InstanceReady: ev.InstanceReady(),
    ev.InstanceEnded: ev.InstanceEnded("exit_1", "exit code 1"),
    ev.InstanceDown: ev.InstanceDown(),
    ev.Bypassed: ev.Bypassed(9),
    ev.OtherEnded: ev.OtherEnded(1, "exit_1"),
    ev.Rolled: ev.Rolled(more=False),
    ev.NextReady: ev.NextReady(8),
    ev.NextEnded: ev.NextEnded("exit_1", "exit code 1"),
    ev.RoomMade: ev.RoomMade(),
    ev.WrittenDown: ev.WrittenDown(TOKEN),
    ev.Restored: ev.Restored(TOKEN, 1),
    ev.Performed: ev.Performed(TOKEN, 0.0, 0),
    ev.Switched: ev.Switched(TOKEN, 0.0, moved=True),
    ev.SnapshotDone: ev.SnapshotDone(TOKEN, Missing("missing_input", "gone")),
    ev.CheckDone: ev.CheckDone(TOKEN, 0),
    ev.BaselineDone: ev.BaselineDone(TOKEN, Baseline(0)),
    ev.Signalled: ev.Signalled(TOKEN, 0.0),
    ev.Reported: ev.Reported(TOKEN, ()),
    ev.Sighted: ev.Sighted(TOKEN, (Sight(alive=True, since_sent=0.0),)),
}
INSTANCE_EVENTS = [e for kind in get_args(ev.InstanceEvent) for e in (get_args(kind) or (kind,))]
RELOAD_EVENTS = list(get_args(ev.ReloadEvent))
PROBED = spec(ready=ReadyProbe(TcpProbe("h", 1)))


@pytest.mark.parametrize(("phase", "kind"), list(itertools.product(Phase, INSTANCE_EVENTS)))
@pytest.mark.parametrize("born", [True, False])
def test_an_instance_has_a_row_or_refuses_by_name(phase: Phase, kind: type, born: bool) -> None:  # noqa: FBT001
    alive = phase in instance.ALIVE
    i = Instance(phase, 1, identity() if born and alive else None, timer=5, awaiting=5)
    declared = PROBED if born or kind is ev.Probed else spec(ready=ReadyNotify())
    if (phase, kind) in instance.TABLE:
        after, _ = instance.step(i, SAMPLES[kind], declared, 1.0)
        assert isinstance(after, Instance)
    elif instance.stale(i, SAMPLES[kind]):
        assert instance.step(i, SAMPLES[kind], declared, 1.0) == (i, ())
    else:
        with pytest.raises(IllegalTransitionError, match=f"{kind.__name__} while {phase.value}"):
            instance.step(i, SAMPLES[kind], declared, 1.0)


@pytest.mark.parametrize("phase", Phase)
def test_a_wish_to_be_down_is_obeyed_or_already_under_way(phase: Phase) -> None:
    after, _ = instance.step(Instance(phase, 1, identity()), ev.Stop(), spec(), 1.0)
    assert after.phase in {Phase.DOWN, Phase.STOPPING, Phase.KILLING}
    assert after.ending is instance.Ending.ASKED


@pytest.mark.parametrize(("stage", "kind"), list(itertools.product(Stage, RELOAD_EVENTS)))
@pytest.mark.parametrize("act", Act)
def test_a_reload_has_a_row_or_refuses_by_name(stage: Stage, kind: type, act: Act) -> None:
    r = Reload("id", "trace", PERSON, 0.0, act, stage=stage, timer=5, awaiting=5)
    r = replace(r, baseline=Baseline(0), manifest=manifest(), looks=1)
    declared = spec("web", Says())
    well = Verify(TcpProbe("h", 1))
    declared = replace(declared, reload=replace(declared.reload, verify=well))
    if stage is Stage.PERFORMING:
        steps = (RunCommand(("/bin/x",)),)
        declared = replace(declared, reload=replace(declared.reload, steps=steps))
    view = View(declared, 1, 7, None, None, None, None, next_pid=8)
    if (stage, kind) in reload.TABLE:
        after, _, _ = reload.step(r, SAMPLES[kind], view, 1.0)
        assert isinstance(after, Reload)
    else:
        with pytest.raises(IllegalTransitionError, match=f"{kind.__name__} while {stage.value}"):
            reload.step(r, SAMPLES[kind], view, 1.0)


def test_what_waits_for_its_turn_is_not_touched_by_an_end() -> None:
    r = Reload("id", "trace", PERSON, 0.0)
    view = View(spec(), 1, None, None, None, None, None)
    assert reload.step(r, SAMPLES[ev.InstanceEnded], view, 1.0) == (r, (), ())


@pytest.mark.parametrize(
    "event", [e for e in SAMPLES.values() if hasattr(e, "token")], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("stage", Stage)
def test_a_reload_drops_the_answer_to_what_it_no_longer_awaits(stage: Stage, event: Any) -> None:
    r = Reload("id", "trace", PERSON, 0.0, stage=stage, timer=4, awaiting=6)
    view = View(spec(), 1, 7, None, None, None, None)
    if type(event) in RELOAD_EVENTS:
        assert reload.step(r, event, view, 1.0) == (r, (), ())


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    "event",
    [
        ev.Elapsed(TOKEN),
        ev.Spawned(TOKEN, identity()),
        ev.Probed(TOKEN, None),
        ev.Counted(TOKEN, 0, 0),
        ev.EffectFailed(TOKEN, "broken", "cannot"),
        ev.Exited("web", 1, Exit(code=1), empty=True),
        ev.Emptied("web", 1),
        ev.Notified("web", 1, ready=True),
        ev.Claimed("web", 1, identity(8)),
        ev.MainSought(TOKEN, identity(8), "it is named"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_instance_drops_what_is_about_something_left(phase: Phase, event: Any) -> None:
    i = Instance(phase, 2, identity(), timer=4, awaiting=6)
    assert instance.step(i, event, spec(), 1.0) == (i, ())


def test_what_may_come_at_any_time_has_a_row_everywhere() -> None:
    always = (
        ev.Abort,
        ev.InstanceReady,
        ev.InstanceEnded,
        ev.InstanceDown,
        ev.Bypassed,
        ev.OtherEnded,
        ev.NextReady,
        ev.NextEnded,
        ev.RoomMade,
        ev.Notified,
        ev.Touched,
    )
    assert all((stage, kind) in reload.TABLE for stage in Stage for kind in always)
    assert all((phase, kind) in instance.TABLE for phase in Phase for kind in (ev.Stop, ev.Reset))
    said = (ev.Notified, ev.Exited, ev.Claimed)
    assert all((phase, kind) in instance.TABLE for phase in instance.ALIVE for kind in said)
    assert PHASE.keys() == set(Stage)


@pytest.mark.parametrize("phase", sorted(set(Phase) - instance.ALIVE))
@pytest.mark.parametrize("kind", [ev.Exited, ev.Emptied, ev.Notified, ev.Claimed])
def test_a_process_that_is_gone_says_nothing_more(phase: Phase, kind: type) -> None:
    i = Instance(phase, 1)
    assert instance.step(i, SAMPLES[kind], spec(), 1.0) == (i, ())
