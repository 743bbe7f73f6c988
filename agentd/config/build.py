"""From a parsed table to the Spec that the core works with, and what is probably not meant in it.

Decides how handle, recipe and evidence come together. Files, lines and the order between services are
the loader's work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from agentd.config.attributes import covered
from agentd.config.schema import ReloadTable, ServiceTable
from agentd.config.shapes import Confirm
from agentd.core.spec import Check, ProcessSpec, ReadyAfter, ReloadSpec, Spec
from agentd.core.steps import CallHttp
from agentd.evidence import KINDS, Hints
from agentd.handles import HANDLES, Options
from agentd.recipes import Recipe


def spec(name: str, table: ServiceTable, recipe: Recipe | None, digest: str) -> Spec:
    """One service, recipe included."""
    return Spec(
        name=name,
        process=ProcessSpec(
            command=table.command,
            user=table.user,
            group=table.group,
            cwd=table.cwd,
            umask=table.umask,
            nice=table.nice,
            env=table.env,
            env_file=table.env_file,
            limits=table.limits,
            watchdog=table.watchdog,
        ),
        inputs=table.inputs,
        included=table.included,
        secret=table.secret,
        snapshot=table.snapshot,
        version=table.version,
        attributes=table.attributes,
        ready=ReadyAfter() if table.ready is None else table.ready,
        start_timeout=table.start_timeout,
        alive=table.alive,
        pid_file=table.pid_file,
        stop_signal=table.stop_signal,
        stop_timeout=table.stop_timeout,
        restart=table.restart,
        backoff=table.backoff,
        start_limit=table.start_limit,
        after=table.after,
        requires=table.requires,
        overlap=table.overlap,
        instances=table.instances,
        max_generations=table.max_generations,
        drain_timeout=table.drain_timeout,
        takes_over=table.takes_over,
        sockets=table.sockets,
        watch=table.watch,
        logs=table.logs,
        reload=_reload(table, Hints() if recipe is None else recipe.hints),
        digest=digest,
    )


def _reload(service: ServiceTable, hints: Hints) -> ReloadSpec:
    table = service.reload
    handle = HANDLES[table.handle]
    told = Options(
        table.signal,
        table.signal_handled,
        table.command or (),
        table.request,
        service.overlap,
    )
    declared = table.confirm
    if declared is None:
        declared = tuple(Confirm(kind) for kind in handle.confirm or ())
    return ReloadSpec(
        handle=table.handle,
        steps=handle.recipe(told),
        check=_check(table),
        confirm=tuple(
            KINDS[c.kind].declared(c.argument, hints) if c.made is None else c.made.told(hints)
            for c in declared
        ),
        report=table.report,
        timeout=table.timeout,
        verify=table.verify,
        soak=table.soak,
        on_failure=table.on_failure,
        every=table.every,
        splay=table.splay,
        partial=hints.partial,
    )


def sent(spec: Spec) -> str | None:
    """The file that a reload sends to the service; None: it sends none."""
    return next((one.body for one in spec.reload.steps if isinstance(one, CallHttp)), None)


def _check(table: ReloadTable) -> Check | None:
    """Where warnings are none of our business, the check does not look for them."""
    if table.check is None or not table.warnings_as_errors:
        return table.check and replace(table.check, warnings=None)
    return replace(table.check, warnings=table.check.warnings or WARNING)


WARNING = r"(?i)\b(?:warn(?:ing)?s?|deprecat(?:ed|ion))\b"


def digest(raw: Mapping[str, object]) -> str:
    """sha256 over the table with its recipe, keys sorted: their order, blanks and comments do not count.

    A quarantine is tied to it, so defaults are not in it: a new version of the agent with one key more changes nothing.
    """
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()


_SIGNALS = ("signal", "notify")
"""Handles that send one."""


def idle(given: Mapping[str, object], spec: Spec) -> Iterator[tuple[str, str]]:
    """Keys that the operator wrote and that change nothing here."""
    reload, told = spec.reload, given.get("reload")
    within: Mapping[str, object] = told if isinstance(told, dict) else {}
    if reload.handle not in _SIGNALS:
        for key in ("signal", "signal_handled"):
            if key in within:
                yield f"reload.{key}", f'has no effect: handle = "{reload.handle}" sends no signal'
    if reload.handle != "replace":
        for key in ("overlap", "max_generations", "drain_timeout", "takes_over"):
            if key in given:
                yield key, 'has no effect: only with handle = "replace" are there two generations'
    if within.get("warnings_as_errors") and reload.check is None:
        yield "reload.warnings_as_errors", "has no effect: there is no check"
    if "splay" in within and reload.every is None and spec.watch is None:
        yield "reload.splay", "has no effect: there is neither a watch nor reload.every"
    if "every" in within and not (spec.inputs or spec.included):
        yield "reload.every", "has nothing to look at: inputs is empty"


def _lacking(spec: Spec, recipe: Recipe | None) -> Iterator[tuple[str, str]]:
    for option, why in (recipe.wants if recipe else {}).items():
        if not any(option in word for word in spec.process.command):
            yield "command", f"lacks {option}, so {why}"


def doubts(
    table: ServiceTable, spec: Spec, recipe: Recipe | None, raw: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """What can be loaded and is probably not meant: the key under the service, and a sentence."""
    if table.ready is None:
        guess = '"notify", "workers", { http = "..." }, { tcp = "..." } or { exec = [...] }'
        yield (
            "ready",
            f'is not declared, so ready means "has lived for 1s", a guess; declare {guess}',
        )
    if not spec.reload.confirm and HANDLES[spec.reload.handle].confirm is not None:
        ways = '[{ http = "...", expect = "{version}" }], ["workers"], [{ log = "..." }] or ["delivered"]'
        yield (
            "reload.confirm",
            f"reloads of {spec.name} can only end unverified; declare confirm, for example {ways}",
        )
    yield from _lacking(spec, recipe)
    if recipe is not None and recipe.check is not None and spec.reload.check is None:
        what = f"cannot be made from the command: {spec.process.command[0]} is not {recipe.name}"
        yield "reload.check", f"{what}; without it a bad file reaches the service; declare check"
    if recipe is not None and recipe.included is not None and "included" not in raw:
        what = f"cannot be made from the command: {spec.process.command[0]} is not {recipe.name}"
        yield "included", f"{what}; list what its files include among inputs, or declare included"
    if spec.watch is not None and not (spec.inputs or spec.included):
        yield "watch", "has nothing to watch: inputs is empty"
    if spec.reload.on_failure.restores and not (spec.snapshot and (spec.inputs or spec.included)):
        what = "inputs is empty" if spec.snapshot else "snapshot = false keeps no bytes"
        yield "reload.on_failure", f"has nothing to put back: {what}"
    for one in spec.attributes:
        if not covered(one.file, spec.inputs):
            what = f'"{one.name}" is read from {one.file}, which is not among the inputs'
            yield "attributes", f"{what}; no reload will have it"
