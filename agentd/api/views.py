"""What the agent knows, as the documents of ``agentd-api(7)``: pure functions from values to plain values.

Decides names and shapes, and what a caller without leave to inspect is not shown. What a reload went through is told by
``telemetry.report``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from agentd.api.costs import Cost
from agentd.core.facts import BaselineTaken, Cause, Judged, Record
from agentd.core.instance import ALIVE, Ending, Instance, Phase
from agentd.core.manifest import Manifest, Missing
from agentd.core.memory import Want
from agentd.core.reload_back import STAYS_IN_FORCE
from agentd.core.reload_value import PHASE, Reload
from agentd.core.service import Service
from agentd.wire import Verdict

Json = dict[str, Any]
Identify = Callable[[str, int], str]
"""``service.instance.id`` of a service and a generation."""

_BAD = frozenset({Verdict.REFUSED, Verdict.ROLLED_BACK, Verdict.FAILED})
"""After one of these the same bytes would be no better at the next start. A rejection may not be about the bytes at all:
there the quarantine tells."""
_NOT_SHOWN = frozenset({"output", "baggage", "tracestate", "baseline"})
"""Fields of facts that may hold what only those may see who may inspect, or what is the caller's own."""


def is_up(s: Service, *, wanted: bool) -> bool:
    """Starting is not up, and neither is one that has finished by itself; ``wanted``: one that is not wanted needs not be."""
    return (wanted and not s.wanted) or s.phase is Phase.READY


def service(
    s: Service, disk: Manifest | Missing | None, costs: Sequence[Cost], identify: Identify
) -> Json:
    """One service of ``status``; ``costs`` are of ``generations(s)``."""
    last, hold, poison = s.last, s.hold, s.quarantine
    return {
        "name": s.spec.name,
        "want": s.want.value,
        "phase": s.phase.value,
        "why": _waits(s) or why(s),
        "held": hold is not None,
        "hold": {"reason": hold.reason, "user": hold.user} if hold else None,
        "instances": [
            _instance(s, one, cost, identify)
            for one, cost in zip(generations(s), costs, strict=True)
        ],
        "ready_instances": sum(i.phase is Phase.READY for i in s.slots),
        "declared_instances": len(s.slots),
        "restarts": s.restarts,
        "config": _config(s, disk),
        "next_start": _next_start(s, disk),
        "definition": _definition(s),
        "quarantine": {"hash": poison.hash, "version": poison.version, "reason": poison.reason}
        if poison
        else None,
        "running": _told(s.running),
        "waiting": _told(s.waiting),
        "on_trial": on_trial(s),
        "soak": _soak(s),
        "alive": _alive(s),
        "last_reload": {
            "reload_id": last.reload_id,
            "verdict": last.verdict.value,
            "at": iso(last.wall_ns),
            "trigger": last.trigger.value,
            "message": last.message,
        }
        if last
        else None,
    }


def _waits(s: Service) -> str:
    """Wanted, down, and not on its way: for whom it waits. How those stand, they say themselves."""
    others = dict.fromkeys((*s.spec.requires, *s.spec.after))
    finished = all(i.ending is Ending.BY_ITSELF for i in s.slots)
    idle = s.phase is Phase.DOWN and not finished and not s.serves and s.running is None
    return f"waits for {', '.join(others)}" if others and idle and s.want is Want.UP else ""


def why(s: Service) -> str:
    """Of several instances those that are in trouble, by name."""
    if not s.others:
        return s.instance.why
    troubles = (i for i in s.slots if i.phase is not Phase.READY and i.why)
    return "; ".join(f"instance {i.slot} is {i.phase.value}: {i.why}" for i in troubles)


def generations(s: Service) -> tuple[Instance, ...]:
    """Those that are alive, those that serve last; of several instances also such as have no process."""
    beside = (*s.former, *([s.next] if s.next else []))
    serve = [i for i in s.slots if s.others or i.phase in ALIVE]
    return (*(i for i in beside if i.phase in ALIVE), *serve)


def _instance(s: Service, i: Instance, cost: Cost, identify: Identify) -> Json:
    return {
        "id": identify(s.spec.name, i.generation),
        "instance": i.slot,
        "generation": i.generation,
        "pid": i.process.pid if i.process else None,
        "phase": i.phase.value,
        "serves": i in s.slots,
        "uptime_s": cost.uptime_s,
        "cpu_percent": cost.cpu_percent,
        "rss_bytes": cost.rss_bytes,
        "restarts": s.restarts,
    }


def _config(s: Service, disk: Manifest | Missing | None) -> Json:
    there = disk if isinstance(disk, Manifest) else None
    known = s.live is not None and disk is not None
    return {
        "desired": there.hash if there else None,  # the files are the source of truth
        "on_disk": there.hash if there else None,
        "last_attempted": s.attempted.hash if s.attempted else None,
        "live": s.live.hash if s.live else None,
        "in_sync": bool(s.live and there and s.live.hash == there.hash) if known else None,
        "version": s.live.version if s.live else None,
        "missing": disk.message if isinstance(disk, Missing) else None,
        "unlisted": there.unlisted or None if there else None,
    }


