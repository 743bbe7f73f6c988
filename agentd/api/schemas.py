"""The documents of the API as JSON Schema (2020-12), written by hand: what ``GET /v1/openapi.json`` and agentd-api(7) say.

Decides nothing about the documents themselves; ``views`` and ``telemetry.report`` make them, and the tests hold every
answer against what stands here. Each member of an object is always there unless it is said to be optional.
"""

from __future__ import annotations

from agentd.api.difference import Kind
from agentd.api.schema import (
    Schema,
    flag,
    items,
    maybe,
    number,
    one_of,
    pairs,
    ref,
    sometimes,
    table,
    text,
    whole,
)
from agentd.core.plan import Action
from agentd.wire import Trigger, Verdict

_HASH = "sha256 over the bytes of the inputs"
_AT = "RFC 3339, UTC, microseconds"
_PHASES = ("down", "starting", "ready", "draining", "stopping", "killing", "backoff", "failed")
_WANT = one_of(("up", "down"), "what the operator asked for")
_PHASE = one_of(_PHASES, "where its instance stands, agentd-states(7)")
_TRIAL = table(
    "A change that is put back unless somebody confirms it in time.",
    reload_id=text("what to confirm"),
    until=text(_AT),
    back_to=text(f"{_HASH} that are put back"),
)
_SOAK = table(
    "What was applied and is looked after for a while yet.",
    reload_id=text("which reload applied it"),
    trace_id=text("of its own trace, which is linked to the reload's"),
    version=text("the short name of these bytes"),
    until=text(_AT),
    passes=whole("probes of this agent that found it well"),
    failures=whole("those that did not"),
    why=text("what the last of these said; empty: there was none"),
    back_to=maybe(text(f"{_HASH} that were good before")),
)
_CHANGED = items(
    ref("Change"),
    "the inputs that differ from what was live before, or from the last good ones where that is not known",
)
_RELOAD: dict[str, Schema] = {
    "reload_id": text("its id, a ULID"),
    "trace_id": text("the trace that it is a part of"),
    "service": text("of which service"),
    "trigger": one_of(Trigger, "what asked for it"),
    "handle": text("how the service takes new configuration"),
    "verdict": maybe(one_of(Verdict, "how it ended; null while it runs")),
    "status": maybe(
        one_of(
            ("success", "failure", "partial"),
            "the verdict in one of three words; null: it was not run",
        )
    ),
    "confirmation": maybe(text("the evidence that it took effect")),
    "confirmation_grade": maybe(
        one_of(("proven", "observed", "declared"), "how strong the evidence is")
    ),
    "error": maybe(text("error.type: the kind of failure")),
    "message": text("one sentence: why"),
    "reason": text("what the caller said it is for"),
    "user": text("who asked, by the kernel's word; empty for a watch"),
    "hash_before": maybe(text(f"{_HASH} that were live before")),
    "hash_after": maybe(text(f"{_HASH} that it was about")),
    "version_before": maybe(text("the short name of hash_before")),
    "version_after": maybe(text("the short name of hash_after")),
    "changed": _CHANGED,
    "attributes": items(
        table(
            "What the configuration says of itself, as [service.NAME.attributes] declares it.",
            name=text("such as model.version"),
            before=maybe(text("its value in the configuration before")),
            after=maybe(text("its value in this one")),
        ),
        "by name",
    ),
    "requested_at": maybe(text(_AT)),
    "duration_ms": maybe(number("from the request to the verdict, or until now")),
    "downtime_ms": maybe(
        number(
            "from the stop of the old process until the new one was ready; null: there was no gap"
        )
    ),
    "outage_ms": maybe(
        number(
            "from the death of the service until it was ready with what was put back; null: it did not die of it, or is still down"
        )
    ),
    "phase": maybe(text("the phase it is in; null when it has ended")),
    "phases": items(
        table(
            "A phase that was gone through.",
            name=text("its name"),
            ms=number("how long"),
            instance=maybe(whole("of several instances the one whose turn it was")),
        ),
        "in their order",
    ),
    "instances": items(
        table(
            "An instance and what became of it.",
            id=text("service.instance.id"),
            instance=whole("its number among those that run side by side, from 0 on"),
            generation=whole("counts up with each new process"),
            pid=maybe(whole("its main process")),
            outcome=maybe(
                text(
                    "taken, not_taken, unverified, died, untouched or down; null: there is only this one"
                )
            ),
            error=maybe(text("why not, as an error type")),
        ),
        "of several every one, else the one that took it",
    ),
    "output": items(
        {"type": "string"},
        "last lines of the check or of the service, when it failed; empty for a caller below inspect",
    ),
    "definition": items(
        {"type": "string"},
        "the keys of the service's own definition that it changes: it was applied; else empty",
    ),
    "not_taken": items(
        {"type": "string"}, "settings that it did not take, or only takes after a restart: partial"
    ),
    "on_trial": maybe(_TRIAL),
    "soak": maybe(
        table(
            "How what it applied was looked after, after the verdict and in a trace of its own.",
            trace_id=text("of that trace, whose one span is linked to the reload's"),
            until=text(_AT),
            outcome=maybe(
                text(
                    "passed, failed, or why nobody knows: overtaken, stopped, undeclared, unknown; null: it goes on"
                )
            ),
            why=text("what the last probe that failed said"),
            passes=maybe(whole("probes that found it well; null: it goes on")),
            failures=maybe(whole("those that did not")),
            duration_ms=number("how long"),
        )
    ),
    "joined": flag("this caller joined a reload that somebody else had asked for"),
}

