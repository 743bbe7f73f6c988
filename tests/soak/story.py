"""What was done to the world and what was told of it: each act on the agent, and when there was none, or no room on its disk."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.soak.judge import Violation, Window

if TYPE_CHECKING:
    from tests.soak.world import World

REMEMBERED = 1.5
"""Seconds after which a disk that has room again has what an agent had kept in memory."""


@dataclass
class Story:
    """What was done and told."""

    world: World
    begun: float = field(default_factory=time.monotonic)
    done: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[str, str, str, float]] = field(default_factory=list)
    asked: list[tuple[Window, str, str | None]] = field(default_factory=list)
    """Each reload that was asked for: from when until when, of which service, what was said."""
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

    def attempt(self, act: Callable[..., object], *args: object) -> None:
        """In a thread of the helpers, where an error would be heard by nobody."""
        try:
            act(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            self.wrong("harness", "", f"{type(error).__name__}: {error}"[:600])

    def reload(self, name: str, verb: str = "reload") -> Any:
        """Also a roll-back, which is one: to what was applied before, if it is known."""
        began = time.monotonic()
        document = self.world.ask("POST", f"/v1/services/{name}/{verb}")
        verdict = (document or {}).get("verdict")
        said = verdict or (document or {}).get("detail")
        self.asked.append((Window(began, time.monotonic()), name, said))
        self.done[f"told {verdict or 'no verdict' if said else 'nothing'}"] += 1
        if document and verdict:
            self.answers.append((name, document["reload_id"], verdict, time.monotonic()))
            said = f"{verdict} {document.get('error') or ''}"
        self.say(f"  {name}: {said}")
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
