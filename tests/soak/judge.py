"""What was seen in a run, held against what is promised. Pure: takes what others saw, returns violations.

A promise that the manual limits is judged within that limit: what a process said and that nobody had taken yet is gone when it dies while
there is no agent, or while the disk is full and the agent that held its pipe is killed as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

BUSY = 2.5
"""Load average per core from which on a client that had to wait too long shows nothing."""


@dataclass(frozen=True)
class Violation:
    kind: str
    service: str
    what: str


@dataclass(frozen=True)
class Window:
    """From, until, in seconds of the monotonic clock."""

    begin: float
    end: float

    def has(self, at: float, slack: float = 0.0) -> bool:
        return self.begin - slack <= at <= self.end + slack

    def meets(self, other: Window, slack: float = 0.5) -> bool:
        return self.begin - slack <= other.end and other.begin <= self.end + slack


@dataclass(frozen=True)
class Failure:
    """A connection that failed."""

    service: str
    at: float
    how: str


@dataclass(frozen=True)
class Voice:
    """What one process said by its own count, and what of it was found. ``last``: when it said the last."""

    service: str
    process: str
    said: int
    heard: Sequence[int]
    last: float = 0.0


@dataclass(frozen=True)
class Told:
    """One reload or start, as the journal has it."""

    id: str
    service: str
    handle: str
    trigger: str
    verdicts: tuple[str, ...]
    signals: int = 0
    """Signals that the agent knows to have sent, or to have been about to send."""


@dataclass(frozen=True)
class Span:
    id: str
    parent: str
    trace: str
    name: str
    begin: int
    end: int


@dataclass(frozen=True)
class Seen:
    """A process of ours at one look."""

    pid: int
    started: int
    """In the kernel's own clock: tells two processes of one number apart."""
    session: int
    service: str
    generation: str


@dataclass(frozen=True)
class Look:
    """What ran and what the agent knew of, within one second. ``known``: pids of instances; None: there was nobody to ask."""

    at: float
    seen: frozenset[Seen]
    known: Mapping[int, str] | None
    alive: frozenset[int] = field(default_factory=frozenset)
    """Those of the known that were there."""


def connections(
    failures: Iterable[Failure], promised: frozenset[str], busy: Mapping[float, float]
) -> tuple[list[Violation], Counter[str]]:
    """Violations, and what of services under the promise is only doubtful. ``busy``: load average per core, by time."""
    found, doubtful = [], Counter[str]()
    for one in failures:
        if one.service not in promised:
            continue
        nearest = min(busy, key=lambda at: abs(at - one.at), default=None)
        load = busy[nearest] if nearest is not None else 0.0
        if one.how == "local" or (one.how == "timeout" and load > BUSY):
            doubtful[one.how] += 1
        else:
            what = f"{one.how} at {one.at:.3f}, load {load:.1f} per core"
            found.append(Violation("connection", one.service, what))
    return found, doubtful


def lines(voices: Iterable[Voice], gone: Sequence[Window]) -> tuple[list[Violation], Counter[str]]:
    """Each process is heard from its first line to its last, in order. ``gone``: when what waits in a pipe may end with its writer."""
    found, counted = [], Counter[str]()
    for v in voices:
        counted["heard"] += len(v.heard)
        if list(v.heard) != list(range(1, len(v.heard) + 1)):
            at = next(n for n, line in enumerate(v.heard, 1) if n != line)
            what = f"{v.process}: after line {at - 1} comes line {v.heard[at - 1]}"
            found.append(Violation("lines", v.service, what))
        missing = v.said - len(v.heard)
        excused = any(w.has(v.last, 0.3) for w in gone)
        if missing > 0 and excused:
            counted["gone with their writer while nobody was there"] += missing
        elif missing > 0:
            what = f"{v.process}: the last {missing} of {v.said} lines are missing"
            found.append(Violation("lines", v.service, what))
    return found, counted


def verdicts(
    reloads: Iterable[Told], answers: Iterable[tuple[str, str, str, float]], lost: Sequence[Window]
) -> list[Violation]:
    """One verdict each, the one that was told. ``answers``: service, id, verdict, time of each that a client was given.

    ``lost``: when what the agent knew could not be written, and it was killed before it could be.
    """
    found, by_id = [], {}
    for r in reloads:
        by_id[r.id] = r
        if len(r.verdicts) != 1:
            had = ", ".join(r.verdicts) or "none"
            found.append(Violation("verdict", r.service, f"{r.trigger} {r.id}: verdicts: {had}"))
    for service, id_, verdict, at in answers:
        if any(w.has(at) for w in lost):
            continue
        known = by_id.get(id_)
        if known is None:
            what = f"{id_}: {verdict} was told, and the journal does not know it"
            found.append(Violation("verdict", service, what))
        elif known.verdicts != (verdict,):
            what = f"{id_}: {verdict} was told, and the journal has {', '.join(known.verdicts)}"
            found.append(Violation("verdict", service, what))
    return found


def subtree(told: Told, spans: Sequence[Span]) -> list[Violation]:
    """The spans of one reload are one tree, each closed, none before its parent."""
    found = []

    def wrong(what: str) -> None:
        found.append(Violation("spans", told.service, f"{told.trigger} {told.id}: {what}"))

    ids = {s.id: s for s in spans}
    roots = [s for s in spans if s.parent not in ids]
    if len(roots) != 1:
        wrong(f"{len(roots)} roots of {len(spans)} spans")
    if len(ids) != len(spans):
        wrong("one id for two spans")
    if len({s.trace for s in spans}) > 1:
        wrong("two traces")
    for s in spans:
        if not 0 < s.begin <= s.end:
            wrong(f"{s.name} is not closed, or ends before it begins")
        if (parent := ids.get(s.parent)) and s.begin < parent.begin:
            wrong(f"{s.name} begins before {parent.name}")
    return found


