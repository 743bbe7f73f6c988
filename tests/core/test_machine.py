"""Hypothesis drives one host by hand, with any handle: any order of requests, answers, timers and ends keeps the invariants."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.instance import ALIVE, GOING, Instance, Phase
from agentd.core.memory import Want
from agentd.core.process import Exit
from agentd.core.reload_value import Act, Stage
from agentd.core.spec import (
    Check,
    OnFailure,
    ReloadSpec,
    Restart,
    SocketKind,
    SocketSpec,
    TcpProbe,
    Verify,
)
from agentd.core.steps import Baseline, Replace, RunCommand, SendSignal, Sight, Step
from agentd.core.steps import Restart as ByRestart
from agentd.core.value import replace
from agentd.wire import Verdict
from tests.core.make import PERSON, WATCH, Says, agent, identity, manifest, retired, spec

ANSWERED = (
    fx.Spawn,
    fx.TakeSnapshot,
    fx.WriteDown,
    fx.RunCheck,
    fx.TakeBaseline,
    fx.SendReloadSignal,
    fx.Look,
    fx.Perform,
    fx.Switch,
    fx.Count,
    fx.Ask,
    fx.Restore,
)
HANDLES: dict[str, tuple[Step, ...]] = {
    "signal": (SendSignal("HUP"),),
    "exec": (RunCommand(("take",)), SendSignal("HUP")),
    "restart": (ByRestart(),),
    "replace": (Replace(),),
}
TCP = SocketSpec("http", SocketKind.TCP, "127.0.0.1", 80)
TAKEN = (Verdict.APPLIED, Verdict.UNVERIFIED, Verdict.ROLLED_BACK)
ENDING = (Phase.STOPPING, Phase.KILLING)
BY_INSTANCE = (Stage.LAUNCHING, Stage.REPLACING)
"""The stages whose end is the instance's to tell; it has a timer."""


