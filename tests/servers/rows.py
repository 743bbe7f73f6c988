"""Runs the rows of one server: under agentd by reloadctl, and beside it the server's own command. Judges each against what is served.

A row never claims more than was seen: the verdict is compared with the word that the server serves afterwards, and every request that
a client lost is counted by ``tests/real/load.py``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from host import Host, clean_env, host, load, public_directory, until
from kit import Flaw, Place, Server
from seen import alive

WATCHED = "edit by watch"
REPLACED = "replaced"
REPLACED_BAD = "replaced, bad, unfound"
WATCH = 'watch = { debounce = "50ms" }'
SETTLED = 1.0
"""Seconds after a verdict within which what is served must be what it says."""
SURE = 5
"""Answers in a row."""
OLD_SERVES = {"rejected", "refused"}
NORMAL = {
    Flaw.NONE: {"applied"},
    Flaw.FOUND: {"rejected"},
    Flaw.UNFOUND: {"refused", "rolled_back"},
    WATCHED: {"applied"},
    Flaw.PART: {"partial"},
    REPLACED: {"applied"},
    REPLACED_BAD: {"refused"},
}


@dataclass
class Lost:
    """What clients did not get."""

    new: int = 0
    kept: int = 0
    gap_ms: float = 0.0
    kinds: str = ""

    @classmethod
    def of(cls, counts: dict[str, Any]) -> Lost:
        bad, kept = counts["bad"], counts["kept"]["bad"]
        kinds = " ".join(
            f"{n} {kind}" for kind, n in sorted((Counter(bad) + Counter(kept)).items())
        )
        gap = counts["gap_ms"]["server"]
        return cls(sum(bad.values()), sum(kept.values()), gap, kinds)


@dataclass
class Own:
    """The same edit by the server's own command."""

    words: str
    exit: int | None
    ms: float
    lost: Lost
    after: str
    """What it does then: serves the new, the old, or is dead."""


@dataclass
class Row:
    server: str
    version: str
    what: str
    verdict: str = ""
    error: str = ""
    message: str = ""
    evidence: str = ""
    grade: str = ""
    not_taken: list[str] = field(default_factory=list)
    """What the verdict names."""
    ms: float = 0.0
    lost: Lost = field(default_factory=Lost)
    own: Own | None = None
    wrong: list[str] = field(default_factory=list)
    """What no server may excuse: a verdict that is not true."""
    missed: list[str] = field(default_factory=list)
    """Short of the aim."""
    excused: list[str] = field(default_factory=list)
    """Requests that were lost, for a reason that the server's file names."""


