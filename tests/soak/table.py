"""Everything that is promised, judged, and the table of what came together in a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.soak import gather, judge
from tests.soak.judge import Violation
from tests.soak.world import WEB, World

if TYPE_CHECKING:
    from tests.soak.story import Story
    from tests.soak.watching import Size, Watching

UNKNOWN = 3.5
"""Seconds that a process and status may disagree: two looks, and one that was slow."""

SAMPLES = 8
"""Sizes of the agent that are shown, evenly over the run."""


@dataclass(frozen=True)
class Outcome:
    """What was read at the end of a run: the journal, every span of it with its reload, the counts of each load, the agent's size."""

    told: list[judge.Told]
    spans: dict[str, judge.Told]
    counts: dict[str, Any]
    first: Size | None
    last: Size | None


def judged(story: Story, watching: Watching, o: Outcome) -> None:
    """Everything that is promised, and the table."""
    world, found = story.world, story.violations
    promised = frozenset(world.names) - frozenset(world.mortal)
    failures = gather.failures(world.dir)
    bad, doubtful = judge.connections(failures, promised, watching.busy)
    found += bad
    voices, torn = gather.voices(world)
    found += torn
    missing, lines = judge.lines(voices, [*story.absent, *story.lost])
    found += missing
    found += judge.verdicts(o.told, story.answers, story.lost)
    found += judge.received(o.spans, gather.received(world.receiver.of("traces")))
    found += judge.hangups(gather.heard(world), o.told, lost=bool(story.lost))
    found += judge.silence(story.asked, [*story.absent, *(w for w, _, _ in story.upgrades)])
    found += hangups_of_nginx(world, o.told)
    found += judge.strangers(watching.looks, UNKNOWN)
    recorded = gather.recorded(world.dir / "state" / "journal.db")
    found += judge.unrecorded(watching.looks, recorded, story.lost)
    found += judge.upgrades(story.upgrades, [*story.absent, *story.full])
    log = world.host.log().splitlines()
    found += [Violation("agent", "", line) for line in log if "please report this" in line]
    good = sum(c["good"] for c in o.counts.values())
    verdicts = Counter(v for r in o.told for v in r.verdicts if r.trigger != "start")
    kinds = Counter(f.how for f in failures if f.service not in promised)
    signals = sum(map(len, gather.heard(world).values()))
    rows = {
        "events": dict(story.done),
        "upgrades, by exit code": dict(Counter(code for _, code, _ in story.upgrades)),
        "connections": f"{good} good; {len(bad)} bad of {len(promised)} services that promise none",
        "doubtful": dict(doubtful),
        "failed at mortal services": dict(kinds),
        "slowest to start a request": f"{max(c['late_ms'] for c in o.counts.values())} ms late",
        "lines": f"of {len(voices)} processes: {dict(lines)}",
        "reloads": f"{sum(verdicts.values())}: {dict(verdicts)}; {len(o.told)} with starts",
        "signals counted": signals,
        "spans": f"{len(o.spans)} in the journal, {len(world.receiver.of('traces'))} requests",
        "looks": f"{len(watching.looks)}, {sum(k.known is not None for k in watching.looks)} with an agent",
        "load per core": f"at most {max(watching.busy.values(), default=0):.1f}",
        "agent at rest, at first and at last": f"{o.first} {o.last}",
        "agent meanwhile": str(watching.sizes[:: max(1, len(watching.sizes) // SAMPLES)]),
    }
    print()
    for name, value in rows.items():
        print(f"{name:36} {value}")


def hangups_of_nginx(world: World, told: list[judge.Told]) -> list[Violation]:
    """It writes down each one itself."""
    log = world.dir / "error.log"
    count = log.read_text().count("signal 1 (SIGHUP) received") if log.exists() else 0
    most = sum(r.signals for r in told if r.service == WEB)
    what = f"{count} signals, and its reloads tell of {most}"
    return [Violation("signal", WEB, what)] if count > most else []
