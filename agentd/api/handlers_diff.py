"""What changed between two configurations, and which ones are kept.

Decides which two are compared and what cannot be; how a difference is shown, and what is hidden in it, is ``difference``'s
and ``masking``'s business. Reading and comparing are done in threads, for two callers at once at most.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from agentd.api import views
from agentd.api.body import query, whole
from agentd.api.context import Context
from agentd.api.difference import SHOWN, Difference, Kind, difference
from agentd.api.handlers_history import found, recorded
from agentd.api.message import Request, Response
from agentd.api.problem import Problem, busy, printable
from agentd.api.versions import NAMES, SHORTEST, distinct, is_secret, meant
from agentd.core.facts import Judged, Requested, SnapshotTaken
from agentd.core.manifest import Entry, Manifest, changes
from agentd.core.service import Service
from agentd.ports import AdapterError, Archive, KeptInput, Reading
from agentd.wire import ExitCode, Verdict

_READINGS = 500
"""The newest ones are looked through; snapshots are kept of about as many."""
_READ_S = 10.0
"""Within which the inputs must be read when what is on disk is asked for."""
_MOST = 2 * 1024 * 1024
"""Characters of all diffs together; after that, inputs are named only."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: by which word it was asked for, and what it is."""

    word: str
    hash: str
    version: str

    def to_json(self) -> views.Json:
        """As a caller sees it."""
        return {"name": self.word, "hash": self.hash, "version": self.version}

    def __str__(self) -> str:
        return self.word if self.word == self.version else f"{self.word} ({self.version})"


async def diff(context: Context, request: Request) -> Response:
    """From ``?from=`` (default: live, else the last good one) to ``?to=`` (default: on_disk)."""
    asked = query(request, ("from", "to"))
    s = context.service(request)
    default = "last_good" if s.live is None and s.last_good is not None else "live"
    before = await chosen(context, s, asked["from"][-1] if asked["from"] else default)
    after = await chosen(context, s, asked["to"][-1] if asked["to"] else "on_disk")
    files: list[views.Json] = []
    if before.hash != after.hash:
        async with context.comparing:
            both = (before, after)
            files = await asyncio.to_thread(_compared, context.archive, s.spec.secret, *both)
    document = {
        "service": s.spec.name,
        "from": before.to_json(),
        "to": after.to_json(),
        "differs": before.hash != after.hash,
        "files": files,
    }
    return Response(json.dumps(document).encode() + b"\n")


async def versions(context: Context, request: Request) -> Response:
    """Those that are kept, the one that was read last first."""
    limit = whole(query(request, ("limit",))["limit"], "limit", 50, _READINGS)
    s = context.service(request)
    await context.disk.refresh([s], named=True)
    disk = context.disk.newest(s.spec.name)
    known = distinct(context.reader.readings(s.spec.name, _READINGS))
    kept = await asyncio.to_thread(_kept, context.archive, known, limit)
    document = {
        "service": s.spec.name,
        "versions": [
            {
                "hash": one.hash,
                "version": one.version,
                "at": views.iso(one.wall_ns),
                "reload_id": one.reload_id,
                "trigger": one.trigger.value,
                "verdict": one.verdict.value if one.verdict else None,
                "live": s.live is not None and s.live.hash == one.hash,
                "last_good": s.last_good is not None and s.last_good.hash == one.hash,
                "on_disk": isinstance(disk, Manifest) and disk.hash == one.hash,
            }
            for one in kept
        ],
    }
    return Response(json.dumps(document).encode() + b"\n")


def _kept(archive: Archive, known: Sequence[Reading], limit: int) -> list[Reading]:
    return [one for one in known if archive.holds(one.hash)][:limit]


async def chosen(context: Context, s: Service, word: str) -> Side:
    """Which configuration a word means. Raises Problem 404, 409, 503."""
    name = s.spec.name
    if word in ("on_disk", "desired"):
        return await _on_disk(context, s, word)
    named = {"live": s.live, "last_good": s.last_good, "last_attempted": s.attempted}
    if word in NAMES:
        one = named[word]
        if one is None:
            why = {
                "live": f"nobody knows which configuration {name} runs",
                "last_good": f"no configuration of {name} is known to be good",
                "last_attempted": f"no reload of {name} has tried one yet",
            }
            raise _absent(f"there is no {word}: {why[word]}")
        return Side(word, one.hash, one.version)
    known = [(r.hash, r.version) for r in context.reader.readings(name, _READINGS)]
    known += [(one.hash, one.version) for one in named.values() if one is not None]
    hashes = meant(word, known) or _of_reload(context, name, word)
    if len(hashes) > 1:
        several = f"{printable(word)} may mean {len(hashes)} configurations; give more of the hash"
        raise Problem(409, several, ExitCode.USAGE, candidates=hashes)
    if not hashes:
        what = f"{name} has no configuration or reload {printable(word)}"
        least = (
            f"give a version, {SHORTEST} digits of a hash, a reload, or one of: {', '.join(NAMES)}"
        )
        raise _absent(f"{what}; {least}")
    version = dict(known).get(hashes[0], hashes[0].removeprefix("sha256:")[:12])
    return Side(printable(word), hashes[0], version)