class HostMachine(RuleBasedStateMachine):
    """The shell is whoever draws: answers come late, twice or never, timers fire after they were disarmed."""

    @initialize(
        restart=st.sampled_from(Restart),
        handle=st.sampled_from([*HANDLES, "replace", "replace"]),
        room=st.sampled_from([2, 3]),
        held=st.booleans(),
        well=st.sampled_from([None, Verify(TcpProbe("h", 1), 0.5, 0.2, 1)]),
        on_failure=st.sampled_from(OnFailure),
        several=st.sampled_from([1, 1, 2, 3]),
    )
    def begin(
        self,
        restart: Restart,
        handle: str,
        room: int,
        several: int,
        *,
        held: bool,
        well: Verify | None,
        on_failure: OnFailure,
    ) -> None:
        check = Check(("check",), 9.0)
        taken = ReloadSpec(handle, HANDLES[handle], check, (Says(),), timeout=5.0)
        taken = replace(taken, on_failure=on_failure)
        sockets = (TCP,) if held else ()
        more = {
            "restart": restart,
            "sockets": sockets,
            "max_generations": room,
            "instances": several,
        }
        self.agent = agent(spec("web", reload=taken, **more))
        if handle != "signal":
            for slot in range(several):
                self.agent.up(pid=7 + slot)  # the long way there is the signal's to walk
        verified = replace(self.agent.specs[0], reload=replace(taken, verify=well))
        self.agent.feed(ev.DefinitionsLoaded((verified,), PERSON))

    @property
    def generations(self) -> list[Instance]:
        s = self.agent.service()
        return [i for i in (s.instance, *s.others, s.next, *s.former) if i is not None]

    @property
    def newest(self) -> Instance:
        return max(self.generations, key=lambda i: i.generation)

    def one(self, data: st.DataObject) -> Instance:
        """Any of them; the newest comes to mind first."""
        return data.draw(st.sampled_from(sorted(self.generations, key=lambda i: -i.generation)))

    def asked(self, kinds: tuple[type, ...]) -> list[Any]:
        return [e for e in self.agent.effects if isinstance(e, kinds)]

    @rule(kind=st.sampled_from([ev.StartAsked, ev.StopAsked, ev.RestartAsked, ev.ReleaseAsked]))
    def somebody_asks(self, kind: Any) -> None:
        self.agent.feed(kind("web", PERSON), 0.1)

    @rule(watch=st.booleans(), if_changed=st.booleans(), force=st.booleans())
    def reload(self, *, watch: bool, if_changed: bool, force: bool) -> None:
        cause = WATCH if watch else PERSON
        self.agent.feed(ev.ReloadAsked("web", cause, None, if_changed, force), 0.1)

    @rule(several=st.integers(1, 3))
    def another_number_is_declared(self, several: int) -> None:
        declared = replace(self.agent.service().spec, instances=several)
        self.agent.feed(ev.DefinitionsLoaded((declared,), PERSON), 0.1)

    @rule(seconds=st.sampled_from([None, 1.0]))
    def hold(self, seconds: float | None) -> None:
        self.agent.feed(ev.HoldAsked("web", PERSON, seconds), 0.1)

    @rule(
        data=st.data(),
        n=st.integers(1, 3),
        said=st.sampled_from(["confirmed", None, "contradicted"]),
    )
    def the_shell_answers(self, data: st.DataObject, n: int, said: str | None) -> None:
        if asked := self.asked(ANSWERED)[-4:]:
            effect = data.draw(st.sampled_from(asked))
            failed = ev.EffectFailed(effect.token, "broken", "cannot")
            event = data.draw(st.sampled_from([self.answer(effect, n, said), failed]))
            self.agent.feed(event, 0.01)

    def answer(self, effect: Any, n: int, said: str | None) -> ev.Event:
        """The bytes are ``n``; the lowest is good."""
        token = effect.token
        answers: dict[type, ev.Event] = {
            fx.Spawn: ev.Spawned(token, identity(token.serial)),
            fx.WriteDown: ev.WrittenDown(token),
            fx.TakeSnapshot: ev.SnapshotDone(token, manifest(n)),
            fx.RunCheck: ev.CheckDone(token, n - 1),
            fx.TakeBaseline: ev.BaselineDone(token, Baseline(0)),
            fx.SendReloadSignal: ev.Signalled(token, self.agent.now),
            fx.Look: ev.Sighted(token, (Sight(True, 0.1, (), said),)),
            fx.Perform: ev.Performed(token, self.agent.now, n - 1, timed_out=said is None),
            fx.Switch: ev.Switched(token, self.agent.now, moved=n < 3),
            fx.Count: ev.Counted(token, (n - 1) // 2, 0),
            fx.Ask: ev.Probed(token, None if n < 3 else "answered 500"),
            fx.Restore: ev.Restored(token, 1),
        }
        return answers[type(effect)]

    @rule(
        steps=st.integers(1, 9),
        asked=st.booleans(),
        dies=st.sampled_from(["", "", "serving", "newest"]),
        empty=st.booleans(),
    )
    def for_a_while_all_goes_well(self, steps: int, dies: str, *, asked: bool, empty: bool) -> None:
        """Each waits for the next: what a blind draw would seldom get through. Then perhaps one of them dies."""
        if asked and self.agent.service().want is Want.UP:
            self.agent.feed(ev.ReloadAsked("web", PERSON, force=True), 0.1)
        elif asked:
            self.agent.feed(ev.StartAsked("web", PERSON), 0.1)
        for _ in range(steps):
            due = [e for e in self.asked(ANSWERED)[-6:] if self.awaits(e.token)]
            young = [i for i in self.generations if i.phase is Phase.STARTING and i.process]
            old = [i for i in self.generations if i.phase in ENDING and i.process]
            if due:
                self.agent.feed(self.answer(due[-1], 1, "confirmed"), 0.01)
            elif young:
                self.agent.feed(ev.Notified("web", young[-1].generation, ready=True), 0.01)
            elif old:
                end = Exit(signal="TERM")
                self.agent.feed(ev.Exited("web", old[0].generation, end, empty=True), 0.01)
        if dies:
            at = self.generations[0] if dies == "serving" else self.newest
            self.end(at, Exit(code=1), empty=empty)

    def awaits(self, token: ev.Token) -> bool:
        running = self.agent.service().running
        waits = [(i.machine, i.awaiting) for i in self.generations]
        waits.append(("reload", running.awaiting if running else None))
        return (token.machine, token.serial) in waits

    @rule(data=st.data())
    def a_timer_fires(self, data: st.DataObject) -> None:
        if arms := self.asked((fx.Arm,))[-5:]:
            arm = data.draw(st.sampled_from(arms))
            self.agent.feed(ev.Elapsed(arm.token), arm.delay)

    @rule(data=st.data(), code=st.sampled_from([0, 1]), empty=st.booleans())
    def one_ends(self, data: st.DataObject, code: int, *, empty: bool) -> None:
        self.end(self.one(data), Exit(code=code), empty=empty)

    def end(self, i: Instance, how: Exit, *, empty: bool) -> None:
        if i.process is not None and i.exit is None:
            self.agent.feed(ev.Exited("web", i.generation, how, empty))

    @rule(data=st.data(), ready=st.booleans())
    def one_speaks(self, data: st.DataObject, *, ready: bool) -> None:
        generation = self.one(data).generation
        self.agent.feed(ev.Notified("web", generation, ready, 1.0))
        self.agent.feed(ev.Notified("web", self.agent.service().newest + 1, ready, 1.0))

    @precondition(lambda self: any(i.exit is not None for i in self.generations))
    @rule()
    def a_group_is_gone(self) -> None:
        gone = [i.generation for i in self.generations if i.exit is not None]
        self.agent.feed(ev.Emptied("web", gone[-1]))

    @invariant()
    def a_process_exactly_where_the_phase_says_so(self) -> None:
        if not hasattr(self, "agent"):
            return
        for i in self.generations:
            assert (i.phase in ALIVE) == (i.process is not None or i.awaiting is not None)
            if i.phase in (Phase.BACKOFF, Phase.STOPPING):
                assert i.timer is not None
            if i.phase in (Phase.DOWN, Phase.FAILED, Phase.KILLING):
                assert i.timer is None
            if i.phase is Phase.DRAINING:
                assert (i.timer is None) != (i.awaiting is None)

    @invariant()
    def one_serves_and_at_most_one_is_to_take_its_place(self) -> None:
        if not hasattr(self, "agent"):
            return
        s = self.agent.service()
        replacing = s.running is not None and s.running.act is Act.REPLACE
        assert s.next is None or (replacing and s.next.phase in (Phase.STARTING, Phase.READY))
        assert all(i.phase in GOING for i in s.former)
        for slot in {i.slot for i in s.alive}:
            mine = [i for i in s.alive if i.slot == slot and not retired(i)]
            assert len(mine) <= s.spec.max_generations
        if s.defined is None:
            assert [i.slot for i in s.slots] == list(range(s.spec.instances))
        numbers = [e.generation for e in self.asked((fx.Spawn,))]
        assert numbers == sorted(set(numbers)), "a number is used once"
        machines = [i.machine for i in self.generations]
        assert len(machines) == len(set(machines)), "two answer to one name"

    @invariant()
    def connections_go_to_the_one_that_serves(self) -> None:
        if not hasattr(self, "agent"):
            return
        s = self.agent.service()
        slot = {e.generation: e.slot for e in self.asked((fx.Spawn,))}
        got: dict[int, int] = {}
        for e in self.asked((fx.Spawn, fx.Switch)):
            if not getattr(e, "beside", False):
                got[slot[e.generation]] = e.generation
        for i in s.slots:
            mine = i is s.instance
            if i.phase is Phase.READY and not (mine and s.running and s.running.switched):
                assert got[i.slot] == i.generation
        left = {i.generation for i in s.former if retired(i)}
        lost = [i.generation for i in s.former if i.counts and i.generation not in left]
        assert not set(lost) & set(got.values())

    @invariant()
    def verdicts_are_as_many_as_ended_reloads(self) -> None:
        if not hasattr(self, "agent"):
            return
        s = self.agent.service()
        asked = {f.reload_id for f in self.agent.told(facts.Requested)}
        judged = [f.reload_id for f in self.agent.told(facts.Judged)]
        assert len(judged) == len(set(judged))
        open_ = {r.id for r in (s.running, s.waiting) if r is not None and not r.silent}
        assert asked - set(judged) == open_

    @invariant()
    def what_runs_waits_for_something(self) -> None:
        if not hasattr(self, "agent"):
            return
        s = self.agent.service()
        if s.running is not None and s.running.stage not in BY_INSTANCE:
            assert (s.running.timer is None) != (s.running.awaiting is None)
        if s.want is Want.DOWN:
            assert (s.running, s.next, s.next_start) == (None, None, None)
            assert not any(i.phase is Phase.DRAINING for i in s.former)
        if s.phase is Phase.READY:
            assert s.next_start is None, "somebody waits for a start that is over"
        if s.live is not None:
            assert any(i.phase in ALIVE for i in s.slots)
            known = {i.runs.hash if i.runs else None for i in s.slots if i.phase is Phase.READY}
            assert not s.others or known <= {s.live.hash, None}
        judged = [n.fact for n in self.agent.steps[-1].notes if isinstance(n.fact, facts.Judged)]
        for f in judged:
            if f.handle == "replace" and f.verdict in TAKEN:
                assert f.generation in {i.generation for i in s.slots}


TestHost = HostMachine.TestCase
TestHost.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, derandomize=True
)
