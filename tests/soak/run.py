"""``make soak``: an eventful life of twenty services under load, all of it from one seed; then what was seen is held against what is promised.

    run.py [--seconds S] [--seed N] [--directory DIR]

Prints a line for each event and a table at the end. Exit code 1: something that is promised did not hold; each is named, and so is the
command that does the same again. The schedule is the seed's alone; what meets what within milliseconds is not.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "real")]

from apps_run import get  # noqa: E402
from host import load, until  # noqa: E402

from tests.soak import gather, judge  # noqa: E402
from tests.soak.judge import Violation, Window  # noqa: E402
from tests.soak.schedule import Act, Event, schedule  # noqa: E402
from tests.soak.watching import Size, Watching, size  # noqa: E402
from tests.soak.world import WEB, World  # noqa: E402

RATE = 180
"""New connections a second, over all services."""
UNKNOWN = 3.5
"""Seconds that a process and status may disagree: two looks, and one that was slow."""
REMEMBERED = 1.5
"""Seconds after which a disk that has room again has what an agent had kept in memory."""
AGAIN = 0.5
"""Seconds until an agent that could not start is started again, as a service manager would."""


@dataclass
class Story:
    """What was done and told."""

    world: World
    begun: float = field(default_factory=time.monotonic)
    done: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[str, str, str, float]] = field(default_factory=list)
    upgrades: list[tuple[Window, int, str]] = field(default_factory=list)
    """From asking to the answer, the exit code, and what was said."""
    absent: list[Window] = field(default_factory=list)
    full: list[Window] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    """When an agent was killed, or gave way to new code."""
    violations: list[Violation] = field(default_factory=list)
    _killed: float | None = None
    _filled: float | None = None

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.begun:8.2f}  {what}", flush=True)

    def wrong(self, kind: str, service: str, what: str) -> None:
        self.violations.append(Violation(kind, service, what))
        self.say(f"VIOLATION  {kind} {service}: {what}")

    def reload(self, name: str) -> Any:
        document = self.world.ask("POST", f"/v1/services/{name}/reload")
        if document is not None and "verdict" in document:
            id_, verdict = document["reload_id"], document["verdict"]
            self.answers.append((name, id_, verdict, time.monotonic()))
            self.done[f"told {verdict}"] += 1
            self.say(f"  {name}: {verdict} {document.get('error') or ''}")
        else:
            self.done["told nothing"] += 1
        return document

    def upgrade(self) -> None:
        began = time.monotonic()
        code, document = self.world.host.ctl("upgrade")
        self.ended += [began, time.monotonic()]
        said = "" if code == 0 else json.dumps(document)[:300]
        self.upgrades.append((Window(began, time.monotonic()), code, said))
        self.say(f"  upgrade: exit {code} {said}")

    def kill(self) -> None:
        self.world.host.kill()
        self._killed = time.monotonic()
        self.ended.append(self._killed)

    def start(self) -> bool:
        """Whether there is an agent now."""
        assert self._killed is not None
        try:
            self.world.host.start()
        except AssertionError as error:
            if self._filled is None:
                self.wrong("start", "", f"the agent did not start: {error}")
            else:
                self.say(f"  no agent on a full disk: {str(error).splitlines()[-1][:150]}")
                self.done["starts refused on a full disk"] += 1
            return False
        self.absent.append(Window(self._killed, time.monotonic()))
        self._killed = None
        return True

    def fill(self) -> None:
        self.world.fill()
        self._filled = time.monotonic()

    def free(self) -> None:
        if self._filled is not None:
            self.world.free()
            self.full.append(Window(self._filled, time.monotonic()))
            self._filled = None

    @property
    def there(self) -> bool:
        return self._killed is None

    @property
    def lost(self) -> list[Window]:
        """When what an agent knew could not be written, and it ended before it could be: it tries every second."""
        long = [Window(w.begin, w.end + REMEMBERED) for w in self.full]
        return [w for w in long if any(w.has(at) for at in self.ended)]


def live(story: Story, events: tuple[Event, ...], helpers: ThreadPoolExecutor) -> None:
    """Everything of the schedule, at its time; late rather than never."""
    world, order = story.world, itertools.count()
    due: list[tuple[float, int, Event, bool]] = [(e.at, next(order), e, True) for e in events]
    heapq.heapify(due)
    story.begun = time.monotonic()
    while due:
        at, _, event, begins = heapq.heappop(due)
        time.sleep(max(0.0, story.begun + at - time.monotonic()))
        if begins:
            begin(story, event, helpers)
            if event.lasts or event.act is Act.KILL:
                heapq.heappush(due, (at + event.lasts, next(order), event, False))
        elif not end(story, event):
            now = time.monotonic() - story.begun
            heapq.heappush(due, (now + AGAIN, next(order), event, False))
    assert world.host.agent is not None


def begin(story: Story, event: Event, helpers: ThreadPoolExecutor) -> None:
    world, name = story.world, event.service
    story.done[event.act.value] += 1
    told = f" for {event.lasts:.1f} s" if event.lasts else ""
    more = ""
    match event.act:
        case Act.GOOD | Act.UNFIT | Act.BAD:
            more = f" → {world.edit(name, event.act)}"
            if name != WEB and not world.services[name].watched:
                helpers.submit(story.reload, name)
        case Act.RELOAD:
            helpers.submit(story.reload, name)
        case Act.CRASH:
            more = f" {world.crash(name)}"
        case Act.KILL if story.there:
            story.kill()
        case Act.UPGRADE:
            helpers.submit(story.upgrade)
        case Act.FILL:
            story.fill()
        case Act.DEAF:
            world.receiver.stop()
    story.say(f"{event.act.value} {name}{told}{more}")


def end(story: Story, event: Event) -> bool:
    """Whether it is over."""
    match event.act:
        case Act.KILL if not story.there:
            if not story.start():
                return False
            story.say("agent started")
        case Act.FILL:
            story.free()
            story.say("the disk has room")
        case Act.DEAF:
            story.world.receiver.start()
            story.say("the collector listens")
    return True


def rest(story: Story, helpers: ThreadPoolExecutor) -> None:
    """When nothing more comes, everything is where it is wanted: what was written last is live everywhere, and nothing else runs."""
    world = story.world

    def services() -> dict[str, Any]:
        status = world.ask("GET", "/v1/status", 20)
        return {s["name"]: s for s in (status or {}).get("services", ())}

    def quiet() -> bool:
        look = world.look()  # who was killed just now may not have been noticed yet
        found = services()
        there = bool(found) and look.known is not None and look.alive == look.known.keys()
        return there and not any(s["running"] or s["waiting"] for s in found.values())

    with settled(story, "a reload does not end"):
        until(quiet, "no reload is under way", 60)
    versions = {name: world.edit(name, Act.GOOD) for name in world.names}
    for name, got in zip(versions, list(helpers.map(story.reload, versions)), strict=True):
        if (got or {}).get("verdict") != "applied":
            told = (
                json.dumps({k: got[k] for k in ("reload_id", "verdict", "error") if k in got})
                if got
                else "nothing"
            )
            story.wrong("rest", name, f"the last good edit was told {told}")

    def at_rest(name: str) -> bool:
        s = services().get(name)
        return bool(
            s and s["phase"] == "ready" and len(s["instances"]) == 1 and s["config"]["in_sync"]
        )

    for name in versions:
        with settled(story, name):
            until(
                lambda name=name: at_rest(name),
                f"one generation, ready and in sync; {services().get(name)}",
                20,
            )
        answer = get(world.ports[name]).strip()
        if answer != versions[name]:
            story.wrong("rest", name, f"{versions[name]} is written, and it answers {answer}")

    def delivered() -> bool:
        status = world.ask("GET", "/v1/status", 20) or {"agent": {"telemetry": {"pending": 1}}}
        return not status["agent"]["telemetry"]["pending"]

    with settled(story, "telemetry"):
        until(delivered, "everything is delivered", 60)


@contextlib.contextmanager
def settled(story: Story, what: str) -> Any:
    try:
        yield
    except AssertionError as error:
        story.wrong("rest", what, str(error)[:600])


def trees(story: Story, told: list[judge.Told]) -> dict[str, judge.Told]:
    """Every span of the journal with its reload; what is wrong with their trees is told."""
    expected: dict[str, judge.Told] = {}
    for one in told:
        document = story.world.ask("GET", f"/v1/reloads/{one.id}/otlp", 20)
        if not document or "resourceSpans" not in document:
            story.wrong("spans", one.service, f"{one.id} has none: {document}")
            continue
        found = gather.spans(document)
        story.violations += judge.subtree(one, found)
        expected |= {s.id: one for s in found}
    return expected


def hangups_of_nginx(story: Story, told: list[judge.Told]) -> None:
    """It writes down each one itself."""
    log = story.world.dir / "error.log"
    count = log.read_text().count("signal 1 (SIGHUP) received") if log.exists() else 0
    most = sum(r.signals for r in told if r.service == WEB)
    if count > most:
        story.wrong("signal", WEB, f"{count} signals, and its reloads tell of {most}")


def soak(seconds: float, seed: int, directory: Path) -> Story:
    """One whole run; its violations are in the story."""
    world = World(directory)
    story = Story(world)
    with world.disk(), contextlib.ExitStack() as ends:
        ends.callback(world.receiver.stop)
        if not world.own_disk:
            print("the disk is not filled: only root can mount one of its own", flush=True)
        ends.callback(_stop, story)
        world.host.start()
        until(lambda: _all_ready(world), "every service is ready", 60)
        first = size(world.host.agent.pid) if world.host.agent else None
        acts = tuple(act for act in Act if act is not Act.FILL or world.own_disk)
        events = schedule(seed, seconds, world.names, world.mortal, acts)
        watching = Watching(world)
        ends.callback(watching.end)
        watching.start()
        counts: dict[str, Any] = {}
        with contextlib.ExitStack() as loads, ThreadPoolExecutor(12) as helpers:
            rate = str(RATE / len(world.ports))
            for name, port in world.ports.items():
                tell = str(directory / f"{name}.failures")
                counts[name] = loads.enter_context(load(port, float(rate), "--tell", tell))
            live(story, events, helpers)
            story.say("nothing more comes")
            rest(story, helpers)
        last = size(world.host.agent.pid) if world.host.agent else None
        told = gather.reloads(directory / "state" / "journal.db")
        expected = trees(story, told)
        watching.end()
        _stop(story)
        with contextlib.suppress(AssertionError):
            until(lambda: not any(world.processes()), "nobody is left", 3)
        for one in world.processes():
            story.wrong("orphan", one.service, f"pid {one.pid} runs on after the agent's end")
        judged(story, watching, told, expected, counts, (first, last))
        if story.violations:
            shutil.copytree(directory / "state", directory / "state-kept")
    return story


def _all_ready(world: World) -> bool:
    status = world.ask("GET", "/v1/status", 5) or {}
    return bool(status) and all(s["phase"] == "ready" for s in status["services"])


def _stop(story: Story) -> None:
    agent = story.world.host.agent
    if agent is not None and agent.poll() is None:
        story.world.host.stop()


def judged(
    story: Story,
    watching: Watching,
    told: list[judge.Told],
    expected: dict[str, judge.Told],
    counts: dict[str, Any],
    sizes: tuple[Size | None, Size | None],
) -> None:
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
    found += judge.verdicts(told, story.answers, story.lost)
    found += judge.received(expected, gather.received(world.receiver.of("traces")))
    found += judge.hangups(gather.heard(world), told, bool(story.lost))
    hangups_of_nginx(story, told)
    found += judge.strangers(watching.looks, UNKNOWN)
    found += judge.upgrades(story.upgrades, [*story.absent, *story.full])
    for line in world.host.log().splitlines():
        if "please report this" in line:
            found.append(Violation("agent", "", line))
    good = sum(c["good"] for c in counts.values())
    verdicts = Counter(v for r in told for v in r.verdicts if r.trigger != "start")
    kinds = Counter(f.how for f in failures if f.service not in promised)
    signals = sum(map(len, gather.heard(world).values()))
    rows = {
        "events": dict(story.done),
        "upgrades, by exit code": dict(Counter(code for _, code, _ in story.upgrades)),
        "connections": f"{good} good; {len(bad)} bad of {len(promised)} services that promise none",
        "doubtful": dict(doubtful),
        "failed at mortal services": dict(kinds),
        "slowest to start a request": f"{max(c['late_ms'] for c in counts.values())} ms late",
        "lines": f"of {len(voices)} processes: {dict(lines)}",
        "reloads": f"{sum(verdicts.values())}: {dict(verdicts)}; {len(told)} with starts",
        "signals counted": signals,
        "spans": f"{len(expected)} in the journal, {len(world.receiver.of('traces'))} requests",
        "looks": f"{len(watching.looks)}, {sum(k.known is not None for k in watching.looks)} with an agent",
        "load per core": f"at most {max(watching.busy.values(), default=0):.1f}",
        "agent at first, at last, at most": f"{sizes[0]} {sizes[1]} {watching.most}",
    }
    print()
    for name, value in rows.items():
        print(f"{name:34} {value}")


def main() -> int:
    parser = argparse.ArgumentParser(description="A seeded, eventful life of twenty services.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--directory", type=Path, help="kept; default: a new one, kept on failure")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 20)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="soak-"))
    directory.mkdir(exist_ok=True)
    print(f"seed {seed}, {options.seconds:g} seconds, in {directory}", flush=True)
    story = soak(options.seconds, seed, directory)
    print()
    for one in story.violations:
        print(f"VIOLATION  {one.kind}  {one.service}: {one.what}")
    again = f"make soak SECONDS={options.seconds:g} SEED={seed}"
    print(f"{len(story.violations)} violations; again: {again}")
    return bool(story.violations)


if __name__ == "__main__":
    sys.exit(main())