def received(expected: Mapping[str, Told], got: Mapping[str, Sequence[str]]) -> list[Violation]:
    """Every span of the journal (by id, with its reload) is at the receiver; what came twice is the same twice."""
    missing: dict[str, list[str]] = defaultdict(list)
    for id_, told in expected.items():
        if id_ not in got:
            missing[told.id].append(id_)
    by_reload = {told.id: told for told in expected.values()}
    found = [
        Violation("receiver", by_reload[id_].service, f"{id_}: {len(ids)} spans never came")
        for id_, ids in missing.items()
    ]
    for id_, texts in got.items():
        if len(set(texts)) > 1:
            first, *others = (text.splitlines() for text in dict.fromkeys(texts))
            differ = [line.strip() for line in {*first} ^ {*others[0]}]
            what = f"span {id_} came in {len(others) + 1} versions: {differ[:4]}"
            found.append(Violation("receiver", "", what))
    return found


def hangups(
    heard: Mapping[tuple[str, str], Sequence[str]], reloads: Iterable[Told], *, lost: bool
) -> list[Violation]:
    """Every signal that a process counted is one that its reload tells of, and no other. ``heard``: ids by service and process.

    ``lost``: some records are missing, so what nobody tells of may have been told of there.
    """
    found = []
    known = {r.id: r for r in reloads}
    took: Counter[str] = Counter()
    for (service, process), ids in heard.items():
        for id_, count in Counter(ids).items():
            took[id_] += count
            r = known.get(id_)
            if r is None and lost:
                continue
            if r is None or r.service != service:
                what = f"{process} was signalled for {id_}, which is not its reload"
                found.append(Violation("signal", service, what))
            elif count > r.signals:
                told = f"{r.signals} times, {', '.join(r.verdicts)}"
                what = f"{process}: signalled {count} times for {id_}, which tells of {told}"
                found.append(Violation("signal", service, what))
    counting = {service for service, _ in heard}
    for r in known.values():
        if r.service in counting and r.verdicts == ("applied",) and r.signals and not took[r.id]:
            what = f"{r.id} is applied by a signal, and nobody counted one"
            found.append(Violation("signal", r.service, what))
    return found


def upgrades(
    asked: Iterable[tuple[Window, int, str]], disturbed: Sequence[Window]
) -> list[Violation]:
    """Each succeeds (exit code 0) that no kill and no full disk has met."""
    return [
        Violation("upgrade", "", f"exit {code} at {window.end:.1f}: {said}")
        for window, code, said in asked
        if code and not any(w.meets(window) for w in disturbed)
    ]


def silence(
    asked: Iterable[tuple[Window, str, str | None]], disturbed: Sequence[Window]
) -> list[Violation]:
    """Who asks an agent that is there gets an answer."""
    return [
        Violation(
            "silence", service, f"asked at {window.begin:.1f}, nothing until {window.end:.1f}"
        )
        for window, service, said in asked
        if said is None and not any(w.meets(window) for w in disturbed)
    ]


def unrecorded(
    looks: Sequence[Look], recorded: Collection[tuple[str, int]], lost: Sequence[Window]
) -> list[Violation]:
    """Who ran for longer than one look is in the journal by the end. ``recorded``: service and pid."""
    leaders: dict[Seen, list[float]] = defaultdict(list)
    for look in looks:
        for one in look.seen:
            if one.pid == one.session:
                leaders[one].append(look.at)
    return [
        Violation("journal", one.service, f"pid {one.pid} is in no record, from {at[0]:.1f} on")
        for one, at in leaders.items()
        if len(at) > 1
        and (one.service, one.pid) not in recorded
        and not any(w.has(at[0], 1.0) for w in lost)
    ]


def strangers(looks: Sequence[Look], patience: float) -> list[Violation]:
    """Who runs and is not known, or is known and does not run, for longer than ``patience`` while there is an agent to ask."""
    since: dict[tuple[str, object], float] = {}
    told: set[tuple[str, object]] = set()
    found = []
    for look in looks:
        if look.known is None:
            since.clear()  # a new agent may need a moment, too
            continue
        now: dict[tuple[str, object], tuple[str, str]] = {}
        for one in look.seen:
            if one.session not in look.known and one.pid not in look.known:
                what = f"pid {one.pid}, generation {one.generation}, is not in status"
                now["stranger", one] = one.service, what
        for pid, service in look.known.items():
            if pid not in look.alive:
                now["ghost", pid] = service, f"pid {pid} is in status and does not run"
        leaders: dict[tuple[str, str], list[int]] = defaultdict(list)
        for one in look.seen:
            if one.pid == one.session:
                leaders[one.service, one.generation].append(one.pid)
        for (service, generation), pids in leaders.items():
            if len(pids) > 1:
                what = f"generation {generation} has {len(pids)} processes: {sorted(pids)}"
                now["twins", (service, generation)] = service, what
        since = {key: since.get(key, look.at) for key in now}
        for key, begun in since.items():
            if look.at - begun > patience and key not in told:
                told.add(key)
                service, what = now[key]
                what = f"{what}, for {look.at - begun:.1f} s until {look.at:.1f}"
                found.append(Violation(key[0], service, what))
    return found
