"""Reloads as the journal has them, told by hand: each a tuple of records of one reload."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agentd.core import facts as f
from agentd.core.manifest import Change
from agentd.core.steps import Baseline, Grade
from agentd.telemetry.resource import Resource
from agentd.wire import Trigger, Verdict

WALL = 1_795_341_600_000_000_000
"""2026-11-22T10:00:00Z."""
ID = "01JDABCDEFGHJKMNPQRSTVWXYZ"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SOAK = "5c" * 16
CALLER = "00f067aa0ba902b7"
OLD, NEW = ("sha256:" + "3f" * 32, "3f3f3f3f3f3f"), ("sha256:" + "9b" * 32, "9b9b9b9b9b9b")
AGENT = Resource(
    (("host.id", "h1"), ("host.name", "box"), ("service.name", "agentd"), ("service.version", "1")),
    "h1",
)
CHANGED = (
    Change("/etc/nginx/a.conf", "added"),
    Change("/etc/nginx/b.conf", "modified"),
    Change("/etc/nginx/nginx.conf", "modified"),
)


@dataclass
class Teller:
    """Records at milliseconds after the first; the wall clock steps an hour back after it, and no fold may notice."""

    service: str = "web"
    boot: str = "boot-1"
    mono: float = 1000.0
    told: list[f.Record] = field(default_factory=list)

    def at(self, ms: float, *facts: f.Fact) -> Teller:
        for fact in facts:
            step = 3600 * 10**9 if self.told else 0
            wall = WALL + int(ms * 1e6) - step
            self.told.append(
                f.Record(len(self.told) + 1, wall, self.mono + ms / 1000, self.boot, fact)
            )
        return self

    def records(self) -> tuple[f.Record, ...]:
        return tuple(self.told)

    def asked(self, cause: f.Cause, *, handle: str = "signal", link: str = "") -> Teller:
        return self.at(0, f.Requested(self.service, ID, TRACE, handle, cause, *OLD, link))

    def phase(
        self, name: str, began: float, ended: float | None, *within: f.Fact, error: str = ""
    ) -> Teller:
        self.at(began, f.PhaseBegan(self.service, ID, name))
        for fact in within:
            self.at(ended if ended is not None else began, fact)
        if ended is not None:
            self.at(ended, f.PhaseEnded(self.service, ID, name, error))
        return self

    def judged(self, ms: float, verdict: Verdict, **more: object) -> Teller:
        said = f.Judged(self.service, ID, verdict, "signal", Trigger.CLI, 3, 4121)
        return self.at(ms, replace(said, **more))  # type: ignore[arg-type]


def prepared(cause: f.Cause) -> Teller:
    """Up to and with a check that passed."""
    t = Teller().asked(cause)
    t.phase("snapshot", 1, 5, f.SnapshotTaken("web", ID, *NEW, 3, CHANGED))
    return t.phase(
        "check", 5, 16, f.CheckEnded("web", ID, "/usr/sbin/nginx", 0, timed_out=False, output=())
    )


def delivered(cause: f.Cause) -> Teller:
    """Up to and with the signal."""
    t = prepared(cause).at(16, f.PhaseBegan("web", ID, "apply"))
    t.at(
        17,
        f.BaselineTaken("web", ID, Baseline(7), 1000.017),
        f.StepBegan("web", ID, "signal SIGHUP", 4121),
    )
    t.at(
        18,
        f.StepEnded("web", ID, "signal SIGHUP", 1000.018, "", 4121),
        f.PhaseEnded("web", ID, "apply"),
    )
    return t


CLI = f.Cause(
    Trigger.CLI, "alice", 1000, 77, "new certificate",
    attributes=(("cicd.pipeline.name", "deploy"), ("reload.verdict", "applied"), ("evil", "1")),
)  # fmt: skip


def applied(cause: f.Cause = CLI) -> tuple[f.Record, ...]:
    t = delivered(cause).phase("confirm", 18, 170).phase("commit", 170, 182)
    after = {"hash_after": NEW[0], "version_after": NEW[1], "trigger": cause.trigger}
    t.judged(182.4, Verdict.APPLIED, confirmation="workers", grade=Grade.OBSERVED, **after)
    return t.records()


def rejected() -> tuple[f.Record, ...]:
    said = ("nginx: [emerg] unknown directive",)
    t = Teller().asked(CLI).phase("snapshot", 1, 5, f.SnapshotTaken("web", ID, *NEW, 3, CHANGED))
    ended = f.CheckEnded("web", ID, "/usr/sbin/nginx", 1, timed_out=False, output=said)
    t.phase("check", 5, 16, ended, error="check_failed")
    message = "the check said no: exit code 1"
    return t.judged(
        16.5, Verdict.REJECTED, error_type="check_failed", message=message, output=said,
        hash_after=NEW[0], version_after=NEW[1],
    ).records()  # fmt: skip


def coalesced() -> tuple[f.Record, ...]:
    """A watch settles; two more ask meanwhile, one of them with a trace of its own."""
    t = Teller().asked(f.Cause(Trigger.WATCH))
    t.at(0, f.PhaseBegan("web", ID, "settle"))
    t.at(50, f.Joined("web", ID, f.Cause(Trigger.API, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")))
    t.at(60, f.Joined("web", ID, f.Cause(Trigger.CLI)))
    t.at(200, f.PhaseEnded("web", ID, "settle"))
    return t.judged(210, Verdict.UNCHANGED, trigger=Trigger.WATCH).records()


def with_caller(flags: str = "00", trace_id: str = TRACE) -> tuple[f.Record, ...]:
    header = f"00-{trace_id}-{CALLER}-{flags}"
    return applied(replace(CLI, traceparent=header, tracestate="vendor=1"))


def interrupted(boot: str = "boot-1") -> tuple[f.Record, ...]:
    """The agent dies while it confirms; the next one, a minute later, cannot tell."""
    t = delivered(CLI).at(18, f.PhaseBegan("web", ID, "confirm"))
    t.boot = boot
    if boot != "boot-1":
        t.mono = 5.0
    message = "the agent died in between and cannot tell what runs now"
    t.judged(60_000, Verdict.FAILED, error_type="agent_interrupted", message=message)
    return t.records()


def started() -> tuple[f.Record, ...]:
    t = Teller().asked(f.Cause(Trigger.START), handle="start")
    t.phase("snapshot", 1, 5, f.SnapshotTaken("web", ID, *NEW, 3, ()))
    t.at(5, f.PhaseBegan("web", ID, "apply"), f.StepBegan("web", ID, "process.start"))
    t.at(
        80,
        f.StepEnded("web", ID, "process.start", 1000.080, "", 4121),
        f.PhaseEnded("web", ID, "apply"),
    )
    t.phase("commit", 80, 82)
    after = {"hash_after": NEW[0], "version_after": NEW[1]}
    t.judged(
        82,
        Verdict.APPLIED,
        handle="start",
        trigger=Trigger.START,
        confirmation="ready",
        grade=Grade.DECLARED,
        **after,
    )
    return t.records()


AFTER = {"hash_after": NEW[0], "version_after": NEW[1], "grade": Grade.PROVEN}


def restarted() -> tuple[f.Record, ...]:
    t = prepared(CLI).at(16, f.PhaseBegan("web", ID, "apply"))
    t.at(17, f.StepBegan("web", ID, "process.stop", 4121))
    t.at(40, f.StepEnded("web", ID, "process.stop", 1000.040, "", 4121))
    t.at(40, f.StepBegan("web", ID, "process.start"))
    t.at(
        90,
        f.StepEnded("web", ID, "process.start", 1000.090, "", 4200),
        f.PhaseEnded("web", ID, "apply"),
    )
    return t.judged(91, Verdict.APPLIED, handle="restart", **AFTER).records()


def replaced() -> tuple[f.Record, ...]:
    """The former generation ends half a minute after the verdict."""
    t = prepared(CLI).at(16, f.PhaseBegan("web", ID, "apply"))
    t.at(17, f.StepBegan("web", ID, "process.start"))
    t.at(90, f.StepEnded("web", ID, "process.start", 1000.090, "", 4200))
    t.at(90, f.StepBegan("web", ID, "traffic.switch", 4200))
    t.at(91, f.Flipped("web", ID, 4, 1000.091, moved=True))
    t.at(
        92,
        f.StepEnded("web", ID, "traffic.switch", 1000.092, "", 4200),
        f.PhaseEnded("web", ID, "apply"),
    )
    t.judged(93, Verdict.APPLIED, handle="replace", generation=4, pid=4200, **AFTER)
    return t.at(30_091, f.Drained("web", ID, 3, 4121, 1000.091, 12, 2)).records()


def asked_for(step: str) -> tuple[f.Record, ...]:
    """By a command or a call."""
    t = prepared(CLI).at(16, f.PhaseBegan("web", ID, "apply"), f.StepBegan("web", ID, step))
    t.at(30, f.StepEnded("web", ID, step, 1000.030), f.PhaseEnded("web", ID, "apply"))
    return t.judged(31, Verdict.APPLIED, handle=step.partition(" ")[0], **AFTER).records()


def restored() -> tuple[f.Record, ...]:
    """A roll-back by hand."""
    t = Teller().asked(f.Cause(Trigger.ROLLBACK, "alice"))
    t.phase("restore", 1, 3, f.Restored("web", ID, NEW[0], 2))
    t.phase("snapshot", 3, 5, f.SnapshotTaken("web", ID, *NEW, 3, CHANGED))
    return t.judged(6, Verdict.UNVERIFIED, trigger=Trigger.ROLLBACK).records()


def rolled_back() -> tuple[f.Record, ...]:
    """It was taken and did no good; the last good configuration was put back and is well."""
    t = delivered(CLI).phase("confirm", 18, 30)
    t.phase("verify", 30, 50, f.Verified("web", ID, 3, 1, 3, "answered 500"), error="verify_failed")
    why = (Verdict.FAILED, "verify_failed", "web took it and is not well")
    t.at(50, f.RollingBack("web", ID, *OLD, *why), f.PhaseBegan("web", ID, "rollback"))
    t.phase("restore", 50, 52, f.Restored("web", ID, OLD[0], 1, "/state/rejected/web/2"))
    t.phase("snapshot", 52, 53, f.SnapshotTaken("web", ID, *OLD, 3, CHANGED))
    t.at(53, f.PhaseBegan("web", ID, "apply"), f.StepBegan("web", ID, "signal SIGHUP", 4121))
    t.at(54, f.StepEnded("web", ID, "signal SIGHUP", 1000.054, "", 4121))
    t.at(54, f.PhaseEnded("web", ID, "apply")).phase("confirm", 54, 60)
    t.phase("verify", 60, 90, f.Verified("web", ID, 3, 9, 0)).phase("commit", 90, 91)
    t.at(91, f.PhaseEnded("web", ID, "rollback"))
    return t.judged(91, Verdict.ROLLED_BACK, error_type="verify_failed", **AFTER).records()


def died_of_it() -> tuple[f.Record, ...]:
    """It was started at once with what was put back."""
    t = delivered(CLI).phase("confirm", 18, 30, error="service_died")
    why = (Verdict.FAILED, "service_died", "web died: exit code 3")
    t.at(30, f.RollingBack("web", ID, *OLD, *why, down=True), f.PhaseBegan("web", ID, "rollback"))
    t.phase("restore", 30, 32, f.Restored("web", ID, OLD[0], 1))
    t.phase("snapshot", 32, 33, f.SnapshotTaken("web", ID, *OLD, 3, CHANGED))
    t.at(33, f.PhaseBegan("web", ID, "apply"), f.StepBegan("web", ID, "process.start"))
    t.at(73, f.StepEnded("web", ID, "process.start", 1000.073, "", 4200))
    t.at(73, f.PhaseEnded("web", ID, "apply")).phase("commit", 73, 74)
    t.at(74, f.PhaseEnded("web", ID, "rollback"))
    t.judged(74, Verdict.ROLLED_BACK, error_type="service_died", generation=4, pid=4200, **AFTER)
    return t.records()


def running() -> tuple[f.Record, ...]:
    return delivered(CLI).at(18, f.PhaseBegan("web", ID, "confirm")).records()


SAID = (
    ("model.version", "small-1"),
    ("prompt.template.id", "triage"),
    ("prompt.template.version", "v6"),
)
SAYS = (
    ("model.version", "small-2"),
    ("prompt.template.id", "sort"),
    ("prompt.template.version", "v7"),
)


def speaking(records: tuple[f.Record, ...]) -> tuple[f.Record, ...]:
    """The same reload of a service whose configuration says which model it names."""

    def told(fact: f.Fact) -> f.Fact:
        if isinstance(fact, f.Requested):
            return replace(fact, attributes_before=SAID)
        return replace(fact, attributes=SAYS) if isinstance(fact, f.SnapshotTaken) else fact

    return tuple(replace(r, fact=told(r.fact)) for r in records)


def of_a_model() -> tuple[f.Record, ...]:
    return speaking(applied())


def in_turn() -> tuple[f.Record, ...]:
    """Two of three instances had their turn: one took it, the other did not."""
    t = prepared(CLI)
    for slot, (began, error) in enumerate(((16, ""), (26, "contradicted"))):
        pid, generation = 4121 + slot, 3 + slot
        t.at(began, f.TurnBegan("web", ID, slot, generation, pid))
        t.at(began, f.PhaseBegan("web", ID, "apply"))
        t.at(began + 1, f.StepBegan("web", ID, "signal SIGHUP", pid))
        t.at(began + 2, f.StepEnded("web", ID, "signal SIGHUP", 1000 + began / 1000, "", pid))
        t.at(began + 2, f.PhaseEnded("web", ID, "apply"))
        t.phase("confirm", began + 2, began + 8, error=error)
        t.at(began + 9, f.TurnEnded("web", ID, slot, generation, pid, error))
    return t.judged(
        36, Verdict.PARTIAL, error_type="contradicted", message="instance 1 did not",
        hash_after=NEW[0], version_after=NEW[1], generation=4, pid=4122,
        instances=(
            f.Outcome(0, 3, 4121, "taken"),
            f.Outcome(1, 4, 4122, "not_taken", "contradicted"),
            f.Outcome(2, 5, 4123, "untouched"),
        ),
    ).records()  # fmt: skip


ALL = {
    "in turn": in_turn(),
    "applied": applied(),
    "rejected": rejected(),
    "coalesced": coalesced(),
    "caller": with_caller(),
    "interrupted": interrupted(),
    "another boot": interrupted("boot-2"),
    "started": started(),
    "running": running(),
    "rolled back": rolled_back(),
    "died of it": died_of_it(),
    "restarted": restarted(),
    "exec": asked_for("exec nginx"),
    "http": asked_for("http POST"),
    "restored": restored(),
    "of a model": of_a_model(),
}


def soaked(
    became: str = "failed", why: str = "answered 500, 3 times in a row"
) -> tuple[f.Record, ...]:
    """What it applied turned out to be bad an hour later."""
    t = delivered(CLI).phase("confirm", 18, 30).judged(31, Verdict.APPLIED, **AFTER)
    t.at(31, f.SoakBegan("web", ID, SOAK, *NEW, WALL + 7_200 * 10**9))
    return t.at(3_600_031, f.Soaked("web", ID, became, 5, 3, why)).records()


LATE = {"replaced": replaced(), "soaked": soaked()}
"""Stories with a span that ends after the verdict."""
