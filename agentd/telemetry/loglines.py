"""The fold of the journal to lines on stderr: one line for what an operator would want to have seen, none for the rest.

Text is made to be read and grepped, JSON to be parsed; both come from the same values. Where the lines go is not decided
here. Nothing a service or a caller said can begin a line of its own: control characters are escaped.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentd.core import facts
from agentd.core.context import span_id
from agentd.telemetry.report import iso
from agentd.wire import Trigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentd.core.facts import Fact, Record

_UNSEEN = frozenset({"starting", "stopping", "down"})
"""Phases that say nothing new to who reads along: their ends do."""
_NO_NEWS = frozenset({"not running", "taken over"})
"""Why nobody knows what runs, where the next line tells it."""
_MAX = 2000
"""Characters of one text line."""


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    severity: str = "info"
    service: str = ""
    more: tuple[tuple[str, str | int | float | None], ...] = ()


@dataclass(slots=True)
class _Open:
    """What a later record needs to know of an earlier one."""

    mono: float
    boot: str
    version: str | None
    trace_id: str = ""


class LogLines:
    """Remembers the reloads that run and the instances that start, and nothing else."""

    def __init__(self, *, as_json: bool = False, with_time: bool = True) -> None:
        self._json = as_json
        self._with_time = with_time
        self._reloads: dict[str, _Open] = {}
        self._starts: dict[tuple[str, int], _Open] = {}

    def line(self, record: Record) -> str | None:
        """Without the newline; None for what is not shown."""
        made = self._made(record)
        if made is None:
            return None
        if self._json:
            return self._as_json(record, made)
        text = escaped(made.text)
        if len(text) > _MAX:
            text = text[: _MAX - 1] + "…"
        return f"{iso(record.wall_ns, 3)} {text}" if self._with_time else text

    def said(self, what: str, wall_ns: int) -> str:
        """A line for what is no record: trouble of the agent's own."""
        if self._json:
            found = {"time": iso(wall_ns), "severity": "warning", "message": what}
            return json.dumps(found, separators=(",", ":"))
        return f"{iso(wall_ns, 3)} {escaped(what)}" if self._with_time else escaped(what)

    def _as_json(self, record: Record, made: _Line) -> str:
        found: dict[str, str | int | float | None] = {
            "time": iso(record.wall_ns),
            "severity": made.severity,
            "event": type(record.fact).__name__,
            "seq": record.seq,
        }
        if made.service:
            found["service"] = made.service
        found |= made.more
        found["message"] = made.text
        return json.dumps(found, separators=(",", ":"))

    def _made(self, record: Record) -> _Line | None:
        fact = record.fact
        match fact:
            case facts.Requested():
                began = _Open(record.mono, record.boot, fact.version_before, fact.trace_id)
                self._reloads[fact.reload_id] = began
                return None
            case facts.Judged():
                return self._judged(fact, record)
            case facts.PhaseEntered():
                return self._entered(fact, record)
            case _:
                return _plain(fact)

    def _judged(self, fact: facts.Judged, record: Record) -> _Line | None:
        began = self._reloads.pop(fact.reload_id, None)
        failed = fact.verdict.status in ("failure", "partial")
        if fact.trigger is Trigger.START and not failed:
            return None  # "ready" has said it
        what = "start" if fact.trigger is Trigger.START else "reload"
        text = f"{fact.service} {what} {fact.reload_id} {fact.verdict.value}"
        before = began.version if began else None
        if fact.version_after is not None:
            text += f" {before or 'unknown'} → {fact.version_after}"
        took = _took(began, record)
        if took is not None:
            text += f" in {milliseconds(took)}"
        if fact.grade is not None:
            text += f" ({fact.confirmation}, {fact.grade.value})"
        if fact.message:
            text += f": {fact.message}"
        more: list[tuple[str, str | int | float | None]] = [
            ("reload_id", fact.reload_id),
            ("trigger", fact.trigger.value),
            ("verdict", fact.verdict.value),
            ("error", fact.error_type or None),
            ("version_before", before),
            ("version_after", fact.version_after),
            ("duration_ms", None if took is None else round(took * 1000, 3)),
        ]
        if began is not None:
            more += [("trace_id", began.trace_id), ("span_id", span_id(fact.reload_id))]
        return _Line(text, "error" if failed else "info", fact.service, tuple(more))

    def _entered(self, fact: facts.PhaseEntered, record: Record) -> _Line | None:
        name, more = fact.service, (("phase", fact.phase), ("generation", fact.generation))
        if fact.phase == "starting":
            self._starts[name, fact.generation] = _Open(record.mono, record.boot, None)
            return None
        began = self._starts.pop((name, fact.generation), None)
        if fact.phase == "ready":
            took = _took(began, record)
            within = "" if took is None else f" in {milliseconds(took)}"
            text = f"{name} ready pid {fact.pid} generation {fact.generation}{within}"
            return _Line(text, "info", name, (*more, ("pid", fact.pid)))
        because = f": {fact.why}" if fact.why else ""
        if fact.phase == "backoff":
            return _Line(
                f"{name} {_ended(fact)}{because}; it is started again", "warning", name, more
            )
        if fact.phase == "failed":
            said = (
                f"{name} {_ended(fact)}{because}; given up, start it with: reloadctl start {name}"
            )
            return _Line(said, "error", name, more)
        if fact.phase == "killing":
            return _Line(f"{name} does not stop, killing it{because}", "warning", name, more)
        if fact.phase == "down" and fact.exit is not None:
            end = str(fact.exit)
            more_of_it = fact.why if fact.why.startswith(end) else end
            return _Line(f"{name} exited: {more_of_it}", "info", name, more)
        return (
            None
            if fact.phase in _UNSEEN
            else _Line(f"{name} {fact.phase}{because}", "info", name, more)
        )