_BEGUN = items({"anyOf": [ref("Reload"), ref("Accepted")]}, "in the order of what they need")
_TURNED_AWAY = items(
    table(
        "A service that could not be asked.",
        service=text("which"),
        exit=whole("the exit code for it"),
        detail=text("why"),
    ),
    "no reload was begun",
)
_PLAN: dict[str, Schema] = {
    "applied": flag("whether it was done"),
    "changes": items(
        table(
            "A service whose definition differs.",
            service=text("which"),
            action=one_of(Action, "what is done to it"),
            keys=items({"type": "string"}, "the keys that differ"),
            forced_by=items({"type": "string"}, "those of them that force this action"),
        ),
        "in the order of the definitions, what is gone last",
    ),
    "later": items({"type": "string"}, "what takes effect when agentd is started again"),
    "warnings": items({"type": "string"}, "what is probably not meant"),
}

DOCUMENTS: dict[str, Schema] = {
    "Status": table(
        "How services stand.",
        agent=table(
            "The agent itself.",
            version=text("of agentd"),
            pid=whole("its process"),
            uptime_s=number("since it began to listen"),
            socket=text("where it listens"),
            telemetry=maybe(
                table(
                    "How the export stands; null: nothing is sent.",
                    endpoint=text("the receiver, without what may be a secret"),
                    pending=whole("verdicts that wait to be sent"),
                    oldest_s=maybe(number("how long the oldest has waited")),
                    aside=whole("verdicts that the receiver called malformed"),
                    dropped=whole("verdicts that were forgotten unsent"),
                    last_error=maybe(text("why nothing is delivered just now")),
                )
            ),
            notices=items(
                {"type": "string"},
                "what this agent met when it began: a journal that was set aside, processes left over",
            ),
        ),
        services=items(ref("Service"), "in the order of the definitions"),
    ),
    "Service": table(
        "One service.",
        name=text("as the definitions call it"),
        want=_WANT,
        phase=_PHASE,
        why=text("one clause: why it is in this phase, or for whom it waits"),
        held=flag("no reload until released"),
        hold=maybe(table("The hold.", reason=text("why, in words"), user=text("who holds it"))),
        instances=items(
            ref("Instance"),
            "those that have a process, the ones that serve last; of several also such as have none",
        ),
        ready_instances=whole("how many of the declared ones are ready"),
        declared_instances=whole("how many are to run side by side"),
        restarts=whole("starts that nobody asked for"),
        config=ref("Config", "the four hashes"),
        next_start=maybe(
            table(
                "What the next start would load, when that is known to be bad.",
                verdict=one_of(Verdict, "how these bytes ended last time"),
                version=text("their short name"),
                hash=text(_HASH),
                text=text("the warning as status prints it"),
            )
        ),
        definition=maybe(
            table(
                "The definition that was applied last, when no generation of it was taken.",
                reload_id=text("the reload that tried it"),
                verdict=one_of(Verdict, "how that ended"),
                keys=items({"type": "string"}, "the keys in which it differs"),
                in_force=flag(
                    "the next start runs it: this agent began with it; else the former one is in force"
                ),
                text=text("the warning as status prints it"),
            )
        ),
        quarantine=maybe(
            table(
                "Bytes that only a person's reload tries again.",
                hash=text(_HASH),
                version=text("their short name"),
                reason=text("why"),
            )
        ),
        running=maybe(text("the id of the reload that runs")),
        waiting=maybe(text("the id of the reload that waits")),
        on_trial=maybe(_TRIAL),
        soak=maybe(_SOAK),
        alive=maybe(
            table(
                "Whether it still serves, of several instances the one that fails most; null: it is not declared how to ask.",
                asked=flag("it is asked now and then; not while it is not ready or a reload runs"),
                failures=whole("probes that failed in a row"),
                threshold=whole("so many are its end"),
                why=text("what the last of them said; else empty"),
            )
        ),
        last_reload=maybe(
            table(
                "The last one that ended.",
                reload_id=text("its id"),
                verdict=one_of(Verdict, "how it ended"),
                at=text(_AT),
                trigger=one_of(Trigger, "what asked for it"),
                message=text("why"),
            )
        ),
    ),
    "Instance": table(
        "One process group of a service.",
        id=text("service.instance.id"),
        instance=whole("its number among those that run side by side, from 0 on"),
        generation=whole("counts up with each new process"),
        pid=maybe(whole("its main process; null while it is being born")),
        phase=_PHASE,
        serves=flag("false: it is to take another's place, or is on its way out"),
        uptime_s=maybe(number("since it was started")),
        cpu_percent=maybe(number("of one processor, since the last look")),
        rss_bytes=maybe(whole("memory of the main process")),
        restarts=whole("as the service's"),
    ),
    "Config": table(
        "Which configuration a service runs, agentd.toml(5).",
        desired=maybe(text("what the source of truth says")),
        on_disk=maybe(text(f"{_HASH} as they are now; null: missing, or not read yet")),
        last_attempted=maybe(text("the last one that a reload tried")),
        live=maybe(text("the one known to be running; null: nobody can know")),
        in_sync=maybe(flag("live is what is on disk; null: not known")),
        version=maybe(text("the short name of live")),
        missing=maybe(text("why there is none on disk")),
        unlisted=maybe(text("why on_disk may leave out files that the inputs include")),
    ),
    "Reload": table("One reload, running or ended.", **_RELOAD),
    "Reloads": table("Several reloads.", reloads=items(ref("Reload"), "newest first")),
    "Shown": table(
        "One reload with its trace.",
        **_RELOAD,
        trace=table(
            "Its spans, agentd-tracing(7).",
            trace_id=maybe(text("hexadecimal")),
            spans=items(ref("Span"), "parents before children"),
            event=maybe(
                table(
                    "The event config.reload.",
                    name=text("config.reload"),
                    at_ns=whole("Unix nanoseconds"),
                    severity=one_of(("info", "error"), "whether it went well"),
                    trace_id=text("hexadecimal"),
                    span_id=text("the root span"),
                    attributes=pairs("by name"),
                    resource=pairs("the service"),
                )
            ),
        ),
    ),
    "Span": table(
        "One span as OpenTelemetry means it.",
        name=text("what was done"),
        span_id=text("hexadecimal"),
        parent_id=maybe(text("the span above; it may be the caller's")),
        kind=one_of(("internal", "server", "client", "producer", "consumer"), "its role"),
        start_ns=whole("Unix nanoseconds"),
        end_ns=whole("Unix nanoseconds"),
        status=one_of(("unset", "error"), "whether it went wrong"),
        status_message=text("why"),
        attributes=pairs("by name"),
        events=items(
            table(
                "Something at one moment.",
                name=text("what"),
                at_ns=whole("when"),
                attributes=pairs("by name"),
            ),
            "what happened within",
        ),
        links=items(
            table(
                "A span elsewhere.",
                trace_id=text("its trace"),
                span_id=text("the span"),
                attributes=pairs("by name"),
            ),
            "what it follows from",
        ),
        resource=pairs("whom it is about"),
    ),
    "Accepted": table(
        "A reload that nobody waits for.",
        reload_id=text("its id"),
        trace_id=text("its trace"),
        service=text("of which service"),
        verdict={"type": "null", "description": "not known yet"},
        joined=flag("somebody else had asked for it"),
    ),
    "Several": table(
        "What became of each service that was to be reloaded.",
        reloads=_BEGUN,
        turned_away=_TURNED_AWAY,
        not_tried=items({"type": "string"}, "services behind the one that failed"),
    ),
    "Acted": table(
        "Where a service stands after start, stop or restart.",
        service=text("which"),
        want=_WANT,
        phase=_PHASE,
        generation=whole("of its instance"),
        pid=maybe(whole("its main process")),
        message=text("why it does not stand where it should"),
        reload=maybe({"anyOf": [ref("Reload"), ref("Accepted")], "description": "the start"}),
    ),
    "Checked": table(
        "What the check says of the inputs as they are.",
        service=text("which"),
        verdict=one_of(("passed", "rejected", "none"), "none: there is no check"),
        exit_code=maybe(whole("of the check")),
        output=items({"type": "string"}, "what it printed"),
        hash=maybe(text(_HASH)),
        version=maybe(text("its short name")),
        changed=_CHANGED,
        error=maybe(text("why the check gave no answer of its own")),
    ),
    "Held": table(
        "A hold that was set.", service=text("which"), held=flag("true"), reason=text("why")
    ),
    "Released": table(
        "A hold that was ended.",
        service=text("which"),
        held=flag("false"),
        reload_id=maybe(text("the reload that it had turned away, asked for again")),
    ),
    "Confirmed": table(
        "A change that is kept.",
        reload_id=text("which reload made it"),
        service=text("of which service"),
        confirmed=flag("true"),
    ),
    "Cancelled": table(
        "A reload that was given up.",
        reload_id=text("which"),
        service=text("of which service"),
        cancelled=flag("true"),
    ),
    "Plan": table("What the definitions on disk would change.", **_PLAN),
    "Applied": table(
        "What the definitions on disk have changed.",
        **_PLAN,
        reloads=_BEGUN,
        turned_away=_TURNED_AWAY,
    ),
    "Stopping": table(
        "The agent has begun to end.",
        stopping=items({"type": "string"}, "the services that are stopped first"),
    ),
    "Upgrading": table(
        "The agent gives way to new code in the same process.",
        **{"from": text("the version that gives way"), "to": text("the version that takes over")},
        pid=whole("the process, before and after"),
        kept=items({"type": "string"}, "the services that go on running"),
    ),
    "Logs": table(
        "The last lines of a service.",
        service=text("which"),
        lines=items({"type": "string"}, "oldest first"),
    ),
    "Line": table("One line of a service, as it comes.", line=text("without its end")),
    "Event": table(
        "One record of the journal.",
        seq=whole("its number; ?after= takes it"),
        time=text(_AT),
        kind=text("what happened"),
        service=maybe(text("to which service")),
        reload_id=maybe(text("in which reload")),
        fields=pairs("what else is known"),
    ),
    "Diff": table(
        "What differs between two configurations; secrets are masked.",
        service=text("which"),
        **{"from": ref("Side", "the older one"), "to": ref("Side", "the newer one")},
        differs=flag("whether their hashes do"),
        files=items(
            table(
                "An input that differs.",
                path=text("its name"),
                change=one_of(("added", "removed", "modified"), "how"),
                kind=one_of(Kind, "whether lines can be shown, and why not"),
                size_before=maybe(whole("bytes")),
                size_after=maybe(whole("bytes")),
                lines=items({"type": "string"}, "a unified diff"),
                more=whole("lines that are left out"),
                masked=flag("whether values are hidden in it"),
            ),
            "in the order of their paths",
        ),
    ),
    "Side": table(
        "One of two configurations.",
        name=text("by which word it was asked for"),
        hash=text(_HASH),
        version=text("its short name"),
    ),
    "Versions": table(
        "The configurations of a service that are kept.",
        service=text("which"),
        versions=items(
            table(
                "A configuration.",
                hash=text(_HASH),
                version=text("its short name"),
                at=text(_AT),
                reload_id=text("the reload that read it last"),
                trigger=one_of(Trigger, "what asked for that"),
                verdict=maybe(one_of(Verdict, "how that ended")),
                live=flag("it is known to be running"),
                last_good=flag("it is the last that was verified"),
                on_disk=flag("it is what is there now"),
            ),
            "the one that was read last first",
        ),
    ),
    "Change": table(
        "An input that differs.",
        path=text("its name"),
        change=one_of(("added", "removed", "modified"), "how"),
    ),
    "Export": table(
        "An ExportTraceServiceRequest of OTLP/JSON (opentelemetry-proto).",
        resourceSpans=items(pairs("spans of one resource"), "all spans"),
    ),
    "OpenApi": pairs("This description, OpenAPI 3.1."),
    "Problem": sometimes(
        table(
            "Why a request was not answered as asked (RFC 9457).",
            type=text("about:blank"),
            title=text("the status in words"),
            status=whole("the HTTP status"),
            detail=text("one sentence for the operator"),
            exit=whole("what reloadctl exits with"),
            candidates=items(
                {"type": "string"},
                "what an ambiguous reference may mean; every mistake of the definitions",
            ),
        ),
        "candidates",
    ),
}
