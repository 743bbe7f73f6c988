"""One of everything the journal keeps, every field away from its default."""

from __future__ import annotations

from agentd.core import facts as f
from agentd.core.manifest import Change, Entry, Manifest
from agentd.core.memory import (
    Attempt,
    Hold,
    Last,
    Memory,
    Other,
    Pending,
    Place,
    Quarantine,
    Want,
)
from agentd.core.process import Exit, Identity
from agentd.core.steps import Baseline, Grade, Worker
from agentd.wire import Trigger, Verdict

CAUSE = f.Cause(
    trigger=Trigger.CLI,
    user="alice",
    uid=1000,
    pid=77,
    reason="new\ncertificate",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate="a=1",
    baggage="k=v",
    attributes=(("cicd.pipeline.name", "deploy"),),
)
FACTS: tuple[f.Fact, ...] = (
    f.AgentStarted("1.0", 1, 3),
    f.SetAside("/s/journal.db", "/s/journal.db.corrupt-1", "is damaged (file is not a database)"),
    f.AgentStopped(left=True),
    f.PhaseEntered("web", 3, "backoff", "ready", "exit code 3", 4121, Exit(3, None)),
    f.Adopted("web", 3, 4121, found=True),
    f.MainMoved("web", 3, 4130, 4121, "it said MAINPID"),
    f.WantSet("web", "down", "alice"),
    f.HoldSet("web", held=True, reason="freeze", user="alice"),
    f.Requested("web", "01JD", "4b" * 16, "signal", CAUSE, "sha256:1", "1", "01JC"),
    f.Joined("web", "01JD", CAUSE, definition=("command",)),
    f.PhaseBegan("web", "01JD", "check"),
    f.PhaseEnded("web", "01JD", "check", "check_failed"),
    f.SnapshotTaken("web", "01JD", "sha256:2", "2", 4, (Change("/etc/\udc80", "added"),)),
    f.CheckEnded("web", "01JD", "/usr/sbin/nginx", 1, timed_out=True, output=("é", "\udcff")),
    f.BaselineTaken("web", "01JD", Baseline(9, (Worker(5, 6, "w"),), 7), 12.5),
    f.StepBegan("web", "01JD", "signal HUP", 4121),
    f.StepEnded("web", "01JD", "signal HUP", 12.25, "esrch", 4121),
    f.Judged(
        "web", "01JD", Verdict.APPLIED, "signal", Trigger.CLI, 3, 4121, "workers",
        Grade.OBSERVED, "none", "said", "sha256:2", "2", ("line",),
        (f.Outcome(1, 3, 4121, "not_taken", "contradicted"), f.Outcome(2, 4, None, "down")),
    ),
    f.TurnBegan("web", "01JD", 1, 3, 4121),
    f.TurnEnded("web", "01JD", 1, 4, 4122, "contradicted"),
    f.Restored("web", "01JD", "sha256:1", 2, "/state/rejected/web/2"),
    f.Verified("web", "01JD", 4, 3, 1, "answered 500"),
    f.RollingBack("web", "01JD", "sha256:1", "1", Verdict.FAILED, "service_died", "web died", down=True, output=("line",)),
    f.Confirmed("web", "01JD", "alice"),
    f.DefinitionsTaken("alice", Trigger.HANGUP, ("web restart",)),
    f.Flipped("web", "01JD", 4, 12.5, moved=True),
    f.Drained("web", "01JD", 3, 4121, 12.5, 7, 1),
    f.LiveChanged("web", None, None, "reloaded behind the agent's back"),
    f.LateEvidence("web", "01JD", "version", Grade.PROVEN, "sha256:2", "2"),
    f.SoakBegan("web", "01JD", "4b" * 16, "sha256:2", "2", 12),
    f.Soaked("web", "01JD", "failed", 4, 3, "answered 500"),
    f.External("web", 3, "its workers are new ones"),
    f.Quarantined("web", "sha256:2", "rejected"),
    f.Skipped("web", Trigger.WATCH, "unchanged"),
)  # fmt: skip
MANIFEST = Manifest("sha256:1", "1", (Entry("/etc/a", "ab", 3),))
MEMORY = Memory(
    service="web",
    boot="b",
    want=Want.DOWN,
    hold=Hold("freeze", "alice", "01JD", Trigger.WATCH),
    generation=3,
    restarts=2,
    phase="ready",
    finished=True,
    process=Identity(4121, 99, "boot", "cookie", 5, 4120),
    live=MANIFEST,
    last_good=MANIFEST,
    attempted=Attempt("sha256:2", "2", Verdict.REJECTED, "sha256:1"),
    quarantine=Quarantine("sha256:2", "2", "d", "rejected"),
    last=Last("01JD", Verdict.REJECTED, Trigger.WATCH, 1 << 60, "said"),
    issued=4,
    pending=Pending("01JD", "sha256:1", 1 << 60),
    others=(Other(4, "draining", Identity(4122, 100, "boot", "cookie", 6), "01JD", 1),),
    places=(
        Place(1, 5, "ready", process=Identity(4123, 100, "boot", "cookie", 7)),
        Place(2, 6, finished=True),
    ),
)


def record(seq: int, fact: f.Fact, wall_ns: int = 1_000) -> f.Record:
    return f.Record(seq, wall_ns, seq / 1000, "boot", fact)


def reload_of(
    seq: int, service: str = "web", *, trigger: Trigger = Trigger.CLI, ends: bool = True
) -> tuple[f.Record, ...]:
    """A reload of three records, its id and trace id made of ``seq``."""
    id_, wall = f"01JD{seq:04}", seq * 1_000
    asked = f.Requested(service, id_, f"{seq:032x}", "signal", f.Cause(trigger), "sha256:1", "1")
    judged = f.Judged(service, id_, Verdict.APPLIED, "signal", trigger, 1, 5)
    facts = (asked, f.PhaseBegan(service, id_, "check"), *((judged,) if ends else ()))
    return tuple(record(seq + i, fact, wall + i) for i, fact in enumerate(facts))