class Run:
    """All rows of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.version = server.version()
        self.words = 0

    def rows(self) -> Iterator[Row]:
        for what in (*Flaw, WATCHED, REPLACED, REPLACED_BAD):
            if what is Flaw.PART and not self.server.parts:
                continue
            if what in (REPLACED, REPLACED_BAD) and not self._replaceable():
                continue
            if what in self.server.leave_out:
                continue
            row = self._guarded(what)
            if isinstance(what, Flaw) and self.server.own_words:
                with contextlib.suppress(AssertionError):
                    row.own = self._own(what)
            yield row

    def _replaceable(self) -> bool:
        with public_directory() as directory:
            return self.server.replace(Place(directory)) is not None

    def _guarded(self, what: str) -> Row:
        row = Row(self.server.name, self.version, what)
        try:
            with self._place(held=self.server.holds or what in (REPLACED, REPLACED_BAD)) as at:
                self._managed(row, at)
        except (AssertionError, subprocess.SubprocessError) as error:
            row.wrong.append(f"the row did not end: {error}")
        return row

    @contextlib.contextmanager
    def _place(self, *, held: bool = False) -> Iterator[Place]:
        self.words = 0
        with public_directory() as directory:
            at = Place(directory, held=held)
            with at.taken:
                self.server.prepare(at)
                self._write(at)
                yield at

    def _write(self, at: Place, flaw: Flaw = Flaw.NONE) -> str:
        self.words += 1
        word = f"word{self.words}"
        self.server.write(at, word, flaw)
        return word

    def _load(self, at: Place) -> contextlib.AbstractContextManager[dict[str, Any]]:
        s = self.server
        more = [w for header in s.headers() for w in ("--header", header)]
        return load(
            at.port, s.per_second,
            *("--keep", str(s.kept), "--path", s.path, "--speak", s.speaks), *more,
        )  # fmt: skip

    def _serves(
        self, at: Place, word: str, seconds: float, lives: Callable[[], bool] = lambda: True
    ) -> bool:
        """Whether it does so within that time, and then stays with it."""
        end, inarow = time.monotonic() + seconds, 0
        while inarow < SURE:
            inarow = inarow + 1 if word in self.server.get(at) else 0
            if not inarow and (time.monotonic() > end or not lives()):
                return False
            time.sleep(0.01)
        return True

    def _managed(self, row: Row, at: Place) -> None:
        server = self.server
        text = server.definition(at, WATCH if row.what == WATCHED else "")
        if row.what in (REPLACED, REPLACED_BAD):
            text = server.replace(at) or ""
        with host(at.dir, text) as running:
            until(lambda: self._ready(running), "it is ready", server.patience)
            first = f"word{self.words}"
            assert self._serves(at, first, 5), f"it serves {server.get(at)!r}, not {first}"
            with self._load(at) as counts:
                self._edit(row, at, running, first)
            row.lost = Lost.of(counts)
        self._judge(row)

    def _ready(self, running: Host) -> bool:
        found = running.service("web")
        if found["phase"] == "failed":
            said = running.text("logs", "web", "-n", "3").stdout
            raise AssertionError(f"it does not start: {said}{running.log()[-300:]}")
        return bool(found["phase"] == "ready" and found["config"]["live"])

    def _edit(self, row: Row, at: Place, running: Host, first: str) -> None:
        flaw = row.what if isinstance(row.what, Flaw) else Flaw.NONE
        if row.what == REPLACED_BAD:
            flaw = Flaw.UNFOUND
        pid = running.pid("web")
        old, word = first, ""
        for _ in range(self.server.edits if flaw is Flaw.NONE else 1):
            seen = len(self._by_watch(running)) if row.what == WATCHED else 0  # it may be quick
            old, word = (word or old), self._write(at, flaw)
            reload = self._watched(running, seen) if row.what == WATCHED else self._asked(running)
            row.verdict, row.error = reload["verdict"], reload["error"] or ""
            row.message = reload.get("message") or ""
            row.evidence = reload["confirmation"] or ""
            row.grade = reload["confirmation_grade"] or ""
            row.not_taken = reload["not_taken"]
            row.ms = max(row.ms, reload["duration_ms"])
            self._true(row, at, word if reload["verdict"] == "applied" else old)
            if row.wrong:
                row.wrong.append(f"{reload['output'][-3:]}")
                return
        if flaw is not Flaw.NONE:
            if row.verdict in OLD_SERVES and not alive(pid):
                row.wrong.append(f"{row.verdict}, but the process of before is gone")
            word = self._write(at)
            mended = self._asked(running)
            if mended["verdict"] != "applied":
                row.wrong.append(f"the mended file: {mended['verdict']} {mended['error']}")
            else:
                self._true(row, at, word)

    def _asked(self, running: Host) -> Any:
        return running.ctl("reload", "web")[1]

    def _watched(self, running: Host, seen: int) -> Any:
        """The next reload that the watch asked for, after so many."""
        return until(
            lambda: (found := self._by_watch(running))[seen:] and found[0], "a reload by watch", 40
        )

    def _by_watch(self, running: Host) -> list[Any]:
        ended = [r for r in running.history("web") if r["verdict"]]
        return [r for r in ended if r["trigger"] == "watch"]

    def _true(self, row: Row, at: Place, word: str) -> None:
        """The verdict must be what is served."""
        if row.verdict in ("failed", "partial", "timed_out", "unverified"):
            return  # says itself that it does not know
        if not self._serves(at, word, SETTLED):
            row.wrong.append(
                f"{row.verdict}, but it serves {self.server.get(at)[:60]!r}, not {word}"
            )

    def _judge(self, row: Row) -> None:
        wanted = self.server.expect.get(row.what, NORMAL[row.what])
        if row.verdict not in wanted:
            wants = " or ".join(sorted(wanted))
            row.missed.append(f"{row.verdict} {row.error}, wanted {wants}: {row.message}")
        named = self.server.named.get(row.what, [])
        if row.not_taken != named:
            row.wrong.append(f"it names {row.not_taken} as not taken, not {named}")
        if row.lost.new or row.lost.kept:
            why = self.server.allowed.get(row.what, "")
            missed = row.excused if why else row.missed
            missed.append(f"lost: {row.lost.kinds}" + (f" ({why})" if why else ""))

    def _own(self, flaw: Flaw) -> Own:
        """The server by itself, and its own command."""
        server = self.server
        with self._place() as at, self._alone(at) as process:
            old = f"word{self.words}"
            with self._load(at) as counts:
                word = self._write(at, flaw)
                argv = server.own(at, process.pid)
                began = time.monotonic()
                done = subprocess.run(argv, capture_output=True, check=False, env=clean_env())
                ms = (time.monotonic() - began) * 1000
                wait = server.patience if flaw is Flaw.NONE else server.lingers
                new = self._serves(at, word, wait, lambda: process.poll() is None)
                after = "serves the new" if new else self._left(at, process, old)
            return Own(server.own_words, done.returncode, ms, Lost.of(counts), after)

    def _left(self, at: Place, process: subprocess.Popen[bytes], old: str) -> str:
        """What became of a server that does not serve the new."""
        if process.poll() is not None and not self.server.get(at):
            return "dead"
        return "serves the old" if old in self.server.get(at) else "serves neither"

    @contextlib.contextmanager
    def _alone(self, at: Place) -> Iterator[subprocess.Popen[bytes]]:
        server = self.server
        user, group = server.runs_as()
        with (at.dir / "alone.log").open("wb") as log:
            process = subprocess.Popen(
                server.command(at),
                stdout=log,
                stderr=log,
                env=clean_env(**server.env(at)),
                cwd=at.dir,
                start_new_session=True,
                user=user,
                group=group,
            )
        try:
            until(lambda: server.get(at) or process.poll(), "it answers", server.patience)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