async def former(context: Context, s: Service) -> Side:
    """The newest configuration that was good and is not the one on disk: what a roll-back means. Raises Problem 404."""
    name = s.spec.name
    await context.disk.refresh([s], named=True)
    disk = context.disk.newest(name)
    now = disk.hash if isinstance(disk, Manifest) else None
    known = [(m.hash, m.version) for m in (s.live, s.last_good) if m is not None]
    good = (Verdict.APPLIED, Verdict.PARTIAL)
    readings = distinct(context.reader.readings(name, _READINGS))
    known += [(r.hash, r.version) for r in readings if r.verdict in good]
    for hash_, version in known:
        if hash_ != now and context.archive.holds(hash_):
            return Side(version, hash_, version)
    raise _absent(
        f"no former configuration of {name} is kept that was good; see: reloadctl history {name}"
    )


def _of_reload(context: Context, name: str, ref: str) -> tuple[str, ...]:
    """The configuration that a reload of this service tried; nothing when there is no such reload."""
    if not context.reader.find(ref):
        return ()
    hashes: dict[str, None] = {}
    for reload_id in found(context, ref):
        facts = [record.fact for record in recorded(context, reload_id)]
        tried = [
            f.hash_after if isinstance(f, Judged) else f.hash
            for f in facts
            if isinstance(f, Judged | SnapshotTaken)
        ]
        if not (isinstance(facts[0], Requested) and facts[0].service == name):
            continue
        if not tried or tried[-1] is None:
            raise _absent(f"reload {reload_id} has read no configuration")
        hashes[tried[-1]] = None
    if not hashes:
        raise _absent(f"{printable(ref)} is no reload of {name}")
    return tuple(hashes)


async def _on_disk(context: Context, s: Service, word: str) -> Side:
    """Read now, and kept for a while: what is compared are the very bytes of one moment."""
    name = s.spec.name
    if not s.spec.snapshot:
        raise _absent(
            f"{name} keeps no configurations (snapshot = false): there is nothing to compare"
        )
    try:
        async with asyncio.timeout(_READ_S):
            read = await context.runtime.machine.files.snapshot(s.spec, keep=True)
    except TimeoutError:
        raise busy(f"the inputs of {name} could not be read within {_READ_S:g}s") from None
    if not isinstance(read, Manifest):
        raise _absent(f"there is no {word}: {read.message}")
    return Side(word, read.hash, read.version)


def _compared(
    archive: Archive, secret: Sequence[str], before: Side, after: Side
) -> list[views.Json]:
    """The inputs that differ, in the order of their paths. In a thread. Raises Problem 404."""
    old, new = _inputs(archive, before), _inputs(archive, after)
    sides = [
        Manifest(side.hash, side.version, tuple(k.entry for k in of.values()))
        for side, of in ((before, old), (after, new))
    ]
    files: list[views.Json] = []
    left = _MOST
    for change in changes(*sides):
        pair = (old.get(change.path), new.get(change.path))
        hidden = is_secret(change.path, secret) or any(k is not None and not k.stored for k in pair)
        found = Difference(Kind.SECRET) if hidden else Difference(Kind.LARGE)
        if not hidden and left > 0:
            found = _difference(archive, (before, after), pair)
            left -= sum(map(len, found.lines))
        files.append(_told(change.path, change.change, found, *pair))
    return files


def _inputs(archive: Archive, side: Side) -> dict[str, KeptInput]:
    kept = archive.kept(side.hash)
    if kept is None:
        raise _absent(
            f"{side} is not kept: it was read with snapshot = false, or it is pruned; its hash is {side.hash}"
        )
    return {k.entry.path: k for k in kept}


def _difference(
    archive: Archive, sides: Sequence[Side], pair: Sequence[KeptInput | None]
) -> Difference:
    if any(k is not None and k.entry.size > SHOWN for k in pair):
        return Difference(Kind.LARGE)
    both = [
        None if k is None else _bytes(archive, side, k.entry)
        for side, k in zip(sides, pair, strict=True)
    ]
    return difference(both[0], both[1])


def _bytes(archive: Archive, side: Side, entry: Entry) -> bytes:
    try:
        return archive.read(entry)
    except AdapterError as error:
        raise _absent(f"{side} is not kept whole: {error.what}") from None


def _told(
    path: str, change: str, found: Difference, before: KeptInput | None, after: KeptInput | None
) -> views.Json:
    return {
        "path": path,
        "change": change,
        "kind": found.kind.value,
        "size_before": before.entry.size if before else None,
        "size_after": after.entry.size if after else None,
        "lines": found.lines,
        "more": found.more,
        "masked": found.masked,
    }


def _absent(what: str) -> Problem:
    return Problem(404, what, ExitCode.NO_SUCH_SERVICE)
