"""``make soak``: an eventful life of twenty services under load, from one seed; then what was seen is held against what is promised.

    run.py [--seconds S] [--seed N] [--directory DIR]

Prints a line for each event and a table at the end. Exit code 1: something that is promised did not hold; each is named, and so is the
command that does the same again. The schedule is the seed's alone; what meets what within milliseconds is not.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "real")]

from host import load, until  # noqa: E402

from tests.soak import gather  # noqa: E402
from tests.soak.after import rest, trees  # noqa: E402
from tests.soak.schedule import Act, Event, schedule  # noqa: E402
from tests.soak.story import Story  # noqa: E402
from tests.soak.table import Outcome, judged  # noqa: E402
from tests.soak.watching import Watching, size  # noqa: E402
from tests.soak.world import WEB, World  # noqa: E402

RATE = 180
"""New connections a second, over all services."""
AT_ONCE = 12
"""Requests to the agent at one moment."""
AGAIN = 0.5
"""Seconds until an agent that could not start is started again, as a service manager would."""


def live(story: Story, events: tuple[Event, ...], helpers: ThreadPoolExecutor) -> None:
    """Everything of the schedule, at its time; late rather than never."""
    order = itertools.count()
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
        elif not end(story, event, helpers):
            now = time.monotonic() - story.begun
            heapq.heappush(due, (now + AGAIN, next(order), event, False))


def begin(story: Story, event: Event, helpers: ThreadPoolExecutor) -> None:
    world, name = story.world, event.service
    story.done[event.act.value] += 1
    told = f" for {event.lasts:.1f} s" if event.lasts else ""
    more = ""
    match event.act:
        case Act.GOOD | Act.UNFIT | Act.BAD:
            more = f" → {world.edit(name, event.act)}"
            if name != WEB and not world.services[name].watched:
                helpers.submit(story.attempt, story.reload, name)
        case Act.RELOAD:
            helpers.submit(story.attempt, story.reload, name)
        case Act.BACK:
            helpers.submit(story.attempt, story.reload, name, "rollback")
        case Act.HOLD:
            helpers.submit(story.attempt, world.ask, "POST", f"/v1/services/{name}/hold")
        case Act.CRASH:
            more = f" {world.crash(name)}"
        case Act.KILL if story.there:
            story.kill()
        case Act.UPGRADE:
            helpers.submit(story.attempt, story.upgrade)
        case Act.FILL:
            story.fill()
        case Act.DEAF:
            world.receiver.stop()
    story.say(f"{event.act.value} {name}{told}{more}")


def end(story: Story, event: Event, helpers: ThreadPoolExecutor) -> bool:
    """Whether it is over."""
    match event.act:
        case Act.KILL if not story.there:
            if not story.start():
                return False
            story.say("agent started")
        case Act.HOLD:
            path = f"/v1/services/{event.service}/release"
            helpers.submit(story.attempt, story.world.ask, "POST", path)
            story.say(f"release {event.service}")
        case Act.FILL:
            story.free()
            story.say("the disk has room")
        case Act.DEAF:
            story.world.receiver.start()
            story.say("the collector listens")
    return True


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
        with contextlib.ExitStack() as loads, ThreadPoolExecutor(AT_ONCE) as helpers:
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
        judged(story, watching, Outcome(told, expected, counts, first, last))
        if story.violations:
            shutil.copytree(directory / "state", directory / "state-kept")
    return story


def _all_ready(world: World) -> bool:
    status = world.ask("GET", "/v1/status", 5) or {}
    return bool(status) and all(s["phase"] == "ready" for s in status["services"])


def _stop(story: Story) -> None:
    """The agent ends, and its services with it; where it was killed another one has to come for that."""
    host = story.world.host
    if host.agent is not None and host.agent.poll() not in (None, 0):
        with contextlib.suppress(AssertionError):
            story.world.free()
            host.start()
    if host.agent is not None and host.agent.poll() is None:
        host.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="A seeded, eventful life of twenty services.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--directory", type=Path, help="kept; default: a new one, removed when all is well"
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 20)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="soak-"))
    directory = directory.absolute()
    directory.mkdir(exist_ok=True)
    os.chdir(ROOT)  # python -m finds the code where it is started
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that services and disk are cleared away
    print(f"seed {seed}, {options.seconds:g} seconds, in {directory}", flush=True)
    story = soak(options.seconds, seed, directory)
    if not story.violations and options.directory is None:
        shutil.rmtree(directory)
    print()
    for one in story.violations:
        print(f"VIOLATION  {one.kind}  {one.service}: {one.what}")
    again = f"make soak SECONDS={options.seconds:g} SEED={seed}"
    print(f"{len(story.violations)} violations; again: {again}")
    return bool(story.violations)


if __name__ == "__main__":
    sys.exit(main())
