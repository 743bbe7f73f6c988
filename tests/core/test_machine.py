"""Hypothesis drives one host by hand: any order of requests, answers, timers and ends keeps the invariants."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.instance import ALIVE, Phase
from agentd.core.memory import Want
from agentd.core.process import Exit
from agentd.core.spec import Restart
from agentd.core.steps import Baseline, Sight
from tests.core.make import PERSON, WATCH, Says, agent, identity, manifest, spec

ANSWERED = (
    fx.Spawn,
    fx.TakeSnapshot,
    fx.RunCheck,
    fx.TakeBaseline,
    fx.SendReloadSignal,
    fx.Look,
)


class HostMachine(RuleBasedStateMachine):
    """The shell is whoever draws: answers come late, twice or never, timers fire after they were disarmed."""

    @initialize(restart=st.sampled_from(Restart))
    def begin(self, restart: Restart) -> None:
        self.agent = agent(spec("web", Says(), restart=restart))
        self.pid = 10

    def asked(self, kinds: tuple[type, ...]) -> list[Any]:
        return [e for e in self.agent.effects if isinstance(e, kinds)]

    @rule(kind=st.sampled_from([ev.StartAsked, ev.StopAsked, ev.RestartAsked, ev.ReleaseAsked]))
    def somebody_asks(self, kind: Any) -> None:
        self.agent.feed(kind("web", PERSON), 0.1)

    @rule(watch=st.booleans(), if_changed=st.booleans(), force=st.booleans())
    def reload(self, *, watch: bool, if_changed: bool, force: bool) -> None:
        cause = WATCH if watch else PERSON
        self.agent.feed(ev.ReloadAsked("web", cause, None, if_changed, force), 0.1)

    @rule(seconds=st.sampled_from([None, 1.0]))
    def hold(self, seconds: float | None) -> None:
        self.agent.feed(ev.HoldAsked("web", PERSON, seconds), 0.1)

    @rule(
        data=st.data(),
        n=st.integers(1, 3),
        said=st.sampled_from(["confirmed", None, "contradicted"]),
    )
    def the_shell_answers(self, data: st.DataObject, n: int, said: str | None) -> None:
        asked = self.asked(ANSWERED)[-4:]
        if not asked:
            return
        effect = data.draw(st.sampled_from(asked))
        token = effect.token
        answers: dict[type, ev.Event] = {
            fx.Spawn: ev.Spawned(token, identity(token.serial)),
            fx.TakeSnapshot: ev.SnapshotDone(token, manifest(n)),
            fx.RunCheck: ev.CheckDone(token, n - 1),
            fx.TakeBaseline: ev.BaselineDone(token, Baseline(0)),
            fx.SendReloadSignal: ev.Signalled(token, self.agent.now),
            fx.Look: ev.Sighted(token, (Sight(True, 0.1, (), said),)),
        }
        failed = ev.EffectFailed(token, "broken", "cannot")
        self.agent.feed(data.draw(st.sampled_from([answers[type(effect)], failed])), 0.01)

    @rule(data=st.data())
    def a_timer_fires(self, data: st.DataObject) -> None:
        if arms := self.asked((fx.Arm,))[-5:]:
            arm = data.draw(st.sampled_from(arms))
            self.agent.feed(ev.Elapsed(arm.token), arm.delay)

    @precondition(lambda self: self.agent.service().instance.process is not None)
    @rule(code=st.sampled_from([0, 1]), empty=st.booleans())
    def it_ends(self, code: int, *, empty: bool) -> None:
        if self.agent.service().instance.exit is None:
            self.agent.exited(Exit(code=code), empty=empty)

    @rule(ready=st.booleans())
    def it_speaks(self, *, ready: bool) -> None:
        generation = self.agent.service().instance.generation
        self.agent.feed(ev.Notified("web", generation, ready, 1.0))
        self.agent.feed(ev.Notified("web", generation - 1, ready, 1.0))

    @rule()
    def its_group_is_gone(self) -> None:
        if self.agent.service().instance.exit is not None:
            self.agent.emptied()

    @invariant()
    def one_process_exactly_where_the_phase_says_so(self) -> None:
        if not hasattr(self, "agent"):
            return
        i = self.agent.service().instance
        assert (i.phase in ALIVE) == (i.process is not None or i.awaiting is not None)
        if i.phase in (Phase.BACKOFF, Phase.STOPPING):
            assert i.timer is not None
        if i.phase in (Phase.DOWN, Phase.FAILED, Phase.KILLING):
            assert i.timer is None

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
        if s.running is not None and s.running.stage.value != "launching":
            assert (s.running.timer is None) != (s.running.awaiting is None)
        if s.want is Want.DOWN:
            assert s.running is None
        if s.live is not None:
            assert s.instance.phase in ALIVE


TestHost = HostMachine.TestCase
TestHost.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
