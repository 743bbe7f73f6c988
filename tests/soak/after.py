"""When nothing more comes: whether everything comes to rest, and what the journal and the receiver then hold of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from apps_run import get
from host import until

from tests.soak import gather, judge
from tests.soak.schedule import Act

if TYPE_CHECKING:
    from tests.soak.story import Story


def rest(story: Story, helpers: ThreadPoolExecutor) -> None:
    """Everything is where it is wanted: what is written last is live everywhere, one generation of each runs, all was delivered."""
    world = story.world

    def services() -> dict[str, Any]:
        status = world.ask("GET", "/v1/status", 20)
        return {s["name"]: s for s in (status or {}).get("services", ())}

    def quiet() -> bool:
        look = world.look()  # who was killed just now may not have been noticed yet
        found = services()
        there = bool(found) and look.known is not None and look.alive == look.known.keys()
        return there and not any(s["running"] or s["waiting"] for s in found.values())

    for name in world.names:
        story.world.ask("POST", f"/v1/services/{name}/release")
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
        if not s or s["phase"] != "ready" or not s["config"]["in_sync"]:
            return False
        return len(s["instances"]) == s["declared_instances"]

    for name, version in versions.items():
        with settled(story, name):
            until(
                lambda name=name: at_rest(name),
                f"one generation, ready and in sync; {services().get(name)}",
                20,
            )
        answer = get(world.ports[name]).strip()
        if answer != version:
            story.wrong("rest", name, f"{version} is written, and it answers {answer}")

    def delivered() -> bool:
        status = world.ask("GET", "/v1/status", 20) or {"agent": {"telemetry": {"pending": 1}}}
        return not status["agent"]["telemetry"]["pending"]

    with settled(story, "telemetry"):
        until(delivered, "everything is delivered", 60)


@contextlib.contextmanager
def settled(story: Story, what: str) -> Iterator[None]:
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