def _next_start(s: Service, disk: Manifest | Missing | None) -> Json | None:
    """A bad file that was left on disk is a landmine for the next crash."""
    if not isinstance(disk, Manifest) or not disk.entries:  # no bytes, no blame
        return None
    if any(known and known.hash == disk.hash for known in (s.live, s.last_good)):
        return None
    tried = s.attempted if s.attempted and s.attempted.hash == disk.hash else None
    poison = s.quarantine if s.quarantine and s.quarantine.hash == disk.hash else None
    if poison is not None and poison.digest == s.spec.digest:
        verdict = tried.verdict if tried and tried.verdict in _BAD else Verdict.REJECTED
    elif tried is not None and tried.verdict in _BAD:
        verdict = tried.verdict
    else:
        return None
    good, restores = s.last_good, s.spec.reload.on_failure.restores
    does = f"puts back {good.version} over" if good and restores and poison else "loads"
    return {
        "verdict": verdict.value,
        "version": disk.version,
        "hash": disk.hash,
        "text": f"next restart {does} {verdict.value.upper()} {disk.version}",
    }


def _definition(s: Service) -> Json | None:
    """A definition that was not taken; where an agent began with it, the next start is one of it all the same."""
    declined = s.declined
    if declined is None:
        return None
    in_force = declined.digest == s.spec.digest
    how = declined.verdict.value.upper()
    what = f"the definition that was applied was {how}: {declined.reason}"
    if in_force:
        reason = declined.reason.removesuffix(STAYS_IN_FORCE)
        what = f"next restart runs a definition that was {how}: {reason}"
    return {
        "reload_id": declined.reload_id,
        "verdict": declined.verdict.value,
        "keys": list(declined.keys),
        "in_force": in_force,
        "text": what,
    }


def on_trial(s: Service, reload_id: str = "") -> Json | None:
    """A change that is put back unless somebody confirms it in time; that of this reload, where one is named."""
    pending = s.pending
    if pending is None or reload_id not in ("", pending.reload_id):
        return None
    until = iso(pending.until_wall_ns)
    return {"reload_id": pending.reload_id, "until": until, "back_to": pending.hash}


def _alive(s: Service) -> Json | None:
    """Of several instances the one that fails most."""
    if s.spec.alive is None:
        return None
    worst = max(s.asking, key=lambda a: a.failures, default=None)
    return {
        "asked": worst is not None,
        "failures": worst.failures if worst else 0,
        "threshold": s.spec.alive.threshold,
        "why": worst.complaint if worst else "",
    }


def _soak(s: Service) -> Json | None:
    if s.soak is None:
        return None
    told = s.soak.told
    return {
        "reload_id": told.reload_id,
        "trace_id": told.trace_id,
        "version": told.version,
        "until": iso(told.until_wall_ns),
        "passes": s.soak.passes,
        "failures": s.soak.failures,
        "why": s.soak.complaint,
        "back_to": told.back.hash if told.back else None,
    }


def _told(r: Reload | None) -> str | None:
    """The id of a reload that somebody was told of; one that a watch began may turn out to be nothing."""
    return None if r is None or r.silent else r.id


def acted(s: Service, message: str, reload: Json | None) -> Json:
    """What ``start``, ``stop`` and ``restart`` answer: where the service stands now."""
    i = s.instance
    return {
        "service": s.spec.name,
        "want": s.want.value,
        "phase": s.phase.value,
        "generation": i.generation,
        "pid": i.process.pid if i.process else None,
        "message": message,
        "reload": reload,
    }


def accepted(reload_id: str, trace_id: str, service: str, *, joined: bool) -> Json:
    """A reload that nobody waits for."""
    return {
        "reload_id": reload_id,
        "trace_id": trace_id,
        "service": service,
        "verdict": None,
        "joined": joined,
    }


def unrecorded(
    s: Service, reload_id: str, trace_id: str, cause: Cause, judged: Judged | None
) -> Json:
    """A reload of which the journal says nothing: what the agent itself knows of it."""
    r = next((r for r in (s.running, s.waiting) if r is not None and r.id == reload_id), None)
    verdict = judged.verdict if judged else None
    return {
        "reload_id": reload_id,
        "trace_id": trace_id,
        "service": s.spec.name,
        "trigger": (judged or cause).trigger.value,
        "handle": judged.handle if judged else s.spec.reload.handle,
        "verdict": verdict.value if verdict else None,
        "status": verdict.status if verdict else None,
        "confirmation": judged.confirmation if judged else None,
        "confirmation_grade": judged.grade.value if judged and judged.grade else None,
        "error": (judged.error_type or None) if judged else None,
        "message": judged.message if judged else "",
        "reason": cause.reason,
        "user": cause.user,
        "hash_before": None,
        "hash_after": judged.hash_after if judged else None,
        "version_before": None,
        "version_after": judged.version_after if judged else None,
        "changed": [],
        "attributes": [],
        "requested_at": None,
        "duration_ms": None,
        "downtime_ms": None,
        "outage_ms": None,
        "phase": PHASE[r.stage] if r else None,
        "phases": [],
        "instances": [],
        "definition": list(r.definition) if r else [],
        "output": list(judged.output) if judged else [],
        "not_taken": list(judged.not_taken) if judged else [],
        "on_trial": on_trial(s, reload_id),
        "soak": None,
        "joined": False,
    }


def event(record: Record) -> Json:
    """One record as ``/v1/events`` tells it."""
    fact = record.fact
    return {
        "seq": record.seq,
        "time": iso(record.wall_ns),
        "kind": _snake(type(fact).__name__),
        "service": getattr(fact, "service", None),
        "reload_id": getattr(fact, "reload_id", None),
        "fields": {}
        if isinstance(fact, BaselineTaken)
        else {k: v for k, v in _plain(fact).items() if k not in ("service", "reload_id")},
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        names = (f.name for f in fields(value) if f.name not in _NOT_SHOWN)
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value.value if isinstance(value, Enum) else value


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def iso(wall_ns: int) -> str:
    """RFC 3339 in UTC, microseconds."""
    from agentd.telemetry.report import iso as told  # noqa: PLC0415 - one form for all; loaded when first asked

    return told(wall_ns)