def _ended(fact: facts.PhaseEntered) -> str:
    return "failed" if fact.exit is None else "exited"


def _plain(fact: Fact) -> _Line | None:  # noqa: C901, PLR0912 - a case for each fact
    """What needs no memory."""
    match fact:
        case facts.AgentStarted(version=version, pid=pid, adopted=adopted):
            took_over = (
                f", {adopted} process{'es' if adopted > 1 else ''} taken over" if adopted else ""
            )
            return _Line(f"agentd {version} started, pid {pid}{took_over}")
        case facts.AgentStopped(left=left):
            return _Line("agentd stopped" + (", its services go on running" if left else ""))
        case facts.SetAside():
            return _Line(fact.text, "warning")
        case facts.Adopted(service=name, pid=pid, found=found):
            if found:
                return _Line(f"{name} taken over, pid {pid}", "info", name)
            return _Line(f"{name} ended while no agent was there, pid {pid}", "warning", name)
        case facts.MainMoved(service=name, pid=pid, was=was, why=why):
            text = f"{name} goes on as pid {pid}, not {was} any more: {why}"
            return _Line(text, "info", name, (("pid", pid),))
        case facts.Restored(service=name, hash=hash_, files=files, kept=kept):
            short = hash_.removeprefix("sha256:")[:12]
            what = _count(files, "file") + (f"; what was there is kept in {kept}" if kept else "")
            return _Line(f"{name} inputs put back to {short}, {what}", "info", name)
        case facts.RollingBack(service=name, version=version, message=why):
            return _Line(f"{name} rolls back to {version}: {why}", "warning", name)
        case facts.Confirmed(service=name, reload_id=id_, user=user) if user:
            return _Line(f"{name} reload {id_} confirmed{_by(user)}", "info", name)
        case facts.DefinitionsTaken(user=user, changed=changed):
            what = ", ".join(changed) or "nothing changed"
            return _Line(f"definitions read again{_by(user)}: {what}")
        case facts.Drained(service=name, generation=generation, open=open_, cut=cut):
            told = f"{name} generation {generation} drained"
            if open_ is None:
                return _Line(f"{told}, its connections were not counted", "info", name)
            if not cut:
                return _Line(f"{told}, {_count(open_, 'connection')} finished", "info", name)
            return _Line(f"{told} to its limit, {_count(cut, 'connection')} cut", "warning", name)
        case facts.WantSet(service=name, want=want, user=user):
            return _Line(f"{name} wanted {want}{_by(user)}", "info", name)
        case facts.HoldSet(service=name, held=held, reason=reason, user=user):
            because = f": {reason}" if reason else ""
            return _Line(
                f"{name} {'held' if held else 'released'}{_by(user)}{because}", "info", name
            )
        case facts.LiveChanged(service=name, hash=None, why=why) if why not in _NO_NEWS:
            return _Line(f"{name} runs an unknown configuration: {why}", "warning", name)
        case facts.LateEvidence(service=name, reload_id=id_, confirmation=how, version=version):
            return _Line(f"{name} runs {version} after all: late {how} of {id_}", "info", name)
        case facts.SoakBegan(service=name, version=version, reload_id=id_):
            return _Line(f"{name} is looked after with {version} of {id_}", "info", name)
        case facts.Soaked(service=name, became="failed", why=why, reload_id=id_):
            return _Line(f"{name} did not do well with what {id_} applied: {why}", "error", name)
        case facts.Soaked(service=name, became="passed", reload_id=id_):
            return _Line(f"{name} has done well with what {id_} applied", "info", name)
        case facts.Quarantined(service=name, hash=hash_, reason=reason):
            short = hash_.removeprefix("sha256:")[:12]
            return _Line(f"{name} will not try {short} again unasked: {reason}", "warning", name)
        case _:
            return None


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _by(user: str) -> str:
    return f" by {user}" if user else ""


def _took(began: _Open | None, record: Record) -> float | None:
    """Seconds; None when it began before this agent, or before the last boot."""
    if began is None or began.boot != record.boot:
        return None
    return max(record.mono - began.mono, 0.0)


def milliseconds(seconds: float) -> str:
    """As a person reads it: 182 ms, 1.8 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def escaped(text: str) -> str:
    r"""One printable line: a newline becomes ``\n``, an escape ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stderr_is_the_journal(environ: Mapping[str, str], descriptor: int = 2) -> bool:
    """Whether systemd's journal reads it, and keeps a time of its own (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))
