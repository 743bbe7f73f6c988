"""The fold of one reload's records to the spans of its trace.

Decides names, kinds, attributes, parents and links. Pure: no SDK, no clock; the same records give the same spans, ids
included. Sending them is the exporter's work, OpenTelemetry's own objects are made in ``sdk``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agentd.core.context import Context, parse_traceparent, parse_tracestate, span_id
from agentd.telemetry import said
from agentd.telemetry.span import Event, Kind, Link, Span
from agentd.telemetry.story import ROLLBACK, Part, Soak, Story, Turn, story
from agentd.wire import Trigger, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentd.core.facts import Record, RollingBack, SnapshotTaken
    from agentd.telemetry.resource import Attributes, Resource, Value

_LINKS = 100
"""Back ends and SDKs keep 128 and drop the oldest without a word."""
_FILES = 100
"""Changed inputs that are named; the counts tell of all."""
_CALLERS = ("cicd.", "vcs.", "deployment.")
"""What a caller may say of itself on the root span; everything else is ours to say."""
_STARTS = frozenset({"start", "restart", "replace"})
"""Handles whose act is a new process."""
_WAITED_FOR = (Trigger.CLI, Trigger.API)


def _no_trace(_reload_id: str) -> str | None:
    return None


def spans(
    records: Sequence[Record],
    resource: Resource,
    *,
    now_ns: int | None = None,
    trace_of: Callable[[str], str | None] = _no_trace,
) -> tuple[Span, ...]:
    """The spans of one reload, the root first, parents before children; empty when the records are no reload.

    Args:
        records: all records of the reload, oldest first.
        resource: the agent's own.
        now_ns: where spans end that are still open; without it, at the last record.
        trace_of: the trace id of another reload, for links; None when it is not known any more.
    """
    told = story(records, now_ns)
    return () if told is None else tuple(_Tree(told, resource).spans(trace_of))


@dataclass(slots=True)
class _Tree:
    told: Story
    resource: Resource

    def spans(self, trace_of: Callable[[str], str | None]) -> list[Span]:
        root = self._root(trace_of)
        made = {"": root}
        instance_place = self._instance_place()
        for turn in self.told.turns:
            made[turn.part.path] = self._turn(turn, root)
        for phase in self.told.phases:
            above = made[phase.within.path if phase.within else ""]
            made[phase.path] = span = self._phase(phase, above)
            if phase.check is not None:
                made[f"{phase.path}/command"] = self._check(phase, span)
            for step in phase.steps:
                made[step.path] = self._step(step, span)
            if phase.path == instance_place:
                made[f"{phase.path}/instance"] = self._instance(span)
        soak = [] if self.told.soak is None else [self._soak(self.told.soak, root)]
        return [*made.values(), *self._drains(made), *soak]

    # One method for each kind of span.

    def _root(self, trace_of: Callable[[str], str | None]) -> Span:
        told, asked = self.told, self.told.asked
        parent = parse_traceparent(asked.cause.traceparent)
        joins = parent is not None and parent.trace_id == asked.trace_id
        trigger = asked.cause.trigger
        waited_for = asked.cause.waits and trigger in _WAITED_FOR
        kind = Kind.SERVER if waited_for else Kind.INTERNAL
        return Span(
            name=f"{'start' if trigger is Trigger.START else 'reload'} {asked.service}",
            trace_id=asked.trace_id,
            span_id=span_id(asked.reload_id),
            parent_id=parent.span_id if parent and joins else None,
            kind=Kind.CONSUMER if trigger is Trigger.SOURCE else kind,
            start_ns=told.began_ns,
            end_ns=told.end_ns,
            attributes=self._root_attributes(),
            resource=self.resource,
            error=self._error(),
            links=self._links(None if joins else parent, trace_of),
            remote_parent=joins,
            trace_state=parse_tracestate(asked.cause.tracestate) if joins else "",
        )

    def _phase(self, phase: Part, above: Span) -> Span:
        found: dict[str, Value] = {}
        taken: SnapshotTaken | RollingBack | None = self.told.snapshot
        if (phase.is_back or phase.name == ROLLBACK) and self.told.back is not None:
            taken = self.told.back
        if taken is not None and phase.name != "settle":
            found["config.version"] = taken.version
            found["config.hash"] = taken.hash
        first = self.told.snapshot
        if phase.name == "snapshot" and not phase.is_back and first is not None and first.unlisted:
            found["reload.inputs.unlisted"] = first.unlisted
        if phase.verified is not None:
            found["reload.verify.passes"] = phase.verified.passes
            found["reload.verify.failures"] = phase.verified.failures
        return self._child(above, phase, f"reload.{phase.name}", Kind.INTERNAL, found)

    def _check(self, phase: Part, above: Span) -> Span:
        check = phase.check
        assert check is not None
        name = check.executable.rsplit("/", 1)[-1] or check.executable
        ran = Part(f"{phase.path}/command", name, phase.began_ns, phase.check_ns)
        found: dict[str, Value] = {"process.executable.name": name}
        found["reload.check.output_lines"] = len(check.output)
        if check.exit_code is not None:
            found["process.exit.code"] = check.exit_code
        if check.timed_out:
            ran.error_type = "timeout"
        elif check.exit_code is None:
            ran.error_type = "spawn_failed"
        elif check.exit_code:
            ran.error_type = f"exit_{check.exit_code}"
        return self._child(above, ran, name, Kind.CLIENT, found)

    def _step(self, step: Part, above: Span) -> Span:
        found: dict[str, Value] = {} if step.pid is None else {"process.pid": step.pid}
        what, _, signal = step.name.partition(" ")
        if what == "signal":
            found["reload.signal"] = signal
            return self._child(above, step, step.name, Kind.PRODUCER, found)
        if what == "exec":
            found["process.executable.name"] = signal
            return self._child(above, step, signal, Kind.CLIENT, found)
        if what == "http":
            found["http.request.method"] = signal
            return self._child(above, step, signal, Kind.CLIENT, found)
        kind = Kind.CLIENT if what == "process.start" else Kind.INTERNAL
        span = self._child(above, step, step.name, kind, found)
        if what == "traffic.switch" and self.told.flip_ns is not None:
            at = min(max(self.told.flip_ns, span.start_ns), span.end_ns)
            span = replace(span, events=(Event("traffic.switched", at),))
        return span

    def _drains(self, made: dict[str, Span]) -> list[Span]:
        """Below the act; they end when they end, if need be after everything else."""
        acts = [made[p.path] for p in self.told.phases if p.name == "apply"]
        asked, spans = self.told.asked, []
        for n, drain in enumerate(self.told.drains if acts else ()):
            began = [act for act in acts if act.start_ns <= drain.began_ns]
            above = (began or acts)[-1]
            part = Part(f"apply/drain.{drain.generation}", "reload.drain", drain.began_ns, 0)
            counted = {"reload.drain.open": drain.open, "reload.drain.cut": drain.cut}
            counts: dict[str, Value] = {key: n for key, n in counted.items() if n is not None}
            span = self._child(above, part, part.name, Kind.INTERNAL, counts)
            own = self.resource.instance(asked.service, drain.generation, drain.pid)
            id_ = span_id(asked.reload_id, part.path if not n else f"{part.path}#{n + 1}")
            start = max(drain.began_ns, above.start_ns)
            end = max(drain.ended_ns, start)
            spans.append(replace(span, span_id=id_, resource=own, start_ns=start, end_ns=end))
        return spans

    def _soak(self, soak: Soak, root: Span) -> Span:
        """The root of a trace of its own: it may last for hours, and a reload is not held open for it."""
        asked, over = self.told.asked, soak.over
        found: dict[str, Value] = {
            "reload.id": asked.reload_id,
            "reload.service": asked.service,
            "config.version": soak.told.version,
            "config.hash": soak.told.hash,
        }
        failed = over is not None and over.became == "failed"
        if over is not None:
            found["reload.soak.outcome"] = over.became
            found["reload.verify.passes"] = over.passes
            found["reload.verify.failures"] = over.failures
        if failed:
            found["error.type"] = "soak_failed"
        why: Attributes = (("link.type", "follows"), ("reload.id", asked.reload_id))
        return Span(
            name=f"soak {asked.service}",
            trace_id=soak.told.trace_id,
            span_id=span_id(asked.reload_id, "soak"),
            parent_id=None,
            kind=Kind.INTERNAL,
            start_ns=soak.began_ns,
            end_ns=soak.ended_ns,
            attributes=tuple(found.items()),
            resource=self.resource,
            error=over.why if failed and over is not None else None,
            links=(Link(Context(root.trace_id, root.span_id), why),),
        )

    def _turn(self, turn: Turn, root: Span) -> Span:
        """One of several instances: its resource, its own times, what became of it."""
        judged = self.told.judged
        found: dict[str, Value] = {"reload.instance.number": turn.instance}
        became = (
            [one for one in judged.instances if one.instance == turn.instance] if judged else []
        )
        for one in became:
            found["reload.instance.outcome"] = one.became
        taken = self.told.snapshot
        if taken is not None and any(one.became == "taken" for one in became):
            found["config.version"], found["config.hash"] = taken.version, taken.hash
        span = self._child(root, turn.part, "reload.instance", Kind.INTERNAL, found)
        own = self.resource.instance(self.told.asked.service, turn.generation, turn.pid)
        return replace(span, resource=own)

    def _instance_place(self) -> str | None:
        """Below which span the service's own stands: where it was confirmed; for a start, where it was started."""
        judged = self.told.judged
        if judged is None or judged.pid is None or self.told.turns:
            return None
        acted = [p for p in self.told.phases if p.is_back and p.name in ("apply", "confirm")]
        last = {phase.name: phase.path for phase in acted or self.told.phases}
        place = last.get("confirm")
        if place is None and (acted or judged.handle in _STARTS):
            place = last.get("apply")
        return place

    def _instance(self, above: Span) -> Span:
        judged = self.told.judged
        assert judged is not None
        own = self.resource.instance(judged.service, judged.generation, judged.pid)
        part = Part("", "reload.instance", above.start_ns, above.end_ns)
        shared = dict(self._outcome())
        span = self._child(above, part, part.name, Kind.INTERNAL, shared)
        id_ = span_id(self.told.asked.reload_id, "instance")
        failed = self._error()
        return replace(span, resource=own, span_id=id_, error=failed)

    def _child(
        self, above: Span, part: Part, name: str, kind: Kind, more: dict[str, Value]
    ) -> Span:
        """Within its parent, whatever the records say of the time."""
        asked = self.told.asked
        error_type, end = part.error_type, part.ended_ns
        start = min(max(part.began_ns, above.start_ns), above.end_ns)
        judged = self.told.judged
        if end is None and judged is not None and judged.verdict is Verdict.FAILED:
            error_type = judged.error_type or "failed"  # cut off in the middle
        found: dict[str, Value] = {"reload.id": asked.reload_id, "reload.service": asked.service}
        found |= more
        if error_type:
            found["error.type"] = error_type
        return Span(
            name=name,
            trace_id=above.trace_id,
            span_id=span_id(asked.reload_id, part.path),
            parent_id=above.span_id,
            kind=kind,
            start_ns=start,
            end_ns=above.end_ns if end is None else min(max(end, start), above.end_ns),
            attributes=tuple(found.items()),
            resource=self.resource,
            error=error_type or None,
            trace_state=above.trace_state,
        )

    # What is said of the whole.

    def _error(self) -> str | None:
        judged = self.told.judged
        if judged is None or judged.verdict.status in (None, "success"):
            return None
        return judged.message or judged.error_type or judged.verdict.value

    def _outcome(self) -> list[tuple[str, Value]]:
        """The configuration before and now, and the verdict: on the root and on the instance."""
        told, judged = self.told, self.told.judged
        hash_now, version_now = told.hash_now
        found: list[tuple[str, Value | None]] = [
            ("config.version", version_now),
            ("config.hash", hash_now),
            ("config.previous_version", told.asked.version_before),
            ("config.previous_hash", told.asked.hash_before),
        ]
        if judged is not None:
            found += [
                ("reload.verdict", judged.verdict.value),
                ("reload.status", judged.verdict.status),
                ("reload.duration_ms", (told.end_ns - told.began_ns) / 1e6),
                ("reload.confirmation", judged.confirmation),
                ("reload.confirmation_grade", judged.grade.value if judged.grade else None),
            ]
            found.append(("reload.downtime_ms", told.downtime_ms))
            found.append(("reload.outage_ms", told.outage_ms))
            if self._error() is not None:
                found.append(("error.type", judged.error_type or judged.verdict.value))
        found += said.attributes(told.asked.attributes_before, told.attributes_now).items()
        return [(name, value) for name, value in found if value is not None]

    def _root_attributes(self) -> Attributes:
        told, asked, cause = self.told, self.told.asked, self.told.asked.cause
        found: dict[str, Value] = {
            "reload.id": asked.reload_id,
            "reload.service": asked.service,
            "service.peer.name": asked.service,
            "reload.event.type": cause.trigger.event_type,
            "reload.handle": told.judged.handle if told.judged else asked.handle,
            "reload.coalesced_events": 1 + len(told.joined),
            "config.source": "file",
            **dict(self._outcome()),
        }
        if told.judged is not None and told.judged.instances:
            became = [one.became for one in told.judged.instances]
            found["reload.instances.total"] = len(became)
            found["reload.instances.succeeded"] = became.count("taken")
            found["reload.instances.failed"] = became.count("not_taken") + became.count("died")
        if "error.type" in found and (phase := told.failed_phase):
            found["reload.phase"] = phase
        if taken := told.snapshot:
            found["config.files"] = tuple(c.path for c in taken.changed[:_FILES])
            for kind, name in (("added", "added"), ("removed", "removed"), ("modified", "changed")):
                found[f"config.diff.{name}"] = sum(c.change == kind for c in taken.changed)
        if cause.trigger is Trigger.ROLLBACK:
            found["reload.is_rollback"] = True
            if asked.link:
                found["reload.rollback.of"] = asked.link
        if cause.user:
            found["user.name"] = cause.user
        said = {k: v for k, v in cause.attributes if k.startswith(_CALLERS)}
        return tuple((said | found).items())

    def _links(
        self, caller: Context | None, trace_of: Callable[[str], str | None]
    ) -> tuple[Link, ...]:
        """Who else asked, and the reload this one follows from."""
        asked = self.told.asked
        links = []
        if asked.link and (trace_id := trace_of(asked.link)):
            why: Attributes = (("link.type", "follows"), ("reload.id", asked.link))
            links.append(Link(Context(trace_id, span_id(asked.link)), why))
        causes = [(caller, asked.cause)]
        causes += [(parse_traceparent(j.cause.traceparent), j.cause) for j in self.told.joined]
        for to, cause in causes:
            if to is not None:
                by = ("reload.event.type", cause.trigger.event_type)
                links.append(Link(to, (("link.type", "trigger"), by)))
        return tuple(links[:_LINKS])
